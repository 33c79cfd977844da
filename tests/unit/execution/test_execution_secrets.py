"""Values of secrets for this machine: whence, in which order, and that nothing is said about them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from customhouse.app.settings import Settings
from customhouse.app.wiring_secrets import age_identities, opener, secret_provider
from customhouse.control.render import render
from customhouse.core.errors import ConfigError, TargetError
from customhouse.core.resource import Declaration
from customhouse.execution.adapters.secrets import Vault, from_folder, variable

SOPS = Path(__file__).resolve().parents[2] / "conformance" / "sops"
TOKEN = "token-canary"


class Store(BaseHTTPRequestHandler):
    """What a KV engine of version 2 answers (developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2)."""

    values: ClassVar[dict[str, dict[str, Any]]] = {"risk/database": {"password": "from the store"}, "number": {"a": 5}}

    def do_GET(self) -> None:
        path = self.path.removeprefix("/v1/kv/data/")
        if self.headers["X-Vault-Token"] != TOKEN:
            self._answer(403, {"errors": ["permission denied"]})
        elif path == "moved":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/v1/kv/data/risk/database")
            self.end_headers()
        elif path == "garbage":
            self._answer(200, ["x"])
        elif path == "deleted":
            self._answer(404, {"data": {"data": None, "metadata": {"version": 1}}})
        elif path in self.values:
            self._answer(200, {"data": {"data": self.values[path], "metadata": {"version": 3}}})
        else:
            self._answer(404, {"errors": []})

    def _answer(self, status: int, document: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_args: object) -> None:
        """Nothing."""


@pytest.fixture
def store() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


REFERENCE = b"""apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: any, namespace: shop}
spec:
  target: {name: login}
  data: [{secretKey: word, remoteRef: {key: risk/database, property: password}}]
"""


def settings(tmp_path: Path, **environment: str) -> Settings:
    return Settings(state=tmp_path, environment=environment)


def declared() -> tuple[Declaration, ...]:
    return render({"reference.yaml": REFERENCE, "secret.yaml": (SOPS / "secret.regex.yaml").read_bytes()})


def test_the_first_place_that_has_a_value_gives_it(tmp_path: Path, store: str) -> None:
    folder = tmp_path / "values" / "risk" / "database"
    folder.mkdir(parents=True)
    (folder / "password").write_text("from a file")
    (folder / "password").chmod(0o600)
    vault = {"VAULT_ADDR": store, "VAULT_TOKEN": TOKEN, "CUSTOMHOUSE_VAULT_MOUNT": "kv"}
    sops = {"SOPS_AGE_KEY": (SOPS / "age.txt").read_text()}
    name = variable("risk", "database", "password")
    assert name == "CUSTOMHOUSE_SECRET_RISK_DATABASE_PASSWORD"

    def ask(*key: str, sealed: bool = True, **environment: str) -> str | None:
        given = settings(tmp_path, **environment)
        items = declared() if sealed else declared()[:1]
        data = (SOPS / "secret.regex.yaml").read_bytes()
        found = secret_provider(given, lambda: items, lambda: opener(given, lambda _: data, items))
        return found(*(key or ("risk", "database", "password")))

    assert ask(sealed=False) is None
    assert ask(sealed=False, **vault) == "from the store"
    assert ask(**vault, **sops) == "canary-7f3a-password"
    assert ask(**vault, **sops, CUSTOMHOUSE_SECRETS=str(tmp_path / "values")) == "from a file"
    assert ask(**vault, CUSTOMHOUSE_SECRETS=str(tmp_path / "values"), **{name: "from a variable"}) == "from a variable"
    # An ExternalSecret says where the store has it.
    assert ask("shop", "login", "word", **vault) == "from the store"
    assert ask("shop", "login", "other", **vault) is None


@pytest.mark.parametrize(
    ("path", "said"),
    [("moved", "redirect"), ("garbage", "none of its KV engine"), ("number", "no text")],
)
def test_a_store_that_answers_something_else_is_said_and_nothing_it_said_is_shown(
    store: str, path: str, said: str, tmp_path: Path
) -> None:
    reference = REFERENCE.replace(b"risk/database", path.encode()).replace(b"property: password", b"property: a")
    given = settings(tmp_path, VAULT_ADDR=store, VAULT_TOKEN=TOKEN, CUSTOMHOUSE_VAULT_MOUNT="kv")
    items = render({"reference.yaml": reference})
    with pytest.raises(TargetError) as caught:
        secret_provider(given, lambda: items, lambda: None)("shop", "login", "word")
    assert said in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_token_that_is_over_and_a_store_that_is_gone(store: str) -> None:
    with pytest.raises(TargetError, match="answers 403"):
        Vault(store, "over", "kv").read("risk/database")
    assert Vault(store, TOKEN, "kv").read("deleted") is None
    with pytest.raises(TargetError, match="cannot be asked"):
        Vault("http://127.0.0.1:9", TOKEN).read("risk/database")
    with pytest.raises(TargetError, match="cannot be asked"):
        Vault("http://store.example.com", TOKEN).read("x")  # the token would go over the wire in the clear
    assert TOKEN not in repr(Vault(store, TOKEN))


def test_files_that_others_may_read_links_and_ways_out_give_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "risk" / "database"
    folder.mkdir(parents=True)
    (folder / "open").write_text("x")
    (folder / "open").chmod(0o644)
    (folder / "link").symlink_to(folder / "open")
    (folder / "binary").write_bytes(b"\xff\xfe")
    (folder / "binary").chmod(0o600)
    provide = from_folder(tmp_path)
    for key in ("open", "link", "binary"):
        with pytest.raises(TargetError):
            provide("risk", "database", key)
    assert provide("risk", "database", "absent") is None
    assert provide("..", "risk", "database") is None
    assert provide("risk", "database", "../database/open") is None


def test_keys_that_are_none_are_said_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        age_identities({"SOPS_AGE_KEY": "AGE-SECRET-KEY-1CANARY"})
    assert "CANARY" not in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        age_identities({"SOPS_AGE_KEY_FILE": str(tmp_path / "none")})
    assert age_identities({}) == ()
