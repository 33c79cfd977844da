"""Verification of a Sigstore bundle over an artifact, offline.

The order (client specification, section 4):
1. the bundle is read by its version's rules;
2. trusted times: each RFC 3161 timestamp over the signature, each log entry's promise; none may fail;
3. the certificate: a path to an authority of the trusted root at each of these times, for code signing, logged (SCT),
   and of the expected identity and issuer; or the key that was given;
4. each log entry: proof, checkpoint, promise, and that it speaks of this signature, signer and content;
5. the signature over the artifact's bytes, or over the envelope whose statement has the artifact's digest as a subject.

Whatever does not hold raises TamperError with what failed. What was not asked for is said in `Verified`, not implied.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

from customhouse._kit.clock import to_rfc3339
from customhouse.core.errors import ConfigError, CustomhouseError, TamperError, UsageError
from customhouse.trust import strict_json
from customhouse.trust.certificates import certified_key
from customhouse.trust.keys import PublicKey
from customhouse.trust.sigstore.identity import Expected, certificate_identity, verify_issued, verify_logged
from customhouse.trust.sigstore.material import Envelope, LogEntry, Material, Message, read_material
from customhouse.trust.sigstore.roots import SigstoreRoot
from customhouse.trust.sigstore.timestamps import verify_timestamp
from customhouse.trust.sigstore.transparency import Logged, Signed, verify_entry

HASHES = ("sha256", "sha384", "sha512")
STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
_SKEW = timedelta(minutes=5)
"""How far ahead of this machine's clock a trusted time may be: two clocks are never the same."""
_MAX_MESSAGE = 256 << 20
"""An Ed25519 key signs bytes and no digest: larger files are held in memory by nobody."""
_MAX_SUBJECTS = 100_000


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is said to be signed: its digests in hex by hash, and its bytes where an algorithm needs them.

    A file's sha256 is computed first; other digests when they are asked for, in a read that must give the same sha256.
    """

    name: str
    digests: dict[str, str]
    file: Path | None = None
    content: bytes | None = field(default=None, repr=False)

    @classmethod
    def of_bytes(cls, data: bytes, name: str = "artifact") -> Artifact:
        """An artifact in memory."""
        return cls(name, {"sha256": hashlib.sha256(data).hexdigest()}, None, data)

    @classmethod
    def of_file(cls, path: Path) -> Artifact:
        """An artifact on disk, read in pieces. Raises OSError."""
        return cls(path.name, _hashed(path, "sha256"), path)

    @classmethod
    def of_digest(cls, text: str) -> Artifact:
        """An artifact of which only the digest is known, as `sha256:…`. Raises UsageError."""
        name, _, value = text.partition(":")
        wanted = hashlib.new(name).digest_size * 2 if name in HASHES else -1
        if len(value) != wanted or set(value) - set("0123456789abcdef"):
            raise UsageError(f"{text[:80]!r} is not a digest", hint="write sha256: and 64 lower-case hex digits")
        return cls(text, {name: value})

    def has(self, name: str) -> bool:
        """Whether this digest is known, or can be."""
        return name in HASHES and (name in self.digests or self.file is not None or self.content is not None)

    def digest(self, name: str) -> bytes:
        """One digest. Raises TamperError where it is not known."""
        if not self.has(name):
            raise TamperError(f"the signature is over a {name} digest, and the artifact was given by another")
        if name not in self.digests:
            self.digests[name] = self._computed(name)
        return bytes.fromhex(self.digests[name])

    def whole(self) -> bytes:
        """The bytes. Raises TamperError where they are not at hand."""
        if self.content is not None:
            return self.content
        if not self.small:
            raise TamperError("an Ed25519 signature is over the bytes, and they are not at hand or over 256 MiB")
        assert self.file is not None  # noqa: S101 - it would not be small
        data = self.file.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.digests["sha256"]:
            raise TamperError("the file changed while it was read")
        return data

    @property
    def small(self) -> bool:
        """Whether its bytes can be held in memory."""
        return self.content is not None or (self.file is not None and self.file.stat().st_size <= _MAX_MESSAGE)

    def _computed(self, name: str) -> str:
        if self.content is not None:
            return hashlib.new(name, self.content).hexdigest()
        assert self.file is not None  # noqa: S101 - `has` has seen to it
        again = _hashed(self.file, "sha256", name)
        if again["sha256"] != self.digests["sha256"]:
            raise TamperError("the file changed while it was read")
        return again[name]


def _hashed(path: Path, *names: str) -> dict[str, str]:
    hashers = {name: hashlib.new(name) for name in names}
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            for hasher in hashers.values():
                hasher.update(piece)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of a signature: a key, or an expected identity; whether logs must have seen it."""

    key: PublicKey | None = None
    expected: Expected | None = None
    need_log: bool = True
    need_certificate_log: bool = True


@dataclass(frozen=True, slots=True)
class Verified:
    """What was verified. `logged` and `times` are empty where nothing of the kind was asked for and given."""

    method: str
    identity: str
    issuer: str
    key: str
    times: tuple[tuple[str, datetime], ...]
    logged: tuple[Logged, ...]
    certificate_log: str
    predicate_type: str
    statement: Mapping[str, Any] | None
    unverified: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "method": self.method,
            "identity": self.identity or None,
            "issuer": self.issuer or None,
            "key": self.key or None,
            "times": [{"source": source, "time": to_rfc3339(at)} for source, at in self.times],
            "log_entries": [
                {
                    "log": item.log,
                    "index": item.index,
                    "kind": item.kind,
                    "time": None if item.time is None else to_rfc3339(item.time),
                }
                for item in self.logged
            ],
            "certificate_log": self.certificate_log or None,
            "predicate_type": self.predicate_type or None,
            "not_verified": list(self.unverified),
        }


def verify_bundle(
    data: bytes, artifact: Artifact | None, policy: Policy, root: SigstoreRoot | None, now: datetime
) -> Verified:
    """Verify a bundle over `artifact` by `policy` at `now`.

    Without `artifact`, the bundle must be an envelope: its `statement` is authentic then, and the caller binds it.
    Without `root` only a key can be verified, and log entries and timestamps are not (`unverified` says so).

    Raises TamperError for whatever does not hold, ConfigError when there is nothing to trust.
    """
    if (policy.key is None) == (policy.expected is None):
        raise ConfigError("nothing to verify by", hint="give a key, or an identity and its issuer")
    if root is None and policy.key is None:
        raise ConfigError("an identity is vouched for by authorities, and no trusted root names any")
    material = read_material(data)  # step 1
    key, signer = _signer(material, policy)
    statement = _statement(material.content) if isinstance(material.content, Envelope) else None
    if isinstance(material.content, Message) and artifact is None:
        raise TamperError("the bundle is a signature over an artifact and no statement")
    times: tuple[tuple[str, datetime], ...] = ()
    logged: tuple[Logged, ...] = ()
    identity = issuer = certificate_log = ""
    if root is None:
        unverified = _left(material)
    else:
        signed = Signed(material.signature, signer, _digests(material, artifact), _envelope(material))
        times, logged, unverified = _vouched(material, policy, root, signed, now)
        identity, issuer, certificate_log = _certified(material, policy, root, times)
    _verify_signature(material, key, artifact)  # step 5
    if statement is not None and artifact is not None:
        _bind(statement, artifact)
    return Verified(
        method="key" if policy.key is not None else "identity",
        identity=identity,
        issuer=issuer,
        key=key.key_id if policy.key is not None else "",
        times=times,
        logged=logged,
        certificate_log=certificate_log,
        predicate_type="" if statement is None else str(statement.get("predicateType", "")),
        statement=statement,
        unverified=unverified,
    )


def _signer(material: Material, policy: Policy) -> tuple[PublicKey, bytes]:
    """The key that must have signed, and what log entries name the signer by."""
    if policy.key is not None:
        if material.certificate is not None:
            raise TamperError("the bundle is signed with a certificate, and a key was given", hint="verify by identity")
        return policy.key, policy.key.der
    if material.certificate is None:
        raise TamperError("the bundle is signed with a key, which names no identity", hint="verify with --key")
    return certified_key(material.certificate), material.certificate_der


def _left(material: Material) -> tuple[str, ...]:
    found = []
    if material.entries:
        found.append(f"{len(material.entries)} log entries (no trusted root was given)")
    if material.timestamps:
        found.append(f"{len(material.timestamps)} timestamps (no trusted root was given)")
    return tuple(found)


def _vouched(
    material: Material, policy: Policy, root: SigstoreRoot, signed: Signed, now: datetime
) -> tuple[tuple[tuple[str, datetime], ...], tuple[Logged, ...], tuple[str, ...]]:
    """Steps 2 and 4: trusted times and log entries."""
    unverified: tuple[str, ...] = ()
    stamped: list[tuple[str, datetime]] = []
    if root.timestamp_authorities:
        for response in material.timestamps:
            at, authority = verify_timestamp(response, material.signature, root.timestamp_authorities)
            stamped.append((authority, at))
    elif material.timestamps:
        unverified = (f"{len(material.timestamps)} timestamps (the trusted root names no timestamp authority)",)
    if policy.need_log and not material.entries:
        raise TamperError("the bundle has no log entry", hint="sign with a transparency log, or allow none (--no-log)")
    entries: Sequence[LogEntry] = material.entries
    if not policy.need_log and not root.logs:
        unverified = (*unverified, *((f"{len(entries)} log entries (the root names no log)",) if entries else ()))
        entries = ()
    logged = tuple(verify_entry(entry, root.logs, signed, [at for _, at in stamped]) for entry in entries)
    times = (*stamped, *((item.log, item.time) for item in logged if item.time is not None))
    for source, at in times:
        if at > now + _SKEW:
            raise TamperError(f"{source} says {to_rfc3339(at)}, which is to come", hint="check this machine's clock")
    return times, logged, unverified


def _certified(
    material: Material, policy: Policy, root: SigstoreRoot, times: Sequence[tuple[str, datetime]]
) -> tuple[str, str, str]:
    """Step 3: (identity, issuer, log of certificates)."""
    certificate = material.certificate
    if certificate is None or policy.expected is None:
        return "", "", ""
    if not times:
        raise TamperError("nothing that is trusted says when it was signed: no timestamp, no promise of a log")
    issuer = verify_issued(certificate, root.authorities, [at for _, at in times])
    certificate_log = _certificate_log(certificate, issuer, policy, root)
    identity, vouched = certificate_identity(certificate)
    problem = policy.expected.problem(identity, vouched)
    if problem:
        raise TamperError(problem)
    return identity, vouched, certificate_log


def _certificate_log(
    certificate: x509.Certificate, issuer: x509.Certificate, policy: Policy, root: SigstoreRoot
) -> str:
    if not policy.need_certificate_log and not root.certificate_logs:
        return ""
    return verify_logged(certificate, issuer, root.certificate_logs)


def _envelope(material: Material) -> Envelope | None:
    return material.content if isinstance(material.content, Envelope) else None


def _digests(material: Material, artifact: Artifact | None) -> Any:
    content = material.content
    if isinstance(content, Envelope):
        return lambda name: hashlib.new(name, content.signed).digest()
    assert artifact is not None  # noqa: S101 - checked by the caller: a message is of an artifact
    return artifact.digest


def _verify_signature(material: Material, key: PublicKey, artifact: Artifact | None) -> None:
    content = material.content
    # Cosign signed with SHA-256 whatever the curve until version 3, and still verifies so.
    if isinstance(content, Envelope):
        good = key.verify(content.signed, content.signature) or key.verify(
            content.signed, content.signature, sha256=True
        )
    else:
        assert artifact is not None  # noqa: S101 - as above
        if content.digest is not None:
            name, digest = content.digest
            if not hmac.compare_digest(artifact.digest(name), digest):
                raise TamperError("the bundle is of another artifact: its messageDigest is not that of this one")
        if key.hash_name:
            good = any(
                key.verify_digest(artifact.digest(name), content.signature, sha256=name == "sha256")
                for name in dict.fromkeys((key.hash_name, "sha256"))
                if artifact.has(name)
            )
            if not good:
                artifact.digest(key.hash_name)  # says so, where the digest at hand is of another hash
        else:
            good = _verify_ed25519(key, artifact, content.signature)
    if not good:
        raise TamperError("the signature does not verify: other bytes were signed, or by another key")


def _verify_ed25519(key: PublicKey, artifact: Artifact, signature: bytes) -> bool:
    """Over the bytes themselves, or over their sha512 where a log of version 1 took it (Ed25519ph)."""
    from customhouse.trust.sigstore import ed25519ph

    if artifact.small and key.verify(artifact.whole(), signature):
        return True
    if artifact.has("sha512") and ed25519ph.verify(key.raw, artifact.digest("sha512"), signature):
        return True
    if not artifact.small:
        artifact.whole()  # says why the other way was not tried
    return False


def _statement(envelope: Envelope) -> Mapping[str, Any]:
    try:
        document = strict_json.parse(envelope.payload, "the statement")
    except CustomhouseError as error:
        raise TamperError(f"the statement cannot be read: {error.message}") from error
    if not isinstance(document, dict) or document.get("_type") not in STATEMENT_TYPES:
        raise TamperError("the payload is not an in-toto Statement (v0.1 or v1)")
    subjects = document.get("subject")
    if not isinstance(subjects, list) or not 0 < len(subjects) <= _MAX_SUBJECTS:
        raise TamperError("the statement has no subject")
    if not isinstance(document.get("predicateType"), str) or not document["predicateType"]:
        raise TamperError("the statement has no predicateType")
    return document


def _bind(statement: Mapping[str, Any], artifact: Artifact) -> None:
    """Whether one of the statement's subjects is the artifact: no digest that both know may differ."""
    for subject in statement["subject"]:
        listed = subject.get("digest") if isinstance(subject, dict) else None
        if not isinstance(listed, dict):
            raise TamperError("a subject of the statement has no digest")
        shared = [name for name in HASHES if isinstance(listed.get(name), str) and artifact.has(name)]
        if shared and all(_same(listed[name], artifact.digest(name).hex()) for name in shared):
            return
    raise TamperError("the statement speaks of other artifacts: no subject has this one's digest")


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode())
