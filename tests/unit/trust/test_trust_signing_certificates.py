"""Certificate chains: which path counts, and every reason why one does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from customhouse.core.errors import ConfigError, TamperError
from customhouse.trust.certificates import leaf_key, read_authorities

AT = datetime(2026, 3, 1, tzinfo=UTC)
NOTHING = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


class Party:
    """A name with a key; issues certificates."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def issue(
        self,
        subject: Party,
        *,
        ca: bool | None = None,
        path: int | None = None,
        usage: str = "",
        purposes: list[Any] | None = None,
        days: int = 365,
        extra: x509.ExtensionType | None = None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .issuer_name(self.name)
            .subject_name(subject.name)
            .public_key(subject.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(AT - timedelta(days=10))
            .not_valid_after(AT + timedelta(days=days))
        )
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, path if ca else None), critical=True)
        if usage:
            builder = builder.add_extension(x509.KeyUsage(**{**NOTHING, usage: True}), critical=True)
        if purposes is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if extra is not None:
            builder = builder.add_extension(extra, critical=True)
        return builder.sign(self.key, hashes.SHA256())


ROOT, MIDDLE, SIGNER, OTHER = Party("root"), Party("middle"), Party("signer"), Party("other")
CODE = [ExtendedKeyUsageOID.CODE_SIGNING]
AUTHORITY = ROOT.issue(ROOT, ca=True, usage="key_cert_sign")


def leaf(issuer: Party = MIDDLE, **options: Any) -> x509.Certificate:
    return issuer.issue(SIGNER, **{"usage": "digital_signature", "purposes": CODE, **options})


def middle(**options: Any) -> x509.Certificate:
    return ROOT.issue(MIDDLE, **{"ca": True, "usage": "key_cert_sign", **options})


def der(*chain: x509.Certificate) -> list[bytes]:
    return [item.public_bytes(serialization.Encoding.DER) for item in chain]


def test_a_chain_to_an_authority_gives_the_leafs_key_and_name() -> None:
    key, name = leaf_key(der(leaf(), middle()), [AUTHORITY], AT)
    assert name == "CN=signer"
    assert key.verify(b"m", SIGNER.key.sign(b"m", ec.ECDSA(hashes.SHA256())))


def test_the_order_and_company_of_intermediates_do_not_matter() -> None:
    stray = OTHER.issue(OTHER, ca=True)
    assert leaf_key(der(leaf(), stray, AUTHORITY, middle()), [AUTHORITY], AT)[1] == "CN=signer"
    assert leaf_key(der(leaf(ROOT)), [AUTHORITY], AT)[1] == "CN=signer"


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        (lambda: der(leaf()), "no trusted authority"),
        (lambda: der(leaf(OTHER), middle()), "no trusted authority"),
        (lambda: der(leaf(), middle(ca=False)), "not a certificate authority"),
        (lambda: der(leaf(), middle(ca=None)), "not a certificate authority"),
        (lambda: der(leaf(), middle(usage="digital_signature")), "may not sign certificates"),
        (lambda: der(leaf(), middle(days=-1)), "not valid at"),
        (lambda: der(leaf(days=-1), middle()), "not valid at"),
        (lambda: der(leaf(purposes=None), middle()), "not for code signing"),
        (lambda: der(leaf(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]), middle()), "not for code signing"),
        (lambda: der(leaf(usage="key_cert_sign"), middle()), "not for signatures"),
        (
            lambda: der(leaf(), middle(extra=x509.NameConstraints([x509.DNSName("example.com")], None))),
            "critical extension",
        ),
        (lambda: [b"nonsense"], "cannot be read"),
        (list, "no certificate"),
    ],
)
def test_a_chain_that_does_not_count_says_why(chain: Any, said: str) -> None:
    with pytest.raises(TamperError, match=said):
        leaf_key(chain(), [AUTHORITY], AT)


def test_an_authority_that_allows_no_intermediate_is_obeyed() -> None:
    short = ROOT.issue(ROOT, ca=True, path=0, usage="key_cert_sign")
    assert leaf_key(der(leaf(ROOT)), [short], AT)[1] == "CN=signer"
    with pytest.raises(TamperError, match="longer than its authority allows"):
        leaf_key(der(leaf(), middle()), [short], AT)


def test_certificates_that_issue_each_other_do_not_hang() -> None:
    one, two = Party("one"), Party("two")
    circle = [one.issue(two, ca=True), two.issue(one, ca=True)]
    with pytest.raises(TamperError, match="no trusted authority"):
        leaf_key(der(leaf(one), *circle), [AUTHORITY], AT)


def test_a_file_without_a_certificate_is_no_authority() -> None:
    with pytest.raises(ConfigError, match="no PEM certificate"):
        read_authorities(b"nonsense", "customhouse.yaml")
    assert read_authorities(AUTHORITY.public_bytes(serialization.Encoding.PEM)) == (AUTHORITY,)
