"""FlatBuffers, read lazily and bounded: tables by their virtual tables, vectors and texts by offset, never copied."""

from __future__ import annotations

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Source, UnreadableError

_MAX_VECTOR = 1 << 22
_MAX_TEXT = 1 << 16


class Table:
    """One table: where it is and where its fields are."""

    __slots__ = ("_look", "_source", "_vtable", "_width", "position")

    def __init__(self, source: Source, look: Inspection, position: int) -> None:
        look.spend()
        self._source = source
        self._look = look
        self.position = position
        self._vtable = position - int.from_bytes(source.read(position, 4), "little", signed=True)
        self._width = int.from_bytes(source.read(self._vtable, 2), "little")
        if self._width < 4 or self._width % 2:
            raise UnreadableError("a table without fields", offset=position, rule="flatbuffer-broken")

    def number(self, field: int, width: int, default: int = 0, *, signed: bool = False) -> int:
        """A scalar of `width` bytes."""
        place = self._place(field)
        if place is None:
            return default
        return int.from_bytes(self._source.read(place, width), "little", signed=signed)

    def text(self, field: int) -> str:
        """A string; empty when it is not there."""
        place = self._follow(field)
        return "" if place is None else _text(self._source, place)

    def table(self, field: int) -> Table | None:
        """A table inside."""
        place = self._follow(field)
        return None if place is None else Table(self._source, self._look, place)

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        return [Table(self._source, self._look, place) for place in self._places(field)]

    def texts(self, field: int) -> list[str]:
        """A vector of strings."""
        return [_text(self._source, place) for place in self._places(field)]

    def octets(self, field: int, width: int = 1) -> Source:
        """A vector of scalars of `width` bytes, as a window; empty when it is not there."""
        place = self._follow(field)
        if place is None:
            return self._source.window(0, 0)
        count = int.from_bytes(self._source.read(place, 4), "little")
        return self._source.window(place + 4, count * width)

    def _places(self, field: int) -> list[int]:
        place = self._follow(field)
        if place is None:
            return []
        count = int.from_bytes(self._source.read(place, 4), "little")
        if count > _MAX_VECTOR:
            raise UnreadableError(f"a list of {count}", offset=place, rule="limit-steps")
        self._look.spend(count)
        data = self._source.read(place + 4, 4 * count)
        return [place + 4 + at + int.from_bytes(data[at : at + 4], "little") for at in range(0, 4 * count, 4)]

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._width:
            return None
        offset = int.from_bytes(self._source.read(self._vtable + slot, 2), "little")
        return self.position + offset if offset else None

    def _follow(self, field: int) -> int | None:
        place = self._place(field)
        return None if place is None else place + int.from_bytes(self._source.read(place, 4), "little")


def root(source: Source, look: Inspection, start: int = 0) -> Table:
    """The root table of a buffer that starts at `start`."""
    return Table(source, look, start + int.from_bytes(source.read(start, 4), "little"))


def _text(source: Source, place: int) -> str:
    size = int.from_bytes(source.read(place, 4), "little")
    if size > _MAX_TEXT:
        raise UnreadableError(f"a text of {size} bytes", offset=place, rule="flatbuffer-text")
    return source.read(place + 4, size).decode("utf-8", "replace")
