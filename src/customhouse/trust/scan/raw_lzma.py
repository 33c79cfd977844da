"""LZMA, LZMA2 and the filters before them, as 7z and zip hold them: raw, with properties outside of the stream."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from typing import Any

from customhouse.trust.scan.compressed import MEMORY, decoded
from customhouse.trust.scan.source import UnreadableError

_SMALLEST = 4096
_FILTER_PIECE = 1 << 15


def lzma1(pieces: Iterable[bytes], properties: bytes, size: int) -> Iterator[bytes]:
    """LZMA with five bytes of properties; ends after `size` bytes, with or without an end mark."""
    if len(properties) < 5 or properties[0] >= 225:
        raise UnreadableError("LZMA properties that are none", rule="compressed-broken")
    rest, lc = divmod(properties[0], 9)
    pb, lp = divmod(rest, 5)
    dictionary = _dictionary(int.from_bytes(properties[1:5], "little"), size)
    return _raw(pieces, {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": dictionary}, size)


def lzma2(pieces: Iterable[bytes], properties: bytes, size: int) -> Iterator[bytes]:
    """LZMA2 with one byte of properties: the size of the dictionary."""
    if len(properties) != 1 or properties[0] > 40:
        raise UnreadableError("LZMA2 properties that are none", rule="compressed-broken")
    bits = properties[0]
    wanted = (2 | (bits & 1)) << (bits // 2 + 11)
    return _raw(pieces, {"id": lzma.FILTER_LZMA2, "dict_size": _dictionary(wanted, size)}, size)


def unfiltered(pieces: Iterable[bytes], kind: int, properties: bytes, size: int) -> Iterator[bytes]:
    """Undo Delta or a branch filter. liblzma takes filters only before LZMA2, so the bytes are framed as such."""
    options: dict[str, Any] = {"id": kind}
    if kind == lzma.FILTER_DELTA:
        options["dist"] = (properties[0] if properties else 0) + 1
    elif properties:
        raise UnreadableError("a branch filter that does not start at 0", rule="7z-method", hint="pack it as zip")
    return _limited(_steps([options, {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}], _framed(pieces)), size)


def _framed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks of LZMA2 that hold plain bytes: control (1 resets the dictionary), size less one, bytes; 0 ends."""
    control = b"\x01"
    for piece in pieces:
        for start in range(0, len(piece), _FILTER_PIECE):
            part = piece[start : start + _FILTER_PIECE]
            yield control + (len(part) - 1).to_bytes(2, "big") + part
            control = b"\x02"
    yield b"\x00"


def _dictionary(wanted: int, size: int) -> int:
    """No more than what is unpacked can be looked back at, so a huge wish is no need."""
    needed = min(wanted, max(size, _SMALLEST))
    if needed > MEMORY:
        raise UnreadableError(f"a dictionary of {needed} bytes", rule="limit-memory", hint="pack it as zip or tar")
    return max(needed, _SMALLEST)


def _raw(pieces: Iterable[bytes], options: dict[str, Any], size: int) -> Iterator[bytes]:
    return _limited(_steps([options], pieces), size)


def _steps(filters: list[dict[str, Any]], pieces: Iterable[bytes]) -> Iterator[bytes]:
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    except (lzma.LZMAError, ValueError, MemoryError) as error:
        raise UnreadableError(f"LZMA options that are none ({error})", rule="compressed-broken") from error
    position = 0
    for piece in pieces:
        position += len(piece)
        yield decoded(unpacker, piece, position)
        while not unpacker.needs_input and not unpacker.eof:
            yield decoded(unpacker, b"", position)
        if unpacker.eof:
            return


def _limited(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The first `size` bytes. Raises UnreadableError when there are fewer."""
    left = size
    for piece in pieces:
        if left <= 0:
            return
        yield piece[:left]
        left -= len(piece)
    if left > 0:
        raise UnreadableError("the compressed data ends too early", rule="compressed-broken")
