"""LedgerStore over the database: entries in one gapless sequence, the tiles of their tree, checkpoints that only grow.

Entries, tiles and the checkpoint over them are written in one transaction: one wait for the disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, insert, select, type_coerce
from sqlalchemy.types import NullType

from customhouse._kit.hashtree import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, CompactRange, leaf_hash
from customhouse.core.errors import StateError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.store.engine import Database
from customhouse.store.rows import insert_new
from customhouse.store.schema import ledger_checkpoints, ledger_entries, ledger_tiles

Hashes = Callable[[int, int, int], bytes]
"""(tile level, start, end) → the joined hashes of that range, fewer where the tree ends."""
Seal = Callable[[int, CompactRange, "Checkpoint | None", Hashes], "Checkpoint | None"]
"""(size before, the tree after, the latest checkpoint, a reader of the tree) → the checkpoint to save with the entries.

Called inside the transaction; what it raises undoes the entries.
"""

_MOST_ENTRIES = 1 << 60
_KNOWN = {
    "sqlite": "SELECT key, position FROM ledger_entries WHERE key IN (SELECT value FROM json_each(?))",
    "postgresql": "SELECT key, position FROM ledger_entries WHERE key = ANY(%s)",
}
_INSERT = {
    "sqlite": "INSERT INTO ledger_entries (position, key, leaf_hash, data) VALUES (?, ?, ?, ?)",
    # One statement and one answer, whatever the driver makes of many rows.
    "postgresql": "INSERT INTO ledger_entries (position, key, leaf_hash, data)"
    " SELECT * FROM unnest(CAST(%s AS bigint[]), CAST(%s AS text[]), CAST(%s AS bytea[]), CAST(%s AS bytea[]))",
}


class LedgerTable:
    """Rows of the ledger. One writer at a time (the write lock is taken first), so positions have no gap."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._frontier = CompactRange()
        """The tree as this process left it; taken only when the stored size is still the same."""

    def append(self, entries: Sequence[Entry]) -> Sequence[int]:
        """Store in one durable transaction, skipping keys that exist; the position of each (old or new), in order."""
        return self.append_sealed([(entry, entry.to_bytes()) for entry in entries]) if entries else ()

    def append_sealed(self, items: Sequence[tuple[Entry, bytes]], seal: Seal | None = None) -> Sequence[int]:
        """`append` of entries with their leaf data; what `seal` makes of them is saved in the same transaction."""
        with self._database.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("LOCK TABLE ledger_entries IN EXCLUSIVE MODE")
            before = size_of(connection)
            known = _positions(connection, [entry.key for entry, _ in items]) if before and items else {}
            following, rows = before, []
            for entry, data in items:
                if entry.key not in known:
                    known[entry.key] = following
                    rows.append((following, entry.key, leaf_hash(data), data))
                    following += 1
            tree = self._frontier.copy() if self._frontier.size == before else self._load(connection, before)
            if rows:
                # The leaf hash is recorded beside the data, so that damage to the data alone can be told and placed.
                tree.extend(row[2] for row in rows)
                _insert(connection, rows)
                self._write_tiles(connection, tree.completed, before)
                tree.completed = []
            if seal is not None:
                made = seal(before, tree, _latest(connection), self._reader(connection))
                if made is not None:
                    self._save(connection, made, following)
        self._frontier = tree  # only what was committed
        return tuple(known[entry.key] for entry, _ in items)

    def size(self) -> int:
        """How many entries there are."""
        with self._database.read() as connection:
            return size_of(connection)

    def read(self, start: int, end: int) -> Sequence[bytes]:
        """The leaf data of [start, end). Raises StateError when one is missing."""
        with self._database.read() as connection:
            return tuple(self._column(connection, "data", start, end))

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Publish; the same size and root again is nothing, a smaller size or another root is a StateError."""
        with self._database.write() as connection:
            self._save(connection, checkpoint, size_of(connection))

    def latest_checkpoint(self) -> Checkpoint | None:
        """The last one published."""
        with self._database.read() as connection:
            return _latest(connection)

    def checkpoints(self, since: int = 0) -> Sequence[Checkpoint]:
        """Every checkpoint of at least `since` entries, smallest first."""
        table = ledger_checkpoints
        query = select(table.c.origin, table.c.size, _raw(table.c.root), table.c.note).order_by(table.c.size)
        if since:
            query = query.where(table.c.size >= since)
        with self._database.read() as connection:
            return tuple(_checkpoint(row) for row in connection.execute(query))

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        """The recorded leaf hashes of [start, end)."""
        with self._database.read() as connection:
            return tuple(self._column(connection, "leaf_hash", start, end))

    def rows(self, start: int, end: int) -> Sequence[tuple[int, str, bytes, bytes]]:
        """(position, key, leaf hash, data) as stored, in order; one that is missing is left out."""
        table = ledger_entries
        query = (
            select(table.c.position, table.c.key, _raw(table.c.leaf_hash), _raw(table.c.data))
            .where(table.c.position >= start, table.c.position < end)
            .order_by(table.c.position)
        )
        with self._database.read() as connection:
            return [(row[0], str(row[1]), _lenient(row[2]), _lenient(row[3])) for row in connection.execute(query)]

    def hashes(self, level: int, start: int, end: int) -> bytes:
        """The joined hashes [start, end) of one tile level, fewer where the tree ends. Raises StateError for a gap."""
        with self._database.read() as connection:
            return self._reader(connection)(level, start, end)

    def _reader(self, connection: Connection) -> Hashes:
        def read(level: int, start: int, end: int) -> bytes:
            if level == 0:
                return b"".join(self._column(connection, "leaf_hash", start, min(end, size_of(connection))))
            parts = [
                self._tile(connection, level, number) for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH))
            ]
            skipped = start % TILE_WIDTH * HASH_BYTES
            return b"".join(parts)[skipped : skipped + (end - start) * HASH_BYTES]

        return read

    def _tile(self, connection: Connection, level: int, number: int) -> bytes:
        table = ledger_tiles
        query = select(_raw(table.c.hashes)).where(table.c.level == level, table.c.number == number)
        found = connection.execute(query).scalar()
        return b"" if found is None else self._strict(found, f"tile {number} of level {level}")

    def _strict(self, value: object, what: str) -> bytes:
        if not isinstance(value, (bytes, memoryview)):
            raise StateError(f"{what} is damaged", where=self._database.where, hint="restore a backup")
        return bytes(value)

    def _load(self, connection: Connection, size: int) -> CompactRange:
        """The frontier of the stored tree: at most 255 hashes of each tile level are read."""
        peaks: list[bytes] = []
        level = 0
        while size >> (TILE_HEIGHT * level):
            count = size >> (TILE_HEIGHT * level)
            width = count % TILE_WIDTH
            joined = self._reader(connection)(level, count - width, count)
            if len(joined) != width * HASH_BYTES:
                raise self._broken(level, count - width)
            part = CompactRange()
            part.extend(_split(joined))
            peaks = [*part.peaks, *peaks]
            level += 1
        return CompactRange(size, peaks)

    def _write_tiles(self, connection: Connection, completed: Sequence[tuple[int, bytes]], before: int) -> None:
        levels: dict[int, list[bytes]] = {}
        for level, top in completed:
            levels.setdefault(level, []).append(top)
        rows = []
        for level, hashes in levels.items():
            start = before >> (TILE_HEIGHT * level)
            width = start % TILE_WIDTH
            kept = self._tile(connection, level, start // TILE_WIDTH)[: width * HASH_BYTES] if width else b""
            if len(kept) != width * HASH_BYTES:
                raise self._broken(level, start - width)
            joined = kept + b"".join(hashes)
            for number, first in enumerate(range(0, len(joined), TILE_WIDTH * HASH_BYTES), start // TILE_WIDTH):
                part = joined[first : first + TILE_WIDTH * HASH_BYTES]
                rows.append({"level": level, "number": number, "hashes": part})
        if rows:
            connection.execute(insert_new(ledger_tiles, connection.dialect.name, replace=("hashes",)), rows)

    def _broken(self, level: int, start: int) -> StateError:
        return StateError(
            f"hashes of the ledger's tree are missing (tile level {level}, from {start})",
            where=self._database.where,
            hint="run `customhouse ledger verify`; restore a backup",
        )

    def _save(self, connection: Connection, checkpoint: Checkpoint, size: int) -> None:
        latest = _latest(connection)
        if latest is not None and checkpoint.size < latest.size:
            raise StateError(
                f"a checkpoint of {checkpoint.size} entries after one of {latest.size}", where=self._database.where
            )
        if latest is not None and checkpoint.size == latest.size:
            if checkpoint.root != latest.root:
                raise StateError(f"two roots for {latest.size} entries", where=self._database.where)
            return
        if checkpoint.size > size:
            raise StateError("a checkpoint of entries that are not there", where=self._database.where)
        connection.execute(
            insert(ledger_checkpoints).values(
                size=checkpoint.size, origin=checkpoint.origin, root=checkpoint.root, note=checkpoint.note
            )
        )

    def _column(self, connection: Connection, name: str, start: int, end: int) -> Iterator[bytes]:
        table: Table = ledger_entries
        query = (
            select(table.c.position, _raw(table.c[name]))
            .where(table.c.position >= start, table.c.position < end)
            .order_by(table.c.position)
        )
        expected = start
        for position, value in connection.execute(query):
            if position != expected:
                break
            yield self._strict(value, f"entry {position}")
            expected += 1
        if expected < end:
            raise StateError(f"entry {expected} is missing", where=self._database.where, hint="restore a backup")


def _raw(column: ColumnElement[bytes]) -> ColumnElement[object]:
    """The column as the driver gives it: SQLAlchemy's own reading makes three zero bytes of the number 3."""
    return type_coerce(column, NullType())


def _lenient(value: object) -> bytes:
    """What is no bytes in a damaged file, as bytes that no entry and no hash can be: the check then names its row."""
    return bytes(value) if isinstance(value, (bytes, memoryview)) else b"\xff" + repr(value).encode()


def _checkpoint(row: Sequence[Any]) -> Checkpoint:
    """What is no text or no bytes becomes none: the check of the note refuses that."""
    origin, size, root, note = row
    return Checkpoint(
        origin if isinstance(origin, str) else "",
        size,
        bytes(root) if isinstance(root, (bytes, memoryview)) else b"",
        note if isinstance(note, str) else "",
    )


def _split(joined: bytes) -> Iterator[bytes]:
    return (joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES))


def _insert(connection: Connection, rows: Sequence[tuple[int, str, bytes, bytes]]) -> None:
    dialect = connection.dialect.name
    if dialect == "sqlite":
        connection.exec_driver_sql(_INSERT[dialect], list(rows))
    else:
        connection.exec_driver_sql(_INSERT[dialect], tuple(list(column) for column in zip(*rows, strict=True)))


def size_of(connection: Connection) -> int:
    """How many entries there are, in the transaction of a connection."""
    return size_by(connection.execute(select(func.max(ledger_entries.c.position))).scalar())


def size_by(last: int | None) -> int:
    """How many entries there are by the number of the last one. Raises StateError for one that cannot be."""
    if last is not None and not -1 <= last < _MOST_ENTRIES:
        raise StateError(f"an entry has the number {last}", hint="restore a backup")
    return 0 if last is None else int(last) + 1


def _positions(connection: Connection, keys: list[str]) -> dict[str, int]:
    """Where the keys are that exist. One statement takes any number of them."""
    dialect = connection.dialect.name
    given = json.dumps(keys, ensure_ascii=False) if dialect == "sqlite" else keys
    return {row[0]: row[1] for row in connection.exec_driver_sql(_KNOWN[dialect], (given,))}


def _latest(connection: Connection) -> Checkpoint | None:
    table = ledger_checkpoints
    query = select(table.c.origin, table.c.size, _raw(table.c.root), table.c.note).order_by(table.c.size.desc())
    row = connection.execute(query.limit(1)).first()
    return None if row is None else _checkpoint(row)
