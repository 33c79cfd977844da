"""`model convert`: weights become safetensors, whole and unchanged, or are refused with the reason."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.convert import convert


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    kinds = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1", "F16": "<f2", "I32": "<i4"}
    found = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        found[name] = np.frombuffer(data[start:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return found, metadata


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


View = tuple[int, tuple[int, ...], tuple[int, ...]]


def _tensor(key: str, kind: str, elements: int, view: View, more: bytes = b"") -> bytes:
    """A tensor as torch writes it: `view` is offset, shape, strides."""

    def ints(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"M" + struct.pack("<H", value) for value in values) + b"t"

    place = f"ctorch\n{kind}\n".encode() + _text(key) + _text("cpu")
    storage = b"(" + _text("storage") + place + b"M" + struct.pack("<H", elements) + b"tQ"
    offset, shape, stride = view
    rest = b"M" + struct.pack("<H", offset) + ints(shape) + ints(stride) + b"\x89ccollections\nOrderedDict\n)R" + more
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"


def _torch(path: Path, entries: dict[str, bytes], storages: dict[str, bytes], order: bytes = b"little") -> Path:
    body = b"".join(_text(name) + value for name, value in entries.items())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}(" + body + b"u.")
        archive.writestr("m/byteorder", order)
        archive.writestr("m/version", "3\n")
        for key, data in storages.items():
            archive.writestr(f"m/data/{key}", data)
    return path


NUMBERS = np.arange(12, dtype="<f4")
DATA = {"0": NUMBERS.tobytes()}
CONJ = b"}" + _text("conj") + b"\x88s"


def test_views_of_storages_are_written_as_they_look(tmp_path: Path) -> None:
    source = _torch(
        tmp_path / "m.pt",
        {
            "whole": _tensor("0", "FloatStorage", 12, (0, (3, 4), (4, 1))),
            "turned": _tensor("0", "FloatStorage", 12, (0, (4, 3), (1, 4))),
            "part": _tensor("0", "FloatStorage", 12, (4, (2, 2), (4, 1))),
            "spread": _tensor("0", "FloatStorage", 12, (1, (3,), (0,))),
            "same": _tensor("0", "FloatStorage", 12, (0, (3, 4), (4, 1))),
            "scalar": _tensor("1", "LongStorage", 1, (0, (), ())),
            "none": _tensor("2", "FloatStorage", 0, (0, (0, 3), (3, 1))),
        },
        {"0": NUMBERS.tobytes(), "1": struct.pack("<q", -5), "2": b""},
    )
    done = convert(source, tmp_path / "m.safetensors")
    found, metadata = _read(tmp_path / "m.safetensors")
    table = NUMBERS.reshape(3, 4)
    assert np.array_equal(found["same"], table)
    assert np.array_equal(found["turned"], table.T)
    assert np.array_equal(found["part"], [[4, 5], [8, 9]])
    assert np.array_equal(found["spread"], [1, 1, 1])
    assert found["scalar"] == -5
    assert found["none"].shape == (0, 3)
    assert done.shared == {"whole": "same"}
    assert metadata["whole"] == "same"
    assert metadata["source_digest"] == done.source_digest
    assert not list(tmp_path.glob(".*"))


def test_big_endian_numbers_are_turned(tmp_path: Path) -> None:
    entries = {"w": _tensor("0", "FloatStorage", 12, (0, (12,), (1,)))}
    source = _torch(tmp_path / "m.pt", entries, {"0": NUMBERS.astype(">f4").tobytes()}, b"big")
    convert(source, tmp_path / "o")
    assert np.array_equal(_read(tmp_path / "o")[0]["w"], NUMBERS)


@pytest.mark.parametrize(
    ("entries", "storages", "why"),
    [
        ({"w": _tensor("0", "FloatStorage", 12, (4, (3, 4), (4, 1)))}, DATA, "reaches past the end"),
        ({"w": _tensor("0", "FloatStorage", 12, (0, (3, 4), (400, 1)))}, DATA, "reaches past the end"),
        ({"w": _tensor("0", "FloatStorage", 12, (0, (12,), (1,)), CONJ)}, DATA, "conjugate"),
        ({"w": _tensor("0", "QInt8Storage", 48, (0, (12,), (1,)))}, DATA, "safetensors has not"),
        ({"epoch": b"K\x03"}, {}, "holds no tensor"),
        ({"w": _tensor("0", "FloatStorage", 12, (0, (12,), (1,))), "epoch": b"K\x03"}, DATA, "no tensors: epoch"),
        ({"m": b"ctorch.nn.modules.linear\nLinear\n)\x81}b"}, {}, "torch.nn.modules.linear.Linear"),
        ({"x": b"cos\nsystem\n(X\x01\x00\x00\x00xtR"}, {}, "is malicious"),
    ],
)  # fmt: skip
def test_what_is_no_plain_weight_is_refused_with_the_reason(
    entries: dict[str, bytes], storages: dict[str, bytes], why: str, tmp_path: Path
) -> None:
    source = _torch(tmp_path / "m.pt", entries, storages)
    with pytest.raises(ArtifactError, match=why) as raised:
        convert(source, tmp_path / "m.safetensors")
    assert raised.value.where == str(source)
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_what_is_no_tensor_is_left_out_when_asked_and_named(tmp_path: Path) -> None:
    entries = {"w": _tensor("0", "FloatStorage", 12, (0, (12,), (1,))), "epoch": b"K\x03"}
    source = _torch(tmp_path / "m.pt", entries, {"0": NUMBERS.tobytes()})
    assert convert(source, tmp_path / "o", leave_out=True).left_out == ("epoch",)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_in_pickles_keep_their_values(protocol: int, tmp_path: Path) -> None:
    value = {
        "a": np.arange(6, dtype=">f8").reshape(2, 3),
        "b": [np.asfortranarray(NUMBERS.reshape(3, 4)), np.float16(2)],
    }
    source = tmp_path / "m.pkl"
    source.write_bytes(pickle.dumps(value, protocol))
    convert(source, tmp_path / "o")
    found = _read(tmp_path / "o")[0]
    assert np.array_equal(found["a"], value["a"])
    assert np.array_equal(found["b.0"], NUMBERS.reshape(3, 4))
    assert found["b.1"] == 2


def test_npy_and_npz_keep_their_values(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(NUMBERS.reshape(3, 4)))
    np.savez_compressed(tmp_path / "a.npz", w=NUMBERS, b=np.arange(3))
    convert(tmp_path / "a.npy", tmp_path / "o")
    assert np.array_equal(_read(tmp_path / "o")[0]["array"], NUMBERS.reshape(3, 4))
    convert(tmp_path / "a.npz", tmp_path / "o", replace=True)
    found, metadata = _read(tmp_path / "o")
    assert (found["b"].tolist(), metadata["format"]) == ([0, 1, 2], "np")


@pytest.mark.parametrize(
    "value", [np.array(["a"]), np.array([None]), np.array([(1, 2.0)], dtype="i4,f8"), np.array(1j)]
)
def test_arrays_that_safetensors_has_no_type_for_are_refused(value: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", value, allow_pickle=True)
    with pytest.raises(ArtifactError):
        convert(tmp_path / "a.npy", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", NUMBERS)
    (tmp_path / "o").write_bytes(b"mine")
    with pytest.raises(UsageError):
        convert(tmp_path / "a.npy", tmp_path / "o")
    assert (tmp_path / "o").read_bytes() == b"mine"


def test_cut_off_files_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, w=NUMBERS)
    whole = buffer.getvalue()
    for size in range(0, len(whole), 37):
        (tmp_path / "a.npz").write_bytes(whole[:size])
        with pytest.raises(ArtifactError):
            convert(tmp_path / "a.npz", tmp_path / "o")
