"""Protocol buffer wire format, read lazily and bounded: fields as numbers or windows, never copied whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

_MAX_TEXT = 1 << 16


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `value` for varints and fixed widths, `body` for length-delimited ones (`offset` is its place)."""

    number: int
    value: int
    body: Source | None
    offset: int

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
    """The fields of a message. Raises UnreadableError for groups (long deprecated) and broken bytes."""
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
