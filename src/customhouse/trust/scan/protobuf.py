"""Protocol buffer wire format, read lazily and bounded: fields as numbers or windows, never copied whole."""

from __future__ import annotations

from collections.abc import Iterator

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Cursor, MemoryBacking, Source, UnreadableError

_MAX_TEXT = 1 << 16
_AT_ONCE = 16 << 20


class Field:
    """One field: `value` for varints and fixed widths, `body` for length-delimited ones (`offset` is its place)."""

    __slots__ = ("body", "number", "offset", "value")

    def __init__(self, number: int, value: int, body: Source | None, offset: int) -> None:
        self.number = number
        self.value = value
        self.body = body
        self.offset = offset

    def text(self) -> str:
        """The body as text. Raises UnreadableError when it is none, or over 64 KiB."""
        return self.octets().decode("utf-8", "replace")

    def octets(self, limit: int = _MAX_TEXT) -> bytes:
        """The body's bytes. Raises UnreadableError when it is a number or over `limit`."""
        if self.body is None or self.body.size > limit:
            raise UnreadableError(f"field {self.number} is no text", offset=self.offset, rule="protobuf-field")
        return self.body.read(0, self.body.size)

    def message(self) -> Source:
        """The body as a message. Raises UnreadableError for a number."""
        if self.body is None:
            raise UnreadableError(f"field {self.number} is no message", offset=self.offset, rule="protobuf-field")
        return self.body


def fields(source: Source, look: Inspection) -> Iterator[Field]:
    """The fields of a message. Raises UnreadableError for groups (long deprecated) and broken bytes.

    A message of up to 16 MB is read at once and its parts are windows of that, so that a graph of a hundred thousand
    nodes takes a second; larger ones are mostly weights, which are never read.
    """
    if source.size > _AT_ONCE:
        return _spread(source, look)
    return _together(source.read(0, source.size), look)


def _together(data: bytes, look: Inspection) -> Iterator[Field]:
    position, end, backing, count = 0, len(data), MemoryBacking(data), 0
    while position < end:
        count += 1
        if not count & 63:
            look.spend(64)
        offset = position
        key = data[position]
        if key < 0x80:
            position += 1
        else:
            key, position = _number(data, position)
        wire = key & 7
        if wire == 2:
            size = data[position] if position < end else 0x80
            if size < 0x80:
                position += 1
            else:
                size, position = _number(data, position)
            if key < 8 or size > end - position:
                raise UnreadableError("a field that reaches past the end", offset=offset, rule="protobuf-broken")
            yield Field(key >> 3, 0, Source(backing, position, size), offset)
            position += size
        elif wire == 0 and key >= 8:
            value, position = _number(data, position)
            yield Field(key >> 3, value, None, offset)
        elif wire in (1, 5) and key >= 8:
            width = 8 if wire == 1 else 4
            if width > end - position:
                raise UnreadableError("a number that reaches past the end", offset=offset, rule="protobuf-broken")
            yield Field(key >> 3, int.from_bytes(data[position : position + width], "little"), None, offset)
            position += width
        else:
            raise UnreadableError(f"field {key >> 3} of wire type {wire}", offset=offset, rule="protobuf-broken")
    look.spend(1 + (count & 63))


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A base-128 number of at most 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise UnreadableError("a number that does not end", offset=position, rule="protobuf-broken")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, position
    raise UnreadableError("a number of more than ten bytes", offset=position, rule="protobuf-broken")


def _spread(source: Source, look: Inspection) -> Iterator[Field]:
    cursor = Cursor(source)
    while cursor.left:
        look.spend()
        offset = cursor.position
        key = varint(cursor)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise UnreadableError("field 0", offset=offset, rule="protobuf-broken")
        if wire == 0:
            yield Field(number, varint(cursor), None, offset)
        elif wire in (1, 5):
            yield Field(number, cursor.number(8 if wire == 1 else 4), None, offset)
        elif wire == 2:
            size = varint(cursor)
            start = cursor.position
            cursor.skip(size)
            yield Field(number, 0, source.window(start, size), offset)
        else:
            raise UnreadableError(f"wire type {wire}", offset=offset, rule="protobuf-broken")


def varint(cursor: Cursor) -> int:
    """A base-128 number of at most 64 bits."""
    value = 0
    for shift in range(0, 70, 7):
        byte = cursor.byte()
        if byte < 0:
            raise UnreadableError("a number that does not end", offset=cursor.position, rule="protobuf-broken")
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1
    raise UnreadableError("a number of more than ten bytes", offset=cursor.position, rule="protobuf-broken")
