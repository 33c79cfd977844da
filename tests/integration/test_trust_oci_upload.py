"""Large blobs in pieces to a real OCI registry, over connections that break in the middle of them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.digest import FileEntry
from customhouse._kit.http import Answer
from customhouse.core.errors import ArtifactError, TamperError
from customhouse.trust.adapters.registries import oci_upload
from customhouse.trust.adapters.registries.oci import OciRegistry
from customhouse.trust.publishing import watched
from oci_registry import Registry

REPOSITORY = "models/large"
CHUNK = 1 << 20
DATA = bytes(range(256)) * (20 << 10)  # 5 MiB


class Breaking:
    """A way to the registry: passes bytes on, and ends the connections that carry more than `after` bytes upwards."""

    def __init__(self, host: str, after: int, times: int) -> None:
        name, _, port = host.rpartition(":")
        self._to, self.after, self.left = (name, int(port)), after, times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._ended: dict[socket.socket, int] = {}
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._to)
            threading.Thread(target=self._pass, args=(far, near, None), daemon=True).start()
            threading.Thread(target=self._pass, args=(near, far, self.after), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, after: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(1 << 16):
                passed += len(data)
                if after is not None and passed > after and self._spend():
                    break
                sink.sendall(data)
        except OSError:
            pass
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._ended[side] = self._ended.get(side, 0) + 1
                if self._ended[side] == 2:  # the other direction has ended as well
                    side.close()

    def _spend(self) -> bool:
        with self._lock:
            self.left -= 1
            return self.left >= 0


@pytest.fixture(scope="module")
def registry(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = Registry(find_part("docker-registry"), tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci_upload, "LARGE", 2 * CHUNK)
    monkeypatch.setattr(oci_upload, "CHUNK", CHUNK)
    monkeypatch.setattr(oci_upload.time, "sleep", lambda _: None)


def push(host: str, folder: Path, data: bytes, claimed: bytes | None = None) -> tuple[bool, str]:
    place = folder / "weights"
    place.write_bytes(data)
    digest = "sha256:" + hashlib.sha256(claimed or data).hexdigest()
    with place.open("rb") as source:
        return OciRegistry(host).push_file(
            REPOSITORY, digest, watched(source, FileEntry("w", digest, len(data)))
        ), digest


@pytest.mark.part("docker-registry")
@pytest.mark.parametrize(("after", "times"), [(0, 0), (300_000, 3), (900_000, 2), (1_000, 2)])
def test_a_large_blob_arrives_whole_however_often_the_connection_breaks(registry, tmp_path, after, times):
    data = DATA + f"{after} {times}".encode()
    way = Breaking(registry.host, after, times)
    try:
        sent, digest = push(way.host, tmp_path, data)
        assert sent is True
        assert way.left <= 0
        assert push(way.host, tmp_path, data)[0] is False
    finally:
        way.close()
    assert OciRegistry(registry.host).blob(REPOSITORY, digest) == data


@pytest.mark.part("docker-registry")
def test_a_file_that_changes_on_the_way_is_never_closed(registry, tmp_path):
    with pytest.raises(TamperError):
        push(registry.host, tmp_path, DATA + b"!", DATA + b"?")
    digest = "sha256:" + hashlib.sha256(DATA + b"?").hexdigest()
    with pytest.raises(ArtifactError, match="no blobs"):
        OciRegistry(registry.host).blob(REPOSITORY, digest)


@pytest.mark.part("docker-registry")
def test_a_connection_that_always_breaks_is_an_error_and_no_blob(registry, tmp_path):
    way = Breaking(registry.host, 100_000, 10_000)
    try:
        with pytest.raises(ArtifactError, match=r"forgets|not taken") as found:
            push(way.host, tmp_path, DATA + b"never")
        assert "register it again" in found.value.hint
    finally:
        way.close()


class Odd:
    """A registry's client that answers as it was told, one answer a request."""

    def __init__(self, *answers: Answer | ArtifactError) -> None:
        self.answers, self.asked = list(answers), list[tuple[str, str, int, str]]()

    def wire(self) -> oci_upload.Wire:
        return oci_upload.Wire(lambda: self.send("POST", "", None, {}), self._place, self.send)

    @staticmethod
    def _place(answer: Answer) -> str:
        return answer.headers.get("location", answer.url)

    def send(self, method: str, url: str, body: bytes | None, headers: Any) -> Answer:
        self.asked.append((method, url, len(body or b""), headers.get("Content-Range", "")))
        said = self.answers.pop(0)
        if isinstance(said, ArtifactError):
            raise said
        return said


def says(status: int, **headers: str) -> Answer:
    return Answer(status, {key.replace("_", "-"): value for key, value in headers.items()}, b"", "http://r/u")


def sending(folder: Path, size: int) -> Any:
    place = folder / "f"
    place.write_bytes(DATA[:size])
    digest = "sha256:" + hashlib.sha256(DATA[:size]).hexdigest()
    return watched(io.BytesIO(place.read_bytes()), FileEntry("f", digest, size))


def test_pieces_go_on_from_where_the_registry_says_that_it_is(tmp_path):
    lost = ArtifactError("the connection broke")
    odd = Odd(
        says(202, location="http://r/1"),
        says(202, location="http://r/2"),
        lost,
        says(204, range=f"0-{CHUNK + 99}", location="http://r/3"),
        says(202, location="http://r/4"),
    )
    assert oci_upload.upload(odd.wire(), sending(tmp_path, 2 * CHUNK), "r") == "http://r/4"
    assert [item[0] for item in odd.asked] == ["POST", "PATCH", "PATCH", "GET", "PATCH"]
    assert odd.asked[-1] == ("PATCH", "http://r/3", CHUNK - 100, f"{CHUNK + 100}-{2 * CHUNK - 1}")


def test_an_upload_that_is_forgotten_begins_anew_and_not_for_ever(tmp_path):
    forgets = [says(202), says(202), says(500), says(404)]
    odd = Odd(*forgets, says(202), says(202), says(202))
    assert oci_upload.upload(odd.wire(), sending(tmp_path, 2 * CHUNK), "r") == "http://r/u"
    with pytest.raises(ArtifactError, match="forgets"):
        oci_upload.upload(Odd(*forgets * 6).wire(), sending(tmp_path, 2 * CHUNK), "r")


@pytest.mark.parametrize("status", [404, 405, 415, 501])
def test_a_registry_without_pieces_gets_the_blob_whole(tmp_path, status):
    with pytest.raises(oci_upload.NoChunksError):
        oci_upload.upload(Odd(says(202), says(status)).wire(), sending(tmp_path, 2 * CHUNK), "r")
    huge = says(202, oci_chunk_min_length=str(1 << 32))
    with pytest.raises(oci_upload.NoChunksError):
        oci_upload.upload(Odd(huge).wire(), sending(tmp_path, 2 * CHUNK), "r")


def test_a_registry_that_says_more_than_was_sent_is_not_believed(tmp_path):
    lies = [says(202), says(500), says(204, range=f"0-{9 * CHUNK}")]
    with pytest.raises(ArtifactError, match="forgets"):
        oci_upload.upload(Odd(*lies * 6).wire(), sending(tmp_path, 2 * CHUNK), "r")


def test_who_may_not_push_is_told_so(tmp_path):
    with pytest.raises(ArtifactError, match="403") as found:
        oci_upload.upload(Odd(says(202), says(403)).wire(), sending(tmp_path, 2 * CHUNK), "r")
    assert "docker login" in str(found.value.hint)
