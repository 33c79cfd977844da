"""Certificate chains (X.509, RFC 5280): of a private authority's signers, of Fulcio's and of timestamp authorities.

A small path validation, on purpose narrower than the standard: what it does not understand it refuses.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from customhouse.core.errors import ConfigError, TamperError
from customhouse.trust.keys import PublicKey

# A stranger's certificate with a serial number of 0 or less is no matter for this program's stderr.
warnings.filterwarnings("ignore", message="Parsed a serial number", category=CryptographyDeprecationWarning)

CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING
TIME_STAMPING = ExtendedKeyUsageOID.TIME_STAMPING
MAX_DER = 64 * 1024
"""The largest certificate: real ones have 1 to 3 KB."""
_MAX_PATH = 6
_MAX_BETWEEN = 20
_MAX_CHECKS = 200
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}
_PURPOSES = {CODE_SIGNING: "code signing", TIME_STAMPING: "timestamps"}
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512, hashes.SHA3_256, hashes.SHA3_384, hashes.SHA3_512)


def read_authorities(pem: bytes, where: str = "certificate authority") -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file that are to be trusted. Raises ConfigError when there is none."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise ConfigError("no PEM certificate", where=where) from error


def read_revocations(data: bytes, where: str = "revocation list") -> x509.CertificateRevocationList:
    """A certificate revocation list, PEM or DER. Raises ConfigError when it is none."""
    try:
        if b"-----BEGIN" in data[:1000]:
            return x509.load_pem_x509_crl(data)
        return x509.load_der_x509_crl(data)
    except ValueError as error:
        raise ConfigError("not a certificate revocation list", where=where, hint="PEM or DER is expected") from error


def read_certificate(der: bytes) -> x509.Certificate:
    """One certificate of a stranger, with extensions that can be read. Raises TamperError."""
    if len(der) > MAX_DER:
        raise TamperError(f"a certificate of more than {MAX_DER} bytes")
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.extensions, certificate.subject, certificate.issuer
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise TamperError("a certificate cannot be read") from error
    except (x509.UnsupportedGeneralNameType, x509.InvalidVersion) as error:
        raise TamperError("a certificate has a form that is not used here") from error
    return certificate


def der_of_pem(pem: bytes) -> bytes:
    """The DER of the one certificate in a PEM text of a stranger. Raises TamperError."""
    if len(pem) > 2 * MAX_DER:
        raise TamperError(f"a certificate of more than {MAX_DER} bytes")
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TamperError("a certificate cannot be read") from error
    if len(found) != 1:
        raise TamperError("one certificate was expected, and there are more")
    return found[0].public_bytes(Encoding.DER)


def signing_chain(pem: bytes, others: Sequence[bytes], key: PublicKey, at: datetime) -> tuple[bytes, ...]:
    """The DER of a signer's certificate and of those that lead to its authority, in order, without the last (a root).

    Raises TamperError for a certificate of another key, not of `at`, or not for signing code, and for PEM that is none.
    """
    try:
        leaf, *rest = (item for text in (pem, *others) for item in x509.load_pem_x509_certificates(text))
    except ValueError as error:
        raise TamperError("no PEM certificate") from error
    if certified_key(leaf) != key:
        raise TamperError("the certificate is of another key")
    _check_leaf(leaf, at, CODE_SIGNING)
    between = [item for item in rest if item.issuer != item.subject]
    return tuple(item.public_bytes(Encoding.DER) for item in (leaf, *between))


def leaf_key(
    chain: Sequence[bytes],
    authorities: Sequence[x509.Certificate],
    at: datetime,
    revocations: Sequence[x509.CertificateRevocationList] = (),
) -> tuple[PublicKey, str]:
    """(public key, subject) of the first certificate of `chain` (DER), once a path to an authority is found.

    Raises TamperError when there is none: expired at `at`, not for signing, not issued by an authority, revoked.
    With `revocations`, the list of the leaf's issuer must be among them and be of that time.
    """
    certificates = [read_certificate(der) for der in chain]
    if not certificates:
        raise TamperError("there is no certificate")
    leaf = certificates[0]
    path = find_path(leaf, certificates[1:], authorities, at, CODE_SIGNING)
    if revocations:
        _check_revoked(path, revocations, at)
    return certified_key(leaf), leaf.subject.rfc4514_string() or "(no subject)"


def certified_key(certificate: x509.Certificate) -> PublicKey:
    """The public key of a certificate. Raises TamperError for a kind that is not used here."""
    try:
        return PublicKey(certificate.public_key(), "the certificate")
    except (ConfigError, ValueError, UnsupportedAlgorithm) as error:
        raise TamperError("the certificate's key is of a kind that is not used here") from error


def find_path(
    leaf: x509.Certificate,
    between: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    at: datetime,
    purpose: x509.ObjectIdentifier,
) -> tuple[x509.Certificate, ...]:
    """The certificates from `leaf` to one of `authorities`, all valid at `at` and for `purpose`; at least two.

    Raises TamperError when there is no such path.
    """
    if len(between) > _MAX_BETWEEN:
        raise TamperError("the certificate chain is too long")
    _check_leaf(leaf, at, purpose)
    return _climb((leaf,), between, authorities, at, purpose, iter(range(_MAX_CHECKS)))


def _climb(
    path: tuple[x509.Certificate, ...],
    between: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    at: datetime,
    purpose: x509.ObjectIdentifier,
    budget: Iterator[int],
) -> tuple[x509.Certificate, ...]:
    """`budget` is one for the whole search: certificates that all issue one another have millions of paths."""
    subject = path[-1]
    problem = f"no trusted authority issued {subject.subject.rfc4514_string() or 'the certificate'}"
    if len(path) > _MAX_PATH:
        raise TamperError(problem)
    for trusted, candidates in ((True, authorities), (False, between)):
        for position, issuer in enumerate(candidates):
            if next(budget, None) is None:
                raise TamperError("the certificates lead in too many ways")
            if not _issued(subject, issuer):
                continue
            try:
                _check_issuer(issuer, at, len(path) - 1, purpose)
                if trusted:
                    return (*path, issuer)
                rest = [*between[:position], *between[position + 1 :]]
                return _climb((*path, issuer), rest, authorities, at, purpose, budget)
            except TamperError as error:
                problem = error.message
    raise TamperError(problem)


def _issued(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_issuer(issuer: x509.Certificate, at: datetime, below: int, purpose: x509.ObjectIdentifier) -> None:
    """`below`: how many intermediate certificates stand between it and the leaf."""
    _check_any(issuer, at)
    extensions = issuer.extensions
    if not is_authority(issuer):
        raise TamperError("an issuer that is not a certificate authority")
    constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    if constraints.path_length is not None and below > constraints.path_length:
        raise TamperError("the chain is longer than its authority allows")
    usage = _usage(extensions)
    if usage is not None and not usage.key_cert_sign:
        raise TamperError("an issuer that may not sign certificates")
    purposes = _purposes(extensions)
    if purposes is not None and purpose not in purposes and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in purposes:
        raise TamperError(f"an issuer that is not for {_PURPOSES.get(purpose, purpose.dotted_string)}")


def _check_leaf(leaf: x509.Certificate, at: datetime, purpose: x509.ObjectIdentifier) -> None:
    _check_any(leaf, at)
    usage = _usage(leaf.extensions)
    if usage is not None and not usage.digital_signature:
        raise TamperError("the certificate is not for signatures")
    if purpose not in (_purposes(leaf.extensions) or ()):
        raise TamperError(f"the certificate is not for {_PURPOSES.get(purpose, purpose.dotted_string)}")


def _check_any(certificate: x509.Certificate, at: datetime) -> None:
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise TamperError(
            f"the certificate was not valid at {at.isoformat()}, only from "
            f"{certificate.not_valid_before_utc.isoformat()} to {certificate.not_valid_after_utc.isoformat()}"
        )
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise TamperError(f"the certificate has a critical extension {extension.oid.dotted_string}")
        if extension.oid == ExtensionOID.NAME_CONSTRAINTS:  # not critical, but its issuer meant it
            raise TamperError("the certificate has name constraints, which are not read here")
    try:
        used = certificate.signature_hash_algorithm  # None: the algorithm (Ed25519) has its own
    except UnsupportedAlgorithm as error:
        raise TamperError("the certificate is signed by an unknown algorithm") from error
    if used is not None and not isinstance(used, _HASHES):
        raise TamperError(f"the certificate is signed with {used.name}, which can be forged")
    certified_key(certificate)


def _check_revoked(
    path: Sequence[x509.Certificate], revocations: Sequence[x509.CertificateRevocationList], at: datetime
) -> None:
    for position, issuer in enumerate(path[1:]):
        lists = [given for given in revocations if _lists(given, issuer)]
        current = [given for given in lists if _current(given, at)]
        if lists and not current:
            raise TamperError("the revocation list is not of this time", hint="fetch the newest one of the authority")
        if not current and position == 0:
            raise TamperError(
                "no revocation list is of the authority that issued the certificate",
                hint=f"give the list of {issuer.subject.rfc4514_string()}",
            )
        subject = path[position]
        if any(given.get_revoked_certificate_by_serial_number(subject.serial_number) for given in current):
            raise TamperError(f"the certificate {subject.subject.rfc4514_string() or subject.serial_number} is revoked")


def _lists(given: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        if any(extension.critical for extension in given.extensions):  # of a part of the certificates, or a delta
            return False
        return given.issuer == issuer.subject and given.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _current(given: x509.CertificateRevocationList, at: datetime) -> bool:
    after = given.next_update_utc
    return given.last_update_utc <= at and after is not None and at <= after


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may issue others (basic constraints)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _usage(extensions: x509.Extensions) -> x509.KeyUsage | None:
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _purposes(extensions: x509.Extensions) -> x509.ExtendedKeyUsage | None:
    try:
        return extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
