"""Models from an S3-compatible store that checks signatures: resolved once, pinned by version or ETag, verified."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import SystemClock
from customhouse._kit.digest import bytes_digest, tree
from customhouse._kit.sigv4 import Keys
from customhouse.app.model_pull import Pulled, pull
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError, CustomhouseError, TamperError, UsageError
from customhouse.trust.adapters.registries import s3 as s3_module
from customhouse.trust.adapters.registries.s3 import Place, S3Store
from customhouse.trust.remote import RemoteFile
from s3_store import ObjectStore

pytestmark = pytest.mark.part("versitygw")
FILES = {"config.json": b"{}", "weights/model.safetensors": b"\x08\0\0\0\0\0\0\0{}      ", "a b+c.txt": b"odd name"}


@pytest.fixture(scope="module")
def store(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    running = ObjectStore(find_part("versitygw"), tmp_path_factory.mktemp("s3"))
    running.bucket("models")
    running.bucket("kept", versioned=True)
    yield running
    running.stop()


@pytest.fixture
def write(store: ObjectStore, tmp_path: Path) -> Callable[[str, str, bytes], RemoteFile]:
    def put(bucket: str, key: str, content: bytes) -> RemoteFile:
        (tmp_path / "upload").write_bytes(content)
        return store.client.put(bucket, key, tmp_path / "upload")

    return put


@pytest.fixture
def get(store: ObjectStore, tmp_path: Path) -> Callable[..., Pulled]:
    def run(reference: str, out: str = "out", **more: Any) -> Pulled:
        settings = Settings(tmp_path / "state", environment=more.pop("environment", store.environment))
        return pull(settings, reference, str(tmp_path / out), **{"digest": None, "lock": None, **more})

    return run


def test_a_folder_of_objects_comes_whole_with_names_and_digests(write, get, tmp_path):
    for name, content in FILES.items():
        write("models", f"fraud/v1/{name}", content)
    write("models", "fraud/v10/other", b"not of v1")
    done = get("s3://models/fraud/v1")
    came = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in came} == FILES
    assert done.digest == done.tree == tree(tmp_path / "out").digest
    assert done.reference == f"s3://models/fraud/v1@{done.tree}"
    assert {pin.path: pin.digest for pin in done.pins} == {k: bytes_digest(v) for k, v in FILES.items()}


def test_an_object_of_a_bucket_with_versions_is_pinned_by_its_version(write, get, store, tmp_path):
    write("kept", "m.onnx", b"first")
    lock = str(tmp_path / "lock.json")
    first = get("s3://kept/m.onnx", lock=lock)
    assert "?versionId=" in first.reference
    write("kept", "m.onnx", b"second")
    again = get("s3://kept/m.onnx", "again", lock=lock)
    assert (tmp_path / "again" / "m.onnx").read_bytes() == b"first"
    assert again.tree == first.tree
    assert get("s3://kept/m.onnx", "new").tree != first.tree
    # A machine without a cache asks for that version.
    fresh = Settings(tmp_path / "fresh", environment=store.environment)
    assert pull(fresh, "s3://kept/m.onnx", str(tmp_path / "third"), digest=None, lock=lock).tree == first.tree


def test_a_locked_object_that_was_written_anew_is_refused_on_a_machine_without_a_cache(write, store, tmp_path):
    write("models", "moved.onnx", b"what was reviewed")
    lock = str(tmp_path / "lock.json")
    here, there = (Settings(tmp_path / name, environment=store.environment) for name in ("here", "there"))
    pull(here, "s3://models/moved.onnx", str(tmp_path / "a"), digest=None, lock=lock)
    write("models", "moved.onnx", b"what was swapped!")
    with pytest.raises(ArtifactError, match="written anew"):
        pull(there, "s3://models/moved.onnx", str(tmp_path / "b"), digest=None, lock=lock)
    assert not (tmp_path / "b").exists()
    # The cache still has what was reviewed.
    pull(here, "s3://models/moved.onnx", str(tmp_path / "c"), digest=None, lock=lock)
    assert (tmp_path / "c" / "moved.onnx").read_bytes() == b"what was reviewed"


def test_a_digest_that_was_asked_for_must_come(write, get):
    write("models", "one.onnx", b"bytes")
    with pytest.raises(TamperError, match="was expected"):
        get(f"s3://models/one.onnx@sha256:{'0' * 64}")
    with pytest.raises(TamperError, match="was expected"):
        get("s3://models/one.onnx", digest=f"sha256:{'0' * 64}")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "403 (SignatureDoesNotMatch)"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "403"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "refused"),
        ({"AWS_ENDPOINT_URL": "http://store.example"}, "only https"),
    ],
)
def test_who_may_not_read_is_told_and_what_to_give(write, get, store, environment, said):
    write("models", "closed.onnx", b"bytes")
    with pytest.raises(CustomhouseError) as refused:
        get("s3://models/closed.onnx", environment={**store.environment, **environment})
    assert said.partition(" (")[0] in str(refused.value)
    assert "wrong" not in str(refused.value)


def test_what_is_not_there_is_said(get):
    with pytest.raises(ArtifactError, match="no such object"):
        get("s3://models/nothing/here")
    with pytest.raises(CustomhouseError):
        get("s3://absent-bucket/x")


@pytest.mark.parametrize("text", ["s3://UPPER/x", "s3://b", "s3://bucket/k?acl", "s3:///k", "https://bucket/k"])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(UsageError):
        Place.parse(text)


def test_a_large_object_is_written_in_parts_that_are_checked(store, tmp_path, monkeypatch):
    monkeypatch.setattr(s3_module, "PART", 5 << 20)
    place = tmp_path / "large"
    place.write_bytes(bytes(range(256)) * (12 << 12))
    found = store.client.put("models", "large", place)
    taken: list[bytes] = []
    store.client.fetch(store.client.locate("s3://models/large"), found, taken.append)
    assert b"".join(taken) == place.read_bytes()


def test_who_may_write_to_a_bucket_is_told_or_unknown(store):
    told = store.client.exposure("models")
    assert told.public_write in (False, None)
    assert store.client.exposure("kept").versioned is True
    assert store.client.exposure("absent-bucket").to_json()["publicWrite"] is None


class Liar(BaseHTTPRequestHandler):
    """A store that says one thing and gives another; `script` is what it does with a GET."""

    script: Callable[[Liar], None]
    size = 8

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(self.size))
        self.send_header("ETag", '"x"')
        self.end_headers()

    def do_GET(self) -> None:
        type(self).script(self)

    def log_message(self, *_: object) -> None:
        pass


def answer(status: int, body: bytes, **headers: str) -> Callable[[Liar], None]:
    def act(handler: Liar) -> None:
        handler.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(key.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return act


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (answer(200, b"too short"[:4]), "4 bytes came of 8"),
        (answer(200, b"far more than it said"), "more came than"),
        (answer(302, b"", Location="http://127.0.0.1:9/elsewhere"), "which is not followed"),
        (answer(500, b"<Error><Code>InternalError</Code></Error>"), "500"),
        (answer(200, b"", Content_Length="8"), "bytes"),
    ],
)
def test_a_store_that_lies_is_found_and_nothing_is_kept(script, said, tmp_path, monkeypatch):
    monkeypatch.setattr(s3_module, "_TRIES", 2)
    server = HTTPServer(("127.0.0.1", 0), type("Served", (Liar,), {"script": staticmethod(script)}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        settings = Settings(
            tmp_path / "state", environment={"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
        )
        with pytest.raises(CustomhouseError) as refused:
            pull(settings, "s3://bucket/key", str(tmp_path / "out"), digest=None, lock=None)
        assert said in str(refused.value)
        assert not (tmp_path / "out").exists()
        assert not any(path.is_file() for path in (tmp_path / "state").rglob("*"))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_list_with_a_document_type_is_refused():
    script = answer(200, b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;</ListBucketResult>')
    handler = type("Served", (Liar,), {"script": staticmethod(script), "do_HEAD": answer(404, b"")})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        client = S3Store(SystemClock(), Keys("a", "b"), endpoint=f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(ArtifactError, match="document type"):
            client.locate("s3://bucket/prefix")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
