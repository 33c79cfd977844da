"""GGUF (versions 1 to 3): header, key-values and tensor places bounded; the chat template is judged (ggml gguf.md)."""

from __future__ import annotations

import struct

from customhouse.trust.scan.configurations import inspect_json_text
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.jinja import inspect_template
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

_WIDTH = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 20
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Per tensor type: elements and bytes of one block."""


class _Reader(Cursor):
    """A cursor that knows how wide a length is: four bytes in version 1, eight since."""

    __slots__ = ("wide",)

    def __init__(self, source: Source, position: int, wide: int = 8) -> None:
        super().__init__(source, position)
        self.wide = wide

    def size(self) -> int:
        """A length or a count."""
        return self.number(self.wide)


def inspect_gguf(source: Source, look: Inspection) -> None:
    """Read everything up to the tensor data, and place every tensor inside the file."""
    look.format = "gguf"
    version = int.from_bytes(source.read(4, 4), "little")
    if version not in (1, 2, 3):
        raise UnreadableError(f"GGUF version {version}", offset=4, rule="gguf-version", hint="convert it to version 3")
    cursor = _Reader(source, 8, 4 if version == 1 else 8)
    tensors, keys = cursor.size(), cursor.size()
    if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
        raise UnreadableError(f"{tensors} tensors and {keys} keys", offset=8, rule="gguf-counts")
    alignment = 32
    seen: set[str] = set()
    for _ in range(keys):
        look.spend(4)
        name = _string(cursor, 1 << 16).decode("utf-8", "replace")
        if name in seen:
            look.suspicious("gguf-duplicate-key", f"the key {name[:80]!r} twice", cursor.position)
        seen.add(name)
        value = _value(cursor, look, cursor.number(4), name)
        if name == "general.alignment" and isinstance(value, int):
            alignment = value
    if alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
        raise UnreadableError(f"an alignment of {alignment}", rule="gguf-alignment")
    spans = [_tensor(cursor, look) for _ in range(tensors)]
    if any(start % alignment for start, _, _ in spans):
        look.suspicious("gguf-layout", "a tensor at a place that is not aligned", cursor.position)
    data = -(-cursor.position // alignment) * alignment if tensors else cursor.position
    _layout(source, look, spans, data)


def _layout(source: Source, look: Inspection, spans: list[tuple[int, int, str]], data: int) -> None:
    position = 0
    for start, size, name in sorted(spans):
        if start < position:
            look.suspicious("gguf-layout", f"{name[:80]!r} overlaps the tensor before it", data + start)
        if data + start + size > source.size:
            look.suspicious("gguf-layout", f"{name[:80]!r} reaches past the end of the file", data + start)
        position = max(position, start + size)
    rest = source.size - data - position
    if rest > 1 << 20 or (rest > 0 and not spans and source.peek(data, rest).strip(b"\x00")):
        look.unscannable("gguf-trailing-bytes", f"{rest} bytes belong to no tensor", data + position)


def _tensor(cursor: _Reader, look: Inspection) -> tuple[int, int, str]:
    look.spend(4)
    name = _string(cursor, 1 << 12).decode("utf-8", "replace")
    sides = cursor.number(4)
    if sides > 8:
        raise UnreadableError(f"a tensor of {sides} dimensions", offset=cursor.position, rule="gguf-tensor")
    elements = 1
    for _ in range(sides):
        elements = min(elements * cursor.size(), 1 << 62)
    kind, offset = cursor.number(4), cursor.number(8)
    if kind not in _BLOCKS:
        raise UnreadableError(f"a tensor of type {kind}", offset=cursor.position, rule="gguf-tensor")
    block, width = _BLOCKS[kind]
    return offset, -(-elements // block) * width, name


def _string(cursor: _Reader, limit: int) -> bytes:
    size = cursor.size()
    if size > limit:
        raise UnreadableError(f"a text of {size} bytes", offset=cursor.position, rule="gguf-text")
    return cursor.take(size)


def _value(cursor: _Reader, look: Inspection, kind: int, name: str, depth: int = 0) -> int | float | None:
    if kind == _STRING:
        _text(cursor, look, name)
        return None
    if kind == _ARRAY:
        inner, count = cursor.number(4), cursor.size()
        if inner in _WIDTH:
            cursor.skip(_WIDTH[inner] * count)
        elif depth > 4 or inner not in (_STRING, _ARRAY):
            raise UnreadableError(f"an array of type {inner}", offset=cursor.position, rule="gguf-value")
        else:
            for _ in range(count):
                look.spend()
                _value(cursor, look, inner, name, depth + 1)
        return None
    if kind not in _WIDTH:
        raise UnreadableError(f"a value of type {kind}", offset=cursor.position, rule="gguf-value")
    data = cursor.take(_WIDTH[kind])
    return struct.unpack("<f", data)[0] if kind == 6 else int.from_bytes(data, "little")


def _text(cursor: _Reader, look: Inspection, name: str) -> None:
    """Templates are judged, and whatever is JSON (a tokenizer, a configuration) as such."""
    if "template" in name:
        inspect_template(_string(cursor, 1 << 22).decode("utf-8", "replace"), look, name)
        return
    size = cursor.size()
    start = cursor.position
    cursor.skip(size)
    if name.endswith((".json", "_json", ".config")) and size <= look.budget.limits.text:
        cursor.position = start
        inspect_json_text(cursor.take(size).decode("utf-8", "replace"), look.same(), name)
