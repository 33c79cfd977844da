"""LedgerStore over the database: entries in one gapless sequence, checkpoints that only grow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, Table, func, insert, select

from customhouse.core.errors import StateError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.store.engine import Database
from customhouse.store.schema import ledger_checkpoints, ledger_entries

_KEYS_A_QUERY = 500


class LedgerTable:
    """Rows of the ledger. One writer at a time (the write lock is taken first), so positions have no gap."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, entries: Sequence[Entry]) -> Sequence[int]:
        """Store in one durable transaction, skipping keys that exist; the position of each (old or new), in order."""
        prepared = [(entry.key, entry.to_bytes()) for entry in entries]
        if not prepared:
            return ()
        with self._database.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("LOCK TABLE ledger_entries IN EXCLUSIVE MODE")
            known = _positions(connection, [key for key, _ in prepared])
            following = _size(connection)
            rows = []
            for key, data in prepared:
                if key not in known:
                    known[key] = following
                    # The leaf hash of RFC 6962, recorded here so that damage to `data` alone can be told and placed.
                    leaf = hashlib.sha256(b"\x00" + data).digest()
                    rows.append({"position": following, "key": key, "leaf_hash": leaf, "data": data})
                    following += 1
            if rows:
                connection.execute(insert(ledger_entries), rows)
        return tuple(known[key] for key, _ in prepared)

    def size(self) -> int:
        """How many entries there are."""
        with self._database.read() as connection:
            return _size(connection)

    def read(self, start: int, end: int) -> Sequence[bytes]:
        """The leaf data of [start, end). Raises StateError when one is missing."""
        return self._column("data", start, end)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Publish; the same size and root again is nothing, a smaller size or another root is a StateError."""
        with self._database.write() as connection:
            latest = _latest(connection)
            if latest is not None and checkpoint.size < latest.size:
                raise StateError(
                    f"a checkpoint of {checkpoint.size} entries after one of {latest.size}", where=self._database.where
                )
            if latest is not None and checkpoint.size == latest.size:
                if checkpoint.root != latest.root:
                    raise StateError(f"two roots for {latest.size} entries", where=self._database.where)
                return
            if checkpoint.size > _size(connection):
                raise StateError("a checkpoint of entries that are not there", where=self._database.where)
            connection.execute(
                insert(ledger_checkpoints).values(
                    size=checkpoint.size, origin=checkpoint.origin, root=checkpoint.root, note=checkpoint.note
                )
            )

    def latest_checkpoint(self) -> Checkpoint | None:
        """The last one published."""
        with self._database.read() as connection:
            return _latest(connection)

    def checkpoints(self) -> Sequence[Checkpoint]:
        """Every checkpoint, smallest first."""
        with self._database.read() as connection:
            table = ledger_checkpoints
            rows = connection.execute(
                select(table.c.origin, table.c.size, table.c.root, table.c.note).order_by(table.c.size)
            )
            return tuple(Checkpoint(row.origin, row.size, bytes(row.root), row.note) for row in rows)

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        """The recorded leaf hashes of [start, end)."""
        return self._column("leaf_hash", start, end)

    def _column(self, name: str, start: int, end: int) -> Sequence[bytes]:
        table: Table = ledger_entries
        query = (
            select(table.c.position, table.c[name])
            .where(table.c.position >= start, table.c.position < end)
            .order_by(table.c.position)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        positions = {row[0] for row in rows}
        missing = next((position for position in range(start, end) if position not in positions), None)
        if missing is not None:
            raise StateError(f"entry {missing} is missing", where=self._database.where, hint="restore a backup")
        return tuple(bytes(row[1]) for row in rows)


def _size(connection: Connection) -> int:
    last = connection.execute(select(func.max(ledger_entries.c.position))).scalar()
    return 0 if last is None else int(last) + 1


def _positions(connection: Connection, keys: Sequence[str]) -> dict[str, int]:
    table = ledger_entries
    found: dict[str, int] = {}
    for start in range(0, len(keys), _KEYS_A_QUERY):
        some = keys[start : start + _KEYS_A_QUERY]
        rows = connection.execute(select(table.c.key, table.c.position).where(table.c.key.in_(some)))
        found.update((row.key, row.position) for row in rows)
    return found


def _latest(connection: Connection) -> Checkpoint | None:
    table = ledger_checkpoints
    row = connection.execute(
        select(table.c.origin, table.c.size, table.c.root, table.c.note).order_by(table.c.size.desc()).limit(1)
    ).first()
    return None if row is None else Checkpoint(row.origin, row.size, bytes(row.root), row.note)
