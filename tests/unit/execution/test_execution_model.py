"""Loading of a model: the bytes that were hashed are the bytes that are served, and nothing from outside its folder."""

from __future__ import annotations

import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "integration"))
from execution_onnx import logistic

from customhouse._kit.digest import tree
from customhouse.core.errors import ArtifactError
from customhouse.execution.adapters.local.model import load, read_verified
from customhouse.execution.adapters.local.protobuf import ProtobufError, external_locations

ROW = np.array([[1.0, 1.0]], np.float32)


def _answer(folder: Path) -> float:
    model = load(folder, tree(folder).digest, 1)
    return float(model.infer({"input": ROW}, ["probability"], threading.Event())[0][0, 0])


def test_a_file_and_a_folder_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "any.onnx").write_bytes(logistic([1.0, -1.0], 0.0))
    assert _answer(tmp_path) == _answer(tmp_path / "any.onnx") == 0.5


def test_weights_beside_the_model_are_loaded_from_the_hashed_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(logistic([5.0, 5.0], 0.0, location="weights.bin"))
    (tmp_path / "weights.bin").write_bytes(struct.pack("<2f", 5.0, 5.0))
    assert _answer(tmp_path) == pytest.approx(1 / (1 + np.exp(-10.0)), abs=1e-6)


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "missing.bin", "sub/../../outside.bin"])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(struct.pack("<2f", 5.0, 5.0))
    (folder / "model.onnx").write_bytes(logistic([5.0, 5.0], 0.0, location=location))
    with pytest.raises(ArtifactError, match="not a file of the model's folder"):
        _answer(folder)


def test_a_wrong_digest_names_both(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(logistic([1.0, 1.0], 0.0))
    pinned = "sha256:" + "0" * 64
    with pytest.raises(ArtifactError) as error:
        read_verified(tmp_path, pinned)
    assert pinned in str(error.value)
    assert tree(tmp_path).digest in str(error.value)


def test_links_and_missing_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").symlink_to("/etc/hostname")
    for path in (tmp_path / "m", tmp_path / "none"):
        with pytest.raises(ArtifactError, match="cannot be read"):
            read_verified(path, "sha256:" + "0" * 64)


@pytest.mark.parametrize("data", [b"", b"not onnx at all", b"\x80\x05K\x01.", b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_not_a_model_is_a_clear_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(ArtifactError):
        _answer(tmp_path)


def test_two_candidates_in_one_folder_are_not_guessed_at(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(logistic([1.0, 1.0], 0.0))
    with pytest.raises(ArtifactError, match=r"2 \.onnx files"):
        _answer(tmp_path)


def test_graphs_nested_without_end_are_refused() -> None:
    message = b""
    for _ in range(60):
        attribute = b"\x32" + _length(message) + message
        node = b"\x2a" + _length(attribute) + attribute
        message = b"\x0a" + _length(node) + node
    with pytest.raises(ProtobufError, match="nested deeper"):
        external_locations(b"\x3a" + _length(message) + message)


def _length(data: bytes) -> bytes:
    value, out = len(data), bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
