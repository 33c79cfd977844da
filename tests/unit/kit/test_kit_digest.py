"""Digests of files and folders: what counts, what does not, what is refused."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from customhouse._kit import digest
from customhouse._kit.digest import TreeError, bytes_digest, file_digest, is_digest, json_digest, same_digest, tree


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "weights").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "weights" / "0.bin").write_bytes(b"\0" * 10)
    (folder / "weights-extra").write_bytes(b"")
    return folder


def test_a_file_has_the_digest_that_sha256sum_prints(model: Path) -> None:
    assert tree(model / "model.onnx").digest == "sha256:" + hashlib.sha256(b"graph").hexdigest()


def test_the_digest_of_a_folder_is_that_of_its_documented_listing(model: Path) -> None:
    listing = {
        "files": [
            {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for path, data in (("model.onnx", b"graph"), ("weights-extra", b""), ("weights/0.bin", b"\0" * 10))
        ]
    }
    assert tree(model).digest == json_digest(listing)
    assert tree(model).size == 15


def test_modes_times_and_empty_folders_do_not_count(model: Path) -> None:
    before = tree(model).digest
    os.utime(model / "model.onnx", (1, 1))
    (model / "model.onnx").chmod(0o600)
    (model / "empty" / "deeper").mkdir(parents=True)
    assert tree(model).digest == before


@pytest.mark.parametrize("change", ["rename", "move", "content", "add", "remove", "swap"])
def test_every_change_of_names_or_bytes_counts(model: Path, change: str) -> None:
    before = tree(model).digest
    if change == "rename":
        (model / "model.onnx").rename(model / "model2.onnx")
    elif change == "move":
        (model / "model.onnx").rename(model / "weights" / "model.onnx")
    elif change == "content":
        (model / "model.onnx").write_bytes(b"Graph")
    elif change == "add":
        (model / "new").write_bytes(b"")
    elif change == "remove":
        (model / "weights-extra").unlink()
    else:
        (model / "model.onnx").rename(model / "x")
        (model / "weights-extra").rename(model / "model.onnx")
        (model / "x").rename(model / "weights-extra")
    assert tree(model).digest != before


@pytest.mark.parametrize("name", ["link-to-file", "link-to-folder", "dangling"])
def test_a_link_in_a_folder_is_refused_by_name(model: Path, name: str) -> None:
    target = {"link-to-file": "model.onnx", "link-to-folder": "weights", "dangling": "nowhere"}[name]
    (model / name).symlink_to(target)
    with pytest.raises(TreeError, match=f"{name}: a symbolic link"):
        tree(model)


def test_a_link_in_place_of_the_artifact_is_refused(model: Path) -> None:
    for target in (model, model / "model.onnx", model / "nowhere"):
        link = model.parent / f"link-{target.name}"
        link.symlink_to(target)
        with pytest.raises(TreeError, match="symbolic link"):
            tree(link)


def test_pipes_and_sockets_are_refused_and_not_waited_for(model: Path) -> None:
    os.mkfifo(model.parent / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(model.parent / "socket"))
        for name in ("pipe", "socket"):
            with pytest.raises(TreeError, match=f"{name}: not a regular file"):
                tree(model.parent / name)
    os.mkfifo(model / "pipe")
    with pytest.raises(TreeError, match="pipe: not a regular file"):
        tree(model)


def test_a_name_that_is_not_utf8_is_refused(model: Path) -> None:
    with open(os.fsencode(model) + b"/\xff", "wb"):
        pass
    with pytest.raises(TreeError, match="not UTF-8"):
        tree(model)


def test_too_many_files_are_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "MAX_FILES", 2)
    with pytest.raises(TreeError, match="more than 2 files"):
        tree(model)


def test_folders_nested_without_end_are_refused_and_do_not_exhaust_the_stack(tmp_path: Path) -> None:
    (tmp_path / "/".join(["d"] * 300)).mkdir(parents=True)
    with pytest.raises(TreeError, match="nested deeper than"):
        tree(tmp_path)


def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tree(tmp_path / "nothing")


def test_progress_is_told_every_byte(model: Path) -> None:
    seen: list[int] = []
    (model / "model.onnx").write_bytes(b"x" * (2**20 + 5))
    tree(model, seen.append)
    assert sum(seen) == tree(model).size
    assert seen[:2] == [2**20, 5]


def test_a_file_that_cannot_be_opened_keeps_its_reason(model: Path) -> None:
    with pytest.raises(TreeError, match="not a regular file"):
        file_digest(model)


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha512:" + "a" * 64,
                                  "sha256:" + "a" * 64 + "\n", " sha256:" + "a" * 64])  # fmt: skip
def test_a_digest_has_one_spelling(text: str) -> None:
    assert not is_digest(text)
    assert is_digest(bytes_digest(text.encode()))


def test_digests_are_compared_whole() -> None:
    one = bytes_digest(b"1")
    assert same_digest(one, bytes_digest(b"1"))
    assert not same_digest(one, one[:-1])
