"""Many entries from all over the ledger, and the hashes that prove them, in few queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select, text

from customhouse._kit.hashtree import HASH_BYTES
from customhouse.core.errors import StateError
from customhouse.store.engine import Database
from customhouse.store.ledger_rows import LedgerTable, size_by
from customhouse.store.schema import ledger_entries

_A_QUERY = 500
# A row a hash through a driver costs more than all else that a proof takes: one text a tile.
_JOINED = {
    "sqlite": "SELECT group_concat(h, ''), (SELECT max(position) FROM ledger_entries) FROM"
    " (SELECT hex(leaf_hash) AS h FROM ledger_entries"
    " WHERE position >= :start AND position < :end ORDER BY position)",
    "postgresql": "SELECT string_agg(encode(leaf_hash, 'hex'), '' ORDER BY position),"
    " (SELECT max(position) FROM ledger_entries) FROM ledger_entries"
    " WHERE position >= :start AND position < :end",
}


class ScatteredReader:
    """Reads beside a LedgerTable; nothing that it gives is checked here."""

    def __init__(self, database: Database, table: LedgerTable) -> None:
        self._database, self._table = database, table

    def entries(self, positions: Sequence[int]) -> Mapping[int, bytes]:
        """The leaf data of some positions. Raises StateError when one is missing."""
        found: dict[int, bytes] = {}
        table = ledger_entries
        with self._database.read() as connection:
            for start in range(0, len(positions), _A_QUERY):
                some = positions[start : start + _A_QUERY]
                query = select(table.c.position, table.c.data).where(table.c.position.in_(some))
                found.update((int(row[0]), _bytes(row[1])) for row in connection.execute(query).all())
        missing = next((position for position in positions if position not in found), None)
        if missing is not None:
            raise StateError(f"entry {missing} is missing", where=self._database.where, hint="restore a backup")
        return found

    def positions(self, keys: Sequence[str]) -> list[int]:
        """Where the entries with some keys are, in order; those that are not there are left out."""
        table = ledger_entries
        with self._database.read() as connection:
            found = connection.execute(select(table.c.position).where(table.c.key.in_(list(keys)))).all()
        return sorted(int(row[0]) for row in found)

    def hashes(self, level: int, start: int, end: int) -> bytes:
        """The joined hashes [start, end) of one tile level, fewer where the tree ends."""
        with self._database.read() as connection:
            query = _JOINED.get(connection.dialect.name)
            if level or query is None:
                return self._table.hashes(level, start, end)
            # One statement sees one state: whoever appends meanwhile is in both answers or in neither.
            joined, last = connection.execute(text(query), {"start": start, "end": end}).one()
            there = max(0, min(end, size_by(last)) - start)
        data = bytes.fromhex(joined or "")
        if len(data) != HASH_BYTES * there:
            raise StateError("leaf hashes are missing", where=self._database.where, hint="restore a backup")
        return data


def _bytes(value: str | bytes | memoryview) -> bytes:
    """SQLite gives back whatever was stored: somebody who altered a row may have made a text of it."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
