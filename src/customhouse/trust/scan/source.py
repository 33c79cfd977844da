"""Bytes to scan: read at an offset, never held whole. Over memory, an open file, or a window of either."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

CHUNK = 1 << 20


class UnreadableError(Exception):
    """The bytes cannot be understood. `reason` says why, `hint` what the reader can do, `rule` names the finding."""

    def __init__(self, reason: str, *, offset: int = 0, hint: str = "", rule: str = "malformed") -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset
        self.hint = hint
        self.rule = rule


class Backing(Protocol):
    """Where bytes come from."""

    def pread(self, offset: int, count: int) -> bytes:
        """At most `count` bytes at `offset`; fewer only at the end."""


class MemoryBacking:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def pread(self, offset: int, count: int) -> bytes:
        """A slice."""
        return self._data[offset : offset + count]


class FileBacking:
    """An open file. Not mapped into memory: a file cut short while it is read would kill the process (SIGBUS)."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pread(self, offset: int, count: int) -> bytes:
        """Reads until `count` bytes are there or the file ends."""
        parts: list[bytes] = []
        while count > 0:
            part = os.pread(self._descriptor, count, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return b"".join(parts)


class Source:
    """A window `[start, start + size)` of a backing; offsets are relative to the window."""

    __slots__ = ("_backing", "_start", "size")

    def __init__(self, backing: Backing, start: int, size: int) -> None:
        self._backing = backing
        self._start = start
        self.size = size

    @classmethod
    def of(cls, data: bytes) -> Source:
        """A source over bytes in memory."""
        return cls(MemoryBacking(data), 0, len(data))

    def peek(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at `offset`, fewer at the end of the window, none outside of it."""
        if offset < 0 or offset >= self.size or count <= 0:
            return b""
        return self._backing.pread(self._start + offset, min(count, self.size - offset))

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes. Raises UnreadableError when the window ends before."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise UnreadableError(f"the file ends before the {count} bytes that it promises", offset=max(offset, 0))
        data = self._backing.pread(self._start + offset, count)
        if len(data) != count:
            raise UnreadableError("the file was cut short while it was read", offset=offset)
        return data

    def window(self, offset: int, size: int) -> Source:
        """A part of this source. Raises UnreadableError when it reaches outside."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise UnreadableError(f"a part of {size} bytes reaches past the end", offset=max(offset, 0))
        return Source(self._backing, self._start + offset, size)

    def chunks(self, overlap: int = 0) -> Iterator[tuple[int, bytes]]:
        """The whole window in chunks (offset, bytes); each repeats the last `overlap` bytes of the one before."""
        offset = 0
        while offset < self.size:
            data = self.peek(offset, CHUNK)
            if not data:
                return
            yield offset, data
            if offset + len(data) >= self.size:
                return
            offset += max(1, len(data) - overlap)


class Cursor:
    """Reads a source forward through a buffer; `position` is relative to the source."""

    __slots__ = ("_base", "_buffer", "_source", "position")

    def __init__(self, source: Source, position: int = 0) -> None:
        self._source = source
        self._buffer = b""
        self._base = 0
        self.position = position

    @property
    def left(self) -> int:
        """Bytes between here and the end."""
        return self._source.size - self.position

    def byte(self) -> int:
        """The next byte, or -1 at the end."""
        index = self.position - self._base
        if not 0 <= index < len(self._buffer):
            self._buffer = self._source.peek(self.position, 1 << 16)
            self._base = self.position
            index = 0
            if not self._buffer:
                return -1
        self.position += 1
        return self._buffer[index]

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises UnreadableError when there are fewer."""
        index = self.position - self._base
        if index >= 0 and index + count <= len(self._buffer):
            data = self._buffer[index : index + count]
        else:
            data = self._source.read(self.position, count)
        self.position += count
        return data

    def skip(self, count: int) -> None:
        """Pass over `count` bytes. Raises UnreadableError when there are fewer."""
        if count < 0 or count > self.left:
            raise UnreadableError(f"the file ends before the {count} bytes that it promises", offset=self.position)
        self.position += count

    def ahead(self, least: int) -> tuple[bytes, int]:
        """The buffer and where in the source it starts, refilled when fewer than `least` bytes of it are ahead."""
        end = self._base + len(self._buffer)
        if (self.position < self._base or end - self.position < least) and end != self._source.size:
            self._buffer = self._source.peek(self.position, 1 << 16)
            self._base = self.position
        return self._buffer, self._base

    def line(self, limit: int = 1 << 16) -> bytes:
        """The bytes up to the next newline, which is passed over. Raises UnreadableError past `limit`."""
        index = self.position - self._base
        if index >= 0 and (end := self._buffer.find(b"\n", index, index + limit)) >= 0:
            self.position = self._base + end + 1
            return self._buffer[index:end]
        size = min(4096, limit)
        while True:
            data = self._source.peek(self.position, size)
            end = data.find(b"\n")
            if end >= 0:
                self.position += end + 1
                return data[:end]
            if len(data) < size or size >= limit:
                raise UnreadableError("a line does not end", offset=self.position)
            size = min(size * 8, limit)

    def number(self, width: int, *, signed: bool = False) -> int:
        """A little-endian integer of `width` bytes."""
        return int.from_bytes(self.take(width), "little", signed=signed)
