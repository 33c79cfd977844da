"""Evidence as files: signed statements about a subject digest, written by `attest` and read back by `read_evidence`.

    .evidence/<64 hex of the subject>/<kind>.sigstore.json

The place gives no trust: what counts is the subject inside the signed payload and a trust root that may sign the kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import Tree, bytes_digest, is_digest
from customhouse.core.errors import EvidenceError, UsageError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.trust.bundle import (
    ISSUED_AT,
    SIGNATURE_TYPE,
    TREE_DIGEST,
    Subject,
    authenticate,
    read_bundle,
    seal,
    statement,
)
from customhouse.trust.keys import PrivateKey, TrustRoot
from customhouse.trust.signing import bind

PREDICATE_TYPES: Mapping[EvidenceKind, str] = {
    EvidenceKind.SIGNATURE: SIGNATURE_TYPE,
    EvidenceKind.SCAN: "https://customhouse.dev/attestations/scan/v1",
    EvidenceKind.BOM: "https://cyclonedx.org/bom",
    EvidenceKind.PROVENANCE: "https://slsa.dev/provenance/v1",
    EvidenceKind.EVALUATION: "https://customhouse.dev/attestations/evaluation/v1",
    EvidenceKind.DATA_VALIDATION: "https://customhouse.dev/attestations/data-validation/v1",
    EvidenceKind.PRICE_ESTIMATE: "https://customhouse.dev/attestations/price-estimate/v1",
    EvidenceKind.FORECAST: "https://customhouse.dev/attestations/forecast/v1",
    EvidenceKind.POLICY_BUNDLE: "https://customhouse.dev/attestations/policy-bundle/v1",
    EvidenceKind.VULNERABILITIES: "https://in-toto.io/attestation/vulns/v0.2",
    EvidenceKind.VEX: "https://openvex.dev/ns/v0.2.0",
}
_KINDS = {predicate_type: kind for kind, predicate_type in PREDICATE_TYPES.items()}
SUFFIX = ".sigstore.json"
FOLDER = ".evidence"


def evidence_path(digest: str, kind: EvidenceKind) -> str:
    """Where evidence lives in the repository. Raises UsageError unless `digest` is one."""
    if not is_digest(digest):
        raise UsageError(f"{digest[:80]!r} is not a digest")
    return f"{FOLDER}/{digest.removeprefix('sha256:')}/{kind.value}{SUFFIX}"


def attest(
    subject_name: str,
    subject_digest: str,
    kind: EvidenceKind,
    predicate: Mapping[str, Any],
    key: PrivateKey,
    *,
    issued_at: datetime | None = None,
) -> bytes:
    """Sign a statement of `kind` about an artifact; the bytes of the bundle file.

    Raises UsageError for something that is not a digest, or for a model signature (`signing.sign_model` makes those).
    """
    if not is_digest(subject_digest):
        raise UsageError(f"{subject_digest[:80]!r} is not a digest")
    if kind is EvidenceKind.SIGNATURE:
        raise UsageError("a model signature lists files", hint="use trust.signing.sign_model")
    annotations = {} if issued_at is None else {ISSUED_AT: to_rfc3339(issued_at)}
    payload = statement(
        subject_name, subject_digest.removeprefix("sha256:"), PREDICATE_TYPES[kind], predicate, annotations
    )
    return seal(payload, key)


def read_evidence(data: bytes, roots: Sequence[TrustRoot], where: str = "evidence") -> tuple[Evidence, ...]:
    """What a bundle says, one Evidence per subject.

    Raises EvidenceError (naming `where`) when it is malformed or of an unknown predicate type. A signature that does
    not verify under a root that may sign this kind gives Evidence with `verified` False and the `problem`.
    """
    bundle = read_bundle(data, where)
    said = bundle.statement()
    kind = _KINDS.get(said.predicate_type)
    if kind is None:
        raise EvidenceError(f"unknown predicate type {said.predicate_type[:120]!r}", where=where)
    signer, problem = authenticate(bundle, kind, roots)
    read = Evidence(
        "", kind, said.predicate_type, said.predicate, None, signer, not problem, bytes_digest(data), problem
    )
    return tuple(_about(subject, read, where) for subject in said.subjects)


def _about(subject: Subject, read: Evidence, where: str) -> Evidence:
    """What was read, as a statement about one of its subjects."""
    issued_at = _issued_at(subject, where)
    if read.kind is not EvidenceKind.SIGNATURE:
        return replace(read, subject=f"sha256:{subject.sha256}", issued_at=issued_at)
    # Its own subject is a digest over the list of files; what we look up by is signed beside it.
    annotated = subject.annotations.get(TREE_DIGEST)
    if isinstance(annotated, str) and is_digest(annotated):
        return replace(read, subject=annotated, issued_at=issued_at)
    problem = read.problem or "made by another tool: it must be bound to the artifact's files (collect with a tree)"
    return replace(read, subject=f"sha256:{subject.sha256}", issued_at=issued_at, verified=False, problem=problem)


def _issued_at(subject: Subject, where: str) -> datetime | None:
    text = subject.annotations.get(ISSUED_AT)
    if text is None:
        return None
    try:
        return from_rfc3339(str(text))
    except ValueError as error:
        raise EvidenceError(f"{ISSUED_AT} is not a time", where=where) from error


def collect(
    files: Mapping[str, bytes], digest: str, roots: Sequence[TrustRoot], tree: Tree | None = None
) -> tuple[Evidence, ...]:
    """All evidence about `digest` among `files` (repository path → bytes), in order of path.

    Files elsewhere than under `.evidence/<digest>/` are not looked at. Evidence whose signed subject is another digest
    is returned as unverified, with the problem: a file that was put in the wrong place must be seen, not passed over.
    With `tree` (the artifact's files) signatures of other tools are bound to it, and ours are checked against it.
    """
    folder = evidence_path(digest, EvidenceKind.SCAN).rpartition("/")[0] + "/"
    found: list[Evidence] = []
    for path in sorted(files):
        if path.startswith(folder) and path.endswith(SUFFIX):
            found.extend(_placed(path, files[path], digest, roots, tree))
    return tuple(found)


def _placed(path: str, data: bytes, digest: str, roots: Sequence[TrustRoot], tree: Tree | None) -> list[Evidence]:
    read = read_evidence(data, roots, path)
    if tree is not None and read[0].kind is EvidenceKind.SIGNATURE:
        read = tuple(bind(item, data, tree, roots, path) for item in read)
    matching = [item for item in read if item.subject == digest]
    if matching:
        return matching
    problem = f"it speaks of {read[0].subject}, not of what it is filed under"
    return [replace(read[0], subject=digest, verified=False, problem=read[0].problem or problem)]
