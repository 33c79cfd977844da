"""Notary Project signatures verified: envelope, chain, identity, time, revocation, by the trust policy in force.

Specification: notaryproject `trust-store-trust-policy.md`, "Signature Evaluation". Steps of `verify_notary`:
1. the policy for the repository; 2. integrity: the leaf's key signed, and the payload names this very digest;
3. authenticity: a chain of code-signing certificates with one of the trust store in it, and a trusted identity;
4. when: an authentic time (timestamp, or the signing authority's word) at which the chain was valid, else now;
5. expiry; 6. revocation, by lists that are given (nothing is fetched).

Of the four levels `strict` and `permissive` believe a signature; `audit` and `skip` let anything through by their very
meaning, so nothing is believed by them here: a gate that must ask cannot ask in vain.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import bytes_digest, same_digest
from customhouse.core.errors import EvidenceError, TamperError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.trust import strict_json
from customhouse.trust.notary_envelope import AUTHORITY, PAYLOAD_TYPE, Envelope, read_envelope, signature_holds
from customhouse.trust.notary_policy import (
    Policy,
    certificates,
    policy_for,
    read_policies,
    revocation_lists,
    subject_parts,
)
from customhouse.trust.roots import NotaryRoot, Roots

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class NotaryCheck:
    """What verification said: who, when, and why not; `logged` are failed checks that the policy only notes."""

    signer: str | None
    at: datetime | None
    problem: str = ""
    logged: tuple[str, ...] = ()


def read_notary(data: bytes, digest: str, roots: Roots, at: datetime, where: str, name: str) -> Evidence:
    """A Notary Project signature as Evidence about `digest`; `name` is `host/repository`. Raises EvidenceError."""
    envelope = read_envelope(data, where)
    if roots.notary is None:
        check = NotaryCheck(None, None, "signed for the Notary Project, and no trust policy is declared (trust.notary)")
    else:
        check = verify_notary(envelope, digest, roots.notary, at, name, where)
    return Evidence(
        digest,
        EvidenceKind.SIGNATURE,
        PAYLOAD_TYPE,
        {"scheme": envelope.scheme, "logged": list(check.logged)},
        check.at or envelope.signed_at,
        check.signer,
        not check.problem,
        bytes_digest(data),
        check.problem,
    )


def verify_notary(
    envelope: Envelope, digest: str, root: NotaryRoot, at: datetime, name: str, where: str
) -> NotaryCheck:
    """Judge an envelope. Raises ConfigError for policy and store, EvidenceError for a payload, that cannot be read."""
    from customhouse.trust.certificates import read_certificate

    # 1.
    policy = policy_for(read_policies(root.policy), name)
    if policy is None:
        return NotaryCheck(None, None, f"no trust policy is for {name or 'what has no repository'}")
    if not policy.enforced("authenticity"):
        return NotaryCheck(None, None, f"the trust policy {policy.name} ({policy.level}) enforces no authenticity")
    try:
        chain = tuple(read_certificate(der) for der in envelope.certificates)
    except TamperError as error:
        return NotaryCheck(None, None, error.message)
    # 2.
    if not signature_holds(envelope, chain[0]):
        return NotaryCheck(None, None, "the signature does not verify: it was changed, or is by another key")
    problem = _payload_problem(envelope.payload, digest, where)
    if problem:
        return NotaryCheck(None, None, problem)
    # 3.
    signer = chain[0].subject.rfc4514_string()
    logged: list[str] = []

    def fails(check: str, problem: str) -> bool:
        if problem and not policy.enforced(check):
            logged.append(f"{check}: {problem}")
        return bool(problem) and policy.enforced(check)

    problem = _authenticity(chain, policy, root, envelope)
    if problem:
        return NotaryCheck(None, None, problem)
    # 4.
    stamped, problem = _authentic_time(envelope, chain, policy, root, at)
    if fails("authenticTimestamp", problem):
        return NotaryCheck(signer, stamped, problem)
    # 5.
    problem = "" if envelope.expiry is None or at < envelope.expiry else f"it expired at {to_rfc3339(envelope.expiry)}"
    if fails("expiry", problem):
        return NotaryCheck(signer, stamped, problem)
    # 6.
    problem = _revocation(chain, root, at) if policy.checks["revocation"] != "skip" else ""
    if fails("revocation", problem):
        return NotaryCheck(signer, stamped, problem)
    return NotaryCheck(signer, stamped, "", tuple(logged))


def _payload_problem(payload: bytes, digest: str, where: str) -> str:
    document = strict_json.parse(payload, where)
    target = document.get("targetArtifact") if isinstance(document, dict) else None
    found = target.get("digest") if isinstance(target, dict) else None
    if not isinstance(found, str):
        raise EvidenceError("the payload names no artifact", where=where)
    return "" if same_digest(found, digest) else f"it speaks of {found[:100]}, not of what it is filed under"


def _authenticity(chain: Sequence[Certificate], policy: Policy, root: NotaryRoot, envelope: Envelope) -> str:
    problem = _chain_problem(chain)
    if problem:
        return problem
    wanted = "signingAuthority" if envelope.scheme == AUTHORITY else "ca"
    stores = [name for kind, name in policy.stores if kind == wanted]
    trusted = [item for name in stores for item in certificates(root.store, wanted, name)]
    if not any(item in trusted for item in chain):
        return f"no certificate of its chain is in a trust store of type {wanted} that {policy.name} names"
    if "*" in policy.identities:
        return ""
    leaf = {_attribute(item.oid.dotted_string): str(item.value) for item in chain[0].subject}
    for identity in policy.identities:
        if all(leaf.get(key) == value for key, value in subject_parts(identity)):
            return ""
    return f"signed by {chain[0].subject.rfc4514_string()[:300]}, whom {policy.name} does not trust"


def _chain_problem(chain: Sequence[Certificate]) -> str:
    """The certificate requirements of the specification, whatever the time: order, purposes, keys."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID as Use

    leaf = chain[0]
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        return "its certificate does not say what its key is for"
    if not usage.critical or not usage.value.digital_signature or usage.value.key_cert_sign:
        return "its certificate is not for signatures"
    try:
        purposes = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        purposes = set()
    others = {Use.SERVER_AUTH, Use.CLIENT_AUTH, Use.EMAIL_PROTECTION, Use.TIME_STAMPING, Use.OCSP_SIGNING}
    if purposes & others or (purposes and Use.CODE_SIGNING not in purposes):
        return "its certificate is for something else than code signing"
    for position, item in enumerate(chain):
        last = position == len(chain) - 1
        if not _issued_by(item, item if last else chain[position + 1]):
            return "its chain does not end in a root" if last else "its certificates are no chain"
        if position and not _may_issue(item, position - 1):
            return "an issuer in its chain may not issue certificates"
    if _is_authority(leaf):
        return "its certificate is that of an authority"
    return ""


def _issued_by(item: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        item.verify_directly_issued_by(issuer)
        used = item.signature_hash_algorithm
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return used is not None and used.name in ("sha256", "sha384", "sha512")


def _is_authority(item: Certificate) -> bool:
    from customhouse.trust.certificates import is_authority

    return is_authority(item)


def _may_issue(item: Certificate, below: int) -> bool:
    from cryptography import x509

    try:
        constraints = item.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = item.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    enough = constraints.path_length is None or below <= constraints.path_length
    return constraints.ca and usage.key_cert_sign and enough


def _authentic_time(
    envelope: Envelope, chain: Sequence[Certificate], policy: Policy, root: NotaryRoot, now: datetime
) -> tuple[datetime | None, str]:
    """(time that is proved, problem)."""
    if envelope.scheme == AUTHORITY:
        at = envelope.signed_at
        assert at is not None  # noqa: S101 - `read_envelope` refuses such a one without a time
        if at > now + _SKEW:
            return at, f"it says that it was signed at {to_rfc3339(at)}, which is to come"
        return at, _validity(chain, at)
    stores = [name for kind, name in policy.stores if kind == "tsa"]
    expired = _validity(chain, now)
    if not stores or (policy.timestamp == "afterCertExpiry" and not expired):
        return None, expired
    if envelope.timestamp is None:
        return None, "it has no timestamp of an authority, and the policy wants one"
    try:
        at = _stamped(envelope, stores, root)
    except TamperError as error:
        return None, error.message
    if at > now + _SKEW:
        return at, f"its timestamp is of {to_rfc3339(at)}, which is to come"
    return at, _validity(chain, at)


def _stamped(envelope: Envelope, stores: Sequence[str], root: NotaryRoot) -> datetime:
    """The time of the timestamp over the signature. Raises TamperError."""
    from customhouse.trust.signers import stamping
    from customhouse.trust.sigstore.timestamps import verify_timestamp

    found = [one for name in stores for one in stamping(certificates(root.store, "tsa", name), f"tsa:{name}")]
    # What an authority answers is a status (0: granted) and the token; an envelope keeps the token alone.
    token = envelope.timestamp or b""
    response = _sequence(b"\x30\x03\x02\x01\x00" + token)
    return verify_timestamp(response, envelope.signature, found)[0]


def _sequence(content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([0x30, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x30, 0x80 | len(length)]) + length + content


def _validity(chain: Sequence[Certificate], at: datetime) -> str:
    for item in chain:
        if not item.not_valid_before_utc <= at <= item.not_valid_after_utc:
            return f"the certificate {item.subject.rfc4514_string()[:200]} was not valid at {to_rfc3339(at)}"
    return ""


def _revocation(chain: Sequence[Certificate], root: NotaryRoot, at: datetime) -> str:
    """A certificate that names a place where it may be revoked must be in no given list, and there must be one."""
    lists = revocation_lists(root.store)
    for item, issuer in itertools.pairwise(chain):
        own = [given for given in lists if given.issuer == issuer.subject and _signed(given, issuer)]
        current = [given for given in own if given.next_update_utc is None or at <= given.next_update_utc]
        for given in own:
            if given.get_revoked_certificate_by_serial_number(item.serial_number) is not None:
                return f"the certificate {item.subject.rfc4514_string()[:200]} is revoked"
        if not current and _revocable(item):
            return (
                f"whether {item.subject.rfc4514_string()[:200]} is revoked is not known: no current list of its issuer "
                "is beside the trust store (crl/)"
            )
    return ""


def _signed(given: object, issuer: Certificate) -> bool:
    try:
        return bool(given.is_signature_valid(issuer.public_key()))  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return False


def _revocable(item: Certificate) -> bool:
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID

    for extension in item.extensions:
        value = extension.value
        if isinstance(value, x509.CRLDistributionPoints):
            return True
        if isinstance(value, x509.AuthorityInformationAccess):
            return any(entry.access_method == AuthorityInformationAccessOID.OCSP for entry in value)
    return False


def _attribute(oid: str) -> str:
    """The short name of RFC 4514 and X.520, else the OID."""
    names = {
        "2.5.4.3": "CN",
        "2.5.4.6": "C",
        "2.5.4.7": "L",
        "2.5.4.8": "ST",
        "2.5.4.9": "STREET",
        "2.5.4.10": "O",
        "2.5.4.11": "OU",
        "0.9.2342.19200300.100.1.25": "DC",
        "0.9.2342.19200300.100.1.1": "UID",
    }
    return names.get(oid, oid)
