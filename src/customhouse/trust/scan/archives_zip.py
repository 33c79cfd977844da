"""Zip archives: the container itself (where readers disagree, attacks hide), then what the members are for.

Own reader, after APPNOTE 6.3.10: Python's `zipfile` trusts the central directory only, torch's miniz skips checksums,
and streaming readers see local headers only. What the three would read differently is a finding.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from customhouse.trust.scan.compressed import unpacked
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.member_names import check_name
from customhouse.trust.scan.packages import Package
from customhouse.trust.scan.raw_lzma import lzma1
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

_END = b"PK\x05\x06"
_CENTRAL = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"
_MAX_TAIL = 22 + 65_535
_LINK = 0o120000
_PRINTABLE = bytes(range(32, 127)) + b"\t\r\n"
_METHODS = {8: "deflate", 12: "bzip2", 93: "zstd", 95: "xz"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One member as the central directory has it; offsets are within the file."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int
    mode: int


def inspect_zip(source: Source, look: Inspection) -> None:
    """Steps: 1 directory, 2 entries, 3 names, 4 local headers, 5 cover, 6 data and checksums, 7 contents."""
    look.format = "zip"
    start, count, size, shift = _directory(source, look)  # 1
    entries = list(_entries(source, look, start=start, count=count, size=size, shift=shift))  # 2
    names: set[str] = set()
    for entry in entries:  # 3
        check_name(entry.name, look, entry.header)
        if entry.name in names:
            look.suspicious(
                "zip-duplicate", f"holds {entry.name!r} twice; readers differ in which they take", entry.header
            )
        names.add(entry.name)
        if entry.mode & 0o170000 == _LINK:
            look.suspicious("archive-link", f"{entry.name!r} is a symbolic link", entry.header)
    places = [(entry, _local(source, look, entry)) for entry in entries]  # 4
    _cover(source, look, places, start)  # 5
    package = Package(names, look)
    for entry, data in sorted(places, key=lambda place: package.order(place[0].name)):
        if data is not None and not entry.name.endswith("/"):
            _content(source.window(data, entry.packed), look, entry, package)  # 6, 7
    package.finish()


def _directory(source: Source, look: Inspection) -> tuple[int, int, int, int]:
    """Offset, number of entries and size of the central directory, and what must be added to offsets in it."""
    tail_start = max(0, source.size - _MAX_TAIL)
    tail = source.peek(tail_start, _MAX_TAIL)
    found: list[int] = []
    index = tail.find(_END)
    while index >= 0:
        if len(tail) - index >= 22 and index + 22 + int.from_bytes(tail[index + 20 : index + 22], "little") <= len(
            tail
        ):
            found.append(index)
        index = tail.find(_END, index + 1)
    exact = [i for i in found if i + 22 + int.from_bytes(tail[i + 20 : i + 22], "little") == len(tail)]
    if not exact:
        raise UnreadableError("no end of a zip directory; the archive is cut short", rule="zip-no-directory")
    if len(exact) > 1:
        look.suspicious("zip-two-directories", "two ends of a directory; readers differ in which they take")
    record = tail[exact[-1] : exact[-1] + 22]
    end = tail_start + exact[-1]
    comment = tail[exact[-1] + 22 :]
    if comment.translate(None, _PRINTABLE):
        look.suspicious("zip-comment", f"a comment of {len(comment)} bytes that is no text", end + 22)
    disk, count = int.from_bytes(record[4:6], "little"), int.from_bytes(record[10:12], "little")
    size, offset = int.from_bytes(record[12:16], "little"), int.from_bytes(record[16:20], "little")
    finish = end
    if 0xFFFF in (count, disk) or 0xFFFFFFFF in (size, offset) or source.peek(end - 20, 4) == b"PK\x06\x07":
        finish, count, size, offset = _directory64(source, end, count, size, offset)
    elif disk:
        raise UnreadableError("one part of an archive of several", rule="zip-parts")
    start = finish - size
    if start < 0 or (size and source.peek(start, 4) != _CENTRAL):
        raise UnreadableError("the zip directory is not where its end says", offset=end, rule="zip-directory")
    shift = start - offset
    if shift:
        look.suspicious("zip-prefix", f"{abs(shift)} bytes that are no part of the archive stand before it")
    return start, count, size, shift


def _directory64(source: Source, end: int, count: int, size: int, offset: int) -> tuple[int, int, int, int]:
    locator = source.peek(end - 20, 20)
    if locator[:4] != b"PK\x06\x07":
        return end, count, size, offset
    at = int.from_bytes(locator[8:16], "little")
    record = source.peek(at, 56)
    if record[:4] != b"PK\x06\x06":
        raise UnreadableError("the zip64 directory is not where its locator says", offset=end, rule="zip-directory")
    numbers = [int.from_bytes(record[i : i + 8], "little") for i in (32, 40, 48)]
    return at, numbers[0], numbers[1], numbers[2]


def _entries(source: Source, look: Inspection, *, start: int, count: int, size: int, shift: int) -> Iterator[Entry]:
    cursor = Cursor(source.window(0, start + size), start)
    for _ in range(count):
        look.member()
        look.spend(8)
        head = cursor.take(46)
        if head[:4] != _CENTRAL:
            raise UnreadableError("a broken zip directory", offset=cursor.position - 46, rule="zip-directory")
        short = [int.from_bytes(head[i : i + 2], "little") for i in (6, 8, 10, 28, 30, 32)]
        crc, packed, plain = (int.from_bytes(head[i : i + 4], "little") for i in (16, 20, 24))
        offset = int.from_bytes(head[42:46], "little")
        name = cursor.take(short[3])
        extra = cursor.take(short[4])
        cursor.skip(short[5])
        plain, packed, offset = _wide(extra, plain, packed, offset)
        mode = int.from_bytes(head[38:42], "little") >> 16
        text = name.decode("utf-8" if short[1] & 0x800 else "cp437", "replace")
        yield Entry(text, short[1], short[2], crc, packed, plain, offset + shift, mode)
    if cursor.left:
        look.suspicious("zip-directory-slack", f"{cursor.left} bytes of the directory are no entries", cursor.position)


def _wide(extra: bytes, plain: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Zip64 sizes from the extra field 0x0001, in the order of the standard."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = (int.from_bytes(extra[position + i : position + i + 2], "little") for i in (0, 2))
        body = extra[position + 4 : position + 4 + length]
        if kind == 1:
            values = [plain, packed, offset]
            for index, value in enumerate(values):
                if value == 0xFFFFFFFF and len(body) >= 8:
                    values[index], body = int.from_bytes(body[:8], "little"), body[8:]
            return values[0], values[1], values[2]
        position += 4 + length
    return plain, packed, offset


def _local(source: Source, look: Inspection, entry: Entry) -> int | None:
    """Where a member's data starts; None when its local header cannot be read."""
    head = source.peek(entry.header, 30)
    if head[:4] != _LOCAL or len(head) < 30:
        look.unscannable("zip-local", f"{entry.name!r} has no header where the directory says", max(entry.header, 0))
        return None
    flags, method, length, extra = (int.from_bytes(head[i : i + 2], "little") for i in (6, 8, 26, 28))
    name = source.peek(entry.header + 30, length).decode("utf-8" if flags & 0x800 else "cp437", "replace")
    if name != entry.name or method != entry.method or (flags ^ entry.flags) & 1:
        look.suspicious("zip-headers-differ", f"{entry.name!r}: header and directory differ", entry.header)
    data = entry.header + 30 + length + extra
    if data + entry.packed > source.size:
        look.unscannable("zip-cut-short", f"{entry.name!r} reaches past the end", entry.header)
        return None
    return data


def _cover(source: Source, look: Inspection, places: list[tuple[Entry, int | None]], directory: int) -> None:
    """Members must not overlap, and nothing may lie between them unseen."""
    position = -1
    for entry, data in sorted(places, key=lambda place: place[0].header):
        if data is None:
            continue
        if position >= 0 and entry.header < position:
            look.malicious(
                "zip-overlap", f"{entry.name!r} overlaps the member before it: a bomb or a trick", entry.header
            )
        elif position >= 0 and entry.header > position:
            _gap(source, look, position, entry.header)
        elif position < 0 and entry.header > 0 and source.peek(0, 4) == _LOCAL:
            _gap(source, look, 0, entry.header)
        position = max(position, data + entry.packed)
    if 0 <= position < directory:
        _gap(source, look, position, directory)


def _gap(source: Source, look: Inspection, start: int, end: int) -> None:
    size = end - start
    head = source.peek(start, 4)
    if size in (12, 16, 20, 24) and (head == b"PK\x07\x08" or size in (12, 20)):
        return  # a data descriptor
    if head in (b"PK\x06\x06", b"PK\x06\x07"):
        return
    if size <= 4096 and not source.peek(start, size).strip(b"\x00"):
        return
    if size <= 24 + 4096 and head == b"PK\x07\x08" and not source.peek(start + 24, size - 24).strip(b"\x00"):
        return
    what = "a member that the directory does not list" if head == _LOCAL else f"{size} bytes that belong to no member"
    look.suspicious("zip-hidden", what, start)


def _content(packed: Source, look: Inspection, entry: Entry, package: Package) -> None:
    inside = look.inner(entry.name)
    sealed = bool(entry.flags & 1)
    if entry.method == 0 and not sealed:
        if entry.packed != entry.size:
            inside.suspicious("zip-sizes-differ", "stored with two different sizes")
        _checksum(packed, inside, entry)
        package.read(packed, inside, entry.name)
        return
    with look.expanded(_pieces(packed, entry)) as (source, problem):
        if sealed and (problem is not None or _crc(source, look) != entry.crc):
            inside.unscannable("archive-encrypted", "encrypted; decrypt the archive before scanning it")
            return
        if sealed:
            inside.suspicious("zip-false-flag", "marked as encrypted and is not: a trick on scanners")
        if problem is not None:
            inside.unreadable(problem)
        elif source.size != entry.size:
            inside.suspicious("zip-sizes-differ", f"unpacks to {source.size} bytes, {entry.size} are declared")
        else:
            _checksum(source, inside, entry)
        package.read(source, inside, entry.name)


def _pieces(packed: Source, entry: Entry) -> Iterator[bytes]:
    """What a member unpacks to. Raises UnreadableError for methods that are not read (Deflate64, PPMd, AES …)."""
    if entry.method == 0:
        yield from (chunk for _, chunk in packed.chunks())
    elif entry.method in _METHODS:
        yield from unpacked(packed, _METHODS[entry.method])
    elif entry.method == 14:  # two bytes of version, two of length, then LZMA's properties (APPNOTE 5.8.8)
        length = int.from_bytes(packed.read(2, 2), "little")
        rest = packed.window(4 + length, packed.size - 4 - length)
        yield from lzma1((chunk for _, chunk in rest.chunks()), packed.read(4, length), entry.size)
    else:
        raise UnreadableError(
            f"packed by method {entry.method}", rule="zip-method", hint="pack it with deflate or store"
        )


def _checksum(source: Source, look: Inspection, entry: Entry) -> None:
    if _crc(source, look) != entry.crc:
        look.suspicious("zip-checksum", "the checksum does not match; some loaders do not look, so scanners must")


def _crc(source: Source, look: Inspection) -> int:
    crc = 0
    for _, chunk in source.chunks():
        look.spend(1 + len(chunk) // 65_536)
        crc = zlib.crc32(chunk, crc)
    return crc
