"""7z archives: headers plain and encoded, folders of coders in a row, files by name (after 7zFormat.txt of LZMA SDK).

Read: Copy, LZMA, LZMA2, Delta, branch filters, Deflate, BZip2, Zstandard. PPMd, BCJ2, Deflate64 and encryption are
`unscannable` with the reason. Whatever the headers do not account for is a finding.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from customhouse.trust.scan.compressed import unpacked
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.member_names import check_name
from customhouse.trust.scan.raw_lzma import lzma1, lzma2, unfiltered
from customhouse.trust.scan.sevenzip_headers import Folder, read_files, read_streams
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

SIGNATURE = b"7z\xbc\xaf\x27\x1c"
_START = 32
_MAX_HEADER = 16 << 20
_BRANCHES = {
    b"\x03": lzma.FILTER_DELTA,
    b"\x04": lzma.FILTER_X86,
    b"\x05": lzma.FILTER_POWERPC,
    b"\x06": lzma.FILTER_IA64,
    b"\x07": lzma.FILTER_ARM,
    b"\x08": lzma.FILTER_ARMTHUMB,
    b"\x09": lzma.FILTER_SPARC,
    b"\x03\x03\x01\x03": lzma.FILTER_X86,
    b"\x03\x03\x02\x05": lzma.FILTER_POWERPC,
    b"\x03\x03\x04\x01": lzma.FILTER_IA64,
    b"\x03\x03\x05\x01": lzma.FILTER_ARM,
    b"\x03\x03\x07\x01": lzma.FILTER_ARMTHUMB,
    b"\x03\x03\x08\x05": lzma.FILTER_SPARC,
}
_STREAMS = {b"\x04\x01\x08": "deflate", b"\x04\x02\x02": "bzip2", b"\x04\xf7\x11\x01": "zstd"}
_UNREAD = {
    b"\x03\x03\x01\x1b": "BCJ2",
    b"\x03\x04\x01": "PPMd",
    b"\x04\x01\x09": "Deflate64",
    b"\x04\xf7\x11\x02": "Brotli",
    b"\x04\xf7\x11\x04": "LZ4",
}
_AES = b"\x06\xf1\x07\x01"
_LINK = 0o120000


@dataclass(frozen=True, slots=True)
class _Start:
    """Where the header is, relative to the end of the first 32 bytes."""

    offset: int
    size: int
    crc: int


def inspect_7z(source: Source, look: Inspection) -> None:
    """Steps: 1 first header, 2 header (encoded ones unpacked), 3 names, 4 cover, 5 folders, 6 contents."""
    look.format = "7z"
    start = _start(source)  # 1
    if start.size == 0:
        if source.size > _START:
            look.unscannable("7z-trailing-bytes", "an empty archive with bytes behind it", _START)
        return
    header, taken = _header(source, look, start)  # 2
    streams, files = read_files(header, look)
    for file in files:  # 3
        look.member()
        check_name(file.name, look)
        if file.mode & 0o170000 == _LINK:
            look.suspicious("archive-link", f"{file.name!r} is a symbolic link")
    names = [file.name for file in files]
    if len(set(names)) != len(names):
        look.suspicious("7z-duplicate", "holds a name twice; readers differ in which they take")
    _cover(source, look, [*taken, *(folder.packed for folder in streams.folders)], start)  # 4
    filled = iter(file.name for file in files if file.filled)
    for folder in streams.folders:  # 5
        _folder(source, look, folder, [next(filled, "nameless") for _ in folder.parts])
    if next(filled, None) is not None:
        look.unscannable("7z-header", "names more files than it holds")


def _start(source: Source) -> _Start:
    head = source.read(0, _START)
    if zlib.crc32(head[12:]) != int.from_bytes(head[8:12], "little"):
        raise UnreadableError("a 7z header whose checksum is wrong", offset=8, rule="7z-checksum")
    numbers = [int.from_bytes(head[i : i + n], "little") for i, n in ((12, 8), (20, 8), (28, 4))]
    return _Start(*numbers)


def _header(source: Source, look: Inspection, start: _Start) -> tuple[bytes, list[tuple[int, int]]]:
    """The plain header, and the packed streams that it came from when it was encoded."""
    if start.size > _MAX_HEADER:
        raise UnreadableError(f"a header of {start.size} bytes", rule="limit-text", hint="pack it as zip")
    header = source.read(_START + start.offset, start.size)
    if zlib.crc32(header) != start.crc:
        raise UnreadableError("a 7z header whose checksum is wrong", offset=_START + start.offset, rule="7z-checksum")
    taken: list[tuple[int, int]] = []
    for _ in range(4):
        if header[:1] == b"\x01":
            return header, taken
        if header[:1] != b"\x17":
            break
        folders = read_streams(Cursor(Source.of(header), 1), look).folders
        if len(folders) != 1 or folders[0].size > _MAX_HEADER:
            break
        taken.append(folders[0].packed)
        with look.expanded(_unpacked(source, folders[0])) as (plain, problem):
            if problem is not None:
                raise problem
            header = plain.read(0, plain.size)
        if folders[0].crc is not None and zlib.crc32(header) != folders[0].crc:
            raise UnreadableError("a 7z header whose checksum is wrong", rule="7z-checksum")
    raise UnreadableError("a 7z header of an unknown kind", rule="7z-header")


def _cover(source: Source, look: Inspection, streams: list[tuple[int, int]], start: _Start) -> None:
    """The packed streams and the header must be all that there is."""
    end = _START + start.offset + start.size
    if end < source.size and source.window(end, source.size - end).peek(0, 1 << 16).strip(b"\x00"):
        look.suspicious("7z-trailing-bytes", f"{source.size - end} bytes follow the archive", end)
    position = 0
    for offset, size in [*sorted(streams), (start.offset, start.size)]:
        if offset < position:
            look.malicious("7z-overlap", "packed streams that overlap: a bomb or a trick", _START + offset)
        elif offset > position:
            look.suspicious("7z-hidden", f"{offset - position} bytes that belong to no file", _START + position)
        position = offset + size


def _folder(source: Source, look: Inspection, folder: Folder, names: list[str]) -> None:
    shown = names[0] if names else "folder"
    encrypted = any(coder.method == _AES for coder in folder.coders)
    if encrypted:
        look.inner(shown).unscannable("archive-encrypted", "encrypted; decrypt the archive before scanning it")
        return
    with look.expanded(_unpacked(source, folder)) as (plain, problem):
        if problem is not None:
            look.inner(shown).unreadable(problem)
        position = 0
        for name, part in zip(names, folder.parts, strict=True):
            size = min(part.size, plain.size - position)
            data = plain.window(position, size)
            position += size
            inside = look.inner(name)
            if size == part.size and part.crc is not None:
                _checksum(data, inside, part.crc)
            if size:
                inside.scan(data)
        if position < plain.size:
            look.suspicious("7z-hidden", f"{plain.size - position} unpacked bytes that belong to no file")


def _checksum(data: Source, look: Inspection, expected: int) -> None:
    crc = 0
    for _, chunk in data.chunks():
        look.spend(1 + len(chunk) // 65_536)
        crc = zlib.crc32(chunk, crc)
    if crc != expected:
        look.suspicious("7z-checksum", "the checksum does not match; some loaders do not look, so scanners must")


def _unpacked(source: Source, folder: Folder) -> Iterator[bytes]:
    """What a folder's coders make of its packed bytes. Raises UnreadableError for methods that are not read."""
    for coder in folder.coders:
        if coder.method in _UNREAD:
            name = _UNREAD[coder.method]
            raise UnreadableError(f"packed by {name}", rule="7z-method", hint="pack it as zip, tar or 7z with LZMA2")
        if coder.method == _AES:
            raise UnreadableError("encrypted", rule="archive-encrypted", hint="decrypt the archive before scanning it")
    offset, size = folder.packed
    packed = source.window(_START + offset, size)
    pieces: Iterable[bytes] = (chunk for _, chunk in packed.chunks())
    for index, coder in enumerate(folder.coders):
        method, properties, size = coder.method, coder.properties, coder.size
        if method == b"\x00":
            continue
        if method == b"\x21":
            pieces = lzma2(pieces, properties, size)
        elif method == b"\x03\x01\x01":
            pieces = lzma1(pieces, properties, size)
        elif method in _BRANCHES:
            pieces = unfiltered(pieces, _BRANCHES[method], properties, size)
        elif method in _STREAMS and index == 0:
            pieces = unpacked(packed, _STREAMS[method])
        else:
            raise UnreadableError(f"packed by method {method.hex()}", rule="7z-method", hint="pack it as zip or tar")
    return iter(pieces)
