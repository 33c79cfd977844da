"""Opening a store: the file with its mode, the schema with its version, the adapters of the five ports."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL

from customhouse.core.errors import StateError
from customhouse.core.ports import DecisionLog, Measurements, ReleaseLog, StateStore
from customhouse.store.engine import Database
from customhouse.store.history import DecisionTable, ReleaseTable
from customhouse.store.ledger_rows import LedgerTable
from customhouse.store.measurements import MeasurementTable
from customhouse.store.schema import HEAD, metadata
from customhouse.store.state import DocumentTable
from customhouse.store.witness_rows import CosignatureTable, WitnessTable

_OLDER: frozenset[str] = frozenset({"0001"})
"""Versions that a migration leads away from (all but HEAD)."""


class Store:
    """The storage ports over one database. Closing it is the caller's task (it is a context manager)."""

    def __init__(self, database: Database, measured: Database) -> None:
        self._databases = (database, measured)
        self.database = database
        self.place = database.where
        self.ledger = LedgerTable(database)
        self.cosignatures = CosignatureTable(database)
        self.witnessed = WitnessTable(database)
        self.decisions: DecisionLog = DecisionTable(database)
        self.state: StateStore = DocumentTable(database)
        self.releases: ReleaseLog = ReleaseTable(database)
        self.measurements: Measurements = MeasurementTable(measured)

    def close(self) -> None:
        """Close every connection; using the store afterwards opens new ones."""
        for database in self._databases:
            database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_store(place: str | Path) -> Store:
    """Open, create or migrate. `place` is a file (its folder is made, mode 0700; the file 0600) or a database URL.

    Raises StateError: no access, a full disk, not a database, damaged, locked, a newer schema, no driver.
    """
    url: URL | str
    if isinstance(place, str) and "://" in place:
        url = place
    else:
        path = Path(place)
        _prepare(path)
        url = URL.create("sqlite", database=str(path))
    database = Database(url)
    try:
        _migrate(database)
        return Store(database, Database(url, durable=False))
    except BaseException:
        database.close()
        raise


def _prepare(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.is_file():
            # To open and close a database that this process has open already would let go of SQLite's locks on it
            # (POSIX locks belong to the process), and another process could then throw away what was just written.
            return
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StateError(
            f"the database cannot be opened: {error.strerror}",
            where=str(path),
            hint="choose a folder that may be written with --state",
        ) from error


def _migrate(database: Database) -> None:
    with database.read() as connection:
        version = _version(connection, database)
    if version == HEAD:
        return
    if version is not None and version not in _OLDER:
        raise StateError(
            f"the database has schema {version}, newer than this program's {HEAD}",
            where=database.where,
            hint="use the newer Customhouse that wrote it, or another --state",
        )
    with database.write() as connection:
        # Another process may have migrated while this one waited for the lock.
        now = _version(connection, database)
        if now is None:
            _create(connection)
        elif now != HEAD:
            from customhouse.store.migrations import upgrade

            upgrade(connection)


def _create(connection: Connection) -> None:
    """The tables that all migrations lead to, without Alembic: 12 MB of whoever opens a new store, and half a second.

    Tests hold what this makes to what the migrations make.
    """
    metadata.create_all(connection, checkfirst=False)
    parts = ("version_num VARCHAR(32) NOT NULL", "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)")
    connection.execute(text("CREATE TABLE alembic_version (\n\t" + ", \n\t".join(parts) + "\n)"))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


def _version(connection: Connection, database: Database) -> str | None:
    """The schema version in plain SQL: importing Alembic costs more CPU than all else that opening does."""
    if database.is_sqlite:
        tables = {row[0] for row in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))}
    else:
        tables = set(inspect(connection).get_table_names())
    if "alembic_version" not in tables:
        if tables:
            raise StateError(
                "this database belongs to another program",
                where=database.where,
                hint="choose another --state; nothing was written",
            )
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
