"""Keys of SOPS and values of secrets from services: AWS (as moto plays it), GnuPG, and a Vault's transit engine."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from amazon_server import KEYS, Amazon
from customhouse._kit.amazon import AmazonApi, AmazonError
from customhouse._kit.clock import SystemClock
from customhouse.app.settings import Settings
from customhouse.app.wiring_secrets import opener, secret_provider
from customhouse.control.adapters.age import identities, opened
from customhouse.control.render import render
from customhouse.core.errors import CannotDecideError, ConfigError, TargetError

SOPS = Path(__file__).resolve().parents[1] / "conformance" / "sops"
CANARY = "canary-7f3a-password"
REGION = "us-east-1"


@pytest.fixture(scope="module")
def amazon(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amazon]:
    made = Amazon(find_part("moto_server"), tmp_path_factory.mktemp("amazon"))
    yield made
    made.stop()


def data_key() -> bytes:
    """The key of the file that SOPS itself encrypted for age."""
    (document,) = yaml.safe_load_all((SOPS / "secret.regex.yaml").read_text())
    key = opened(document["sops"]["age"][0]["enc"], identities((SOPS / "age.txt").read_text()))
    assert key is not None
    return key


def wrapped(**entries: list[dict[str, Any]]) -> dict[str, bytes]:
    """That file with other ways to its key: SOPS' code covers the values, not its own part."""
    (document,) = yaml.safe_load_all((SOPS / "secret.regex.yaml").read_text())
    del document["sops"]["age"]
    document["sops"] |= entries
    return {"secret.yaml": yaml.safe_dump(document, sort_keys=False).encode()}


def unsealed(files: dict[str, bytes], environment: dict[str, str]) -> dict[str, Any]:
    declared = render(files)
    found = opener(Settings(Path("/nowhere"), environment=environment), files.get, declared)
    assert found is not None
    return dict(found.opened(declared[0].manifest))


def refused(files: dict[str, bytes], environment: dict[str, str]) -> str:
    with pytest.raises(CannotDecideError) as caught:
        unsealed(files, environment)
    assert CANARY not in str(caught.value)
    assert KEYS.secret not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def kms(amazon: Amazon) -> tuple[AmazonApi, str]:
    api = AmazonApi("kms", REGION, KEYS, SystemClock(), amazon.url)
    return api, str(api.ask("TrentService.CreateKey", {})["KeyMetadata"]["Arn"])


@pytest.mark.part("moto_server")
def test_a_file_for_a_kms_key_is_opened_with_its_context_and_for_nobody_else(
    amazon: Amazon, kms: tuple[AmazonApi, str]
) -> None:
    api, arn = kms
    context = {"team": "risk"}
    sealed = api.ask(
        "TrentService.Encrypt",
        {"KeyId": arn, "Plaintext": base64.b64encode(data_key()).decode(), "EncryptionContext": context},
    )["CiphertextBlob"]
    entry = {"arn": arn, "enc": sealed, "context": context, "created_at": "2026-11-22T19:24:01Z", "aws_profile": ""}
    found = unsealed(wrapped(kms=[entry]), amazon.environment)
    assert found["stringData"]["password"] == CANARY
    assert "KMS" in refused(wrapped(kms=[{**entry, "context": {"team": "other"}}]), amazon.environment)
    assert "none is taken on" in refused(wrapped(kms=[{**entry, "role": "arn:aws:iam::1:role/x"}]), amazon.environment)
    assert "cannot be read" in refused(wrapped(kms=[{**entry, "arn": "http://evil.example/"}]), amazon.environment)
    # One that cannot be opened does not hide the next one that can.
    other = {**entry, "enc": base64.b64encode(b"x" * 80).decode()}
    assert unsealed(wrapped(kms=[other, entry]), amazon.environment) == found


@pytest.mark.part("moto_server")
def test_values_come_from_secrets_manager_as_members_of_json_or_as_they_are(amazon: Amazon, tmp_path: Path) -> None:
    api = AmazonApi("secretsmanager", REGION, KEYS, SystemClock(), amazon.url)
    kept = {"risk/database": json.dumps({"password": CANARY, "port": 5432}), "plain/token": CANARY}
    for name, text in kept.items():
        api.ask("secretsmanager.CreateSecret", {"Name": name, "SecretString": text})
    blob = base64.b64encode(b"\x00\xff").decode()
    api.ask("secretsmanager.CreateSecret", {"Name": "risk/blob", "SecretBinary": blob})
    manifest = """apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: token, namespace: risk}
spec:
  data:
    - {secretKey: whole, remoteRef: {key: plain/token}}
    - {secretKey: part, remoteRef: {key: risk/database, property: password}}
"""
    declared = render({"token.yaml": manifest.encode()})
    environment = {**amazon.environment, "CUSTOMHOUSE_SECRETS_MANAGER": REGION}
    values = secret_provider(Settings(tmp_path, environment=environment), lambda: declared, lambda: None)
    assert values("risk", "database", "password") == CANARY
    assert values("risk", "token", "whole") == CANARY
    assert values("risk", "token", "part") == CANARY
    assert values("risk", "database", "absent") is None
    assert values("risk", "nothing", "password") is None
    for name, key in (("database", "port"), ("blob", "password")):
        with pytest.raises(TargetError, match="no text") as caught:
            values("risk", name, key)
        assert CANARY not in str(caught.value)
    # Nobody is asked unless it is said; a region that is none is told, since an address is made of it.
    silent = secret_provider(Settings(tmp_path, environment=amazon.environment), lambda: declared, lambda: None)
    assert silent("risk", "database", "password") is None
    for wrong in ("evil.example/", "us-east-1.evil.example"):
        said = {**amazon.environment, "CUSTOMHOUSE_SECRETS_MANAGER": wrong}
        with pytest.raises(ConfigError, match="names a region"):
            secret_provider(Settings(tmp_path, environment=said), lambda: declared, lambda: None)("a", "b", "c")


@pytest.mark.part("moto_server")
def test_an_api_that_says_no_or_is_away_is_told_without_what_was_asked(amazon: Amazon) -> None:
    api = AmazonApi("secretsmanager", REGION, KEYS, SystemClock(), amazon.url)
    with pytest.raises(AmazonError, match="ResourceNotFoundException") as caught:
        api.ask("secretsmanager.GetSecretValue", {"SecretId": CANARY})
    assert caught.value.code == "ResourceNotFoundException"
    assert CANARY not in str(caught.value)
    with pytest.raises(AmazonError):
        AmazonApi("kms", REGION, KEYS, SystemClock(), "http://127.0.0.1:1").ask("TrentService.Decrypt", {})


@pytest.mark.part("gpg")
def test_a_file_for_a_pgp_key_is_opened_by_the_key_ring_and_by_no_other(
    find_part: Callable[[str], Path], tmp_path: Path
) -> None:
    rings = [tmp_path / "ours", tmp_path / "others"]
    for ring in rings:
        ring.mkdir(mode=0o700)
    gpg = str(find_part("gpg"))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GNUPGHOME": str(rings[0]), "SOPS_GPG_EXEC": gpg}
    ours = [gpg, "--batch", "--passphrase", "", "--quiet"]
    try:
        making = [*ours, "--quick-generate-key", "deploy@example.com", "default", "default", "never"]
        subprocess.run(making, env=environment, check=True, capture_output=True)
        listed = subprocess.run(
            [gpg, "--list-keys", "--with-colons"], env=environment, check=True, capture_output=True, text=True
        ).stdout
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        sealing = [gpg, "--batch", "--trust-model", "always", "--armor", "--encrypt", "--recipient", fingerprint]
        sealed = subprocess.run(sealing, env=environment, input=data_key(), check=True, capture_output=True).stdout
        files = wrapped(pgp=[{"fp": fingerprint, "enc": sealed.decode(), "created_at": "2026-11-22T19:24:01Z"}])
        assert unsealed(files, environment)["stringData"]["password"] == CANARY
        assert "no secret key" in refused(files, {**environment, "GNUPGHOME": str(rings[1])})
        assert "cannot be read" in refused(wrapped(pgp=[{"fp": "--output", "enc": sealed.decode()}]), environment)
        assert "program gpg is missing" in refused(files, {**environment, "SOPS_GPG_EXEC": "/nowhere/gpg"})
    finally:
        for ring in rings:
            end = {**environment, "GNUPGHOME": str(ring)}
            if shutil.which("gpgconf"):
                subprocess.run(["gpgconf", "--kill", "all"], env=end, check=False, capture_output=True)


class Transit(BaseHTTPRequestHandler):
    """What the transit engine answers (developer.hashicorp.com/vault/api-docs/secret/transit)."""

    key: ClassVar[bytes] = b""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = self.path == "/v1/transit/decrypt/sops" and self.headers["X-Vault-Token"] == "token-canary"
        self.send_response(200 if good and body["ciphertext"] == "vault:v1:abc" else 403)
        self.end_headers()
        data = {"data": {"plaintext": base64.b64encode(self.key).decode()}} if good else {"errors": ["denied"]}
        self.wfile.write(json.dumps(data).encode())

    def log_message(self, *_args: object) -> None:
        """Nothing."""


def test_a_vaults_token_goes_to_the_vault_that_we_name_and_not_to_one_that_the_file_names() -> None:
    Transit.key = data_key()
    server = HTTPServer(("127.0.0.1", 0), Transit)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        entry = {"vault_address": address, "engine_path": "transit", "key_name": "sops", "enc": "vault:v1:abc"}
        environment = {"VAULT_ADDR": address, "VAULT_TOKEN": "token-canary"}
        assert unsealed(wrapped(hc_vault=[entry]), environment)["stringData"]["password"] == CANARY
        assert "Vault answers 403" in refused(wrapped(hc_vault=[entry]), {**environment, "VAULT_TOKEN": "x"})
        elsewhere = wrapped(hc_vault=[{**entry, "vault_address": "http://127.0.0.1:1"}])
        assert "it is encrypted for hc_vault" in refused(elsewhere, environment)
        assert "cannot be read" in refused(wrapped(hc_vault=[{**entry, "engine_path": "../sys"}]), environment)
        assert "it is encrypted for hc_vault" in refused(wrapped(hc_vault=[entry]), {})
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
