"""Pictures and sound that lie in model folders: walked to their end, so that nothing hides behind it."""

from __future__ import annotations

import zlib

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
_MAX_CHUNK = 256 << 20


def is_riff(source: Source) -> bool:
    """A WAVE or WebP file."""
    head = source.peek(0, 12)
    return head[:4] == b"RIFF" and head[8:] in (b"WAVE", b"WEBP")


def inspect_png(source: Source, look: Inspection) -> None:
    """Chunks with right checksums up to IEND."""
    look.format = "png"
    cursor = Cursor(source, len(PNG))
    kind = b""
    while kind != b"IEND":
        look.spend(4)
        size = int.from_bytes(cursor.take(4), "big")
        if size > _MAX_CHUNK:
            raise UnreadableError(f"a chunk of {size} bytes", offset=cursor.position, rule="media-broken")
        kind = cursor.take(4)
        crc = zlib.crc32(kind)
        for _, data in source.window(cursor.position, size).chunks():
            look.spend(1 + len(data) // 65_536)
            crc = zlib.crc32(data, crc)
        cursor.skip(size)
        if crc != int.from_bytes(cursor.take(4), "big"):
            raise UnreadableError("a chunk whose checksum is wrong", offset=cursor.position, rule="media-broken")
    _end(source, look, cursor.position)


def inspect_jpeg(source: Source, look: Inspection) -> None:
    """Segments, then scans up to the end mark."""
    look.format = "jpeg"
    position = 2
    while True:
        look.spend(4)
        mark = source.read(position, 2)
        if mark[0] != 0xFF:
            raise UnreadableError("a broken JPEG", offset=position, rule="media-broken")
        if mark[1] == 0xFF:
            position += 1
        elif mark[1] == 0xD9:
            _end(source, look, position + 2)
            return
        elif 0xD0 <= mark[1] <= 0xD7 or mark[1] == 1:
            position += 2
        else:
            position += 2 + int.from_bytes(source.read(position + 2, 2), "big")
            if mark[1] == 0xDA:
                position = _scan_end(source, look, position)


def _scan_end(source: Source, look: Inspection, start: int) -> int:
    """Where entropy-coded data ends: a mark that is neither stuffing nor a restart."""
    position = start
    while True:
        data = source.peek(position, 1 << 16)
        look.spend(16)
        at = data.find(b"\xff")
        while 0 <= at < len(data) - 1:
            if data[at + 1] not in (0, 0xFF) and not 0xD0 <= data[at + 1] <= 0xD7:
                return position + at
            at = data.find(b"\xff", at + 1)
        if position + len(data) >= source.size:
            raise UnreadableError("a JPEG without an end", offset=position, rule="media-broken")
        position += len(data) - (1 if data.endswith(b"\xff") else 0)


def inspect_gif(source: Source, look: Inspection) -> None:
    """Blocks up to the trailer."""
    look.format = "gif"
    flags = source.read(10, 1)[0]
    cursor = Cursor(source, 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0))
    while True:
        look.spend(4)
        kind = cursor.number(1)
        if kind == 0x3B:
            _end(source, look, cursor.position)
            return
        if kind == 0x21:
            cursor.skip(1)
        elif kind == 0x2C:
            cursor.skip(8)
            local = cursor.number(1)
            cursor.skip((3 << (local & 7) + 1 if local & 0x80 else 0) + 1)
        else:
            raise UnreadableError("a broken GIF", offset=cursor.position, rule="media-broken")
        while size := cursor.number(1):
            look.spend()
            cursor.skip(size)


def inspect_riff(source: Source, look: Inspection) -> None:
    """One list of chunks, as long as it says."""
    look.format = "wave" if source.peek(8, 4) == b"WAVE" else "webp"
    end = 8 + int.from_bytes(source.read(4, 4), "little")
    cursor = Cursor(source, 12)
    while cursor.position < min(end, source.size - 7):
        look.spend(4)
        cursor.skip(4)
        size = cursor.number(4)
        cursor.skip(min(size + size % 2, cursor.left) if size <= cursor.left else size)
    _end(source, look, end + end % 2)


def _end(source: Source, look: Inspection, position: int) -> None:
    if source.size > position and source.peek(position, 4096).strip(b"\x00\r\n"):
        look.suspicious("media-trailing-bytes", f"{source.size - position} bytes follow the {look.format}", position)
