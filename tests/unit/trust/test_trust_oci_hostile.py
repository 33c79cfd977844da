"""Registries that lie, hang, fail, redirect and ask for credentials: what the client does, and what it never sends."""

from __future__ import annotations

import base64
import json
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from customhouse._kit.digest import bytes_digest
from customhouse.core.errors import ArtifactError, ConfigError, UsageError
from customhouse.trust import oci_evidence
from customhouse.trust.adapters.registries.access import Credentials, stored_credentials
from customhouse.trust.adapters.registries.oci import OciRegistry
from customhouse.trust.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor, Reference, listed

Answer = tuple[int, dict[str, str], bytes]
DIGEST = "sha256:" + "ab" * 32
EVIL = b'{"evil": true}'


class Server:
    """Answers by a function; keeps what was asked as (method, path, authorization)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.answer: Callable[[str, str], Answer] = lambda _, __: (404, {}, b"")
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode("latin-1")
                server.asked.append((self.command, self.path, self.headers.get("Authorization", "") or body))
                status, headers, content = server.answer(self.command, self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = _do  # noqa: N815 - the names that http.server looks for

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def other() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def test_a_registry_that_gives_other_bytes_is_named_with_both_digests(server: Server) -> None:
    server.answer = lambda _, __: (200, {}, EVIL)
    client = OciRegistry(server.host)
    for get in (client.manifest, client.blob):
        with pytest.raises(ArtifactError, match=f"gave {bytes_digest(EVIL)} for {DIGEST}"):
            get("team/app", DIGEST)
    taken: list[bytes] = []
    with pytest.raises(ArtifactError, match=f"for {DIGEST}"):
        client.download("team/app", Descriptor("x", DIGEST, 14), taken.append)
    with pytest.raises(ArtifactError):  # of another length than the descriptor says
        client.download("team/app", Descriptor("x", bytes_digest(EVIL), 9), taken.append)


def test_a_registry_that_hangs_or_fails_is_an_error_in_time(server: Server) -> None:
    held = threading.Event()

    def hang(_: str, __: str) -> Answer:
        held.wait(5)
        return 200, {}, b""

    server.answer = hang
    with pytest.raises(ArtifactError, match="no answer"):
        OciRegistry(server.host, timeout_s=0.2).manifest("team/app", DIGEST)
    held.set()
    server.answer = lambda _, __: (500, {}, b"oops")
    with pytest.raises(ArtifactError, match="answers 500"):
        OciRegistry(server.host).referrers("team/app", DIGEST)
    with pytest.raises(ArtifactError, match="answers 500"):
        OciRegistry(server.host).tagged("team/app", "v1")


def test_a_manifest_is_not_taken_from_elsewhere_and_a_blob_only_where_blobs_may_lie(
    server: Server, other: Server
) -> None:
    content = b"weights"
    digest = bytes_digest(content)
    other.answer = lambda _, __: (200, {}, content)
    server.answer = lambda _, path: (307, {"Location": f"http://{other.host}{path}"}, b"")
    client = OciRegistry(server.host, Credentials("ada", "secret"))
    with pytest.raises(ArtifactError, match="which is not followed"):
        client.manifest("team/app", digest)
    assert other.asked == []
    assert client.blob("team/app", digest) == content
    assert other.asked[-1][2] == ""  # no credentials go along
    server.answer = lambda _, __: (307, {"Location": "https://169.254.169.254/latest/meta-data"}, b"")
    with pytest.raises(ArtifactError, match="which is not followed"):
        client.blob("team/app", digest)
    with pytest.raises(ArtifactError, match="redirected"):
        client.push_blob("team/app", b"new")


def test_a_token_is_asked_for_one_repository_and_only_what_is_needed(server: Server) -> None:
    body = b"blob"

    def answer(method: str, path: str) -> Answer:
        if path.startswith("/token"):
            query = urlsplit(path).query or server.asked[-1][2]  # of a POST: its body
            return 200, {}, json.dumps({"token": f"for {parse_qs(query)['scope'][0]}"}).encode()
        last = server.asked[-1][2]
        if not last.startswith("Bearer for repository:team/app:"):
            challenge = f'Bearer realm="http://{server.host}/token",service="reg",scope="repository:other:pull,push"'
            return 401, {"WWW-Authenticate": challenge}, b""
        if method == "HEAD":
            return 404, {}, b""
        if method == "POST":
            return 202, {"Location": "/v2/team/app/blobs/uploads/1?state=x"}, b""
        return (201, {}, b"") if method == "PUT" else (200, {}, body)

    server.answer = answer
    assert OciRegistry(server.host, Credentials("ada", "pw")).blob("team/app", bytes_digest(body)) == body
    asked = [item for item in server.asked if item[1].startswith("/token")]
    assert [parse_qs(urlsplit(path).query) for _, path, _ in asked] == [
        {"scope": ["repository:team/app:pull"], "service": ["reg"]}
    ]
    assert asked[0][2] == "Basic " + base64.b64encode(b"ada:pw").decode()
    OciRegistry(server.host).push_blob("team/app", b"new")
    assert "pull%2Cpush" in [path for _, path, _ in server.asked if path.startswith("/token")][-1]
    # An identity token (`docker login` of some clouds) is exchanged by POST, and stands in no address.
    OciRegistry(server.host, Credentials("<token>", "refresh-me")).blob("team/app", bytes_digest(body))
    method, path, _ = [item for item in server.asked if item[1].startswith("/token")][-1]
    assert (method, "refresh-me" in path) == ("POST", False)


def test_a_realm_that_is_no_https_address_gets_no_password(server: Server) -> None:
    challenge = 'Bearer realm="http://evil.example/token",service="reg"'
    server.answer = lambda _, __: (401, {"WWW-Authenticate": challenge}, b"")
    with pytest.raises(ArtifactError, match="no https address"):
        OciRegistry(server.host, Credentials("ada", "pw")).tagged("team/app", "v1")


def test_referrers_are_read_page_by_page_and_never_without_end(server: Server) -> None:
    one = Descriptor(MANIFEST_TYPE, DIGEST, 3).to_json()
    page = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [one]}).encode()

    def pages(_: str, path: str) -> Answer:
        number = int((parse_qs(urlsplit(path).query).get("n") or ["0"])[0])
        following = f'</v2/team/app/referrers/{DIGEST}?n={number + 1}>; rel="next"'
        return 200, {"Link": following} if number < 2 else {}, page

    server.answer = pages
    assert len(OciRegistry(server.host).referrers("team/app", DIGEST)) == 3
    server.answer = lambda _, __: (200, {"Link": f'</v2/team/app/referrers/{DIGEST}?n=1>; rel="next"'}, page)
    with pytest.raises(ArtifactError, match="more than"):
        OciRegistry(server.host).referrers("team/app", DIGEST)
    server.answer = lambda _, __: (200, {"Link": '<https://evil.example/v2/>; rel="next"'}, page)
    with pytest.raises(ArtifactError, match="at https://evil"):
        OciRegistry(server.host).referrers("team/app", DIGEST)


def test_a_registry_that_is_never_done_is_left(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is answered at once; together they would take for ever."""
    listed_here = [Descriptor(MANIFEST_TYPE, f"sha256:{number:064x}", 3).to_json() for number in range(50)]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed_here}).encode()
    server.answer = lambda _, path: (200, {}, index)
    monkeypatch.setattr(oci_evidence, "MAX_SECONDS", 0)
    with pytest.raises(ArtifactError, match="could not be read within 0 s"):
        oci_evidence.gather(OciRegistry(server.host), "team/app", DIGEST, "here")


@pytest.mark.parametrize(
    "document",
    [
        {"layers": [], "manifests": []},
        {"layers": [{"digest": DIGEST}]},
        {"layers": [{"digest": "sha256:12", "size": 1}]},
        {"layers": [{"digest": DIGEST, "size": True}]},
        {"layers": [{"digest": DIGEST, "size": -1}]},
        {"layers": "all"},
    ],
)
def test_a_manifest_that_can_be_read_in_two_ways_or_in_none_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError):
        listed(document, "layers", "here")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("team/app:v1", "docker.io/team/app"),
        ("localhost/app", "localhost/app"),
        ("localhost:5000/app:v1", "localhost:5000/app"),
        ("apexlogic.com/serve", "apexlogic.com/serve"),
        ("oci://ghcr.io/org/model", "ghcr.io/org/model"),
    ],
)
def test_an_image_is_named_as_container_runtimes_name_it(text: str, name: str) -> None:
    assert Reference.of_image(f"{text}@{DIGEST}").name == name


@pytest.mark.parametrize("text", ["", "a b", "UPPER/x", "host.example/../x", "x@sha256:12", "a" * 600])
def test_what_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Reference.of_image(text)


def test_logins_of_docker_and_podman_are_used_for_their_registry_alone(tmp_path: Path) -> None:
    packed = base64.b64encode(b"ada:secret").decode()
    auths = {
        "ghcr.io": {"auth": packed},
        "https://index.docker.io/v1/": {"username": "hub", "password": "pw"},
        "cloud.example": {"auth": packed, "identitytoken": "refresh"},
    }
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths, "credHelpers": {"helped.example": "test"}}))
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"podman.example": {"auth": packed}}}))
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"s\\"}"\n')
    helper.chmod(stat.S_IRWXU)
    environment = {
        "DOCKER_CONFIG": str(tmp_path),
        "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json"),
        "PATH": f"{tmp_path}:/usr/bin:/bin",
    }
    found = {
        host: stored_credentials(host, environment)
        for host in ("ghcr.io", "docker.io", "cloud.example", "podman.example", "helped.example", "evil-ghcr.io")
    }
    assert found["ghcr.io"] == found["podman.example"] == Credentials("ada", "secret")
    assert found["docker.io"] == Credentials("hub", "pw")
    assert found["cloud.example"] == Credentials("<token>", "refresh")
    assert found["helped.example"] == Credentials("helped.example", "s")
    assert found["evil-ghcr.io"] is None
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "config",
    [
        "not json",
        "[]",
        '{"auths": {"ghcr.io": {"auth": "!"}}}',
        '{"credsStore": "../../bin/sh"}',
        '{"credsStore": "is-not-installed"}',
    ],
)
def test_a_login_that_cannot_be_read_is_an_error_that_shows_no_byte_of_it(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ConfigError) as caught:
        stored_credentials("ghcr.io", {"DOCKER_CONFIG": str(tmp_path), "PATH": "/usr/bin"})
    assert str(tmp_path) in caught.value.where


def test_an_upload_goes_to_the_registry_alone_and_to_an_address_that_can_be_read(server: Server) -> None:
    for place in ("http://[broken", "http://elsewhere.example/upload", "//other/upload", "file:///tmp/x"):
        server.answer = lambda method, _, place=place: (
            (202, {"Location": place}, b"") if method == "POST" else (404, {}, b"")
        )
        with pytest.raises(ArtifactError):
            OciRegistry(server.host).push_blob("models/x", b"weights")
    assert not any("weights" in said for _, _, said in server.asked)


def test_the_next_page_of_referrers_is_an_address_that_can_be_read(server: Server) -> None:
    page = json.dumps({"manifests": []}).encode()
    server.answer = lambda _, __: (200, {"Link": '<http://[broken>; rel="next"'}, page)
    with pytest.raises(ArtifactError):
        OciRegistry(server.host).referrers("models/x", DIGEST)
