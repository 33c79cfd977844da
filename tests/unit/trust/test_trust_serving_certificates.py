"""The webhook's own authority and certificates: made, kept, renewed, with keys that nobody else reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from customhouse.core.errors import ConfigError, StateError
from customhouse.trust.certificates_serving import AUTHORITY_LIFE, SERVING_LIFE, ensure_serving, expiry

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NAMES = ("webhook.ns.svc", "127.0.0.1")


def test_a_certificate_is_made_once_and_renewed_before_its_end(tmp_path: Path) -> None:
    files, new = ensure_serving(tmp_path, NAMES, NOW)
    assert new
    made = files.certificate.read_bytes()
    leaf, authority = x509.load_pem_x509_certificates(made)
    leaf.verify_directly_issued_by(authority)
    assert leaf.not_valid_after_utc == NOW + SERVING_LIFE == expiry(made)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["webhook.ns.svc"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert ensure_serving(tmp_path, NAMES, NOW + timedelta(days=59)) == (files, False)
    assert ensure_serving(tmp_path, NAMES, NOW + timedelta(days=61))[1]
    assert files.certificate.read_bytes() != made
    assert ensure_serving(tmp_path, ("other.svc",), NOW + timedelta(days=61))[1]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key")} == {0o600}
    assert not list(tmp_path.glob(".*"))


def test_the_old_authority_is_trusted_on_while_both_live(tmp_path: Path) -> None:
    files, _ = ensure_serving(tmp_path, NAMES, NOW)
    first = x509.load_pem_x509_certificates(files.authorities.read_bytes())
    later = NOW + AUTHORITY_LIFE - timedelta(days=700)
    assert ensure_serving(tmp_path, NAMES, later)[1]
    both = x509.load_pem_x509_certificates(files.authorities.read_bytes())
    assert len(both) == 2
    assert both[1] == first[0]
    leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    leaf.verify_directly_issued_by(both[0])


def test_what_is_no_certificate_is_said(tmp_path: Path) -> None:
    files, _ = ensure_serving(tmp_path, NAMES, NOW)
    files.certificate.write_text("nothing")
    with pytest.raises(StateError, match="no certificate of ours"):
        ensure_serving(tmp_path, NAMES, NOW)
    with pytest.raises(ConfigError):
        expiry(b"nothing")
