"""Certificate chains (X.509, RFC 5280) for signatures made with a private certificate authority.

A small path validation, on purpose narrower than the standard: what it does not understand it refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from customhouse.core.errors import ConfigError, TamperError
from customhouse.trust.keys import PublicKey

_MAX_PATH = 6
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}


def read_authorities(pem: bytes, where: str = "certificate authority") -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file that are to be trusted. Raises ConfigError when there is none."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise ConfigError("no PEM certificate", where=where) from error


def leaf_key(chain: Sequence[bytes], authorities: Sequence[x509.Certificate], at: datetime) -> tuple[PublicKey, str]:
    """(public key, subject) of the first certificate of `chain` (DER), once a path to an authority is found.

    Raises TamperError when there is none: expired at `at`, not for signing, not issued by an authority.
    """
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in chain]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TamperError("a certificate of the chain cannot be read") from error
    if not certificates:
        raise TamperError("there is no certificate")
    leaf = certificates[0]
    _check_leaf(leaf, at)
    _climb(leaf, certificates[1:], authorities, at, 0)
    return PublicKey(leaf.public_key(), "the signing certificate"), leaf.subject.rfc4514_string()


def _climb(
    subject: x509.Certificate,
    between: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    at: datetime,
    depth: int,
) -> None:
    """Find an authority that issued `subject`, straight or through `between`; TamperError when there is no path."""
    problem = f"no trusted authority issued {subject.subject.rfc4514_string() or 'the certificate'}"
    if depth < _MAX_PATH:
        for issuer in authorities:
            if _issued(subject, issuer):
                return _check_issuer(issuer, at, depth)
        for position, issuer in enumerate(between):
            if _issued(subject, issuer):
                try:
                    _check_issuer(issuer, at, depth)
                    rest = [*between[:position], *between[position + 1 :]]
                    return _climb(issuer, rest, authorities, at, depth + 1)
                except TamperError as error:
                    problem = error.message
    raise TamperError(problem)


def _issued(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_issuer(issuer: x509.Certificate, at: datetime, below: int) -> None:
    """`below`: how many intermediate certificates stand between it and the leaf."""
    _check_any(issuer, at)
    extensions = issuer.extensions
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise TamperError("an issuer that is not a certificate authority") from None
    if not constraints.ca:
        raise TamperError("an issuer that is not a certificate authority")
    if constraints.path_length is not None and below > constraints.path_length:
        raise TamperError("the chain is longer than its authority allows")
    usage = _usage(extensions)
    if usage is not None and not usage.key_cert_sign:
        raise TamperError("an issuer that may not sign certificates")


def _check_leaf(leaf: x509.Certificate, at: datetime) -> None:
    _check_any(leaf, at)
    usage = _usage(leaf.extensions)
    if usage is not None and not usage.digital_signature:
        raise TamperError("the certificate is not for signatures")
    try:
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        raise TamperError("the certificate is not for code signing") from None
    if ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise TamperError("the certificate is not for code signing")


def _check_any(certificate: x509.Certificate, at: datetime) -> None:
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise TamperError(f"the certificate was not valid at {at.isoformat()}")
    try:
        extensions = list(certificate.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise TamperError("the certificate's extensions cannot be read") from error
    for extension in extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise TamperError(f"the certificate has a critical extension {extension.oid.dotted_string}")


def _usage(extensions: x509.Extensions) -> x509.KeyUsage | None:
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
