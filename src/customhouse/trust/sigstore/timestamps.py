"""Timestamps of RFC 3161: a token (CMS signed data, RFC 5652) in which an authority says when it saw a signature.

Steps of `verify_timestamp`, each of which refuses:
1. the response was granted and holds one token with one signer;
2. the token's signature is over its attributes, which name content and signer's certificate by digest (RFC 5035);
3. the content's imprint is that of the bytes in question, in a hash that cannot be forged;
4. the signer's certificate is for timestamps only (critical, RFC 3161 section 2.3), and leads to a trusted authority;
5. the time is within the authority's validity, and stated to a minute or finer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from customhouse.core.errors import TamperError
from customhouse.trust.certificates import TIME_STAMPING, certified_key, find_path, is_authority, read_certificate
from customhouse.trust.sigstore import der
from customhouse.trust.sigstore.roots import Authority

_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
_HASHES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "2.16.840.1.101.3.4.2.1": ("sha256", hashes.SHA256()),
    "2.16.840.1.101.3.4.2.2": ("sha384", hashes.SHA384()),
    "2.16.840.1.101.3.4.2.3": ("sha512", hashes.SHA512()),
}
# Signature algorithm → the hash that it fixes (None: that of the signer's digest algorithm).
_SIGNATURES: dict[str, hashes.HashAlgorithm | None] = {
    "1.2.840.10045.4.3.2": hashes.SHA256(),
    "1.2.840.10045.4.3.3": hashes.SHA384(),
    "1.2.840.10045.4.3.4": hashes.SHA512(),
    "1.2.840.10045.2.1": None,  # id-ecPublicKey, as some authorities write it
    "1.2.840.113549.1.1.1": None,  # rsaEncryption (RFC 3370)
    "1.2.840.113549.1.1.11": hashes.SHA256(),
    "1.2.840.113549.1.1.12": hashes.SHA384(),
    "1.2.840.113549.1.1.13": hashes.SHA512(),
    "1.3.101.112": None,  # Ed25519
}
_CONTEXT = 0xA0
_MAX_CERTIFICATES = 10
_COARSEST_SECONDS = 60
"""A certificate of Fulcio lives for ten minutes: who knows the time less well than this decides nothing."""


@dataclass(frozen=True, slots=True)
class _Token:
    content: bytes
    certificates: tuple[bytes, ...]
    digest: tuple[str, hashes.HashAlgorithm]
    attributes: bytes
    algorithm: str
    signature: bytes
    issuer: bytes
    serial: int
    """What the token names the signer's certificate by (unless by its key): unsigned, so it must not contradict."""


@dataclass(frozen=True, slots=True)
class _Info:
    imprint_hash: str
    imprint: bytes
    at: datetime


def verify_timestamp(response: bytes, signed: bytes, authorities: Sequence[Authority]) -> tuple[datetime, str]:
    """(time, name of the authority) of a timestamp response over `signed`. Raises TamperError, saying which step."""
    token = _token(response)
    info = _info(token.content)
    if not hmac.compare_digest(hashlib.new(info.imprint_hash, signed).digest(), info.imprint):
        raise TamperError("the timestamp is of another signature")
    attributes = _attributes(token)
    problem, unknown = "", "no timestamp authority of the trusted root made it"
    for authority in authorities:
        try:
            _verify_signer(token, attributes, authority, info.at)
        except TamperError as error:
            problem = problem or error.message
            continue
        if authority.window.holds(info.at):
            return info.at, authority.name
        problem = f"its authority was trusted {authority.window}, and it is of {info.at.isoformat()}"
    raise TamperError(f"the timestamp does not verify: {problem or unknown}")


def _token(response: bytes) -> _Token:
    """Step 1."""
    outer = der.whole(response)
    status = outer.take(der.SEQUENCE).items().take(der.INTEGER).number()
    if status not in (0, 1):  # granted, granted with modifications
        raise TamperError(f"the timestamp authority refused (status {status})")
    info = outer.take(der.SEQUENCE).items()
    outer.done()
    if info.take(der.OID).oid() != _SIGNED_DATA:
        raise TamperError("the timestamp is not signed data")
    wrapped = info.take(_CONTEXT).items()
    data = wrapped.take(der.SEQUENCE).items()
    wrapped.done()
    info.done()
    if data.take(der.INTEGER).number() != 3:  # RFC 5652, 5.1: content of another type than data
        raise TamperError("the timestamp is signed data of an unknown version")
    named = [_algorithm(item) for item in data.take(der.SET).items()]
    held = data.take(der.SEQUENCE).items()
    if held.take(der.OID).oid() != _TST_INFO:
        raise TamperError("the token holds no timestamp")
    inner = held.take(_CONTEXT).items()
    content = inner.take(der.OCTETS).content
    inner.done()
    held.done()
    listed = data.optional(_CONTEXT)
    if data.optional(_CONTEXT + 1) is not None:
        raise TamperError("the timestamp brings along revocation lists, which are not read here")
    signers = data.take(der.SET).items()
    data.done()
    signer = signers.take(der.SEQUENCE).items()
    signers.done()
    certificates = tuple(item.encoded for item in listed.items()) if listed else ()
    if len(certificates) > _MAX_CERTIFICATES:
        raise TamperError(f"the timestamp brings along more than {_MAX_CERTIFICATES} certificates")
    token = _signer(signer, content, certificates)
    if [_HASHES.get(name) for name in named] != [token.digest]:
        raise TamperError("the timestamp names another digest than its signer")
    return token


def _signer(signer: der.Items, content: bytes, certificates: tuple[bytes, ...]) -> _Token:
    version = signer.take(der.INTEGER).number()
    issuer, serial = b"", -1
    if signer.optional(0x80) is None:  # subject key identifier, or else issuer and serial number
        named = signer.take(der.SEQUENCE).items()
        issuer, serial = named.take(der.SEQUENCE).encoded, named.take(der.INTEGER).number()
        named.done()
    if version != (1 if issuer else 3):
        raise TamperError("the timestamp's signer is of an unknown version")
    digest = _HASHES.get(_algorithm(signer.take(der.SEQUENCE)))
    attributes = signer.take(_CONTEXT).encoded
    algorithm = _algorithm(signer.take(der.SEQUENCE))
    signature = signer.take(der.OCTETS).content
    signer.optional(_CONTEXT + 1)
    signer.done()
    if digest is None or algorithm not in _SIGNATURES:
        raise TamperError("the timestamp is signed by an algorithm that is not used here")
    # What is signed is the SET itself, not the field that it stands in (RFC 5652, 5.4).
    signed = bytes([der.SET]) + attributes[1:]
    return _Token(content, certificates, digest, signed, algorithm, signature, issuer, serial)


def _attributes(token: _Token) -> dict[str, der.Value]:
    """Step 2, first half: the signed attributes name the content."""
    found: dict[str, der.Value] = {}
    outer = der.Items(token.attributes)
    for item in outer.take(der.SET).items():
        attribute = item.items()
        name = attribute.take(der.OID).oid()
        values = attribute.take(der.SET).items()
        attribute.done()
        value = next(iter(values), None)
        if name in found or value is None:
            raise TamperError("the timestamp's attributes are malformed")
        values.done()
        found[name] = value
    kind, digest = found.get(_CONTENT_TYPE), found.get(_MESSAGE_DIGEST)
    if kind is None or kind.oid() != _TST_INFO or digest is None or digest.tag != der.OCTETS:
        raise TamperError("the timestamp's attributes do not name its content")
    if not hmac.compare_digest(hashlib.new(token.digest[0], token.content).digest(), digest.content):
        raise TamperError("the timestamp's content was changed")
    return found


def _info(content: bytes) -> _Info:
    """Steps 3 and 5: what the token says."""
    items = der.whole(content)
    if items.take(der.INTEGER).number() != 1:
        raise TamperError("the timestamp is of an unknown version")
    items.take(der.OID)
    imprint = items.take(der.SEQUENCE).items()
    algorithm = _HASHES.get(_algorithm(imprint.take(der.SEQUENCE)))
    digest = imprint.take(der.OCTETS).content
    imprint.done()
    if algorithm is None:
        raise TamperError("the timestamp's imprint is of a hash that is not used here")
    items.take(der.INTEGER)
    at = items.take(der.GENERALIZED_TIME).time()
    accuracy = items.optional(der.SEQUENCE)
    if accuracy is not None:
        seconds = accuracy.items().optional(der.INTEGER)
        if seconds is not None and not 0 <= seconds.number() <= _COARSEST_SECONDS:
            raise TamperError(f"the timestamp is coarser than {_COARSEST_SECONDS} seconds")
    ordering = items.optional(der.BOOLEAN)
    nonce = items.optional(der.INTEGER)
    items.optional(_CONTEXT)
    if items.optional(_CONTEXT + 1) is not None:
        raise TamperError("the timestamp has extensions, which are not read here")
    items.done()
    if ordering is not None and ordering.content != b"\xff":
        raise TamperError("the timestamp's fields are malformed")
    if nonce is not None:
        nonce.number()
    return _Info(algorithm[0], digest, at)


def _verify_signer(token: _Token, attributes: dict[str, der.Value], authority: Authority, at: datetime) -> None:
    """Steps 2 and 4: who signed, and by whose leave."""
    held = tuple(read_certificate(encoded) for encoded in token.certificates)
    candidates = (*authority.between, *held)
    signer = next((item for item in candidates if _names(attributes, item)), None)
    if signer is None:
        raise TamperError("no certificate is the one that the token names")
    if token.issuer and (signer.issuer.public_bytes(), signer.serial_number) != (token.issuer, token.serial):
        raise TamperError("the token names two certificates")
    # Where the trusted root names the signing certificate itself, no other of the same issuer will do.
    own = [item for item in authority.between if _for_timestamps(item) and not is_authority(item)]
    if own and (signer not in own or any(item not in (*authority.between, authority.anchor) for item in held)):
        raise TamperError("it brings along other certificates than the trusted root's")
    if not _for_timestamps(signer) or is_authority(signer):
        raise TamperError("its certificate is not for timestamps alone")
    find_path(signer, [item for item in candidates if item != signer], [authority.anchor], at, TIME_STAMPING)
    _check_signature(signer, token)


def _algorithm(value: der.Value) -> str:
    """The name of an algorithm that has no parameters (or NULL, as some write it)."""
    whole = der.Items(value.encoded)
    items = whole.take(der.SEQUENCE).items()
    name = items.take(der.OID).oid()
    none = items.optional(0x05)
    items.done()
    if none is not None and none.content:
        raise TamperError("the timestamp names an algorithm with parameters, which are not read here")
    return name


def _names(attributes: dict[str, der.Value], certificate: x509.Certificate) -> bool:
    """Whether the attribute `signing-certificate` (either version) holds the certificate's digest."""
    encoded = certificate.public_bytes(Encoding.DER)
    for name, standard in ((_SIGNING_CERTIFICATE_V2, "sha256"), (_SIGNING_CERTIFICATE, "sha1")):
        value = attributes.get(name)
        if value is None:
            continue
        first = value.items().take(der.SEQUENCE).items().take(der.SEQUENCE).items()
        used = standard
        if name == _SIGNING_CERTIFICATE_V2 and (algorithm := first.optional(der.SEQUENCE)) is not None:
            used = _HASHES.get(_algorithm(algorithm), ("", None))[0]
        digest = first.take(der.OCTETS).content
        if not used:
            return False
        # sha1 only picks the certificate here (RFC 2634): what counts is the signature under its key.
        return hmac.compare_digest(hashlib.new(used, encoded, usedforsecurity=used != "sha1").digest(), digest)
    return False


def _check_signature(signer: x509.Certificate, token: _Token) -> None:
    certified_key(signer)  # refuses weak keys
    key = signer.public_key()
    used = _SIGNATURES[token.algorithm] or token.digest[1]
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and token.algorithm.startswith("1.2.840.10045."):
            key.verify(token.signature, token.attributes, ec.ECDSA(used))
        elif isinstance(key, rsa.RSAPublicKey) and token.algorithm.startswith("1.2.840.113549.1.1."):
            key.verify(token.signature, token.attributes, padding.PKCS1v15(), used)
        elif isinstance(key, ed25519.Ed25519PublicKey) and token.algorithm == "1.3.101.112":
            key.verify(token.signature, token.attributes)
        else:
            raise TamperError("its signature is of another algorithm than its key")
    except (InvalidSignature, ValueError, UnsupportedAlgorithm) as error:
        raise TamperError("its signature does not verify") from error


def _for_timestamps(certificate: x509.Certificate) -> bool:
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return False
    return purposes.critical and list(purposes.value) == [TIME_STAMPING]
