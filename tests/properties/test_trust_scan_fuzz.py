"""Whatever the bytes, the scanner answers: no exception, no hang, the same verdict twice, payloads never clean."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.trust.scan import Limits, Verdict, scan_bytes

LIMITS = Limits(steps=200_000, expanded=4 << 20, members=1_000, seconds=5.0)
EVIL = b"cos\nsystem\n(X\x04\x00\x00\x00truetR."
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", b"\x00" * 16)
    return buffer.getvalue()


def _tar(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("x")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object))
    return buffer.getvalue()


GGUF = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<II", 4, 7)
GGUF += struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, 4, 0, 0) + bytes(64)
HDF5 = b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00\x04\x00\x10\x00" + bytes(4) + bytes(8) + b"\xff" * 8
HDF5 += struct.pack("<QQ", 400, 2**64 - 1) + struct.pack("<QQ", 0, 96) + bytes(24)
HDF5 += (
    b"\x01\x00\x01\x00\x01\x00\x00\x00\x18\x00\x00\x00"
    + bytes(4)
    + b"\x11\x00\x10\x00"
    + bytes(4)
    + bytes(16)
    + bytes(300)
)
HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
ONNX = b"\x08\x08\x3a\x0b\x0a\x09\x0a\x01x\x22\x04Relu"
SEEDS = [
    pickle.dumps({"a": [1, b"x" * 40, np.arange(3)]}, 4),
    pickle.dumps({"a": np.arange(3)}, 0),
    _zip(pickle.dumps([1], 2)),
    _tar(pickle.dumps([1], 2)),
    _npy(),
    GGUF,
    HDF5,
    ONNX,
    struct.pack("<Q", len(HEADER)) + HEADER + bytes(4),
    zlib.compress(pickle.dumps([1])),
    b'{"chat_template": "{{ x }}", "class_name": "A", "config": {}}',
    b"a: &x [1, *x]\nb: !!map {}\n",
]


def test_the_seeds_are_of_the_formats_that_they_stand_for() -> None:
    found = [scan_bytes(seed).format for seed in SEEDS]
    assert found[:10] == [
        "pickle",
        "pickle",
        "torch-zip",
        "tar",
        "numpy",
        "gguf",
        "hdf5",
        "onnx",
        "safetensors",
        "zlib(pickle)",
    ]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_get_a_verdict(data: bytes) -> None:
    scan = scan_bytes(data, limits=LIMITS)
    assert scan.verdict in Verdict
    assert scan == scan_bytes(data, limits=LIMITS)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(OPCODES) | st.binary(max_size=4) | st.sampled_from([b"os\n", b"system\n"]), max_size=40)
)
def test_arbitrary_opcodes_get_a_verdict(parts: list[bytes]) -> None:
    assert scan_bytes(b"\x80\x04" + b"".join(parts) + b".", limits=LIMITS).verdict in Verdict


@settings(max_examples=600, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    cut=st.none() | st.integers(0, 10_000),
    tail=st.binary(max_size=8),
)
def test_mutated_files_get_a_verdict(seed: bytes, edits: list[tuple[int, int]], cut: int | None, tail: bytes) -> None:
    data = bytearray(seed)
    for place, value in edits:
        data[place % len(data)] = value
    mutated = bytes(data[: len(data) if cut is None else cut % len(data)]) + tail
    scan = scan_bytes(mutated, limits=LIMITS)
    assert scan.verdict in Verdict
    assert all(finding.rule != "reader-failed" for finding in scan.findings), scan.findings


@settings(max_examples=150, deadline=None)
@given(
    before=st.lists(st.sampled_from([b"N0", b"]0", b"(0", b"K\x01\x94", b"\x8c\x01a0", b"}0", b"(N1"]), max_size=20),
    after=st.binary(max_size=20),
    pack=st.sampled_from([bytes, zlib.compress, _zip, _tar]),
)
def test_a_payload_is_never_clean_wherever_it_stands(before: list[bytes], after: bytes, pack: object) -> None:
    assert callable(pack)
    data = pack(b"\x80\x04" + b"".join(before) + EVIL[:-1] + b"0N." + after)
    assert scan_bytes(data, limits=LIMITS).verdict is Verdict.MALICIOUS


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
    st.integers(0, 5),
)
def test_pickles_of_plain_values_are_clean(value: object, protocol: int) -> None:
    scan = scan_bytes(pickle.dumps(value, protocol), "x.pkl")
    assert scan.verdict is Verdict.CLEAN, scan.findings


@pytest.mark.parametrize("size", [1 << 20])
def test_a_megabyte_of_noise_is_read_in_bounded_time(size: int) -> None:
    rng = np.random.default_rng(3)
    for head in (b"", b"\x80\x04", b"PK\x03\x04", b"GGUF\x03\x00\x00\x00", b"\x89HDF\r\n\x1a\n", b"\x08\x08\x3a"):
        assert scan_bytes(head + rng.bytes(size), limits=LIMITS).verdict is not Verdict.CLEAN
