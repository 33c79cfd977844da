"""Certificates of Fulcio: that an authority issued one at the time, that a log of certificates saw it, whom it names.

The identity is the one subject alternative name: an e-mail address, a URI, or a user name (Fulcio's other name). The
issuer is the extension 1.3.6.1.4.1.57264.1.8 (a DER string), or the older .1.1 (the bare text); two that differ are
refused.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.certificate_transparency import SignedCertificateTimestamp

from customhouse.core.errors import TamperError
from customhouse.trust.certificates import CODE_SIGNING, find_path, is_authority
from customhouse.trust.sigstore import der
from customhouse.trust.sigstore.roots import Authority, LogKey

_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_OLD = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_USER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_UTF8_STRING = 0x0C
_MAX_TEXT = 4096
_MAX_SCTS = 20


@dataclass(frozen=True, slots=True)
class Expected:
    """Whose signature counts: identity and issuer, compared letter by letter, or by a pattern over the whole text."""

    identity: str
    issuer: str
    identity_pattern: bool = False
    issuer_pattern: bool = False

    def problem(self, identity: str, issuer: str) -> str:
        """What is wrong with who signed; empty when it is who was expected."""
        for what, found, wanted, pattern in (
            ("identity", identity, self.identity, self.identity_pattern),
            ("issuer", issuer, self.issuer, self.issuer_pattern),
        ):
            if pattern:
                same = re.fullmatch(wanted, found) is not None
            else:
                same = hmac.compare_digest(found.encode(), wanted.encode())
            if not same:
                return f"it was signed by the {what} {found!r}, and {wanted!r} was expected"
        return ""


def certificate_identity(certificate: x509.Certificate) -> tuple[str, str]:
    """(identity, issuer) that a certificate of Fulcio names. Raises TamperError."""
    return _subject(certificate), _issuer(certificate)


def verify_issued(
    certificate: x509.Certificate, authorities: Sequence[Authority], times: Sequence[datetime]
) -> x509.Certificate:
    """The certificate's issuer, once one authority's path holds at each of `times`. Raises TamperError."""
    if is_authority(certificate):
        raise TamperError("the certificate is an authority's own, which signs certificates and nothing else")
    problem = "the trusted root has no certificate authority"
    for authority in authorities:
        outside = next((at for at in times if not authority.window.holds(at)), None)
        try:
            paths = [find_path(certificate, authority.between, [authority.anchor], at, CODE_SIGNING) for at in times]
        except TamperError as error:
            if problem.startswith("the trusted root") or "no trusted authority" not in error.message:
                problem = error.message
            continue
        if outside is None and paths:
            return paths[0][1]
        problem = f"its authority was trusted {authority.window}, and the signature is of {outside}"
    raise TamperError(f"the certificate does not verify: {problem}")


def verify_logged(certificate: x509.Certificate, issuer: x509.Certificate, logs: Sequence[LogKey]) -> str:
    """The name of the log of certificates whose promise (SCT, RFC 6962 section 3.2) the certificate holds.

    One promise of a known log must verify, and none of a known log may fail. Raises TamperError.
    """
    found = ""
    for promise in _promises(certificate):
        for log in logs:
            if promise.log_id not in log.ids:
                continue
            at = promise.timestamp.replace(tzinfo=UTC)
            if not log.window.holds(at):
                raise TamperError(f"the certificate log's key was valid {log.window}, and its promise is of {at}")
            if not log.key.verify(_promised(certificate, issuer, promise), promise.signature):
                raise TamperError("the certificate log's promise (SCT) does not verify")
            found = found or log.name
    if not found:
        raise TamperError("no log of certificates in the trusted root has promised to publish the certificate (SCT)")
    return found


def _promises(certificate: x509.Certificate) -> list[SignedCertificateTimestamp]:
    try:
        held = certificate.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps)
        promises = list(held.value)
    except x509.ExtensionNotFound:
        return []
    except ValueError as error:
        raise TamperError("the certificate's promises (SCT) cannot be read") from error
    if len(promises) > _MAX_SCTS:
        raise TamperError(f"the certificate has more than {_MAX_SCTS} promises (SCT)")
    return promises


def _promised(certificate: x509.Certificate, issuer: x509.Certificate, promise: SignedCertificateTimestamp) -> bytes:
    """The bytes that a log signs: the certificate as it was without the promise, bound to its issuer's key."""
    try:
        body = certificate.tbs_precertificate_bytes
        extensions = promise.extension_bytes
    except ValueError as error:
        raise TamperError("the certificate's promises (SCT) cannot be read") from error
    key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    since = promise.timestamp.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    milliseconds = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    if milliseconds < 0:
        raise TamperError("the certificate's promise (SCT) is of no time")
    return b"".join(
        (
            b"\x00\x00",  # version 1, a certificate's timestamp
            milliseconds.to_bytes(8, "big"),
            b"\x00\x01",  # of a precertificate
            hashlib.sha256(key).digest(),
            len(body).to_bytes(3, "big"),
            body,
            len(extensions).to_bytes(2, "big"),
            extensions,
        )
    )


def _subject(certificate: x509.Certificate) -> str:
    try:
        names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        raise TamperError("the certificate names no identity") from None
    if len(names) != 1:
        raise TamperError("the certificate must name exactly one identity")
    name = names[0]
    if isinstance(name, (x509.RFC822Name, x509.UniformResourceIdentifier)):
        return _short(name.value)
    if isinstance(name, x509.OtherName) and name.type_id == _USER_NAME:
        return _utf8(name.value)
    raise TamperError("the certificate names an identity of a kind that is not used here")


def _issuer(certificate: x509.Certificate) -> str:
    new, old = _extension(certificate, _ISSUER), _extension(certificate, _ISSUER_OLD)
    said = [] if new is None else [_utf8(new)]
    if old is not None:
        try:
            said.append(_short(old.decode()))
        except UnicodeDecodeError as error:
            raise TamperError("the certificate's issuer of identity is not text") from error
    if not said or not said[0]:
        raise TamperError("the certificate does not say who vouched for the identity")
    if said[0] != said[-1]:
        raise TamperError("the certificate names two issuers of identity")
    return said[0]


def _extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes | None:
    try:
        value = certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None
    return value.value if isinstance(value, x509.UnrecognizedExtension) else None


def _utf8(encoded: bytes) -> str:
    items = der.Items(encoded)
    value = items.take(_UTF8_STRING)
    items.done()
    try:
        return _short(value.content.decode())
    except UnicodeDecodeError as error:
        raise TamperError("the certificate's identity is not text") from error


def _short(text: str) -> str:
    if not text or len(text) > _MAX_TEXT:
        raise TamperError("the certificate's identity is empty or too long")
    return text
