"""What lies beside a TensorFlow graph: checkpoint indexes, records and events, Keras metadata, fingerprints."""

from __future__ import annotations

import json
from collections.abc import Iterator

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.keras import inspect_keras
from customhouse.trust.scan.protobuf import fields, varint
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_MAX_BLOCK = 64 << 20


def _crc_table() -> tuple[int, ...]:
    """CRC-32C (Castagnoli), reflected."""
    table = []
    for start in range(256):
        value = start
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def _masked_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def is_records(source: Source) -> bool:
    """Whether the first record's length carries its checksum."""
    head = source.peek(0, 12)
    return len(head) == 12 and source.size >= 16 and _masked_crc(head[:8]) == int.from_bytes(head[8:], "little")


def inspect_records(source: Source, look: Inspection) -> None:
    """TFRecord: length, its checksum, data, its checksum, up to the end exactly."""
    look.format = "tfrecord"
    cursor = Cursor(source)
    while cursor.left:
        look.spend(4)
        head = cursor.take(12)
        if _masked_crc(head[:8]) != int.from_bytes(head[8:], "little"):
            raise UnreadableError("a record whose length is broken", offset=cursor.position, rule="tfrecord-broken")
        cursor.skip(int.from_bytes(head[:8], "little") + 4)


def is_checkpoint_index(source: Source) -> bool:
    """Whether it ends as a table of LevelDB does."""
    return source.size >= _FOOTER and source.peek(source.size - 8, 8) == _TABLE_MAGIC


def inspect_checkpoint_index(source: Source, look: Inspection) -> None:
    """Every tensor's place: the shards that hold them are read as raw weights."""
    look.format = "tensorflow-checkpoint"
    footer = Cursor(source, source.size - _FOOTER)
    varint(footer), varint(footer)
    shards, needed = 1, dict[int, int]()
    index = _block(source, varint(footer), varint(footer))
    for _, handle in _entries(index, look):
        place = Cursor(Source.of(handle))
        for key, value in _entries(_block(source, varint(place), varint(place)), look):
            numbers = {item.number: item.value for item in fields(Source.of(value), look) if item.body is None}
            if key == b"":
                shards = numbers.get(1, 1)
            else:
                shard, end = numbers.get(3, 0), numbers.get(4, 0) + numbers.get(5, 0)
                needed[shard] = max(needed.get(shard, 0), end)
    stem = look.title.rpartition("/")[2].removesuffix(".index")
    if shards > 10_000 or any(shard >= shards for shard in needed):
        raise UnreadableError("tensors in a shard that is none", rule="checkpoint-shards")
    for shard, size in needed.items():
        look.refer(f"{stem}.data-{shard:05d}-of-{shards:05d}", size)


def _block(source: Source, offset: int, size: int) -> bytes:
    if size > _MAX_BLOCK:
        raise UnreadableError(f"a block of {size} bytes", offset=offset, rule="limit-memory")
    if source.read(offset + size, 1) != b"\x00":
        raise UnreadableError("a compressed table", offset=offset, rule="checkpoint-packed", hint="save it again")
    return source.read(offset, size)


def _entries(block: bytes, look: Inspection) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block: each key repeats a part of the one before."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise UnreadableError("a broken table", rule="checkpoint-broken")
    cursor, key = Cursor(Source.of(block[:end])), b""
    while cursor.left:
        look.spend(4)
        shared, fresh, size = varint(cursor), varint(cursor), varint(cursor)
        if shared > len(key) or fresh > 1 << 16:
            raise UnreadableError("a broken table", rule="checkpoint-broken")
        key = key[:shared] + cursor.take(fresh)
        yield key, cursor.take(size)


def is_keras_metadata(source: Source, look: Inspection) -> bool:
    """Whether it is keras_metadata.pb: nodes of an id, a path, an identifier and a configuration in JSON."""
    nodes = 0
    try:
        for item in fields(source, look):
            if item.number != 1 or item.body is None:
                return False
            kinds = {(part.number, part.body is None) for part in fields(item.message(), look)}
            if not kinds <= {(2, True), (3, False), (4, False), (5, False), (6, False)} or (4, False) not in kinds:
                return False
            nodes += 1
    except UnreadableError:
        return False
    return nodes > 0


def inspect_keras_metadata(source: Source, look: Inspection) -> None:
    """Each node's configuration is one of Keras: it may carry code."""
    look.format = "keras-metadata"
    for item in fields(source, look):
        for part in fields(item.message(), look):
            if part.number == 5:
                try:
                    inspect_keras(json.loads(part.octets(16 << 20)), look)
                except (ValueError, RecursionError):
                    look.unscannable("keras-config", "a configuration that is not JSON", item.offset)


def is_fingerprint(source: Source, look: Inspection) -> bool:
    """Whether it is fingerprint.pb of a SavedModel: checksums, a version, an identifier."""
    if source.size > 256:
        return False
    try:
        kinds = [(item.number, item.body is None) for item in fields(source, look)]
    except UnreadableError:
        return False
    numbers = {(number, True) for number in range(1, 6)}
    return len(kinds) >= 4 and set(kinds) <= numbers | {(6, False), (7, False)} and (2, True) in kinds


def inspect_fingerprint(_source: Source, look: Inspection) -> None:
    """Numbers only."""
    look.format = "tensorflow-fingerprint"
