"""Models from a hub: a server of the tests that answers as Hugging Face's HTTP API is documented (none is here)."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from customhouse._kit.digest import bytes_digest, tree
from customhouse.app import wiring
from customhouse.app.model_pull import Pulled, pull
from customhouse.app.model_register import RegisterRequest, register
from customhouse.app.modelbom import Sources
from customhouse.app.models import AttestRequest, attest
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError, CustomhouseError, UsageError
from customhouse.trust.adapters.registries.hub import HubModel
from customhouse.trust.bom_claims import with_claims
from customhouse.trust.bom_given import Given
from customhouse.trust.bundle import read_bundle
from customhouse.trust.custody import graph
from customhouse.trust.keys import generate
from oci_registry import Registry

FILES = {
    "config.json": b"{}",
    "model.safetensors": b"\x08\0\0\0\0\0\0\0{}      ",
    "pytorch_model.bin": b"old",
    "LICENSE": b"MIT",
}
LARGE = {"model.safetensors", "pytorch_model.bin"}


class Hub:
    """One repository with branches of commits; `tokens` may read it (everybody, when empty)."""

    def __init__(self) -> None:
        self.branches: dict[str, str] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.tokens: set[str] = set()
        self.card: dict[str, Any] = {"license": "mit", "base_model": "org/base", "datasets": ["org/data"]}
        self.served: dict[str, bytes] = {}
        """What is given instead of a file, by its path."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        found = hashlib.sha1(json.dumps([branch, sorted(map(repr, files.items()))]).encode()).hexdigest()
        self.branches[branch], self.commits[found] = found, files
        return found

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        if self.tokens and asked.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            self.send(asked, 401, b"", {"X-Error-Code": "GatedRepo"})
            return
        parts = unquote(urlsplit(asked.path).path).removeprefix("/cdn").strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            revision = parts[5]
            commit = self.branches.get(revision, revision if revision in self.commits else "")
            body = json.dumps(self.document(commit)).encode() if commit else b""
            self.send(asked, 200 if commit else 404, body, {"X-Error-Code": "" if commit else "RevisionNotFound"})
            return
        name = "/".join(parts[4:])
        content = self.served.get(name, self.commits[parts[3]][name])
        if name in LARGE and "cdn" not in asked.path:
            self.send(asked, 302, b"", {"Location": f"{self.url}/cdn{asked.path}"})
            return
        self.send(asked, 200, content, {"X-Repo-Commit": parts[3]})

    def document(self, commit: str) -> dict[str, Any]:
        files = []
        for name, content in self.commits[commit].items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            large = {"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}}
            files.append({"rfilename": name, "size": len(content), "blobId": blob, **(large if name in LARGE else {})})
        return {"id": "org/model", "sha": commit, "siblings": files, "cardData": self.card, "tags": ["custom_code"]}

    def send(self, asked: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        asked.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            asked.send_header(key, value)
        asked.end_headers()
        asked.wfile.write(body)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def hub() -> Iterator[Hub]:
    running = Hub()
    running.commit("main", FILES)
    yield running
    running.stop()


@pytest.fixture
def get(hub: Hub, tmp_path: Path) -> Callable[..., Pulled]:
    def run(reference: str, out: str = "out", **more: Any) -> Pulled:
        environment = {"HF_ENDPOINT": hub.url, **more.pop("environment", {})}
        settings = Settings(tmp_path / more.pop("state", "state"), environment=environment)
        return pull(settings, reference, str(tmp_path / out), **{"digest": None, "lock": None, **more})

    return run


def test_a_branch_becomes_a_commit_once_and_every_file_has_its_digest(hub, get, tmp_path):
    lock = str(tmp_path / "lock.json")
    first = hub.branches["main"]
    done = get("hf://org/model", lock=lock)
    assert done.reference == f"hf://org/model@{first}@{tree(tmp_path / 'out').digest}"
    assert {pin.path: pin.digest for pin in done.pins} == {k: bytes_digest(v) for k, v in FILES.items()}
    hub.commit("main", {**FILES, "config.json": b'{"auto_map": {}}'})
    assert get("hf://org/model", "again", lock=lock).tree == done.tree
    assert get("hf://org/model@main", "new").tree != done.tree


def test_what_the_page_says_is_told_as_claims(get):
    assert get("hf://org/model").claims == {
        "registry": "hub",
        "licence": "mit",
        "licenceFile": "LICENSE",
        "baseModels": ["org/base"],
        "datasets": ["org/data"],
        "customCode": True,
        "picklesBesideSafetensors": ["pytorch_model.bin"],
    }


@pytest.mark.parametrize(
    ("said", "licence"), [(["mit", "apache-2.0"], "mit AND apache-2.0"), (["mit", 3], None), ({}, None)]
)
def test_several_licences_all_hold_and_what_is_none_says_nothing(hub, get, said, licence):
    hub.card["license"] = said
    assert get("hf://org/model").claims.get("licence") == licence


@pytest.mark.parametrize(
    ("name", "given"), [("config.json", b"[]"), ("model.safetensors", b"x" * 16), ("config.json", b"{ }")]
)
def test_a_file_that_is_not_the_commit_s_is_refused_and_nothing_is_kept(hub, get, tmp_path, name, given):
    hub.served[name] = given
    with pytest.raises(CustomhouseError):
        get("hf://org/model")
    assert not (tmp_path / "out").exists()


def test_a_commit_that_is_asked_for_must_be_the_one_that_comes(hub, get):
    other = hub.commit("other", {"config.json": b"1"})
    hub.branches[other] = hub.branches["main"]
    with pytest.raises(ArtifactError, match="the hub gave the commit"):
        get(f"hf://org/model@{other}")


def test_a_gated_model_needs_a_token_which_goes_to_the_hub_alone(hub, get):
    hub.tokens.add("hf_secret")
    with pytest.raises(ArtifactError, match="GatedRepo") as refused:
        get("hf://org/model", environment={"HF_TOKEN": "wrong-token"})
    assert "HF_TOKEN" in str(refused.value)
    assert "wrong-token" not in str(refused.value)
    assert get("hf://org/model", environment={"HF_TOKEN": "hf_secret"}).files == len(FILES)


@pytest.mark.parametrize("path", ["../escape", "/etc/passwd", "a/../../b", "x\0y", ".", "nul\n"])
def test_a_file_with_a_name_that_leads_elsewhere_is_refused(hub, get, tmp_path, path):
    hub.commit("main", {path: b"1"})
    with pytest.raises(CustomhouseError):
        get("hf://org/model")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["hf://a/b/c", "hf://../x", "hf://a@", "hf://a/b@../../x y", "hf:///x"])
def test_what_is_no_model_of_a_hub_is_refused(text):
    if text == "hf://a@":
        assert HubModel.parse(text).revision == "main"
        return
    with pytest.raises(UsageError):
        HubModel.parse(text)


def test_what_the_hub_claims_stands_in_the_signed_bill_and_not_in_that_of_other_files(hub, get, tmp_path):
    commit = hub.commit("main", {"config.json": b"{}"})
    lock, key, out = tmp_path / "lock.json", tmp_path / "k", str(tmp_path / "out")
    done = get("hf://org/name@main", lock=str(lock))
    generate().save(key)

    def bill(**more: Any) -> dict[str, Any]:
        sources = Sources(lock=str(lock), **more)
        request = AttestRequest(out, str(tmp_path), str(key), "name", "1", None, (), None, sources)
        said = attest(request, Settings(tmp_path / "state", environment={}))
        name = next(name for name in said["files"] if "bom" in name)
        return dict(read_bundle((tmp_path / name).read_bytes()).statement().predicate["metadata"]["component"])

    found = bill()
    assert found["licenses"] == [{"license": {"id": "MIT"}}]
    (base,) = found["pedigree"]["ancestors"]
    assert base["name"] == "org/base"
    assert base["description"] == f"claimed by {done.reference}"
    assert [link["type"] for link in found["externalReferences"]] == ["distribution"]
    assert commit in found["externalReferences"][0]["url"]
    # What people say comes first.
    (tmp_path / "card.json").write_text(json.dumps({"licence": "Apache-2.0"}))
    assert bill(card=str(tmp_path / "card.json"))["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    # Files that were made from it are not it.
    (tmp_path / "out" / "adapter.json").write_text("{}")
    with pytest.raises(UsageError, match="of other files"):
        bill()


@pytest.mark.parametrize(
    "claims", [{"licence": 3, "baseModels": "x"}, {"licence": "a\x1b[2J", "baseModels": [1, "", "y" * 999]}]
)
def test_claims_of_odd_shape_are_left_out(claims):
    found = with_claims(Given(), "hf://o/n@1", claims)
    assert (found.licence, found.base_models) == ("", ())


@pytest.mark.part("docker-registry")
def test_a_hub_s_model_is_registered_with_where_it_came_from_and_its_base_as_a_claim(hub, find_part, tmp_path):
    commit = hub.commit("main", {"config.json": b"{}"})
    (tmp_path / "registry").mkdir()
    registry = Registry(find_part("docker-registry"), tmp_path / "registry")
    try:
        generate().save(tmp_path / "k")
        settings = Settings(tmp_path / "state", environment={"HF_ENDPOINT": hub.url})
        asked = RegisterRequest("hf://org/name@main", f"oci://{registry.host}/m/name:1", str(tmp_path / "k"))
        done = register(settings, asked)
        again = register(settings, asked)
    finally:
        registry.stop()
    assert (done["registered"], done["name"]) == (True, "name")
    assert done["source"].startswith(f"hf://org/name@{commit}@sha256:")
    assert (again["entry"], again["sent"]) == (done["entry"], 0)
    with wiring.store(settings) as opened:
        found = graph(wiring.ledger(settings, opened, write=False).entries())
    (link,) = [link for link in found.links if link.kind == "base-of"]
    assert (link.source, link.target) == ("model:org/base", f"model:{done['digest']}")
    assert found.sources[link] <= found.claimed
    (entered,) = [link for link in found.links if link.kind == "registered-in"]
    assert not found.sources[entered] & found.claimed
