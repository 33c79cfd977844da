"""The few facts about an ONNX file that must be known before it is loaded, read from its protobuf wire form.

Source: onnx.proto (field numbers below) and the protobuf encoding guide. Nothing is built from the bytes but text.
"""

from __future__ import annotations

from collections.abc import Iterator

_MAX_DEPTH = 32

# Where a TensorProto can be, by message: field number -> message. Only paths that lead to one are walked.
_CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}


class ProtobufError(ValueError):
    """The bytes are not a protobuf message of the expected shape."""


def external_locations(data: bytes) -> frozenset[str]:
    """The `location` of every tensor whose data lies outside the model file. Raises ProtobufError."""
    found: set[str] = set()
    _walk(memoryview(data), "Model", found, 0)
    return frozenset(found)


def _walk(data: memoryview, message: str, found: set[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ProtobufError(f"graphs are nested deeper than {_MAX_DEPTH}")
    children = _CHILDREN[message]
    for number, value in _fields(data):
        child = children.get(number)
        if child is None or value is None:
            continue
        if child == "Entry":
            entry = {key: bytes(text) for key, text in _fields(value) if text is not None}
            if entry.get(1) == b"location":
                found.add(entry.get(2, b"").decode("utf-8", "surrogateescape"))
        else:
            _walk(value, child, found, depth + 1)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Field numbers with the bytes of length-delimited fields, None for others."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == 0:
            _, position = _varint(data, position)
            yield key >> 3, None
        elif kind == 2:
            size, position = _varint(data, position)
            end = position + size
            if end > len(data):
                raise ProtobufError("a field reaches beyond the end of the file")
            yield key >> 3, data[position:end]
            position = end
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
            yield key >> 3, None
        else:
            raise ProtobufError(f"wire type {kind} at byte {position}")
    if position != len(data):
        raise ProtobufError("the file ends within a field")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ProtobufError(f"a broken number at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
