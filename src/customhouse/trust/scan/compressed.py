"""Compressed single streams: gzip, bzip2, xz, lzma and zlib, as joblib writes them; bounded, never held whole."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from typing import Protocol

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import CHUNK, Source, UnreadableError

_PIECE = 1 << 20
_MEMORY = 128 << 20
"""Bytes of dictionary that an xz stream may ask for."""


class _Unpacker(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most `max_length` bytes."""


def inspect_compressed(source: Source, look: Inspection) -> None:
    """Unpack to a bounded spool and scan what comes out."""
    kind = _kind(source.peek(0, 6))
    look.format = kind
    if kind == "joblib-zf":
        raise UnreadableError(
            "joblib's old compression", rule="format-old", hint="save it again with joblib 1 or later"
        )
    pieces = _zlib(source, 31 if kind == "gzip" else 15) if kind in ("gzip", "zlib") else unpacked(source, kind)
    with look.expanded(pieces) as (plain, problem):
        if problem is not None:
            look.unreadable(problem)
        if plain.size:
            inner = look.nested(plain, "content")
            look.format = f"{kind}({inner})"


def deflated(source: Source) -> Iterator[bytes]:
    """Raw deflate, as in zip members."""
    return _zlib(source, -15)


def _kind(head: bytes) -> str:
    for signature, kind in ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"ZF", "joblib-zf")):
        if head.startswith(signature):
            return kind
    return "lzma" if head.startswith(b"]\x00\x00") else "zlib"


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
                    yield unpacker.decompress(data, _PIECE)
                except zlib.error as error:
                    raise UnreadableError(
                        f"broken compressed data ({error})", offset=position, rule="compressed-broken"
                    ) from error
                data = unpacker.unconsumed_tail
        position -= len(unpacker.unused_data)
        if bits != 31:
            break  # only gzip has several members in a row
    if position < source.size:
        raise UnreadableError(
            f"{source.size - position} bytes after the compressed data",
            offset=position,
            rule="compressed-trailing-bytes",
        )


def unpacked(source: Source, kind: str) -> Iterator[bytes]:
    """The bytes of a bzip2, xz or lzma stream, in pieces. Raises UnreadableError for broken data."""
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
            try:
                yield unpacker.decompress(data, _PIECE)
            except (OSError, lzma.LZMAError, EOFError, ValueError) as error:
                raise UnreadableError(
                    f"broken compressed data ({error})", offset=position, rule="compressed-broken"
                ) from error
        position -= len(unpacker.unused_data)
        if kind == "lzma":
            break
    if position < source.size:
        raise UnreadableError(
            f"{source.size - position} bytes after the compressed data",
            offset=position,
            rule="compressed-trailing-bytes",
        )


def _unpacker(kind: str) -> _Unpacker:
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    form = lzma.FORMAT_XZ if kind == "xz" else lzma.FORMAT_ALONE
    return lzma.LZMADecompressor(form, memlimit=_MEMORY)
