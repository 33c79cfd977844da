"""SOPS keys at Google's and Microsoft's services, before a server here that answers as their documents say.

`secret.google.yaml` and `secret.groups.yaml` were encrypted by the real SOPS (3.13.3) asking the same server by REST.
Neither cloud was asked itself.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from customhouse._kit.clock import FixedClock
from customhouse.app.settings import Settings
from customhouse.app.wiring_secrets import opener
from customhouse.control.adapters import sops_clouds
from customhouse.control.adapters.age import identities, opened
from customhouse.control.adapters.sops import plaintexts
from customhouse.control.adapters.sops_keys import KeyNotOpenedError
from customhouse.control.render import render
from customhouse.core.errors import CannotDecideError

SOPS = Path(__file__).resolve().parents[1] / "conformance" / "sops"
CANARY, TOKEN = "canary-7f3a-password", "token-canary"
KEY = AESGCM(b"k" * 32)
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)


class Cloud(ThreadingHTTPServer):
    """The two services and where their tokens come from; `asked` are (path, form or body)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked: list[tuple[str, Any]] = []
        self.account = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.vault = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.wrong = ""


class Handler(BaseHTTPRequestHandler):
    server: Cloud

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        plain = self.headers["Content-Type"] == "application/json"
        said = json.loads(body) if plain else {key: value for key, (value,) in parse_qs(body.decode()).items()}
        self.server.asked.append((self.path, said))
        allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
        answer: dict[str, str] | None = None
        if self.path.endswith("/token"):
            answer = {"access_token": TOKEN, "token_type": "Bearer"} if self.known(said) else None
        elif allowed and self.path.endswith(":decrypt"):
            sealed = base64.b64decode(said["ciphertext"])
            name = self.path.removeprefix("/v1/").removesuffix(":decrypt").encode()
            try:
                answer = {"plaintext": base64.b64encode(KEY.decrypt(sealed[:12], sealed[12:], name)).decode()}
            except InvalidTag:
                answer = None
        elif allowed and self.path == "/keys/sops/v1/decrypt?api-version=7.4" and said["alg"] == "RSA-OAEP-256":
            key = self.server.vault.decrypt(base64.urlsafe_b64decode(said["value"] + "=="), OAEP)
            answer = {"kid": "x", "value": base64.urlsafe_b64encode(key).decode().rstrip("=")}
        data = (self.server.wrong or json.dumps(answer or {"error": CANARY})).encode()
        self.send_response(200 if answer else 403)
        self.end_headers()
        self.wfile.write(data)

    def known(self, said: dict[str, str]) -> bool:
        if said["grant_type"] == "client_credentials":
            return "right" in (said.get("client_secret"), said.get("client_assertion"))
        head, claims, signature = said["assertion"].split(".")
        self.server.account.public_key().verify(
            base64.urlsafe_b64decode(signature + "=="),
            f"{head}.{claims}".encode(),
            padding.PKCS1v15(),
            hashes.SHA256(),
        )
        told = json.loads(base64.urlsafe_b64decode(claims + "=="))
        at = int(NOW.timestamp())
        return bool(
            told["iss"] == "deploy@p.iam.gserviceaccount.com"
            and told["aud"] == sops_clouds.GOOGLE_TOKENS
            and (told["iat"], told["exp"]) == (at, at + 600)
        )

    def log_message(self, *_args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def started() -> Iterator[Cloud]:
    server = Cloud()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cloud(started: Cloud) -> Cloud:
    started.asked.clear()
    started.wrong = ""
    return started


def unsealed(name: str, data: bytes, environment: dict[str, str]) -> Any:
    declared = render({name: data})
    found = opener(Settings(Path("/nowhere"), environment=environment), {name: data}.get, declared)
    assert found is not None
    return found.opened(declared[0].manifest)


def refused(name: str, data: bytes, environment: dict[str, str]) -> str:
    with pytest.raises(CannotDecideError) as caught:
        unsealed(name, data, environment)
    said = str(caught.value)
    assert CANARY not in said
    assert TOKEN not in said
    return said


def test_what_sops_encrypted_for_googles_key_is_opened_by_who_may_and_by_nobody_else(cloud: Cloud) -> None:
    name = "secret.google.yaml"
    data = (SOPS / name).read_bytes()
    environment = {"SOPS_GCP_KMS_ENDPOINT": cloud.url, "GOOGLE_OAUTH_ACCESS_TOKEN": TOKEN}
    went_in = yaml.safe_load((SOPS / "secret.yaml").read_text())
    assert unsealed(name, data, environment) == went_in
    assert "the answer is 403" in refused(name, data, {**environment, "GOOGLE_OAUTH_ACCESS_TOKEN": "other"})
    assert "it is encrypted for gcp_kms" in refused(name, data, {})
    # Another key's name does not open it, and a name that is none is not put into an address.
    for other, why in (("cryptoKeys/other", "the answer is 403"), ("cryptoKeys/k/../../x", "cannot be read")):
        assert why in refused(name, data.replace(b"cryptoKeys/k", other.encode()), environment)
    for wrong in ("no JSON", "[]", '{"plaintext": "!"}', '{"plaintext": "YWJj"}'):
        cloud.wrong = wrong
        refused(name, data, environment)


def test_one_of_the_groups_that_share_a_key_may_be_googles(cloud: Cloud) -> None:
    name = "secret.groups.yaml"
    data = (SOPS / name).read_bytes()
    environment = {"SOPS_GCP_KMS_ENDPOINT": cloud.url, "GOOGLE_OAUTH_ACCESS_TOKEN": TOKEN}
    for key in ("age.txt", "age-other.txt"):
        found = unsealed(name, data, {**environment, "SOPS_AGE_KEY_FILE": str(SOPS / key)})
        assert found["stringData"]["password"] == CANARY
    assert "2 of its 3 key groups are needed, and 1 opened" in refused(name, data, environment)


def test_a_service_account_asks_for_its_token_at_googles_address_and_keeps_it(cloud: Cloud) -> None:
    pem = cloud.account.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"client_email": "deploy@p.iam.gserviceaccount.com", "private_key": pem.decode(), "private_key_id": "1"}
    account["token_uri"] = "https://evil.example/token"
    clock = FixedClock(NOW)
    ask = partial(sops_clouds.google_token, account, clock.now, f"{cloud.url}/token")
    token = sops_clouds.kept(lambda _: ask(), clock)
    assert [token(""), token("")] == [TOKEN, TOKEN]
    assert len(cloud.asked) == 1
    with pytest.raises(KeyNotOpenedError, match="private_key"):
        sops_clouds.google_token({**account, "private_key": CANARY}, clock.now, cloud.url)
    said = refused("a.yaml", (SOPS / "secret.google.yaml").read_bytes(), {"GOOGLE_APPLICATION_CREDENTIALS": "/none"})
    assert "/none cannot be read" in said


@pytest.mark.parametrize("way", ["AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"])
def test_a_file_for_an_azure_key_is_opened_with_a_token_for_vaults(cloud: Cloud, way: str) -> None:
    said = {"AZURE_TENANT_ID": "t-1", "AZURE_CLIENT_ID": "c", way: "right", "AZURE_AUTHORITY_HOST": cloud.url}
    # Azure's part of a file that SOPS encrypted for age: the values' code does not cover SOPS' own part.
    (document,) = yaml.safe_load_all((SOPS / "secret.regex.yaml").read_text())
    key = opened(document["sops"].pop("age")[0]["enc"], identities((SOPS / "age.txt").read_text()))
    assert key is not None
    sealed = base64.urlsafe_b64encode(cloud.vault.public_key().encrypt(key, OAEP)).decode().rstrip("=")
    entry = {"vault_url": "https://risk.vault.azure.net", "name": "sops", "version": "v1", "enc": sealed}

    def values(entry: dict[str, str], said: dict[str, str]) -> list[Any]:
        document["sops"]["azure_kv"] = [entry]
        token = partial(sops_clouds.azure_token, said, federated=lambda file: f"{file}\n")
        others = {"azure_kv": sops_clouds.by_azure(token, lambda _: cloud.url)}
        return [
            value
            for _, value in plaintexts("secret.yaml", yaml.safe_dump(document, sort_keys=False).encode(), (), others)
        ]

    assert CANARY in values(entry, said)
    assert cloud.asked[0][1]["scope"] == "https://vault.azure.net/.default"
    with pytest.raises(CannotDecideError, match="the answer is 403"):
        values(entry, {**said, way: "wrong"})
    asked = len(cloud.asked)
    for place in ("https://evil.example", "https://vault.azure.net.evil.example", "https://a.b@risk.vault.azure.net"):
        with pytest.raises(CannotDecideError, match="names another place than a vault"):
            values({**entry, "vault_url": place}, said)
    with pytest.raises(CannotDecideError, match="say no one who may ask"):
        values(entry, {})
    assert len(cloud.asked) == asked, "nobody was told a token who is no vault"
