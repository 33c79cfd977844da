"""Signatures that releases 0.2.0 to 1.0.1 of the reference implementation of OpenSSF Model Signing made."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from customhouse._kit.digest import tree
from customhouse.trust.certificates import read_authorities
from customhouse.trust.keys import TrustRoot, generate
from customhouse.trust.signing import Keyless, ModelCheck, verify_model
from customhouse.trust.sigstore.identity import Expected
from customhouse.trust.sigstore.roots import read_root
from customhouse.trust.sigstore.verification import Policy

AT = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY, ISSUER = "stefanb@us.ibm.com", "https://sigstore.verify.ibm.com/oauth2"
BESIDE = ("model.sig", "ignore-me")
SINGLE = ("v1.0.0-elliptic-key", "v0.3.1-elliptic-key")


@pytest.fixture
def vectors(shared_data: Path, tmp_path: Path) -> Path:
    shutil.copytree(shared_data / "transparency" / "model-signing", tmp_path / "vectors")
    return tmp_path / "vectors"


def check(vectors: Path, name: str, at: datetime = AT) -> ModelCheck:
    folder = vectors / name
    keys = vectors / "keys" / "certificate"
    return verify_model(
        (folder / "model.sig").read_bytes(),
        tree(folder / "signme-1" if name in SINGLE else folder),
        [TrustRoot("vectors", (keys / "signing-key-pub.pem").read_bytes())],
        authorities=read_authorities((keys / "ca-cert.pem").read_bytes()),
        at=at,
        ignore=BESIDE,
    )


def names(vectors: Path, *methods: str) -> list[str]:
    return sorted(path.name for path in vectors.glob("v*") if path.name.endswith(methods))


def test_signatures_by_key_and_by_certificate_verify(vectors: Path) -> None:
    found = names(vectors, "-elliptic-key", "-certificate")
    assert len(found) >= 7
    assert {name: check(vectors, name).problems() for name in found} == dict.fromkeys(found, ())


def test_the_keyless_method_is_refused_where_no_identity_is_expected(vectors: Path) -> None:
    for name in names(vectors, "-sigstore"):
        made = check(vectors, name)
        assert not made.verified
        assert "Sigstore" in made.problem


def keyless(vectors: Path, name: str, shared_data: Path, identity: str = IDENTITY) -> ModelCheck:
    root = shared_data / "transparency" / "sigstore-conformance" / "trusted_root_public_good.json"
    policy = Policy(expected=Expected(identity, ISSUER))
    return verify_model(
        (vectors / name / "model.sig").read_bytes(),
        tree(vectors / name),
        [],
        keyless=Keyless(policy, read_root(root.read_bytes()), AT),
        ignore=BESIDE,
    )


def test_keyless_signatures_verify_by_the_identity(vectors: Path, shared_data: Path) -> None:
    found = names(vectors, "-sigstore")
    assert len(found) >= 3
    for name in found:
        made = keyless(vectors, name, shared_data)
        assert made.problems() == ()
        assert made.signer == IDENTITY
        assert made.keyless is not None
        assert made.keyless.logged


def test_a_keyless_signature_of_another_identity_or_over_other_files_is_refused(
    vectors: Path, shared_data: Path
) -> None:
    assert "was expected" in keyless(vectors, "v1.0.1-sigstore", shared_data, "somebody@example.com").problem
    (vectors / "v1.0.1-sigstore" / "signme-2").write_text("other")
    assert keyless(vectors, "v1.0.1-sigstore", shared_data).differing == ("signme-2",)


def test_a_changed_file_is_named(vectors: Path) -> None:
    for name in names(vectors, "-elliptic-key", "-certificate"):
        with (vectors / name / "signme-1").open("ab") as handle:
            handle.write(b"x")
        made = check(vectors, name)
        assert not made.verified
        assert made.differing == ((".",) if name in SINGLE else ("signme-1",))


def test_a_missing_and_an_extra_file_are_named(vectors: Path) -> None:
    (vectors / "v1.0.1-certificate" / "signme-2").rename(vectors / "v1.0.1-certificate" / "signme-3")
    made = check(vectors, "v1.0.1-certificate")
    assert (made.missing, made.extra) == (("signme-2",), ("signme-3",))


def test_an_expired_certificate_and_another_key_are_refused(vectors: Path) -> None:
    assert "not valid" in check(vectors, "v1.0.1-certificate", datetime(2036, 1, 1, tzinfo=UTC)).problem
    folder = vectors / "v1.0.1-elliptic-key"
    other = TrustRoot("other", generate().public.pem())
    made = verify_model((folder / "model.sig").read_bytes(), tree(folder), [other], ignore=BESIDE)
    assert "unknown key" in made.problem


def test_a_certificate_of_an_unknown_authority_is_refused(vectors: Path) -> None:
    folder = vectors / "v1.0.1-certificate"
    leaf = read_authorities((vectors / "keys" / "certificate" / "signing-key-cert.pem").read_bytes())
    made = verify_model((folder / "model.sig").read_bytes(), tree(folder), [], authorities=leaf, at=AT, ignore=BESIDE)
    assert "no trusted authority" in made.problem
