"""Who signed: a signature over a message, by a trusted key, a certificate of an own authority, or a Sigstore identity.

The steps are the same for every form that a signature comes in (DSSE, simple signing): 1. who among the trusted signed
these very bytes; 2. may they sign this kind; 3. if nobody did, say the nearest reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customhouse.core.errors import TamperError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.keys import PublicKey
from customhouse.trust.roots import AuthorityRoot, IdentityRoot, Roots


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature as read; nothing in it is trusted yet. `message` are the very bytes that were signed.

    `certificates` (DER, leaf first) are what it brings along. `bundle` is the Sigstore bundle that it came in (or was
    put into), `artifact` what a bundle without an envelope was made over.
    """

    message: bytes
    signature: bytes
    certificates: tuple[bytes, ...] = ()
    bundle: Mapping[str, Any] = field(default_factory=dict)
    artifact: bytes | None = None

    def by(self, key: PublicKey) -> bool:
        """Whether `key` made it. ECDSA on P-384 and P-521 with SHA-256 too: cosign signs so with imported keys."""
        return key.verify(self.message, self.signature) or key.verify(self.message, self.signature, sha256=True)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who it was; `problem` says why not. `at` is a trusted time of signing, where there is one."""

    name: str | None
    problem: str = ""
    at: datetime | None = None


def signer_of(signed: Signed, kind: EvidenceKind, roots: Roots, at: datetime) -> Signer:
    """Who made a signature; no problem means: it verifies and this signer may sign this kind.

    `at` is the time at which certificates of own authorities must be valid.
    """
    # 1. Keys.
    by_key = [root for root in roots.keys if signed.by(root.key)]
    for root in by_key:
        if kind in root.kinds:
            return Signer(root.name)
    if by_key:
        return Signer(by_key[0].name, f"{by_key[0].name} may not sign {kind.value}")
    if not signed.certificates:
        return Signer(None, "signed by an unknown key, or changed after signing")
    # 2. Certificates: of own authorities, then of Sigstore's.
    found = [_authority(signed, root, kind, at) for root in roots.authorities]
    found += [_sigstore(signed, root, kind, at) for root in roots.sigstore]
    good = next((item for item in found if not item.problem), None)
    if good is not None:
        return good
    # 3. The nearest reason: of a root that knows the signer, else of the last one.
    if not found:
        return Signer(None, "signed by a certificate, and no certificate authority is trusted")
    return next((item for item in found if item.name), found[-1])


def identities_of(der: bytes) -> tuple[str, ...]:
    """The names that a certificate gives its owner: SANs (e-mail, URI, DNS), then the subject. Raises TamperError."""
    from cryptography import x509

    try:
        leaf = x509.load_der_x509_certificate(der)
        found = [str(name.value) for name in _names(leaf) if isinstance(name.value, str)]
    except ValueError as error:
        raise TamperError("a certificate cannot be read") from error
    return (*found, leaf.subject.rfc4514_string())


def _names(leaf: Any) -> list[Any]:
    from cryptography import x509

    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _authority(signed: Signed, root: AuthorityRoot, kind: EvidenceKind, at: datetime) -> Signer:
    from customhouse.trust.certificates import leaf_key, read_authorities

    try:
        key, _ = leaf_key(signed.certificates, read_authorities(root.certificates, root.name), at)
        names = identities_of(signed.certificates[0])
    except TamperError as error:
        return Signer(None, error.message)
    known = next((name for name in names if name in root.identities), None)
    if known is None:
        return Signer(None, f"signed by {names[0][:200]!r}, whom {root.name} does not name")
    if not signed.by(key):
        return Signer(known, "the signature does not verify under its certificate")
    if kind not in root.kinds:
        return Signer(known, f"{root.name} may not sign {kind.value}")
    return Signer(known)


def _sigstore(signed: Signed, root: IdentityRoot, kind: EvidenceKind, at: datetime) -> Signer:
    """By identity and issuer, offline. Logs of signatures and of certificates are asked for where the root has any."""
    from customhouse.trust.sigstore.identity import Expected
    from customhouse.trust.sigstore.roots import read_root
    from customhouse.trust.sigstore.verification import Artifact, Policy, verify_bundle

    given = read_root(root.trusted_root, root.name)
    policy = Policy(
        expected=Expected(root.identity, root.issuer),
        need_log=bool(given.logs),
        need_certificate_log=bool(given.certificate_logs),
    )
    artifact = None if signed.artifact is None else Artifact.of_bytes(signed.artifact, "the payload")
    try:
        found = verify_bundle(json.dumps(signed.bundle).encode(), artifact, policy, given, at)
    except TamperError as error:
        return Signer(None, f"{root.name}: {error.message}")
    when = min(moment for _, moment in found.times)
    if kind not in root.kinds:
        return Signer(root.name, f"{root.name} may not sign {kind.value}", when)
    return Signer(root.name, at=when)
