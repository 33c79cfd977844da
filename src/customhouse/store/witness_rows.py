"""Rows about witnesses: what this machine, as one, has seen of other ledgers, and who cosigned this ledger."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from customhouse.core.ledger import Checkpoint
from customhouse.store.engine import Database
from customhouse.store.rows import insert_new
from customhouse.store.schema import ledger_cosignatures, ledger_witnessed


class WitnessTable:
    """Of each log the last checkpoint that was cosigned here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(self, origin: str) -> Checkpoint | None:
        """The last one; None before the first."""
        table = ledger_witnessed
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.origin == origin)).first()
        return None if row is None else Checkpoint(row.origin, row.size, bytes(row.root), row.note)

    def advance(self, old: Checkpoint | None, new: Checkpoint) -> bool:
        """Store `new` if `old` still is the last one; durable when it returns. Whether it was."""
        table = ledger_witnessed
        values = {"size": new.size, "root": new.root, "note": new.note}
        with self._database.write() as connection:
            if old is None:
                new_row = insert_new(table, connection.dialect.name).values(origin=new.origin, **values)
                return connection.execute(new_row).rowcount == 1
            same = (table.c.origin == new.origin) & (table.c.size == old.size) & (table.c.root == old.root)
            return connection.execute(update(table).where(same).values(**values)).rowcount == 1


class CosignatureTable:
    """The signature lines of witnesses, by the size of the checkpoint that they are of."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, size: int, witness: str, line: str) -> None:
        """Keep a line; the first one of a witness for a size stays."""
        with self._database.write() as connection:
            new_row = insert_new(ledger_cosignatures, connection.dialect.name)
            connection.execute(new_row.values(size=size, witness=witness, line=line))

    def lines(self, size: int) -> Sequence[str]:
        """The lines under the checkpoint of this size, by the names of the witnesses."""
        table = ledger_cosignatures
        with self._database.read() as connection:
            rows = connection.execute(select(table.c.line).where(table.c.size == size).order_by(table.c.witness))
            return tuple(row[0] for row in rows)

    def sizes(self, witness: str | None = None, limit: int = 100) -> Sequence[int]:
        """The sizes of which there are cosignatures (of one witness), the largest first."""
        table = ledger_cosignatures
        query = select(table.c.size).distinct().order_by(table.c.size.desc()).limit(limit)
        if witness is not None:
            query = query.where(table.c.witness == witness)
        with self._database.read() as connection:
            return tuple(row[0] for row in connection.execute(query))
