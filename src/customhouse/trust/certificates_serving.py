"""A certificate authority and serving certificates of our own, for a webhook that nobody gave any.

ECDSA P-256. The authority lives ten years and is renewed two years before its end; both authorities are trusted while
they overlap. A serving certificate lives 90 days and is renewed after 60. A client's lives a year, since it is carried
by hand to where it is used, and is renewed after ten months. Private keys are written with mode 0600.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from customhouse.core.errors import ConfigError, StateError

AUTHORITY_LIFE = timedelta(days=3650)
AUTHORITY_RENEWAL = timedelta(days=730)
SERVING_LIFE = timedelta(days=90)
SERVING_RENEWAL = timedelta(days=30)
"""How long before its end a certificate is replaced."""
CLIENT_LIFE = timedelta(days=365)
CLIENT_RENEWAL = timedelta(days=60)
_SKEW = timedelta(minutes=5)
"""Clocks of the API server's machines may stand behind."""


@dataclass(frozen=True, slots=True)
class ServingFiles:
    """Where a webhook's certificate, its key and the authorities that clients trust lie (PEM)."""

    certificate: Path
    key: Path
    authorities: Path


def ensure_serving(folder: Path, names: Sequence[str], now: datetime) -> tuple[ServingFiles, bool]:
    """Make, or renew when it is due, what a server with these names needs; whether anything is new.

    Raises StateError when the folder cannot be written or holds something else.
    """
    files = ServingFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority, key, renewed = _authority(folder, files.authorities, now)
        if not renewed and _good(files, names, authority, now):
            return files, False
        _issue(files, names, authority, key, now)
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror}", where=str(error.filename or folder)) from error
    except ValueError as error:
        raise StateError(
            f"what is in the folder is no certificate of ours: {error}", where=str(folder), hint="remove the folder"
        ) from error
    return files, True


def ensure_client(folder: Path, name: str, now: datetime) -> ServingFiles:
    """Make, or renew when it is due, what a client of that server shows: `client.crt` and `client.key`.

    Raises StateError as `ensure_serving`, which has to be called before.
    """
    files = ServingFiles(folder / "client.crt", folder / "client.key", folder / "ca.crt")
    try:
        authority, key, renewed = _authority(folder, files.authorities, now)
        if renewed or not _good(files, (name,), authority, now, CLIENT_RENEWAL):
            _issue(files, (name,), authority, key, now, ExtendedKeyUsageOID.CLIENT_AUTH)
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror}", where=str(error.filename or folder)) from error
    except ValueError as error:
        raise StateError(
            f"what is in the folder is no certificate of ours: {error}", where=str(folder), hint="remove the folder"
        ) from error
    return files


def expiry(pem: bytes, where: str = "certificate") -> datetime:
    """When the first certificate of a PEM file ends. Raises ConfigError."""
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError as error:
        raise ConfigError("no PEM certificate", where=where) from error


def _authority(folder: Path, bundle: Path, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, bool]:
    place, key_place = folder / "authority.crt", folder / "ca.key"
    if place.exists() and key_place.exists():
        found = x509.load_pem_x509_certificate(place.read_bytes())
        key = serialization.load_pem_private_key(key_place.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("ca.key is of another kind")
        if found.public_key() == key.public_key() and now < found.not_valid_after_utc - AUTHORITY_RENEWAL:
            if not bundle.exists():
                _write(bundle, _pem(found), 0o644)
            return found, key, False
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Customhouse webhook authority {now:%Y-%m-%d}")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_place, _key_pem(key), 0o600)
    _write(place, _pem(made), 0o644)
    # The one before is trusted on, as long as it lives: the webhook configuration may be patched a moment later.
    before = x509.load_pem_x509_certificates(bundle.read_bytes()) if bundle.exists() else []
    kept = [item for item in before if item.not_valid_after_utc > now][:3]
    _write(bundle, b"".join(map(_pem, (made, *kept))), 0o644)
    return made, key, True


def _good(
    files: ServingFiles,
    names: Sequence[str],
    authority: x509.Certificate,
    now: datetime,
    renewal: timedelta = SERVING_RENEWAL,
) -> bool:
    if not files.certificate.exists() or not files.key.exists():
        return False
    found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    own = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    said = {*own.get_values_for_type(x509.DNSName), *map(str, own.get_values_for_type(x509.IPAddress))}
    return (
        said == set(names)
        and found.issuer == authority.subject
        and found.not_valid_before_utc <= now < found.not_valid_after_utc - renewal
    )


def _issue(
    files: ServingFiles,
    names: Sequence[str],
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> None:
    life = SERVING_LIFE if purpose == ExtendedKeyUsageOID.SERVER_AUTH else CLIENT_LIFE
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(min(now + life, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    # The key first: a reader in between finds two that do not fit, keeps what it has, and looks again.
    _write(files.key, _key_pem(key), 0o600)
    _write(files.certificate, _pem(made) + _pem(authority), 0o644)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """All or nothing, and never readable by others in between."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(draft, mode)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
