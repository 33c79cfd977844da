"""NumPy .npy files: header and size checked; object arrays are pickles (numpy.lib.format, versions 1 to 3)."""

from __future__ import annotations

import ast

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.pickles import read_pickle, text_item_size
from customhouse.trust.scan.source import Source, UnreadableError

_MAX_HEADER = 1 << 16


def inspect_npy(source: Source, look: Inspection) -> None:
    """The header, then either exactly the promised bytes or one pickle."""
    look.format = "numpy"
    major = source.read(6, 1)[0]
    if major not in (1, 2, 3):
        raise UnreadableError(f"NumPy format {major}", offset=6, rule="numpy-version", hint="save it again")
    width = 2 if major == 1 else 4
    length = int.from_bytes(source.read(8, width), "little")
    start = 8 + width + length
    if length > _MAX_HEADER:
        raise UnreadableError("a header of over 64 KiB", offset=8, rule="numpy-header")
    shape, size = _header(source.read(8 + width, length))
    if size is None:
        outcome = read_pickle(source, look, start)
        if outcome.end != source.size:
            look.unscannable("numpy-trailing-bytes", "bytes follow the array", outcome.end)
        return
    for side in shape:
        size *= side
        if size > source.size:
            raise UnreadableError("an array larger than its file", offset=start, rule="numpy-size")
    if start + size != source.size:
        look.unscannable("numpy-size", f"{source.size - start} bytes for an array of {size}", start)


def _header(data: bytes) -> tuple[tuple[int, ...], int | None]:
    """Shape, and the bytes of one element (None for objects)."""
    try:
        value = ast.literal_eval(data.decode("utf-8").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise UnreadableError("a header that is no dictionary of literals", offset=10, rule="numpy-header") from error
    if not isinstance(value, dict) or set(value) != {"descr", "fortran_order", "shape"}:
        raise UnreadableError("a header without descr, fortran_order and shape", offset=10, rule="numpy-header")
    shape = value["shape"]
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise UnreadableError("a shape that is none", offset=10, rule="numpy-header")
    return shape, _element(value["descr"])


def _element(descr: object, depth: int = 0) -> int | None:
    if isinstance(descr, str):
        return text_item_size(descr)
    if not isinstance(descr, list) or depth > 8:
        raise UnreadableError("an element type that is not understood", offset=10, rule="numpy-dtype")
    total = 0
    for item in descr:
        if not isinstance(item, tuple) or len(item) not in (2, 3):
            raise UnreadableError("an element type that is not understood", offset=10, rule="numpy-dtype")
        size = _element(item[1], depth + 1)
        if size is None:
            return None
        for side in _sides(item[2]) if len(item) == 3 else ():
            size *= side
        total += size
    return total


def _sides(value: object) -> tuple[int, ...]:
    sides = value if isinstance(value, tuple) else (value,)
    if not all(type(side) is int and side >= 0 for side in sides):
        raise UnreadableError("an element type that is not understood", offset=10, rule="numpy-dtype")
    return sides
