"""Pictures by their headers alone: format, size and mode, and whether the file is whole. No pixel is decoded here.

PNG (ISO/IEC 15948), JPEG (ITU-T T.81, markers SOF0 to SOF15), GIF 89a, BMP, WebP (RIFF). A header that says more
than MAX_PIXELS is a bomb for whoever decodes it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAX_PIXELS = 178_956_970
"""Where Pillow warns of a decompression bomb (Image.MAX_IMAGE_PIXELS times two is where it refuses)."""
MAX_BYTES = 256 << 20
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
_PNG_MODES = {0: "grey", 2: "rgb", 3: "palette", 4: "grey+alpha", 6: "rgb+alpha"}
_JPEG_MODES = {1: "grey", 3: "rgb", 4: "cmyk"}


@dataclass(frozen=True, slots=True)
class Picture:
    """What a header says; `problem` is why the file is none, or not whole."""

    format: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    problem: str = ""


def picture(data: bytes) -> Picture:
    """Read the header of a picture, and look whether the file ends as its format does."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            found = _png(data)
        elif data.startswith(b"\xff\xd8"):
            found = _jpeg(data)
        elif data[:6] in (b"GIF87a", b"GIF89a"):
            found = _gif(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            found = _webp(data)
        elif data.startswith(b"BM"):
            found = _bmp(data)
        else:
            return Picture(problem="it begins like no picture")
    except (struct.error, IndexError):
        return Picture(problem="it is cut short")
    if not found.problem and (found.width < 1 or found.height < 1):
        return Picture(found.format, problem="it has no pixels")
    if found.width * found.height > MAX_PIXELS:
        return Picture(found.format, found.width, found.height, found.mode, "its header asks for too many pixels")
    return found


def _png(data: bytes) -> Picture:
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    mode = f"{_PNG_MODES.get(colour, 'unknown')}{depth}"
    at, ended = 8, False
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind = data[at + 4 : at + 8]
        body = data[at + 4 : at + 8 + size]
        if len(body) < size + 4:
            break
        if struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] != zlib.crc32(body):
            return Picture("png", width, height, mode, f"the checksum of its part {kind!r} is wrong")
        at += 12 + size
        if kind == b"IEND":
            ended = True
            break
    return Picture("png", width, height, mode, "" if ended else "it is cut short")


def _jpeg(data: bytes) -> Picture:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return Picture("jpeg", problem="a marker is missing")
        marker = data[at + 1]
        if marker == 0xFF or marker in range(0xD0, 0xD9):
            at += 1 if marker == 0xFF else 2
            continue
        (size,) = struct.unpack(">H", data[at + 2 : at + 4])
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            _, height, width, parts = struct.unpack(">BHHB", data[at + 4 : at + 10])
            # Cameras write padding and more after the end of the picture.
            whole = b"\xff\xd9" in data[at:]
            mode = _JPEG_MODES.get(parts, "unknown")
            return Picture("jpeg", width, height, mode, "" if whole else "it is cut short")
        at += 2 + size
    return Picture("jpeg", problem="it is cut short")


def _gif(data: bytes) -> Picture:
    width, height = struct.unpack("<HH", data[6:10])
    whole = data.rstrip(b"\0").endswith(b";")
    return Picture("gif", width, height, "palette8", "" if whole else "it is cut short")


def _bmp(data: bytes) -> Picture:
    (size,) = struct.unpack("<I", data[2:6])
    width, height, _, depth = struct.unpack("<iiHH", data[18:30])
    return Picture("bmp", width, abs(height), f"{depth} bit", "" if size <= len(data) else "it is cut short")


def _webp(data: bytes) -> Picture:
    if len(data) < 30:
        return Picture("webp", problem="it is cut short")
    (size,) = struct.unpack("<I", data[4:8])
    problem = "" if size + 8 <= len(data) else "it is cut short"
    kind = data[12:16]
    if kind == b"VP8X":
        wide, high = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        return Picture("webp", wide, high, "rgb+alpha" if data[20] & 16 else "rgb", problem)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Picture("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, "rgb+alpha", problem)
    width, height = struct.unpack("<HH", data[26:30])
    return Picture("webp", width & 0x3FFF, height & 0x3FFF, "rgb", problem)
