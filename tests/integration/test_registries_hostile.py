"""Every place that models are fetched from, when it lies, cuts short, never ends, hangs, fails or sends elsewhere."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from customhouse._kit.clock import SystemClock
from customhouse._kit.digest import bytes_digest
from customhouse._kit.sigv4 import Keys
from customhouse.core.errors import ArtifactError
from customhouse.trust.adapters.registries.access import Credentials
from customhouse.trust.adapters.registries.hub import HubStore
from customhouse.trust.adapters.registries.mlflow import Login, MlflowStore
from customhouse.trust.adapters.registries.oci import OciRegistry
from customhouse.trust.adapters.registries.s3 import S3Store
from customhouse.trust.oci import Descriptor
from customhouse.trust.remote import Located, RemoteFile

GOOD = b"weights!" * 4096
SECRET = "the-secret-of-tests"
COMMIT = "a" * 40
STORES = ("oci", "s3", "mlflow", "hub")


class Hostile:
    """A server whose every answer is what `answer` writes; keeps what it was told of who asks."""

    def __init__(self) -> None:
        self.answer: Callable[[Any], None] = lambda _: None
        self.told: list[str] = []
        self.over = threading.Event()
        hostile = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hostile.told.append(self.headers.get("Authorization", ""))
                with suppress(OSError):  # the client has left
                    hostile.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Hostile]:
    running = Hostile()
    yield running
    running.stop()


@pytest.fixture
def elsewhere() -> Iterator[Hostile]:
    running = Hostile()
    running.answer = sends(200, GOOD)
    yield running
    running.stop()


def sends(status: int, body: bytes, length: int | None = None, **headers: str) -> Callable[[Any], None]:
    def answer(asked: Any) -> None:
        asked.send_response(status)
        for name, value in headers.items():
            asked.send_header(name, value)
        asked.send_header("Content-Length", str(len(body) if length is None else length))
        asked.end_headers()
        asked.wfile.write(body)

    return answer


def endless(asked: Any) -> None:
    asked.send_response(200)
    asked.end_headers()
    while True:
        asked.wfile.write(bytes(1 << 16))


def fetch(kind: str, host: str, timeout_s: float = 60.0) -> bytes:
    """The one file from a store of that kind; raises what the store raises."""
    taken = bytearray()
    digest, size = bytes_digest(GOOD), len(GOOD)
    blob = hashlib.sha1(b"blob %d\0" % size + GOOD, usedforsecurity=False).hexdigest()
    try:
        if kind == "oci":
            registry = OciRegistry(host, Credentials("me", SECRET), timeout_s=timeout_s)
            registry.download("models/x", Descriptor("application/octet-stream", digest, size), taken.extend)
        elif kind == "s3":
            store = S3Store(SystemClock(), Keys("me", SECRET), endpoint=f"http://{host}", timeout_s=timeout_s)
            store.fetch(Located("s3://bucket/f", ()), RemoteFile("f", size, digest, {"key": "f"}), taken.extend)
        elif kind == "mlflow":
            flow = MlflowStore(f"http://{host}", Login("", SECRET), lambda _: None, timeout_s=timeout_s)
            flow.fetch(
                Located(f"mlflow://{host}/x/1", ()), RemoteFile("f", size, None, {"artifact": "f"}), taken.extend
            )
        else:
            hub = HubStore(f"http://{host}", SECRET, timeout_s=timeout_s)
            hub.fetch(Located(f"hf://o/x@{COMMIT}", ()), RemoteFile("f", size, None, {"blob": blob}), taken.extend)
    finally:
        assert len(taken) <= size + (1 << 16)
    return bytes(taken)


@pytest.mark.parametrize("kind", STORES)
def test_an_honest_answer_is_taken(kind, server):
    server.answer = sends(200, GOOD)
    assert fetch(kind, server.host) == GOOD


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize(
    "answer",
    [
        sends(200, GOOD[:-9]),
        sends(200, GOOD + b"more"),
        sends(200, GOOD[:-9], len(GOOD)),
        sends(200, GOOD, len(GOOD) - 9),
        sends(200, b""),
        sends(204, b""),
        sends(206, GOOD),
        sends(404, GOOD),
        sends(500, GOOD),
        endless,
    ],
    ids=["short", "long", "cut", "length-too-small", "empty", "204", "206", "404", "500", "endless"],
)
def test_what_is_not_the_file_whole_is_an_error(kind, answer, server):
    server.answer = answer
    with pytest.raises(ArtifactError) as found:
        fetch(kind, server.host)
    assert SECRET not in str(found.value)


@pytest.mark.parametrize("kind", [kind for kind in STORES if kind != "mlflow"])
def test_other_bytes_of_the_same_size_are_an_error(kind, server):
    """MLflow keeps no digest: there the lock finds it (test_model_pull_mlflow)."""
    server.answer = sends(200, GOOD[:-1] + b"?")
    with pytest.raises(ArtifactError):
        fetch(kind, server.host)


@pytest.mark.parametrize("kind", STORES)
def test_a_server_that_hangs_is_left(kind, server):
    server.answer = lambda _: server.over.wait(300)
    with pytest.raises(ArtifactError):
        fetch(kind, server.host, timeout_s=0.2)


@pytest.mark.parametrize("kind", STORES)
def test_no_login_goes_where_an_answer_leads(kind, server, elsewhere):
    server.answer = sends(302, b"", Location=f"http://{elsewhere.host}/f")
    if kind in ("oci", "hub"):  # they keep large files elsewhere: the bytes count, and nobody is told who asks
        assert fetch(kind, server.host) == GOOD
    else:
        with pytest.raises(ArtifactError):
            fetch(kind, server.host)
    assert set(elsewhere.told) <= {""}
    elsewhere.answer = sends(200, GOOD[:-9])
    with pytest.raises(ArtifactError):
        fetch(kind, server.host)


@pytest.mark.parametrize("kind", STORES)
def test_an_answer_that_leads_in_a_circle_or_to_a_file_of_this_machine_is_an_error(kind, server):
    for place in (
        "/again",
        "file:///etc/passwd",
        "http://user:word@127.0.0.1/",
        "http://[broken",
        "http://127.0.0.1:99999/",
    ):
        server.answer = sends(302, b"", Location=place)
        with pytest.raises(ArtifactError):
            fetch(kind, server.host)
