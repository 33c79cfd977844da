"""Tiny ONNX models, written as protobuf by hand (field numbers of onnx.proto): Gemm and Sigmoid."""

from __future__ import annotations

import struct

from protobuf_writer import varint


def _bytes(number: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return varint(number << 3 | 2) + varint(len(data)) + data


def _int(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def _value(name: str, columns: int) -> bytes:
    batch = _bytes(1, _bytes(2, "batch"))
    shape = batch + _bytes(1, _int(1, columns))
    tensor = _int(1, 1) + _bytes(2, shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


def _tensor(name: str, dimensions: list[int], values: list[float], location: str | None = None) -> bytes:
    head = b"".join(_int(1, size) for size in dimensions) + _int(2, 1) + _bytes(8, name)
    raw = struct.pack(f"<{len(values)}f", *values)
    if location is None:
        return head + _bytes(9, raw)
    entries = {"location": location, "offset": "0", "length": str(len(raw))}
    external = b"".join(_bytes(13, _bytes(1, key) + _bytes(2, value)) for key, value in entries.items())
    return head + external + _int(14, 1)


def _node(kind: str, inputs: list[str], output: str) -> bytes:
    return b"".join(_bytes(1, name) for name in inputs) + _bytes(2, output) + _bytes(4, kind)


def logistic(weights: list[float], bias: float, *, location: str | None = None) -> bytes:
    """sigmoid(input · weights + bias) as one column `probability`."""
    columns = len(weights)
    gemm, sigmoid = _node("Gemm", ["input", "w", "b"], "logit"), _node("Sigmoid", ["logit"], "probability")
    nodes = _bytes(1, gemm) + _bytes(1, sigmoid)
    graph = (
        nodes
        + _bytes(2, "logistic")
        + _bytes(5, _tensor("w", [columns, 1], weights, location))
        + _bytes(5, _tensor("b", [1], [bias]))
        + _bytes(11, _value("input", columns))
        + _bytes(12, _value("probability", 1))
    )
    return _int(1, 8) + _bytes(7, graph) + _bytes(8, _int(2, 17))
