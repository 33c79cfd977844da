"""Certificates that were revoked, are weak, or lead in circles; and signing with one's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from customhouse.core.errors import ConfigError, TamperError
from customhouse.trust.certificates import leaf_key, read_certificate, read_revocations, signing_chain
from customhouse.trust.keys import PublicKey
from sigstore_world import certificate, name

AT = datetime(2026, 3, 1, tzinfo=UTC)
ROOT_KEY, KEY, OTHER_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
CODE = [ExtendedKeyUsageOID.CODE_SIGNING]
ROOT = certificate("root", ROOT_KEY.public_key(), "root", ROOT_KEY, authority=True)
LEAF = certificate("signer", KEY.public_key(), "root", ROOT_KEY, purposes=CODE)


def der(item: x509.Certificate) -> bytes:
    return item.public_bytes(Encoding.DER)


def revocations(
    *serials: int,
    key: Any = ROOT_KEY,
    issuer: str = "root",
    start: datetime = AT - timedelta(days=1),
    end: datetime | None = AT + timedelta(days=1),
    partial: bool = False,
) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(name(issuer)).last_update(start)
    builder = builder.next_update(end or AT + timedelta(days=1))
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(start).build()
        builder = builder.add_revoked_certificate(revoked)
    if partial:
        builder = builder.add_extension(
            x509.IssuingDistributionPoint(None, None, True, False, None, False, False), critical=True
        )
    return read_revocations(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


def test_a_certificate_that_is_on_no_list_counts() -> None:
    assert leaf_key([der(LEAF)], [ROOT], AT, [revocations(1, 2)])[0] == PublicKey(KEY.public_key())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (revocations(LEAF.serial_number), "is revoked"),
        (revocations(end=AT - timedelta(hours=1)), "not of this time"),
        (revocations(start=AT + timedelta(hours=1), end=AT + timedelta(hours=2)), "not of this time"),
        (revocations(key=OTHER_KEY), "no revocation list is of the authority"),
        (revocations(issuer="other"), "no revocation list is of the authority"),
        (revocations(partial=True), "no revocation list is of the authority"),
    ],
)
def test_a_revoked_certificate_or_a_list_that_decides_nothing_is_refused(
    given: x509.CertificateRevocationList, words: str
) -> None:
    with pytest.raises(TamperError, match=words):
        leaf_key([der(LEAF)], [ROOT], AT, [given])


def test_a_revoked_intermediate_is_refused() -> None:
    middle = certificate("middle", OTHER_KEY.public_key(), "root", ROOT_KEY, authority=True)
    leaf = certificate("signer", KEY.public_key(), "middle", OTHER_KEY, purposes=CODE)
    own = revocations(key=OTHER_KEY, issuer="middle")
    assert leaf_key([der(leaf), der(middle)], [ROOT], AT, [own, revocations()])
    with pytest.raises(TamperError, match="is revoked"):
        leaf_key([der(leaf), der(middle)], [ROOT], AT, [own, revocations(middle.serial_number)])


def test_what_is_no_revocation_list_is_an_error() -> None:
    for data in (b"", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", der(LEAF)):
        with pytest.raises(ConfigError, match="not a certificate revocation list"):
            read_revocations(data, "list.crl")


def test_an_intermediate_for_another_purpose_is_refused() -> None:
    middle = certificate(
        "middle", OTHER_KEY.public_key(), "root", ROOT_KEY, authority=True, purposes=[ExtendedKeyUsageOID.SERVER_AUTH]
    )
    leaf = certificate("signer", KEY.public_key(), "middle", OTHER_KEY, purposes=CODE)
    with pytest.raises(TamperError, match="an issuer that is not for code signing"):
        leaf_key([der(leaf), der(middle)], [ROOT], AT)


def test_weak_keys_are_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    leaf = certificate("signer", weak.public_key(), "root", ROOT_KEY, purposes=CODE)
    with pytest.raises(TamperError, match="not used here"):
        leaf_key([der(leaf)], [ROOT], AT)
    odd = ec.generate_private_key(ec.SECP256K1())
    leaf = certificate("signer", odd.public_key(), "root", ROOT_KEY, purposes=CODE)
    with pytest.raises(TamperError, match="not used here"):
        leaf_key([der(leaf)], [ROOT], AT)


def test_certificates_that_issue_one_another_in_many_ways_end_soon() -> None:
    """Twenty authorities of one name and key: 28 million paths, none of which ends at a trusted one."""
    crowd = [
        certificate("crowd", OTHER_KEY.public_key(), "crowd", OTHER_KEY, authority=True, end=AT + timedelta(days=n + 1))
        for n in range(20)
    ]
    leaf = certificate("signer", KEY.public_key(), "crowd", OTHER_KEY, purposes=CODE)
    with pytest.raises(TamperError):
        leaf_key([der(leaf), *map(der, crowd)], [ROOT], AT)


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x82\xff\xff", bytes(70_000), der(LEAF)[:-9], b"\x30" * 5000])
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(TamperError):
        read_certificate(data)


def test_a_signer_is_told_what_nobody_would_accept() -> None:
    def pem(item: x509.Certificate) -> bytes:
        return item.public_bytes(Encoding.PEM)

    mine = PublicKey(KEY.public_key())
    assert signing_chain(pem(LEAF), [pem(ROOT)], mine, AT) == (der(LEAF),)  # a root goes by another way
    server = certificate("signer", KEY.public_key(), "root", ROOT_KEY, purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    for given, key, at, words in (
        (pem(LEAF), PublicKey(OTHER_KEY.public_key()), AT, "of another key"),
        (pem(LEAF), mine, AT + timedelta(days=9999), "was not valid"),
        (pem(server), mine, AT, "not for code signing"),
        (b"no PEM", mine, AT, "no PEM"),
    ):
        with pytest.raises(TamperError, match=words):
            signing_chain(given, [], key, at)
