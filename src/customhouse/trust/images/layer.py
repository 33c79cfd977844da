"""One layer, read once: every entry's path and kind, and what the files say that are worth reading."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from customhouse._kit.clock import Clock, SystemClock
from customhouse.trust.images.bounds import Bounds, LayerError
from customhouse.trust.images.packed import Packed
from customhouse.trust.images.tar_entries import Entry, TarEntries
from customhouse.trust.packages.found import Found, Reading
from customhouse.trust.packages.programs import MARKS, UPX
from customhouse.trust.packages.readers import Reader, read, reader_of, reader_of_head
from customhouse.trust.scan.inspection import Limits
from customhouse.trust.scan.onepass import scan_source
from customhouse.trust.scan.source import FileBacking, Source
from customhouse.trust.scan.verdict import FileScan, ScanFinding, ScanSeverity, Verdict

IN_MEMORY = 128 << 20
"""Bytes of a program that are held; of a longer one the marks are searched for, and it is read again with one."""
_SPOOL = 16 << 20
_MAX_SCANNING_S = 900
"""A backstop, as the scanner has one for a file: a thousand hostile models may not take a day."""


@dataclass(slots=True)
class Content:
    """What one file of a layer says."""

    path: str
    reader: Reader
    packages: list[Found] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    owned: list[str] = field(default_factory=list)
    release: dict[str, str] = field(default_factory=dict)
    scan: FileScan | None = None


@dataclass(slots=True)
class Layer:
    """A layer as it was read. `entries` in their order; `contents` by the index of their entry."""

    digest: str
    size: int = 0
    unpacked: int = 0
    entries: list[Entry] = field(default_factory=list)
    contents: dict[int, Content] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    """Entries that must be read a second time: programs too long to be held that have a mark."""


def read_layer(
    source: Source,
    digest: str,
    diff_id: str,
    bounds: Bounds,
    where: str,
    *,
    wanted: Mapping[int, Reader] | None = None,
    limits: Limits | None = None,
    clock: Clock | None = None,
) -> Layer:
    """Read a packed layer whole. `digest` and `diff_id` are what it must have, packed and unpacked (empty: unknown).

    `wanted` are entries, by index, that are read besides those that show by themselves that they are worth it. Raises
    LayerError; nothing of a layer that raises may be believed.
    """
    packed = Packed(source, bounds, where)
    try:
        layer = _read(TarEntries(packed, bounds, where), Layer(digest, source.size), wanted or {}, limits, clock)
    except LayerError:
        packed.check_packed(digest)  # bytes that were changed are the better reason
        raise
    packed.check(digest, diff_id)
    layer.unpacked = packed.size
    return layer


def _read(
    entries: TarEntries,
    layer: Layer,
    wanted: Mapping[int, Reader],
    limits: Limits | None,
    clock: Clock | None,
) -> Layer:
    reader = FileReader(entries, limits or Limits(), clock or SystemClock())
    for index, entry in enumerate(entries):
        layer.entries.append(entry)
        if entry.kind != "f" or entry.odd:
            continue
        content = reader.content(entry, wanted.get(index))
        if content is reader.again:
            layer.again.append(index)
        elif content is not None:
            layer.contents[index] = content
    if entries.trailing:
        layer.remarks.append("bytes follow the end of its archive; runtimes pass over them")
    return layer


class Data(Protocol):
    """Where the bytes of the file come from that is being read."""

    def some(self) -> bytes:
        """The next bytes; none at its end."""


class _Held:
    """Bytes in memory, of which only parts are copied."""

    def __init__(self, data: bytearray) -> None:
        self._view = memoryview(data)

    def pread(self, offset: int, count: int) -> bytes:
        return bytes(self._view[offset : offset + count])


class FileReader:
    """Chooses the reader of each file and hands it the bytes."""

    def __init__(self, entries: Data, limits: Limits, clock: Clock) -> None:
        self._entries, self._limits, self._clock = entries, limits, clock
        self.again = Content("", Reader.PROGRAM)
        self._spent = 0.0

    def content(self, entry: Entry, wanted: Reader | None) -> Content | None:
        """What the file says; None for one that is not worth reading."""
        base = entry.path.rpartition("/")[2]
        if base.startswith(".wh."):
            return None
        reader = wanted or reader_of(entry.path)
        head = b""
        if reader is None:
            if entry.size < 32:
                return None
            head = self._entries.some()
            reader = reader_of_head(head[:256])
            if reader is None:
                return None
            if reader is Reader.PROGRAM and entry.size > IN_MEMORY:
                return self.again if self._marked(head) else None
        return self._read(entry, reader, head)

    def _read(self, entry: Entry, reader: Reader, head: bytes) -> Content | None:
        found = Content(entry.path, reader)
        if entry.sparse:
            found.unread.append("a sparse file, whose bytes its header makes up")
            return found
        if entry.size > reader.most:
            found.unread.append(f"{entry.size} bytes, more than are read of such a file")
            return found
        if reader is Reader.PROGRAM and entry.size <= IN_MEMORY:
            data = self._all(entry.size, head)
            if not any(mark in data for mark in MARKS) and UPX not in data[:1024]:
                return None
            _fill(found, read(reader, entry.path, Source(_Held(data), 0, len(data))))
            return found
        with self._spooled(head, entry.size) as source:
            if reader is Reader.MODEL:
                self._scan(found, source)
            else:
                _fill(found, read(reader, entry.path, source))
        return found

    def _scan(self, found: Content, source: Source) -> None:
        if self._spent > _MAX_SCANNING_S:
            found.unread.append(f"models of this layer took more than {_MAX_SCANNING_S} s; scan it by itself")
            return
        begun = self._clock.monotonic()
        found.scan, _ = scan_source(source, found.path, found.path, self._limits, self._clock)
        self._spent += self._clock.monotonic() - begun

    def _marked(self, head: bytes) -> bool:
        overlap = max(len(mark) for mark in MARKS) - 1
        before, piece, found = b"", head, UPX in head[:1024]
        while piece:
            found = found or any(mark in piece or mark in before + piece[:overlap] for mark in MARKS)
            before = (before + piece)[-overlap:] if len(piece) < overlap else piece[-overlap:]
            piece = self._entries.some()
        return found

    def _all(self, size: int, head: bytes) -> bytearray:
        data = bytearray(head)
        while len(data) < size:
            data += self._entries.some()
        return data

    @contextmanager
    def _spooled(self, head: bytes, size: int) -> Iterator[Source]:
        """The data as a source: in memory, or in a file without a name."""
        if size <= _SPOOL:
            yield Source.of(bytes(self._all(size, head)))
            return
        with tempfile.TemporaryFile() as spool:
            spool.write(head)
            left = size - len(head)
            while left > 0:
                piece = self._entries.some()
                spool.write(piece)
                left -= len(piece)
            spool.flush()
            yield Source(FileBacking(spool.fileno()), 0, os.fstat(spool.fileno()).st_size)


def _fill(found: Content, reading: Reading) -> None:
    found.packages, found.unread = reading.packages, reading.unread
    found.owned, found.release = reading.owned, reading.release


def to_json(layer: Layer) -> dict[str, Any]:
    """A layer as it is remembered."""
    return {
        "digest": layer.digest,
        "size": layer.size,
        "unpacked": layer.unpacked,
        "entries": [
            [item.path, item.kind, item.size, item.link, item.mode, int(item.sparse), item.odd]
            for item in layer.entries
        ],
        "contents": [[index, _content_json(item)] for index, item in layer.contents.items()],
        "remarks": layer.remarks,
        "again": layer.again,
    }


def from_json(said: Mapping[str, Any]) -> Layer:
    """The inverse of `to_json`. Raises ValueError, TypeError, KeyError, AttributeError."""
    return Layer(
        str(said["digest"]),
        int(said["size"]),
        int(said["unpacked"]),
        [
            Entry(path, kind, size, link, mode, bool(sparse), odd)
            for path, kind, size, link, mode, sparse, odd in said["entries"]
        ],
        {int(index): _content_of(item) for index, item in said["contents"]},
        [str(text) for text in said["remarks"]],
        [int(index) for index in said["again"]],
    )


def _content_json(item: Content) -> dict[str, Any]:
    shown: dict[str, Any] = {"path": item.path, "reader": item.reader.value}
    if item.packages:
        shown["packages"] = [found.to_json() for found in item.packages]
    for key in ("unread", "owned", "release"):
        if getattr(item, key):
            shown[key] = getattr(item, key)
    if item.scan is not None:
        shown["scan"] = {**item.scan.to_json(), "size": item.scan.size, "added": sorted(item.scan.added)}
    return shown


def _content_of(said: Mapping[str, Any]) -> Content:
    scan = None
    if "scan" in said:
        row = said["scan"]
        findings = tuple(
            ScanFinding(one["rule"], ScanSeverity(one["severity"]), one["message"], int(one["offset"]), one["member"])
            for one in row["findings"]
        )
        scan = FileScan(
            row["path"],
            row["format"],
            Verdict(row["verdict"]),
            findings,
            int(row["size"]),
            added=frozenset(row["added"]),
        )
    return Content(
        str(said["path"]),
        Reader(said["reader"]),
        [Found.from_json(item) for item in said.get("packages", ())],
        [str(text) for text in said.get("unread", ())],
        [str(text) for text in said.get("owned", ())],
        {str(key): str(text) for key, text in said.get("release", {}).items()},
        scan,
    )


__all__ = ["IN_MEMORY", "Content", "FileReader", "Layer", "LayerError", "from_json", "read_layer", "to_json"]
