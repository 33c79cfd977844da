"""OpenSSF Model Signing v1.0: one signature over the list of a model's files and their digests.

A Sigstore bundle holds an in-toto statement of type `https://model_signing/signature/v1.0`. Its subject digest is the
sha256 over the raw digests of all files, in the order of `predicate.resources` (by name); `predicate.serialization`
says how files were hashed. We write method `files`, sha256, and sign beside it (subject annotation) the digest that
declarations pin. Read besides: `https://model_signing/Digests/v0.1` (release 0.2: one subject per file).

Not read: method `shards` and other hashes (a Tree has whole-file sha256 only), and the keyless Sigstore method, which
needs the `sigstore` extra; both are said, never passed over.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import FileEntry, Tree, same_digest
from customhouse.core.errors import EvidenceError, TamperError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.trust.bundle import (
    ISSUED_AT,
    SIGNATURE_TYPE,
    TREE_DIGEST,
    Bundle,
    Statement,
    authenticate,
    read_bundle,
    seal,
    statement,
)
from customhouse.trust.keys import PrivateKey, TrustRoot

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

LEGACY_TYPE = "https://model_signing/Digests/v0.1"
_MAX_RESOURCES = 100_000


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What verification of a model signature said.

    `resources` maps each signed file to its digest (`sha256:…`). The problems come in the order of the three steps:
    who signed, whether the statement is whole, which files differ, are missing (signed and not there) or extra.
    """

    method: str
    signer: str | None
    resources: Mapping[str, str]
    problem: str = ""
    differing: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    """What the signer itself left out (`ignore_paths`), and what the caller asked to leave out: not protected."""

    @property
    def verified(self) -> bool:
        """Whether a trusted signer signed exactly these files."""
        return not self.problems()

    def problems(self) -> tuple[str, ...]:
        """Every problem in words; empty when verified."""
        first = (self.problem,) if self.problem else ()
        return (
            *first,
            *(f"{name}: differs from what was signed" for name in self.differing),
            *(f"{name}: was signed and is missing" for name in self.missing),
            *(f"{name}: is there and was not signed" for name in self.extra),
        )


def sign_model(tree: Tree, name: str, key: PrivateKey, issued_at: datetime | None = None) -> bytes:
    """Sign a model's files; the bytes of the bundle. `name` is the model's (for people, under the signature)."""
    files = _named(tree)
    predicate = {
        "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
        "resources": [
            {"name": path, "algorithm": "sha256", "digest": entry.digest.removeprefix("sha256:")}
            for path, entry in files.items()
        ],
    }
    annotations = {TREE_DIGEST: tree.digest}
    if issued_at is not None:
        annotations[ISSUED_AT] = to_rfc3339(issued_at)
    subject = _over(entry.digest for entry in files.values())
    return seal(statement(name, subject, SIGNATURE_TYPE, predicate, annotations), key)


def verify_model(
    data: bytes,
    tree: Tree,
    roots: Sequence[TrustRoot],
    *,
    authorities: Sequence[Certificate] = (),
    at: datetime | None = None,
    ignore: Sequence[str] = (),
    where: str = "model signature",
) -> ModelCheck:
    """Verify a signature against a model's files.

    1. the payload is signed by a root that may sign signatures, or by a certificate that `authorities` issued and that
       was valid at `at`; 2. the statement's subject digest is that of its own list; 3. the list is the model's, but for
    `ignore` (names of files or folders, the signature's own file for one) and what the signer says it ignored.

    Raises EvidenceError when it is malformed or of a form that is not read here; what is wrong is in the ModelCheck.
    """
    bundle = read_bundle(data, where)
    signer, problem = _authenticate(bundle, roots, authorities, at)
    said = bundle.statement()
    signed = _resources(said, where)
    if not problem:
        problem = _statement_problem(said, tree)
    skip = (*ignore, *_left_out(said))
    files = {name: e for name, e in _named(tree, signed).items() if name in signed or not _ignored(name, skip)}
    if "." in signed and len(files) == 1:  # a single file is signed as "."
        files = {".": next(iter(files.values()))}
    return ModelCheck(
        method=bundle.method,
        signer=signer,
        resources=signed,
        problem=problem,
        differing=tuple(n for n, digest in signed.items() if n in files and not same_digest(files[n].digest, digest)),
        missing=tuple(name for name in signed if name not in files),
        extra=tuple(name for name in files if name not in signed),
        ignored=tuple(dict.fromkeys(skip)),
    )


def bind(
    evidence: Evidence, data: bytes, tree: Tree, roots: Sequence[TrustRoot], where: str = "model signature"
) -> Evidence:
    """Model-signature Evidence checked against the files themselves; its subject is then the Tree's digest.

    For signatures of other tools, which do not say that digest, this is the only way to bind them.
    """
    bundle = read_bundle(data, where)
    said = bundle.statement()
    signed = _resources(said, where)
    files = _named(tree, signed)
    same = signed.keys() == files.keys() and all(same_digest(files[n].digest, signed[n]) for n in signed)
    if not same or _statement_problem(said, tree):
        problem = "it was signed over other files than the artifact's"
        return replace(evidence, subject=tree.digest, verified=False, problem=problem)
    signer, problem = authenticate(bundle, EvidenceKind.SIGNATURE, roots)
    return replace(evidence, subject=tree.digest, signer=signer, verified=not problem, problem=problem)


def _authenticate(
    bundle: Bundle, roots: Sequence[TrustRoot], authorities: Sequence[Certificate], at: datetime | None
) -> tuple[str | None, str]:
    if bundle.method == "key":
        if bundle.statement().predicate_type == LEGACY_TYPE:
            permitted = [root for root in roots if EvidenceKind.SIGNATURE in root.kinds]
            signer = next((root.name for root in permitted if bundle.signed_by_legacy(root.key)), None)
            return signer, "" if signer else "signed by an unknown key"
        return authenticate(bundle, EvidenceKind.SIGNATURE, roots)
    if bundle.method == "sigstore":
        return None, "signed by the Sigstore method, which is not verified here; sign with a key or a certificate"
    if not authorities or at is None:
        return None, "signed by a certificate, and no certificate authority is trusted"
    from customhouse.trust.certificates import leaf_key

    try:
        key, name = leaf_key(bundle.certificates, authorities, at)
    except TamperError as error:
        return None, error.message
    legacy = bundle.statement().predicate_type == LEGACY_TYPE
    if bundle.signed_by_legacy(key) if legacy else bundle.signed_by(key):
        return name, ""
    return None, "the signature does not verify under its certificate"


def _resources(said: Statement, where: str) -> dict[str, str]:
    if said.predicate_type == LEGACY_TYPE:
        pairs = [(subject.name, subject.sha256) for subject in said.subjects]
    elif said.predicate_type == SIGNATURE_TYPE:
        _check_serialization(said.predicate.get("serialization"), where)
        listed = said.predicate.get("resources")
        if not isinstance(listed, list) or not 0 < len(listed) <= _MAX_RESOURCES:
            raise EvidenceError("the signature lists no files", where=where)
        pairs = [_resource(item, where) for item in listed]
    else:
        raise EvidenceError(f"not a model signature: {said.predicate_type[:120]!r}", where=where)
    signed = {name: f"sha256:{digest}" for name, digest in pairs}
    if len(signed) != len(pairs):
        raise EvidenceError("the signature lists a file twice", where=where)
    return signed


def _resource(item: Any, where: str) -> tuple[str, str]:
    values = item if isinstance(item, dict) else {}
    name, digest = values.get("name"), values.get("digest")
    if values.get("algorithm") != "sha256":
        raise EvidenceError(f"files hashed with {values.get('algorithm')!r} are not read", where=where)
    if not isinstance(name, str) or not name or not isinstance(digest, str) or len(digest) != 64:
        raise EvidenceError("a resource has no name or no digest", where=where)
    return name, digest


def _check_serialization(value: Any, where: str) -> None:
    values = value if isinstance(value, dict) else {}
    if values.get("method") != "files" or values.get("hash_type") != "sha256":
        raise EvidenceError(
            f"serialization {values.get('method')!r} with {values.get('hash_type')!r} is not read",
            where=where,
            hint="sign with method files and sha256",
        )


def _statement_problem(said: Statement, tree: Tree) -> str:
    if said.predicate_type == LEGACY_TYPE:
        return ""  # its subjects are the files
    if len(said.subjects) != 1:
        return "a model signature has one subject"
    listed = [str(item["digest"]) for item in said.predicate["resources"]]
    if not hmac.compare_digest(_over(listed), said.subjects[0].sha256):
        return "the subject digest is not that of the listed files"
    annotated = said.subjects[0].annotations.get(TREE_DIGEST)
    if annotated is not None and not same_digest(str(annotated), tree.digest):
        return "it was signed for another digest than the artifact has"
    return ""


def _over(digests: Any) -> str:
    """The sha256 over raw file digests, in order."""
    hasher = hashlib.sha256()
    for digest in digests:
        try:
            hasher.update(bytes.fromhex(digest.removeprefix("sha256:")))
        except ValueError as error:
            raise EvidenceError("a resource's digest is not hex") from error
    return hasher.hexdigest()


def _named(tree: Tree, signed: Mapping[str, str] | None = None) -> dict[str, FileEntry]:
    """The files by the names that a signature has for them: a single file is `.`, or in some releases its own name."""
    if tree.single:
        own = tree.files[0].path
        return {own if signed is not None and own in signed and "." not in signed else ".": tree.files[0]}
    return {entry.path: entry for entry in tree.files}


def _left_out(said: Statement) -> tuple[str, ...]:
    serialization = said.predicate.get("serialization")
    listed = serialization.get("ignore_paths") if isinstance(serialization, dict) else None
    names = listed if isinstance(listed, list) else []
    return tuple(name for name in names if isinstance(name, str) and name not in ("", "."))


def _ignored(name: str, ignore: Sequence[str]) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in ignore)
