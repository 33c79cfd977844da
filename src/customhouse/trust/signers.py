"""Who signed: a signature over a message, by a trusted key, a certificate of an own authority, or a Sigstore identity.

The steps are the same for every form that a signature comes in (DSSE, simple signing): 1. who among the trusted signed
these very bytes; 2. may they sign this kind; 3. if nobody did, say the nearest reason.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from customhouse.core.errors import TamperError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.keys import PublicKey
from customhouse.trust.roots import AuthorityRoot, IdentityRoot, Roots

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

    from customhouse.trust.sigstore.roots import Authority


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


def _authority(signed: Signed, root: AuthorityRoot, kind: EvidenceKind, now: datetime) -> Signer:
    from customhouse.trust.certificates import leaf_key, read_authorities, read_revocations

    revoked = () if root.revocations is None else (read_revocations(root.revocations, root.name),)
    try:
        stamped = None if root.timestamps is None else _stamped(signed, root.timestamps, root.name)
        at = stamped or now
        # A list is of today, and what it lists was revoked before: it is asked as of now, the chain as of the signing.
        authorities = read_authorities(root.certificates, root.name)
        key, _ = leaf_key(signed.certificates, authorities, at)
        if revoked:
            _check_revoked(signed, authorities, revoked, now)
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
    return Signer(known, at=stamped)


def _check_revoked(
    signed: Signed, authorities: Sequence[Certificate], lists: Sequence[CertificateRevocationList], now: datetime
) -> None:
    """Raises TamperError for a revoked signer, and without a current list of the authority that issued it."""
    from customhouse.trust.certificates import read_certificate

    leaf = read_certificate(signed.certificates[0])
    for given in lists:
        if given.issuer != leaf.issuer:
            continue
        issuers = [item for item in authorities if item.subject == leaf.issuer]
        if not any(_signs(given, item) for item in issuers):
            continue
        if given.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None:
            raise TamperError(f"the certificate {leaf.subject.rfc4514_string()[:200]} is revoked")
        until = given.next_update_utc
        if given.last_update_utc > now or until is None or until < now:
            raise TamperError("the revocation list is out of date")
        return
    raise TamperError("no revocation list is of the authority that issued the certificate")


def _signs(given: CertificateRevocationList, issuer: Certificate) -> bool:
    try:
        return given.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _stamped(signed: Signed, pem: bytes, name: str) -> datetime | None:
    """When an authority saw the signature; None where it has no timestamp. Raises TamperError for a bad one."""
    from customhouse.trust.certificates import read_authorities
    from customhouse.trust.sigstore.timestamps import verify_timestamp

    material = signed.bundle.get("verificationMaterial")
    data = material.get("timestampVerificationData") if isinstance(material, Mapping) else None
    listed = data.get("rfc3161Timestamps") if isinstance(data, Mapping) else None
    if not isinstance(listed, list) or not listed:
        return None
    text = listed[0].get("signedTimestamp") if isinstance(listed[0], Mapping) else None
    try:
        response = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError as error:
        raise TamperError("the timestamp is not base64") from error
    return verify_timestamp(response, signed.signature, stamping(read_authorities(pem, name), name))[0]


def stamping(certificates: Sequence[Certificate], name: str) -> list[Authority]:
    """Timestamp authorities of a file of certificates: each that may issue others is trusted, the rest lead there."""
    from customhouse.trust.certificates import is_authority
    from customhouse.trust.sigstore.roots import Authority, Window

    return [
        Authority(name, item, tuple(other for other in certificates if other != item), Window())
        for item in certificates
        if is_authority(item)
    ]


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
