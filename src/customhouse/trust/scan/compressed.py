"""Compressed streams: gzip, bzip2, xz, lzma, zlib, zstd and lz4, as files and as archives' members; bounded.

Decoders are handed small pieces and asked for small pieces, so that a bomb is seen after megabytes, not terabytes.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Iterator
from importlib import import_module
from typing import Protocol

from customhouse.trust.scan.inspection import BOMB, Inspection
from customhouse.trust.scan.source import CHUNK, Source, UnreadableError

PIECE = 1 << 20
MEMORY = 128 << 20
"""Bytes of dictionary or window that a stream may ask for."""
ZSTD = b"\x28\xb5\x2f\xfd"
LZ4 = b"\x04\x22\x4d\x18"
_SKIPPED = tuple(bytes([0x50 + low]) + b"\x2a\x4d\x18" for low in range(16))
"""Skippable frames of zstd and lz4: bytes that every decoder passes over."""
SIGNATURES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"]\x00\x00", b"ZF0x", ZSTD, LZ4, *_SKIPPED)
_KINDS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"ZF", "joblib-zf"),
    (b"]\x00\x00", "lzma"),
    (ZSTD, "zstd"),
    (LZ4, "lz4"),
)


class Unpacker(Protocol):
    """What the decoders of the standard library, zstd and lz4 have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without more bytes."""

    @property
    def unused_data(self) -> bytes | None:
        """Bytes behind the end."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most `max_length` bytes."""


def inspect_compressed(source: Source, look: Inspection) -> None:
    """Unpack to a bounded spool and scan what comes out."""
    head = source.peek(0, 6)
    if head.startswith(_SKIPPED):
        look.format = "skippable-frame"
        raise UnreadableError(
            "starts with a frame that decoders pass over", rule="compressed-hidden", hint="compress it again"
        )
    kind = next((kind for signature, kind in _KINDS if head.startswith(signature)), "zlib")
    look.format = kind
    if kind == "joblib-zf":
        raise UnreadableError(
            "joblib's old compression", rule="format-old", hint="save it again with joblib 1 or later"
        )
    with look.expanded(unpacked(source, kind)) as (plain, problem):
        if problem is not None:
            look.unreadable(problem)
        if plain.size and (problem is None or problem.rule != BOMB):
            inner = look.nested(plain, "content")
            look.format = f"{kind}({inner})"


def unpacked(source: Source, kind: str) -> Iterator[bytes]:
    """The bytes of a stream in pieces; `kind` as in formats, or `deflate` for a raw one.

    Raises UnreadableError for broken data and for bytes after it.
    """
    if kind in ("gzip", "zlib", "deflate"):
        return _zlib(source, {"gzip": 31, "zlib": 15, "deflate": -15}[kind])
    return _streams(source, kind)


def _zlib(source: Source, bits: int) -> Iterator[bytes]:
    position = 0
    while position < source.size:
        unpacker = zlib.decompressobj(bits)
        while not unpacker.eof:
            data = source.peek(position, CHUNK)
            if not data:
                raise UnreadableError("the compressed data ends too early", offset=position, rule="compressed-broken")
            position += len(data)
            while data and not unpacker.eof:
                try:
                    yield unpacker.decompress(data, PIECE)
                except zlib.error as error:
                    raise _broken(error, position) from error
                data = unpacker.unconsumed_tail
        position -= len(unpacker.unused_data)
        if bits != 31 or _padding(source, position):
            break  # only gzip has several members in a row
    _ended(source, position)


def _streams(source: Source, kind: str) -> Iterator[bytes]:
    position = 0
    while position < source.size:
        unpacker = _unpacker(kind)
        while not unpacker.eof:
            data = b""
            if unpacker.needs_input:
                data = source.peek(position, CHUNK)
                if not data:
                    raise UnreadableError(
                        "the compressed data ends too early", offset=position, rule="compressed-broken"
                    )
                position += len(data)
            yield decoded(unpacker, data, position)
        position -= len(unpacker.unused_data or b"")
        if kind == "lzma" or (kind == "xz" and _padding(source, position)):
            break
    _ended(source, position)


def decoded(unpacker: Unpacker, data: bytes, position: int) -> bytes:
    """One step of a decoder; whatever it raises for bad data becomes UnreadableError."""
    try:
        return unpacker.decompress(data, PIECE)
    except (OSError, lzma.LZMAError, EOFError, ValueError, RuntimeError) as error:
        raise _broken(error, position) from error
    except Exception as error:
        if type(error).__name__ == "ZstdError":  # imported only when it is used
            raise _broken(error, position) from error
        raise


def _broken(error: Exception, position: int) -> UnreadableError:
    return UnreadableError(f"broken compressed data ({error})", offset=position, rule="compressed-broken")


def _padding(source: Source, position: int) -> bool:
    """Whether only zeros are left, and few: tapes and xz pad so."""
    return source.size - position <= 65_536 and not source.peek(position, 65_536).strip(b"\x00")


def _ended(source: Source, position: int) -> None:
    if position < source.size and not _padding(source, position):
        raise UnreadableError(
            f"{source.size - position} bytes after the compressed data",
            offset=position,
            rule="compressed-trailing-bytes",
        )


def _unpacker(kind: str) -> Unpacker:
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "zstd":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        decompressor: Unpacker = zstd.ZstdDecompressor()
        return decompressor
    if kind == "lz4":
        frames = import_module("lz4.frame")  # has no types
        frame: Unpacker = frames.LZ4FrameDecompressor()
        return frame
    form = lzma.FORMAT_XZ if kind == "xz" else lzma.FORMAT_ALONE
    return lzma.LZMADecompressor(form, memlimit=MEMORY)
