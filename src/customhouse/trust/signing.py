"""OpenSSF Model Signing v1.0: one signature over the list of a model's files and their digests.

A Sigstore bundle holds an in-toto statement of type `https://model_signing/signature/v1.0`. Its subject digest is the
sha256 over the raw digests of all files, in the order of `predicate.resources` (by name); `predicate.serialization`
says how files were hashed. We write method `files`, sha256, and sign beside it (subject annotation) the digest that
declarations pin. Read besides: method `shards` and the hashes blake2b and blake3 (`model_files`), and
`https://model_signing/Digests/v0.1` (release 0.2: one subject per file). Signed by a key, by a certificate of an
authority that is trusted, or keyless: by an identity that a trusted root vouches for (`sigstore.verification`).
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
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
from customhouse.trust.model_files import MAX_RESOURCES, Serialization
from customhouse.trust.sigstore.roots import SigstoreRoot
from customhouse.trust.sigstore.verification import Policy, Verified, verify_bundle

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

LEGACY_TYPE = "https://model_signing/Digests/v0.1"


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
    keyless: Verified | None = None
    """For the Sigstore method: identity, times and log entries that were verified."""

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
            *(f"{name}: was signed and is missing{_alike(name, self.extra)}" for name in self.missing),
            *(f"{name}: is there and was not signed" for name in self.extra),
        )


@dataclass(frozen=True, slots=True)
class Keyless:
    """Whose signature without a key of its own counts, by which trusted root, and when it is now."""

    policy: Policy
    root: SigstoreRoot
    now: datetime


def sign_model(
    tree: Tree,
    name: str,
    key: PrivateKey,
    issued_at: datetime | None = None,
    *,
    ignored: Sequence[str] = (),
    certificates: Sequence[bytes] = (),
) -> bytes:
    """Sign a model's files; the bytes of the bundle. `name` is the model's (for people, under the signature).

    `ignored`: what was left out of `tree` on purpose, as paths in the folder. `certificates` (DER, the signer's first)
    go into the bundle in the key's place.
    """
    return seal(model_statement(tree, name, issued_at, ignored=ignored), key, certificates)


def model_statement(tree: Tree, name: str, issued_at: datetime | None = None, *, ignored: Sequence[str] = ()) -> bytes:
    """The statement that is signed: in-toto JSON over the list of files."""
    files = _named(tree)
    serialization: dict[str, Any] = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    predicate = {
        "serialization": {**serialization, "ignore_paths": list(ignored)},
        "resources": [
            {"name": path, "algorithm": "sha256", "digest": entry.digest.removeprefix("sha256:")}
            for path, entry in files.items()
        ],
    }
    annotations = {TREE_DIGEST: tree.digest}
    if issued_at is not None:
        annotations[ISSUED_AT] = to_rfc3339(issued_at)
    subject = _over(entry.digest for entry in files.values())
    return statement(name, subject, SIGNATURE_TYPE, predicate, annotations)


def serialization_of(data: bytes, where: str = "model signature") -> Serialization:
    """How a signature (not trusted yet) says its files were hashed. Raises EvidenceError."""
    said = read_bundle(data, where).statement()
    if said.predicate_type == LEGACY_TYPE:
        return Serialization()
    return Serialization.read(said.predicate.get("serialization"), where)


def verify_model(
    data: bytes,
    tree: Tree,
    roots: Sequence[TrustRoot],
    *,
    authorities: Sequence[Certificate] = (),
    revocations: Sequence[CertificateRevocationList] = (),
    keyless: Keyless | None = None,
    at: datetime | None = None,
    ignore: Sequence[str] = (),
    measured: Mapping[str, str] | None = None,
    where: str = "model signature",
) -> ModelCheck:
    """Verify a signature against a model's files.

    1. the payload is signed by a root that may sign signatures, or by a certificate that `authorities` issued, that
       was valid at `at` and that `revocations` (if any are given) do not name, or by the identity of `keyless`; 2. the
       statement's subject digest is that of its own list; 3. the list is the model's, but for `ignore` (names of files
       or folders, the signature's own file for one) and what the signer says it ignored.

    The model's files are `tree`, or `measured` (`model_files.measure`) where the signature hashed them in another way.
    Raises EvidenceError when it is malformed or of a form that is not read here; what is wrong is in the ModelCheck.
    """
    bundle = read_bundle(data, where)
    verified: Verified | None = None
    if bundle.method == "sigstore" and keyless is not None:
        try:
            verified = verify_bundle(data, None, keyless.policy, keyless.root, keyless.now)
            signer, problem = verified.identity, ""
        except TamperError as error:
            signer, problem = None, error.message
    else:
        signer, problem = _authenticate(bundle, roots, authorities, revocations, at)
    check = _compared(bundle.statement(), tree, ignore, measured, where)
    return replace(check, method=bundle.method, signer=signer, problem=problem or check.problem, keyless=verified)


def verify_folder(
    data: bytes,
    tree: Tree,
    policy: Policy,
    root: SigstoreRoot | None,
    now: datetime,
    measured: Mapping[str, str] | None = None,
) -> Verified:
    """Verify a folder's signature by a Sigstore policy. Raises TamperError that names what differs."""
    verified = verify_bundle(data, None, policy, root, now)
    try:
        said = read_bundle(data).statement()
        problems = _compared(said, tree, (), measured, "the signature").problems()
    except EvidenceError as error:
        raise TamperError(error.message) from error
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise TamperError("; ".join(problems[:5]) + more)
    return verified


def _compared(
    said: Statement, tree: Tree, ignore: Sequence[str], measured: Mapping[str, str] | None, where: str
) -> ModelCheck:
    """Steps 2 and 3."""
    signed = _resources(said, where)
    how = Serialization() if said.predicate_type == LEGACY_TYPE else _serialization(said, where)
    if measured is None and not (how.hash_type == "sha256" and not how.shard_size):
        raise EvidenceError(f"files hashed as {how.algorithm} were not measured", where=where)
    skip = (*ignore, *how.ignore_paths)
    there = _there(tree, signed) if measured is None else dict(measured)
    files = {name: digest for name, digest in there.items() if name in signed or not is_ignored(_path(name, how), skip)}
    if "." in signed and len(files) == 1 and not how.shard_size:  # a single file is signed as "."
        files = {".": next(iter(files.values()))}
    differing = tuple(n for n, digest in signed.items() if n in files and not same_digest(files[n], digest))
    missing = tuple(name for name in signed if name not in files)
    extra = tuple(name for name in files if name not in signed)
    # Where files differ, so does the digest over all of them: that is said of the files alone.
    whole = tree if measured is None and not (differing or missing or extra) else None
    return ModelCheck(
        method="",
        signer=None,
        resources=signed,
        problem=_statement_problem(said, whole, skip),
        differing=differing,
        missing=missing,
        extra=extra,
        ignored=tuple(dict.fromkeys(skip)),
    )


def _path(name: str, how: Serialization) -> str:
    """The file of a resource: a shard is `path:start:end`."""
    return name.rsplit(":", 2)[0] if how.shard_size else name


def _there(tree: Tree, signed: Mapping[str, str]) -> dict[str, str]:
    return {name: entry.digest for name, entry in _named(tree, signed).items()}


def _alike(name: str, others: Sequence[str]) -> str:
    """Two spellings of one name look alike to people: Unicode has several, and some file systems change the case."""
    for what, fold in (("Unicode normalisation", _normal), ("upper and lower case", str.casefold)):
        if any(fold(name) == fold(other) for other in others):
            return f" (a file is there whose name differs in {what} alone)"
    return ""


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


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
    if not same or _statement_problem(said, tree, ()):
        problem = "it was signed over other files than the artifact's"
        return replace(evidence, subject=tree.digest, verified=False, problem=problem)
    signer, problem = authenticate(bundle, EvidenceKind.SIGNATURE, roots)
    return replace(evidence, subject=tree.digest, signer=signer, verified=not problem, problem=problem)


def _authenticate(
    bundle: Bundle,
    roots: Sequence[TrustRoot],
    authorities: Sequence[Certificate],
    revocations: Sequence[CertificateRevocationList],
    at: datetime | None,
) -> tuple[str | None, str]:
    if bundle.method == "key":
        if bundle.statement().predicate_type == LEGACY_TYPE:
            permitted = [root for root in roots if EvidenceKind.SIGNATURE in root.kinds]
            signer = next((root.name for root in permitted if bundle.signed_by_legacy(root.key)), None)
            return signer, "" if signer else "signed by an unknown key"
        return authenticate(bundle, EvidenceKind.SIGNATURE, roots)
    if bundle.method == "sigstore":
        return None, "signed by the Sigstore method, and no identity, issuer and trusted root were named"
    if not authorities or at is None:
        return None, "signed by a certificate, and no certificate authority is trusted"
    from customhouse.trust.certificates import leaf_key

    try:
        key, name = leaf_key(bundle.certificates, authorities, at, revocations)
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
        how = _serialization(said, where)
        listed = said.predicate.get("resources")
        if not isinstance(listed, list) or not 0 < len(listed) <= MAX_RESOURCES:
            raise EvidenceError("the signature lists no files", where=where)
        pairs = [_resource(item, how, where) for item in listed]
    else:
        raise EvidenceError(f"not a model signature: {said.predicate_type[:120]!r}", where=where)
    hash_type = "sha256" if said.predicate_type == LEGACY_TYPE else how.hash_type
    signed = {name: f"{hash_type}:{digest}" for name, digest in pairs}
    if len(signed) != len(pairs):
        raise EvidenceError("the signature lists a file twice", where=where)
    return signed


def _resource(item: Any, how: Serialization, where: str) -> tuple[str, str]:
    values = item if isinstance(item, dict) else {}
    name, digest = values.get("name"), values.get("digest")
    if values.get("algorithm") != how.algorithm:
        raise EvidenceError(
            f"a file is hashed with {str(values.get('algorithm'))[:80]!r} in a list of {how.algorithm}", where=where
        )
    wanted = 128 if how.hash_type == "blake2b" else 64
    if not isinstance(name, str) or not name or not isinstance(digest, str) or len(digest) != wanted:
        raise EvidenceError("a resource has no name or no digest", where=where)
    return name, digest


def _serialization(said: Statement, where: str) -> Serialization:
    return Serialization.read(said.predicate.get("serialization"), where)


def _statement_problem(said: Statement, tree: Tree | None, skip: Sequence[str]) -> str:
    if said.predicate_type == LEGACY_TYPE:
        return ""  # its subjects are the files
    if len(said.subjects) != 1:
        return "a model signature has one subject"
    listed = [str(item["digest"]) for item in said.predicate["resources"]]
    if not hmac.compare_digest(_over(listed), said.subjects[0].sha256):
        return "the subject digest is not that of the listed files"
    annotated = said.subjects[0].annotations.get(TREE_DIGEST)
    if annotated is None or tree is None:
        return ""
    if skip and not tree.single:
        tree = replace(tree, files=tuple(entry for entry in tree.files if not is_ignored(entry.path, skip)))
    if not same_digest(str(annotated), tree.digest):
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


def is_ignored(name: str, ignore: Sequence[str]) -> bool:
    """Whether a file is one of those, or lies in a folder that is."""
    return any(name == path or name.startswith(f"{path}/") for path in ignore)
