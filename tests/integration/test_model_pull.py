"""Models from a real registry and from addresses: resolved once, verified when they come, the same again by a lock."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from customhouse._kit.digest import bytes_digest, tree
from customhouse.app.model_pull import Pulled, pull
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError, CustomhouseError, TamperError, UsageError
from customhouse.trust import unpack
from oci_registry import Registry

pytestmark = pytest.mark.part("docker-registry")
TITLE = "org.opencontainers.image.title"
WEIGHTS = {"config.json": b"{}", "weights/model.safetensors": b"\x08\0\0\0\0\0\0\0{}      "}
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
KIT_LAYER = "application/vnd.kitops.modelkit.model.v1.tar+gzip"
ZSTD_LAYER = KIT_LAYER.replace("gzip", "zstd")


@pytest.fixture(scope="module")
def registry(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = Registry(find_part("docker-registry"), tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., Pulled]:
    """`pull` with a state of its own; the folder is `tmp_path / out`."""
    settings = Settings(tmp_path / "state", environment={})

    def run(reference: str, out: str = "out", **more: Any) -> Pulled:
        wanted: dict[str, Any] = {"digest": None, "lock": None, **more}
        return pull(settings, reference, str(tmp_path / out), **wanted)

    return run


def packed(files: dict[str, bytes], *, links: dict[str, str] | None = None, kind: bytes = tarfile.SYMTYPE) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
        for name, target in (links or {}).items():
            item = tarfile.TarInfo(name)
            item.type, item.linkname = kind, target
            tar.addfile(item)
    return gzip.compress(held.getvalue(), mtime=0)


def push(registry: Registry, tag: str, layers: list[tuple[str, bytes, dict[str, str]]]) -> str:
    """A manifest of layers (media type, content, annotations); its reference by tag."""
    described = []
    for media_type, content, notes in layers:
        layer = {**registry.blob("models/tiny", content), "mediaType": media_type}
        described.append({**layer, "annotations": notes} if notes else layer)
    registry.manifest("models/tiny", tag, described)
    return f"oci://{registry.host}/models/tiny:{tag}"


def expected(folder: Path) -> str:
    for name, content in WEIGHTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return tree(folder).digest


def test_the_three_ways_in_which_models_lie_in_registries_give_the_same_files(
    registry: Registry, get: Callable[..., Pulled], tmp_path: Path
) -> None:
    wanted = expected(tmp_path / "wanted")
    oras = push(registry, "oras", [("application/octet-stream", data, {TITLE: name}) for name, data in WEIGHTS.items()])
    kit = push(registry, "kit", [(KIT_LAYER, packed(WEIGHTS), {})])
    small = push(registry, "zstd", [(ZSTD_LAYER, zstd.compress(gzip.decompress(packed(WEIGHTS))), {})])
    inside = {f"models/{name}": data for name, data in WEIGHTS.items()}
    base = packed({"bin/sh": b"#!"}, links={"bin/bash": "sh"})
    car = push(registry, "car", [(IMAGE_LAYER, base, {}), (IMAGE_LAYER, packed(inside), {})])
    for number, reference in enumerate((oras, kit, small, car)):
        done = get(reference, f"out{number}")
        assert done.tree == tree(tmp_path / f"out{number}").digest == wanted
        assert done.reference.endswith(f"@{done.digest}")


def test_a_lock_gives_the_same_again_and_a_moved_tag_is_no_surprise(
    registry: Registry, get: Callable[..., Pulled], tmp_path: Path
) -> None:
    reference = push(registry, "moving", [("text/plain", b"first", {TITLE: "model.txt"})])
    lock = str(tmp_path / "model.lock.json")
    first = get(reference, "first", lock=lock)
    assert json.loads(Path(lock).read_text())["digest"] == first.digest
    push(registry, "moving", [("text/plain", b"second", {TITLE: "model.txt"})])
    assert get(reference, "again", lock=lock).tree == first.tree
    assert (tmp_path / "again/model.txt").read_bytes() == b"first"
    assert get(reference, "newest").tree != first.tree
    with pytest.raises(TamperError, match="has moved"):
        get(f"{reference}@{first.digest}", "pinned")
    with pytest.raises(UsageError, match="the lock is of"):
        get("oci://other.example/models/tiny:moving", "other", lock=lock)
    assert not (tmp_path / "pinned").exists()


def test_a_blob_that_was_changed_is_caught_in_the_registry_and_in_the_cache(
    registry: Registry, get: Callable[..., Pulled], tmp_path: Path
) -> None:
    reference = push(registry, "rotten", [("text/plain", b"good weights", {TITLE: "model.txt"})])
    name = bytes_digest(b"good weights").removeprefix("sha256:")
    get(reference, "good")
    cached = tmp_path / "state/blobs/sha256" / name
    cached.write_bytes(b"evil weights")
    assert get(reference, "again").tree  # the cache is looked at anew each time, and fetched again
    assert (tmp_path / "again/model.txt").read_bytes() == b"good weights"
    cached.unlink()
    (registry.data / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data").write_bytes(b"evil weights")
    with pytest.raises(CustomhouseError, match=f"sha256:{name}"):
        get(reference, "evil")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ((KIT_LAYER, packed({"../../escape": b"x"}), {}), "no name for a file"),
        ((KIT_LAYER, packed({"/etc/passwd": b"x"}), {}), "no name for a file"),
        ((KIT_LAYER, packed({"model/.Git/config": b"[core]\nfsmonitor = evil\n"}), {}), "no name for a file"),
        ((KIT_LAYER, packed({}, links={"model": "/etc/passwd"}), {}), "no regular file"),
        ((KIT_LAYER, packed({"a": b"x"}, links={"b": "a"}, kind=tarfile.LNKTYPE), {}), "no regular file"),
        ((KIT_LAYER, packed({}, links={"dev": ""}, kind=tarfile.CHRTYPE), {}), "no regular file"),
        ((KIT_LAYER, packed({"a": b"x"})[:-20], {}), "no tar archive"),
        ((KIT_LAYER, b"not a tar", {}), "no tar archive"),
        ((ZSTD_LAYER, b"\x28\xb5\x2f\xfd", {}), "no tar archive"),
        ((ZSTD_LAYER, zstd.compress(gzip.decompress(packed({"a": b"x" * 90_000})))[:-20], {}), "no tar archive"),
        ((ZSTD_LAYER, zstd.compress(gzip.decompress(packed({"../escape": b"x"}))), {}), "no name for a file"),
        ((KIT_LAYER.replace("gzip", "lz4"), b"\x04\x22\x4d\x18", {}), "no layer of it is a model"),
        ((IMAGE_LAYER, packed({"models/a": b"x", ".wh.models": b""}), {}), "takes the place"),
        ((IMAGE_LAYER, packed({"models/.wh.a": b""}), {}), "deletes what another layer"),
        ((IMAGE_LAYER, packed({}, links={"models": "/root"}), {}), "takes the place"),
        ((IMAGE_LAYER, packed({"app/a": b"x"}), {}), "no layer of it is a model"),
        (("text/plain", b"x", {TITLE: "../escape"}), "no name for a file"),
        (("text/plain", b"x", {TITLE: "-rf"}), "no name for a file"),
        (("text/plain", b"x", {}), "no layer of it is a model"),
    ],
)
def test_what_is_no_plain_file_below_the_folder_is_refused_and_leaves_nothing(
    registry: Registry, get: Callable[..., Pulled], tmp_path: Path, layer: tuple[str, bytes, dict[str, str]], said: str
) -> None:
    with pytest.raises(ArtifactError, match=said):
        get(push(registry, "hostile", [layer]))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["state"]


def test_what_unpacks_to_far_more_than_it_weighs_is_refused(
    registry: Registry, get: Callable[..., Pulled], tmp_path: Path
) -> None:
    bomb = packed({"zeros.bin": bytes(80 << 20)})
    with pytest.raises(ArtifactError, match="a bomb"):
        get(push(registry, "bomb", [(KIT_LAYER, bomb, {})]))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["state"]


def test_what_is_passed_over_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_HEADER", 0)
    layer = tmp_path / "layer"
    (tmp_path / "out").mkdir()
    for pack in (gzip.compress, zstd.compress):
        layer.write_bytes(pack(gzip.decompress(packed({"bin/zeros": bytes(4 << 20), "models/a": b"x"}))))
        with pytest.raises(ArtifactError, match="a bomb"):
            unpack.unpack_tar(layer, IMAGE_LAYER, tmp_path / "out", unpack.Limits(size=1 << 20), "here", below="models")
        roomy = unpack.Limits(size=8 << 20)
        assert unpack.unpack_tar(layer, IMAGE_LAYER, tmp_path / "out", roomy, "here", below="models") == 1
        (tmp_path / "out" / "a").unlink()


def test_two_files_of_one_name_are_refused(registry: Registry, get: Callable[..., Pulled]) -> None:
    twice = [("text/plain", content, {TITLE: "model.txt"}) for content in (b"one", b"two")]
    with pytest.raises(ArtifactError, match="two files are called"):
        get(push(registry, "twice", twice))


def test_an_address_and_a_path_are_pinned_and_a_changed_file_is_caught(
    get: Callable[..., Pulled], tmp_path: Path
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "model.onnx").write_bytes(b"weights")
    digest = bytes_digest(b"weights")
    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/model.onnx"
    try:
        with pytest.raises(UsageError, match="tomorrow"):
            get(url)
        assert get(f"{url}@{digest}").digest == digest
        assert (tmp_path / "out/model.onnx").read_bytes() == b"weights"
        (served / "model.onnx").write_bytes(b"changed")
        with pytest.raises(TamperError, match=bytes_digest(b"changed")):
            get(url, "other", digest=bytes_digest(b"never there"))
    finally:
        server.shutdown()
        server.server_close()
    assert get(str(served / "model.onnx"), "copied", digest=bytes_digest(b"changed")).files == 1
    with pytest.raises(TamperError, match="was expected"):
        get(str(served), "folder", digest=digest)
    assert not (tmp_path / "folder").exists()
    assert get(str(served), "folder", digest=tree(served).digest).files == 1


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
