"""Keys: what is written, what is refused, what is never shown."""

from __future__ import annotations

import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from customhouse.core.errors import ConfigError, StateError, UsageError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.keys import (
    Algorithm,
    PrivateKey,
    PublicKey,
    TrustRoot,
    generate,
    generate_pair,
    load_private,
    load_public,
    open_pair,
)


@pytest.mark.parametrize("algorithm", [Algorithm.ED25519, Algorithm.ECDSA_P256])
def test_a_pair_signs_verifies_and_comes_back_from_its_files(tmp_path: Path, algorithm: Algorithm) -> None:
    key = generate_pair(tmp_path / "keys", "release", algorithm)
    signature = load_private(tmp_path / "keys" / "release.key").sign(b"message")
    public = load_public(tmp_path / "keys" / "release.pub")
    assert public == key.public
    assert hash(public) == hash(key.public)
    assert public.algorithm is algorithm
    assert public.verify(b"message", signature)
    assert not public.verify(b"messagE", signature)
    assert not public.verify(b"message", signature[:-1])
    assert not generate(algorithm).public.verify(b"message", signature)


def test_the_private_file_is_the_owners_alone_and_is_never_replaced(tmp_path: Path) -> None:
    key = generate_pair(tmp_path, "release")
    assert stat.S_IMODE((tmp_path / "release.key").stat().st_mode) == 0o600
    before = (tmp_path / "release.key").read_bytes()
    with pytest.raises(StateError, match="exists already"):
        key.save(tmp_path / "release.key")
    assert (tmp_path / "release.key").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release.key", "release.pub"]


def test_a_key_of_ones_own_is_made_once_and_survives_a_kill_between_its_files(tmp_path: Path) -> None:
    key = open_pair(tmp_path / "keys", "ledger")
    assert open_pair(tmp_path / "keys", "ledger").public == key.public
    (tmp_path / "keys" / "ledger.pub").unlink()
    assert open_pair(tmp_path / "keys", "ledger").public == key.public
    assert load_public(tmp_path / "keys" / "ledger.pub") == key.public
    (tmp_path / "keys" / "ledger.pub").write_bytes(generate().public.pem())
    with pytest.raises(ConfigError, match="not the public half"):
        open_pair(tmp_path / "keys", "ledger")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match="cannot write the key"):
        open_pair(tmp_path / "file", "ledger")


def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    generate_pair(tmp_path, "release")
    (tmp_path / "release.key").chmod(0o640)
    with pytest.raises(ConfigError, match="others can read") as error:
        load_private(tmp_path / "release.key")
    assert "chmod 600" in error.value.hint


def test_nothing_of_a_private_key_is_shown_or_pickled() -> None:
    key = generate()
    assert "PrivateKey(of PublicKey" in repr(key)
    with pytest.raises(TypeError, match="not serialised"):
        pickle.dumps(key)


def test_a_broken_key_file_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "bad.key"
    path.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0LXRleHQ=\n-----END PRIVATE KEY-----\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as error:
        load_private(path)
    assert "c2VjcmV0" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_missing_key_says_where(tmp_path: Path) -> None:
    for load in (load_private, load_public):
        with pytest.raises(ConfigError, match="No such file") as error:
            load(tmp_path / "gone")
        assert "gone" in error.value.where


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    handle = ec.generate_private_key(ec.SECP256R1())
    pem = handle.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    )
    path = tmp_path / "locked.key"
    path.write_bytes(pem)
    path.chmod(0o600)
    assert load_private(path, b"open sesame").public == PrivateKey(handle).public
    for password in (None, b"wrong"):
        with pytest.raises(ConfigError, match="password") as raised:
            load_private(path, password)
        assert ("openssl pkey -in" in raised.value.hint) == (password is None)


def test_other_kinds_of_keys_are_refused(tmp_path: Path) -> None:
    pem = (
        rsa.generate_private_key(65537, 1024)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(ConfigError, match="not used here") as error:
        PublicKey.from_pem(pem, "customhouse.yaml")
    assert error.value.where == "customhouse.yaml"
    with pytest.raises(ConfigError, match="not used here"):
        PrivateKey(object())
    with pytest.raises(UsageError, match="no new keys"):
        generate(Algorithm.ECDSA_P384)
    with pytest.raises(ConfigError, match="larger than any key"):
        PublicKey.from_pem(b"x" * 70_000)
    (tmp_path / "big").write_bytes(b"x" * 70_000)
    (tmp_path / "big").chmod(0o600)
    with pytest.raises(ConfigError, match="larger than any key"):
        load_private(tmp_path / "big")


def test_a_private_key_does_not_pass_for_a_trust_root(tmp_path: Path) -> None:
    generate_pair(tmp_path, "release")
    with pytest.raises(ConfigError, match="private key where a public one belongs"):
        TrustRoot("release", (tmp_path / "release.key").read_bytes())
    with pytest.raises(ConfigError, match="not a PEM public key"):
        TrustRoot("release", b"nonsense")


def test_a_trust_root_may_sign_every_kind_unless_told() -> None:
    pem = generate().public.pem()
    assert TrustRoot("all", pem).kinds == frozenset(EvidenceKind)
    assert TrustRoot("all", pem) == TrustRoot("all", pem)


def test_only_ed25519_has_the_raw_form_that_notes_need() -> None:
    assert len(generate().public.raw) == 32
    with pytest.raises(UsageError, match="Ed25519"):
        _ = generate(Algorithm.ECDSA_P256).public.raw
