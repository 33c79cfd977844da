"""Keyless signing against the services of an in-memory Sigstore: what is written verifies, or nothing is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from customhouse.app import artifact_sign, artifact_verify, model_signing, model_verify
from customhouse.app.model_signing import By
from customhouse.core.errors import ConfigError, CustomhouseError, UsageError
from customhouse.trust.bundle import pae
from customhouse.trust.keys import generate_pair
from sigstore_services import serving, trust_config
from sigstore_world import IDENTITY, ISSUER, World

WORLD = World()
TOKEN = "header.claims.signature"


def write(folder: Path, address: str, version: int = 2) -> By:
    (folder / "trust.json").write_text(json.dumps(trust_config(WORLD, address, version)))
    (folder / "root.json").write_text(json.dumps(WORLD.root()))
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "weights").write_bytes(b"w" * 1000)
    (folder / "file").write_bytes(b"data")
    return By(token=str(folder / "token"), services=str(folder / "trust.json"))


def asked(folder: Path, artifact: str, bundle: str) -> artifact_verify.Request:
    return artifact_verify.Request(
        str(folder / artifact),
        str(folder / bundle),
        identity=IDENTITY,
        issuer=ISSUER,
        trusted_root=str(folder / "root.json"),
    )


@pytest.mark.parametrize("version", [1, 2])
def test_files_and_models_are_signed_by_an_identity(version: int, tmp_path: Path) -> None:
    with serving(WORLD) as (address, tokens):
        by = write(tmp_path, address, version)
        artifact_sign.sign(str(tmp_path / "file"), by, str(tmp_path / "file.json"))
        model_signing.sign(str(tmp_path / "model"), by, None, str(tmp_path / "model.sig"))
    assert tokens == [f"Bearer {TOKEN}"] * 2
    found = artifact_verify.verify(asked(tmp_path, "file", "file.json"))
    assert (found["identity"], found["issuer"]) == (IDENTITY, ISSUER)
    assert len(found["times"]) == (2 if version == 1 else 1)
    assert artifact_verify.verify(asked(tmp_path, "model", "model.sig"))["verified"]
    whose = asked(tmp_path, "model", "model.sig")
    check = model_verify.verify(model_verify.Request(whose.artifact, str(whose.bundle), whose=whose))
    assert check.problems() == ()
    (tmp_path / "model" / "weights").write_bytes(b"x" * 1000)
    check = model_verify.verify(model_verify.Request(whose.artifact, str(whose.bundle), whose=whose))
    assert check.differing == ("weights",)


@pytest.mark.parametrize("spoil", ["certificate", "stamp", "entry", "status"])
def test_a_service_that_answers_wrongly_is_found_and_nothing_is_written(spoil: str, tmp_path: Path) -> None:
    with serving(WORLD, spoil) as (address, _):
        by = write(tmp_path, address)
        with pytest.raises(CustomhouseError) as error:
            artifact_sign.sign(str(tmp_path / "file"), by, str(tmp_path / "file.json"))
    assert TOKEN not in str(error.value)
    assert not (tmp_path / "file.json").exists()


def test_services_out_of_reach_a_wrong_configuration_or_token_are_said(tmp_path: Path) -> None:
    by = write(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(CustomhouseError, match="out of reach") as error:
        artifact_sign.sign(str(tmp_path / "file"), by, None)
    assert TOKEN not in str(error.value)
    (tmp_path / "token").write_text("two tokens")
    with pytest.raises(ConfigError, match="not an identity token"):
        artifact_sign.sign(str(tmp_path / "file"), by, None)
    good = trust_config(WORLD, "http://127.0.0.1:9")
    for change, words in (
        ({"mediaType": "x"}, "not a trust configuration"),
        ({"signingConfig": {**good["signingConfig"], "caUrls": []}}, "caUrls names no service"),
        ({"signingConfig": {**good["signingConfig"], "tsaUrls": []}}, "no timestamp authority"),
        ({"trustedRoot": {}}, "no mediaType"),
    ):
        (tmp_path / "trust.json").write_text(json.dumps({**good, **change}))
        with pytest.raises(ConfigError, match=words):
            artifact_sign.sign(str(tmp_path / "file"), by, None)


def test_the_trusted_root_of_customhouse_yaml_vouches_for_the_identities_it_names(tmp_path: Path) -> None:
    with serving(WORLD) as (address, _):
        artifact_sign.sign(str(tmp_path / "file"), write(tmp_path, address), None)
    config = tmp_path / "customhouse.yaml"
    identity = {"name": "ci", "trustedRoot": "root.json", "identity": IDENTITY, "issuer": ISSUER}
    config.write_text(
        json.dumps(
            {
                "apiVersion": "customhouse.dev/v1",
                "policy": {"requireSignedCommits": False},
                "trust": {"identities": [{**identity, "kinds": ["signature"]}]},
            }
        )
    )
    request = artifact_verify.Request(str(tmp_path / "file"), identity=IDENTITY, issuer=ISSUER, config=config)
    assert artifact_verify.verify(request)["verified"]
    with pytest.raises(UsageError, match="no trusted root"):
        artifact_verify.verify(replace(request, identity="https://example.org/other"))


def test_who_signs_must_be_said_in_one_way() -> None:
    for options in ({}, {"key": "k", "token": "t", "services": "s"}, {"token": "t"}, {"key": "k", "services": "s"}):
        with pytest.raises(UsageError):
            By(**options)


def test_a_file_that_would_become_an_attestation_is_not_signed(tmp_path: Path) -> None:
    generate_pair(tmp_path, "own")
    (tmp_path / "file").write_bytes(pae("application/vnd.in-toto+json", b"{}"))
    with pytest.raises(UsageError, match="pass for an attestation"):
        artifact_sign.sign(str(tmp_path / "file"), By(str(tmp_path / "own.key")), None)
    assert not (tmp_path / "file.sigstore.json").exists()
