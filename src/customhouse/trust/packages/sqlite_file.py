"""A small reader of SQLite's file format: the rows of one table, and nothing else.

RPM keeps its database in one. A stranger's file is not given to SQLite itself: no schema is run, no index believed, and
every page is read once at most. Format: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

from collections.abc import Iterator

from customhouse.trust.packages.found import UnreadListError
from customhouse.trust.scan.source import Source, UnreadableError

SIGNATURE = b"SQLite format 3\x00"
_INNER, _LEAF = 5, 13
_MAX_ROW = 64 << 20
Value = int | bytes | str | None


class SqliteFile:
    """An open database file. Raises UnreadListError wherever it is not what the format says."""

    def __init__(self, source: Source) -> None:
        head = source.peek(0, 100)
        if not head.startswith(SIGNATURE) or len(head) < 100:
            raise UnreadListError("not a database of SQLite")
        size = int.from_bytes(head[16:18], "big")
        self._page = 65_536 if size == 1 else size
        if self._page < 512 or self._page & (self._page - 1):
            raise UnreadListError("a page size that is none")
        if int.from_bytes(head[56:60], "big") not in (0, 1):
            raise UnreadListError("its text is not UTF-8")
        self._source = source
        self._usable = self._page - head[20]
        self._seen: set[int] = set()
        self._left = source.size  # rows may overlap; together they are no longer than the file

    def rows(self, table: str) -> Iterator[list[Value]]:
        """The rows of a table, in the order of their numbers."""
        for row in self._walk(1):
            if len(row) >= 4 and row[0] == "table" and row[1] == table and isinstance(row[3], int):
                self._seen.clear()
                yield from self._walk(row[3])
                return
        raise UnreadListError(f"has no table {table}")

    def _walk(self, number: int, depth: int = 0) -> Iterator[list[Value]]:
        if number in self._seen or depth > 40:
            raise UnreadListError(f"page {number} is in the tree twice")
        self._seen.add(number)
        page = self._read(number)
        start = 100 if number == 1 else 0
        kind, cells = page[start], int.from_bytes(page[start + 3 : start + 5], "big")
        if kind not in (_INNER, _LEAF):
            raise UnreadListError(f"page {number} is no page of a table")
        first = start + (12 if kind == _INNER else 8)
        for index in range(cells):
            at = int.from_bytes(page[first + 2 * index : first + 2 * index + 2], "big")
            if kind == _INNER:
                yield from self._walk(int.from_bytes(page[at : at + 4], "big"), depth + 1)
            else:
                yield _record(self._payload(page, at))
        if kind == _INNER:
            yield from self._walk(int.from_bytes(page[start + 8 : start + 12], "big"), depth + 1)

    def _payload(self, page: bytes, at: int) -> bytes:
        """A row's bytes; what does not fit into its page goes on in a chain of others."""
        size, at = _varint(page, at)
        _, at = _varint(page, at)
        self._left -= size
        if size > _MAX_ROW or self._left < 0:
            raise UnreadListError(f"a row of {size} bytes, or rows that are longer than the file")
        most, least = self._usable - 35, (self._usable - 12) * 32 // 255 - 23
        if size <= most:
            return self._whole(page[at : at + size], size)
        local = least + (size - least) % (self._usable - 4)
        local = local if local <= most else least
        parts = [page[at : at + local]]
        following = int.from_bytes(page[at + local : at + local + 4], "big")
        left = size - local
        while left > 0:
            if following in self._seen:
                raise UnreadListError(f"page {following} is in two places")
            self._seen.add(following)
            more = self._read(following)
            parts.append(more[4 : 4 + min(left, self._usable - 4)])
            left -= self._usable - 4
            following = int.from_bytes(more[:4], "big")
        return self._whole(b"".join(parts), size)

    def _whole(self, data: bytes, size: int) -> bytes:
        if len(data) != size:
            raise UnreadListError("a row reaches past its page")
        return data

    def _read(self, number: int) -> bytes:
        if number < 1:
            raise UnreadListError("a page of number 0")
        try:
            return self._source.read((number - 1) * self._page, self._page)
        except UnreadableError as error:
            raise UnreadListError(f"page {number} is not there") from error


def _record(data: bytes) -> list[Value]:
    size, at = _varint(data, 0)
    if size > len(data):
        raise UnreadListError("a row's head is longer than the row")
    body, values = size, []
    while at < size:
        kind, at = _varint(data, at)
        value, body = _value(data, kind, body)
        values.append(value)
    return values


def _value(data: bytes, kind: int, at: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind in (10, 11):
        raise UnreadListError("a column of a kind that is none")
    width = (0, 1, 2, 3, 4, 6, 8, 8)[kind] if kind < 8 else (kind - 12) // 2
    part = data[at : at + width]
    if len(part) != width:
        raise UnreadListError("a column reaches past its row")
    if kind < 7:
        return int.from_bytes(part, "big", signed=True), at + width
    text: Value = part if kind == 7 or kind % 2 == 0 else part.decode("utf-8", "backslashreplace")
    return text, at + width


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        if at >= len(data):
            raise UnreadListError("a number reaches past its page")
        byte = data[at]
        at += 1
        if count == 8:
            return value << 8 | byte, at
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, at
