"""Parquet, Arrow and Feather: tables of data. Types that unpickle themselves when a schema is read are malicious.

Arrow's Python extension types were stored as pickles and loaded with the schema (CVE-2023-47248).
"""

from __future__ import annotations

import base64
import binascii
import re

from customhouse.trust.scan.flatbuffers import Table, root
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.protobuf import varint
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

PARQUET = b"PAR1"
ARROW = b"ARROW1"
_PICKLED = b"arrow.py_extension_type"
_ENCODED = re.compile(rb"ARROW:schema\x18")
"""A key of the metadata and, in Thrift's compact protocol, the mark of a text as its value."""
_MAX_METADATA = 64 << 20


def inspect_parquet(source: Source, look: Inspection) -> None:
    """The footer lies at the end, with its size behind it; the schema's metadata is searched."""
    look.format = "parquet"
    if source.size < 12 or source.peek(source.size - 4, 4) != PARQUET:
        raise UnreadableError("a Parquet file without an end, or encrypted", rule="parquet-broken")
    size = int.from_bytes(source.read(source.size - 8, 4), "little")
    if size > min(_MAX_METADATA, source.size - 12):
        raise UnreadableError(f"a footer of {size} bytes", rule="parquet-broken")
    footer = source.read(source.size - 8 - size, size)
    look.spend(1 + size // 4096)
    _schema(footer, look)
    for match in _ENCODED.finditer(footer):
        try:
            cursor = Cursor(Source.of(footer), match.end())
            _schema(base64.b64decode(cursor.take(varint(cursor)), validate=True), look)
        except (binascii.Error, ValueError, UnreadableError):
            look.unscannable("parquet-schema", "an Arrow schema that cannot be read")


def is_arrow_stream(source: Source) -> bool:
    """Whether it starts as a message of Arrow does: a continuation mark and a small size."""
    head = source.peek(0, 8)
    return head[:4] == b"\xff\xff\xff\xff" and 16 <= int.from_bytes(head[4:], "little") < min(
        source.size, _MAX_METADATA
    )


def inspect_arrow(source: Source, look: Inspection) -> None:
    """Messages one after the other: metadata, then a body as long as it says."""
    look.format = "arrow"
    filed = source.peek(0, 6) == ARROW
    cursor = Cursor(source, 8 if filed else 0)
    while cursor.left:
        look.spend(8)
        size = cursor.number(4)
        if size == 0xFFFFFFFF:
            size = cursor.number(4)
        if size == 0:
            break
        if size > _MAX_METADATA:
            raise UnreadableError(f"metadata of {size} bytes", offset=cursor.position, rule="arrow-broken")
        metadata = cursor.take(size)
        _schema(metadata, look)
        cursor.skip(_message(metadata, look).number(3, 8))
    _arrow_end(source, look, cursor.position, filed=filed)


def _arrow_end(source: Source, look: Inspection, position: int, *, filed: bool) -> None:
    if not filed:
        if position < source.size:
            look.unscannable("arrow-trailing-bytes", f"{source.size - position} bytes follow the stream", position)
        return
    size = int.from_bytes(source.read(source.size - 10, 4), "little")
    if source.peek(source.size - 6, 6) != ARROW or position + size + 10 != source.size:
        raise UnreadableError("an Arrow file whose footer is not at its end", offset=position, rule="arrow-broken")
    _schema(source.read(position, size), look)


def _message(metadata: bytes, look: Inspection) -> Table:
    return root(Source.of(metadata), look)


def _schema(data: bytes, look: Inspection) -> None:
    if _PICKLED in data:
        look.malicious("arrow-pickled-type", "a column type that is a pickle, loaded when the schema is read")
