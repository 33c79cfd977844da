"""Timestamps that OpenSSL makes (`openssl ts`): another implementation of RFC 3161, with RSA and ECDSA authorities."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from customhouse.core.errors import TamperError
from customhouse.trust.sigstore.roots import Authority, Window
from customhouse.trust.sigstore.timestamps import verify_timestamp
from sigstore_world import certificate

pytestmark = pytest.mark.part("openssl")
SIGNATURE = b"a signature"
CONFIG = """
[tsa]
default_tsa = own
[own]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = {digest}
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512, sha1
accuracy = {accuracy}
ordering = {ordering}
tsa_name = {named}
ess_cert_id_chain = no
ess_cert_id_alg = {alg}
"""
NOW = datetime.now(UTC).replace(microsecond=0)
ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
LIFE = {"start": NOW - timedelta(days=1), "end": NOW + timedelta(days=1)}
ROOT = certificate("root", ROOT_KEY.public_key(), "root", ROOT_KEY, authority=True, **LIFE)
KEYS = {"rsa": rsa.generate_private_key(65537, 2048), "p256": ec.generate_private_key(ec.SECP256R1())}


@cache
def signer(kind: str) -> x509.Certificate:
    purposes = [ExtendedKeyUsageOID.TIME_STAMPING]
    public = KEYS[kind].public_key()
    return certificate("tsa", public, "root", ROOT_KEY, purposes=purposes, critical_purposes=True, **LIFE)


@pytest.fixture
def stamp(find_part: Callable[[str], Path], tmp_path: Path) -> Callable[..., bytes]:
    program = str(find_part("openssl"))

    def make(
        kind: str,
        *,
        hash_name: str = "sha256",
        digest: str = "sha256",
        alg: str = "sha256",
        accuracy: str = "secs:1, millisecs:500",
        ordering: str = "no",
        named: str = "no",
        certificates: bool = True,
    ) -> bytes:
        key = KEYS[kind].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "tsa.key").write_bytes(key)
        (tmp_path / "tsa.pem").write_bytes(signer(kind).public_bytes(Encoding.PEM))
        settings = {"digest": digest, "accuracy": accuracy, "ordering": ordering, "named": named, "alg": alg}
        (tmp_path / "tsa.conf").write_text(CONFIG.format(**settings))
        (tmp_path / "serial").write_text("01\n")
        (tmp_path / "data").write_bytes(SIGNATURE)
        query = [program, "ts", "-query", "-data", "data", f"-{hash_name}", "-out", "query"]
        reply = [
            program,
            "ts",
            "-reply",
            "-config",
            "tsa.conf",
            "-section",
            "own",
            "-queryfile",
            "query",
            "-out",
            "reply",
        ]
        for command in ([*query, *(["-cert"] if certificates else [])], reply):
            subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        return (tmp_path / "reply").read_bytes()

    return make


def authority(*between: x509.Certificate, anchor: x509.Certificate = ROOT) -> list[Authority]:
    return [Authority("own", anchor, between, Window())]


@pytest.mark.parametrize("kind", KEYS)
def test_what_openssl_stamps_is_verified(kind: str, stamp: Callable[..., bytes]) -> None:
    for options in (
        {},
        {"hash_name": "sha384", "digest": "sha384", "alg": "sha384"},
        {"hash_name": "sha512", "digest": "sha512", "ordering": "yes", "named": "yes"},
        {"alg": "sha1"},
    ):
        at, name = verify_timestamp(stamp(kind, **options), SIGNATURE, authority())
        assert abs(at - datetime.now(UTC)) < timedelta(minutes=5)
        assert name == "own"
    bare = stamp(kind, certificates=False)
    assert verify_timestamp(bare, SIGNATURE, authority(signer(kind)))
    with pytest.raises(TamperError, match="no certificate is the one"):
        verify_timestamp(bare, SIGNATURE, authority())


def test_what_openssl_stamps_for_others_is_refused(stamp: Callable[..., bytes]) -> None:
    good = stamp("p256")
    other = ec.generate_private_key(ec.SECP256R1())
    stranger = certificate("root", other.public_key(), "root", other, authority=True, **LIFE)
    with pytest.raises(TamperError, match="of another signature"):
        verify_timestamp(good, SIGNATURE + b"x", authority())
    with pytest.raises(TamperError, match="no trusted authority"):
        verify_timestamp(good, SIGNATURE, authority(anchor=stranger))
    with pytest.raises(TamperError, match="hash that is not used here"):
        verify_timestamp(stamp("p256", hash_name="sha1"), SIGNATURE, authority())
    with pytest.raises(TamperError, match="coarser"):
        verify_timestamp(stamp("p256", accuracy="secs:90"), SIGNATURE, authority())
