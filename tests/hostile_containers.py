"""Containers for hostile payloads: archives, streams and polyglots of many kinds, sound ones and such as lie."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from importlib import import_module

import numpy as np


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def tarred(members: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def sevenzipped(data: bytes, name: str = "model.pkl", *, method: str = "copy", encoded: bool = False) -> bytes:
    """A 7z archive of one file, by Copy, LZMA2 or PPMd's name; its header packed too when `encoded`."""
    coders = {"copy": b"\x01\x00", "lzma2": b"\x21\x21\x01\x18", "ppmd": b"\x23\x03\x04\x01\x05\x06\x00\x00\x01\x00"}
    packed = _lzma2(data) if method == "lzma2" else data
    names = name.encode("utf-16-le") + b"\x00\x00"
    header = b"\x01\x04" + _streams7z(0, packed, data, coders[method])
    header += b"\x05\x01\x11" + _number7z(len(names) + 1) + b"\x00" + names + b"\x00\x00"
    body = packed
    if encoded:
        squeezed = _lzma2(header)
        outer = b"\x17" + _streams7z(len(body), squeezed, header, coders["lzma2"])
        body, header = body + squeezed, outer
    start = struct.pack("<QQI", len(body), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<I", zlib.crc32(start)) + start + body + header


def _streams7z(offset: int, packed: bytes, plain: bytes, coder: bytes) -> bytes:
    crc = b"\x0a\x01" + struct.pack("<I", zlib.crc32(plain))
    return (
        b"\x06" + _number7z(offset) + b"\x01\x09" + _number7z(len(packed)) + b"\x00"
        + b"\x07\x0b\x01\x00\x01" + coder + b"\x0c" + _number7z(len(plain)) + crc + b"\x00\x00"
    )  # fmt: skip


def _number7z(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else b"\xff" + struct.pack("<Q", value)


def _lzma2(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 24}])


def _flagged(data: bytes, *, local: bool, central: bool) -> bytes:
    out = bytearray(data)
    if local:
        out[6] |= 1
    if central:
        out[out.index(b"PK\x01\x02") + 8] |= 1
    return bytes(out)


def _bad_crc(data: bytes) -> bytes:
    out, at = bytearray(data), data.index(b"PK\x01\x02") + 16
    out[at : at + 4] = out[14:18] = b"\xde\xad\xbe\xef"
    return bytes(out)


def _hidden(data: bytes) -> bytes:
    """A member that only streaming readers see: its entry is taken from the directory."""
    whole = zipped({"archive/data.pkl": data, "archive/version": b"3\n"}, zipfile.ZIP_STORED)
    first, second = whole.index(b"PK\x01\x02"), whole.rindex(b"PK\x01\x02")
    end = whole.rindex(b"PK\x05\x06")
    directory = whole[second:end]
    tail = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(directory), first, 0)
    return whole[:first] + directory + b"PK\x05\x06" + tail


def _renamed(data: bytes) -> bytes:
    """The local header and the directory call a member by two names."""
    whole = zipped({"archive/data.pkl": data}, zipfile.ZIP_STORED)
    return whole.replace(b"archive/data.pkl", b"archive/data.txt", 1)


def _zstd(data: bytes) -> bytes:
    module = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return bytes(import_module(module).compress(data))


def _lz4(data: bytes) -> bytes:
    return bytes(import_module("lz4.frame").compress(data))


def torched(data: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """A checkpoint as torch lays it out."""
    return zipped({"archive/data.pkl": data, "archive/version": b"3\n", "archive/data/0": bytes(16)}, method)


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    return buffer.getvalue()


def _npy_objects(data: bytes) -> bytes:
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


GGUF_HEAD = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
TEXT = b"hello\n"
CONTAINERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "raw": ("model.pkl", bytes),
    "misnamed-safetensors": ("model.safetensors", bytes),
    "misnamed-json": ("config.json", bytes),
    "gzip": ("model.pkl.gz", gzip.compress),
    "gzip-second-member": ("model.gz", lambda data: gzip.compress(b"") + gzip.compress(data)),
    "gzip-twice": ("model.gz", lambda data: gzip.compress(gzip.compress(data))),
    "bzip2": ("model.joblib", bz2.compress),
    "xz": ("model.pkl.xz", lzma.compress),
    "lzma": ("model.joblib", lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
    "zlib": ("model.joblib", zlib.compress),
    "zstd": ("model.pkl.zst", _zstd),
    "lz4": ("model.joblib", _lz4),
    "tar": ("model.nemo", lambda data: tarred({"weights.ckpt": data})),
    "tar-gz": ("model.tar.gz", lambda data: gzip.compress(tarred({"a": TEXT, "m.pkl": data}))),
    "tar-long-name": ("model.tar", lambda data: tarred({"x/" * 80 + "m.pkl": data})),
    "tar-pax": ("model.tar", lambda data: tarred({"ü" * 90 + "m.pkl": data}, tarfile.PAX_FORMAT)),
    "tar-second-archive": ("model.tar", lambda data: tarred({"a": TEXT}) + tarred({"m.pkl": data})),
    "torch-stored": ("model.pt", torched),
    "torch-deflated": ("model.bin", lambda data: torched(data, zipfile.ZIP_DEFLATED)),
    "zip-bzip2": ("model.zip", lambda data: zipped({"m.pkl": data}, zipfile.ZIP_BZIP2)),
    "zip-lzma": ("model.zip", lambda data: zipped({"m.pkl": data}, zipfile.ZIP_LZMA)),
    "zip-flag-local": ("model.pt", lambda data: _flagged(torched(data), local=True, central=False)),
    "zip-flag-central": ("model.pt", lambda data: _flagged(torched(data), local=False, central=True)),
    "zip-flag-both": ("model.pt", lambda data: _flagged(torched(data), local=True, central=True)),
    "zip-bad-crc": ("model.pt", lambda data: _bad_crc(torched(data))),
    "zip-hidden": ("model.pt", _hidden),
    "zip-renamed": ("model.pt", _renamed),
    "zip-prefix": ("model.pt", lambda data: b"MODEL\x00\x01" + torched(data)),
    "zip-suffix": ("model.pt", lambda data: torched(data) + b"tail"),
    "zip-in-zip": ("model.zip", lambda data: zipped({"inner.zip": torched(data)})),
    "zip-in-tar": ("model.tar", lambda data: tarred({"inner.zip": torched(data)})),
    "zip-behind-gguf": ("model.gguf", lambda data: GGUF_HEAD + torched(data)),
    "zip-behind-elf": ("model.llamafile", lambda data: b"\x7fELF\x02\x01\x01" + bytes(57) + torched(data)),
    "zip-behind-shell": ("model.bin", lambda data: b"#!/bin/sh\nexit\n" + torched(data)),
    "zip-behind-pickle": ("model.pkl", lambda data: pickle.dumps([1]) + torched(data)),
    "zip-wheel": ("m-1-py3-none-any.whl", lambda data: zipped({"m/w.pkl": data, "m-1.dist-info/WHEEL": TEXT})),
    "zip-mar": ("model.mar", lambda data: zipped({"MAR-INF/MANIFEST.json": b"{}", "w.pt": data})),
    "zip-skops": ("model.skops", lambda data: zipped({"schema.json": b"{}", "x.pkl": data})),
    "npz-beside": ("model.npz", lambda data: zipped({"a.npy": _npy(), "b.npy": data})),
    "keras-beside": (
        "model.keras",
        lambda data: zipped({"config.json": b"{}", "metadata.json": b"{}", "assets/x": data}),
    ),
    "7z-copy": ("model.pt", sevenzipped),
    "7z-lzma2": ("model.7z", lambda data: sevenzipped(data, method="lzma2")),
    "7z-encoded": ("model.7z", lambda data: sevenzipped(data, method="lzma2", encoded=True)),
    "7z-in-zip": ("model.zip", lambda data: zipped({"m.7z": sevenzipped(data)})),
    "numpy-object": ("model.npy", _npy_objects),
    "newlines-before": ("model.txt", lambda data: tarred({"README.md": data})),
}
