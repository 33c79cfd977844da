"""Signature envelopes of the Notary Project: JWS (JSON serialization) and COSE_Sign1, read into one shape.

Specifications: notaryproject `signature-specification.md`, `signature-envelope-jws.md`, `signature-envelope-cose.md`.
An attribute that is marked critical and not known here makes the envelope unreadable: its signer said that it matters.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import from_rfc3339
from customhouse.core.errors import EvidenceError
from customhouse.trust import cbor, strict_json

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PAYLOAD_TYPE = "application/vnd.cncf.notary.payload.v1+json"
X509, AUTHORITY = "notary.x509", "notary.x509.signingAuthority"
_PREFIX = "io.cncf.notary."
_SCHEME, _TIME = f"{_PREFIX}signingScheme", f"{_PREFIX}signingTime"
_AUTHENTIC, _EXPIRY = f"{_PREFIX}authenticSigningTime", f"{_PREFIX}expiry"
_STAMP = f"{_PREFIX}timestampSignature"
_KNOWN = {_SCHEME, _TIME, _AUTHENTIC, _EXPIRY}
_COSE_ALGORITHMS = {-37: "PS256", -38: "PS384", -39: "PS512", -7: "ES256", -35: "ES384", -36: "ES512"}
MAX_BYTES = 1 << 20
_MAX_CHAIN = 10


@dataclass(frozen=True, slots=True)
class Envelope:
    """What was signed and by what; nothing in it is trusted yet. Certificates are DER, leaf first."""

    algorithm: str
    message: bytes
    """The bytes that the signature is over."""
    signature: bytes
    payload: bytes
    scheme: str
    signed_at: datetime | None
    """What the signer says (`notary.x509`), or what its authority answers for (`notary.x509.signingAuthority`)."""
    expiry: datetime | None
    certificates: tuple[bytes, ...]
    timestamp: bytes | None


def read_envelope(data: bytes, where: str) -> Envelope:
    """Read either form. Raises EvidenceError."""
    if len(data) > MAX_BYTES:
        raise EvidenceError(f"larger than {MAX_BYTES} bytes", where=where)
    found = _jws(data, where) if data[:1] in (b"{", b" ", b"\n") else _cose(data, where)
    if not 0 < len(found.certificates) <= _MAX_CHAIN:
        raise EvidenceError("it brings no certificate along, or too many", where=where)
    return found


def signature_holds(envelope: Envelope, leaf: Certificate) -> bool:
    """Whether the leaf's key signed, by the one algorithm that the specification has for such a key."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    try:
        key = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    used = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[envelope.algorithm[2:]]
    try:
        if isinstance(key, rsa.RSAPublicKey):
            if {2048: "PS256", 3072: "PS384", 4096: "PS512"}.get(key.key_size) != envelope.algorithm:
                return False
            pss = padding.PSS(padding.MGF1(used), used.digest_size)
            key.verify(envelope.signature, envelope.message, pss, used)
            return True
        if isinstance(key, ec.EllipticCurvePublicKey):
            size = (key.curve.key_size + 7) // 8
            named = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}.get(key.curve.name)
            if named != envelope.algorithm or len(envelope.signature) != 2 * size:
                return False
            r, s = (int.from_bytes(part, "big") for part in (envelope.signature[:size], envelope.signature[size:]))
            key.verify(encode_dss_signature(r, s), envelope.message, ec.ECDSA(used))
            return True
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return False


def _jws(data: bytes, where: str) -> Envelope:
    document = _mapping(strict_json.parse(data, where, max_bytes=MAX_BYTES))
    protected, payload = document.get("protected"), document.get("payload")
    header = _mapping(document.get("header"))
    if not isinstance(protected, str) or not isinstance(payload, str):
        raise EvidenceError("not a JWS of one signature in JSON", where=where)
    said = _mapping(strict_json.parse(_url64(protected, where), where))
    chain, stamp = header.get("x5c"), header.get(_STAMP)
    _check_critical(said.get("crit"), said, where)
    if said.get("cty") != PAYLOAD_TYPE:
        raise EvidenceError(f"its content is not {PAYLOAD_TYPE}", where=where)
    return _envelope(
        said,
        where,
        algorithm=said.get("alg"),
        message=f"{protected}.{payload}".encode(),
        signature=_url64(document.get("signature"), where),
        payload=_url64(payload, where),
        certificates=tuple(_plain64(item, where) for item in chain) if isinstance(chain, list) else (),
        timestamp=None if stamp is None else _plain64(stamp, where),
    )


def _cose(data: bytes, where: str) -> Envelope:
    try:
        tagged = cbor.decode(data)
        parts = tagged.value if isinstance(tagged, cbor.Tag) and tagged.number == 18 else None
        if not isinstance(parts, list) or len(parts) != 4 or not all(isinstance(parts[i], bytes) for i in (0, 2, 3)):
            raise EvidenceError("not a tagged COSE_Sign1", where=where)
        said = _mapping(cbor.decode(parts[0]))
        message = cbor.encode(["Signature1", parts[0], b"", parts[2]])
    except cbor.CborError as error:
        raise EvidenceError(f"not COSE: {error}", where=where) from error
    unprotected = _mapping(parts[1])
    if {key for key in unprotected if isinstance(key, int)} & {1, 2, 3} or set(unprotected) & _KNOWN:
        raise EvidenceError("what must be signed stands outside of the signature", where=where)
    chain = unprotected.get(33)
    listed = [chain] if isinstance(chain, bytes) else chain
    stamp = unprotected.get(_STAMP)
    _check_critical(said.get(2), said, where)
    if said.get(3) != PAYLOAD_TYPE:
        raise EvidenceError(f"its content is not {PAYLOAD_TYPE}", where=where)
    algorithm = said.get(1)
    return _envelope(
        said,
        where,
        algorithm=_COSE_ALGORITHMS.get(algorithm) if isinstance(algorithm, int) else None,
        message=message,
        signature=parts[3],
        payload=parts[2],
        certificates=tuple(item for item in listed if isinstance(item, bytes)) if isinstance(listed, list) else (),
        timestamp=stamp if isinstance(stamp, bytes) else None,
    )


def _envelope(said: Mapping[Any, Any], where: str, **parts: Any) -> Envelope:
    if parts["algorithm"] not in _COSE_ALGORITHMS.values():
        raise EvidenceError("signed by an algorithm that the specification does not have", where=where)
    scheme = said.get(_SCHEME)
    if scheme not in (X509, AUTHORITY):
        raise EvidenceError(f"the signing scheme {str(scheme)[:80]!r} is not known", where=where)
    if (_TIME if scheme == AUTHORITY else _AUTHENTIC) in said:
        raise EvidenceError("it has the signing time of the other signing scheme", where=where)
    at = _moment(said.get(_AUTHENTIC if scheme == AUTHORITY else _TIME), where)
    if scheme == AUTHORITY and at is None:
        raise EvidenceError("the signing authority does not say when it signed", where=where)
    return Envelope(scheme=scheme, signed_at=at, expiry=_moment(said.get(_EXPIRY), where), **parts)


def _check_critical(listed: Any, said: Mapping[Any, Any], where: str) -> None:
    named = listed if isinstance(listed, list) else []
    needed = {_SCHEME} | {key for key in (_AUTHENTIC, _EXPIRY) if key in said}
    if not all(isinstance(item, (str, int)) for item in named) or needed - set(named):
        raise EvidenceError("an attribute that must be marked critical is not", where=where)
    unknown = [item for item in named if item not in _KNOWN and item not in (1, 2, 3)]
    if unknown or [item for item in named if item not in said]:
        raise EvidenceError(f"it has critical attributes that are not known here: {str(unknown)[:200]}", where=where)


def _moment(value: Any, where: str) -> datetime | None:
    """RFC 3339 (JWS), or seconds since 1970 with or without tag 1 (COSE)."""
    plain = value.value if isinstance(value, cbor.Tag) and value.number == 1 else value
    if plain is None:
        return None
    try:
        if isinstance(plain, str):
            return from_rfc3339(plain)
        if isinstance(plain, int) and not isinstance(plain, bool) and 0 <= plain < 1 << 38:
            return datetime.fromtimestamp(plain, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise EvidenceError("a time in it is none", where=where)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _url64(value: Any, where: str) -> bytes:
    """Base64url without padding (RFC 7515)."""
    try:
        if isinstance(value, str) and value and not set(value) & set("+/="):
            return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvidenceError("a part is not base64url", where=where) from error
    raise EvidenceError("a part is missing, or is not base64url", where=where)


def _plain64(value: Any, where: str) -> bytes:
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvidenceError("a part is not base64", where=where) from error
    raise EvidenceError("a part is missing", where=where)
