"""Writes files of nearly 10 MB that are made to be slow to scan, and prints what each costs in processor seconds.

    python benchmarks/slow_models.py [PATTERN…]        # all of them take some two minutes

The first ones are what programs write (many small objects, vocabularies, arrays); those called `op …` repeat one
opcode, those called `onnx …` one message. Nothing is executed.
"""

from __future__ import annotations

import fnmatch
import pickle
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from customhouse.trust.scan import scan_bytes

SIZE = 9_980_000
_VALUES: dict[str, Callable[[int], object]] = {
    "dictionaries": lambda n: [{"a": i & 255, "b": None} for i in range(n)],
    "records": lambda n: [{"id": i, "name": f"n{i}", "tags": ["x", "y"], "s": {"a": 1.0}} for i in range(n)],
    "tuples": lambda n: [(i & 255, i & 15) for i in range(n)],
    "lists": lambda n: [[i & 255, 1] for i in range(n)],
    "lists in lists": lambda n: [[[[i & 255]]] for i in range(n)],
    "vocabulary": lambda n: {f"w{i}": i for i in range(n)},
    "merges": lambda n: {(f"a{i}", f"b{i // 3}"): i for i in range(n)},
    "vectors as lists": lambda n: {f"w{i}": [float(i), 1.5, 2.5] for i in range(n)},
    "vectors as arrays": lambda n: {f"w{i}": np.full(50, i, np.float32) for i in range(n)},
    "numbers of NumPy": lambda n: {f"w{i}": np.float64(i) for i in range(n)},
    "sets": lambda n: [{i, i + 1} for i in range(n)],
    "ordered dictionaries": lambda n: [OrderedDict(a=i) for i in range(n)],
    "texts": lambda n: [str(i) for i in range(n)],
    "byte strings": lambda n: [b"ab%d" % i for i in range(n)],
    "long numbers": lambda n: [2**40 + i for i in range(n)],
}
_OPCODES: dict[str, tuple[bytes, bytes, bytes]] = {
    "NONE": (b"\x80\4", b"", b"N"),
    "EMPTY_LIST": (b"\x80\4", b"", b"]"),
    "SHORT_BINBYTES": (b"\x80\4", b"", b"C\0"),
    "SETITEM": (b"\x80\4", b"}", b"\x8c\1aNs"),
    "REDUCE": (b"\x80\4", b"ccollections\nOrderedDict\n\x94", b"h\0)R"),
    "UNICODE": (b"", b"", b"V\n"),
    "FLOAT": (b"", b"", b"F1\n"),
}


def _message(number: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while size > 127:
        size, length = size >> 7, length + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + length + bytes([size]) + body


def _onnx(part: bytes, count: int) -> bytes:
    return b"\x08\x08" + _message(7, part * count) + _message(8, b"\x10\x0d")


def _repeated(head: bytes, unit: bytes) -> bytes:
    return head + unit * (SIZE // len(unit)) + b"N."


def shapes() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Name, and what makes the bytes."""
    for name, make in _VALUES.items():
        for protocol in (0, 2, 4):
            yield f"{name}, protocol {protocol}", partial(_filled, make, protocol)
    for name, (head, before, unit) in _OPCODES.items():
        yield f"op {name}", partial(_repeated, head + before, unit)
    scalar = b"".join(_message(n, text) for n, text in ((1, b"input_000"), (2, b"output_000"), (3, b"node_000_000")))
    node = _message(1, scalar + _message(4, b"Relu") + _message(5, _message(1, b"alpha") + b"\x15\0\0\0\0\xa0\1\1"))
    yield "onnx 100,000 nodes", partial(_onnx, node, 100_000)
    tensor = _message(5, b"\x08\1\x10\1" + _message(8, b"w") + _message(9, struct.pack("<f", 1)))
    for name, part in (("nodes", node), ("empty nodes", _message(1, b"")), ("tensors", tensor)):
        yield f"onnx {name}", partial(_onnx, part, SIZE // len(part) - 10)


def _filled(make: Callable[[int], object], protocol: int) -> bytes:
    count = 20_000
    while True:
        data = pickle.dumps(make(count), protocol)
        if SIZE * 0.9 < len(data) < SIZE:
            return data
        count = int(count * SIZE * 0.96 / len(data))


def main(patterns: list[str]) -> None:
    """A line a shape."""
    for name, make in shapes():
        if patterns and not any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            continue
        data = make()
        began = time.process_time()
        scan = scan_bytes(data)
        spent = time.process_time() - began
        print(f"{spent:5.2f} s  {len(data) / 1e6:5.1f} MB  {scan.verdict:12} {name}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
