"""The store as one SQLite file of one moment, whatever database it is in, and back again: all of it or nothing."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, exc, insert, select, text

from customhouse._kit.durable import sync_folder
from customhouse.core.errors import StateError
from customhouse.store.database import open_store
from customhouse.store.engine import Database, translate
from customhouse.store.schema import metadata

if TYPE_CHECKING:
    from customhouse.store.database import Store

_ROWS = 2000


def copy_out(store: Store, place: Path) -> None:
    """Write every table as it is at one moment into a new file (mode 0600); others may go on writing meanwhile.

    Raises StateError.
    """
    try:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StateError(f"the copy cannot be written: {error.strerror}", where=str(place)) from error
    database = store.database
    if database.is_sqlite:
        _sqlite_copy(database, place)
    else:
        with open_store(place) as made, database.engine.connect() as source:
            try:
                with source.execution_options(isolation_level="REPEATABLE READ").begin():
                    _copy(source, made.database)
            except exc.SQLAlchemyError as error:
                raise translate(error, database.where) from error
    _single_file(place)


def _sqlite_copy(database: Database, place: Path) -> None:
    """SQLite's own backup, in one step: a reader of one moment, which writers do not wait for."""
    target = sqlite3.connect(place)
    try:
        with database.engine.connect() as source:
            raw = source.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)  # noqa: S101 - the dialect is SQLite
            raw.backup(target)
    except (sqlite3.Error, exc.SQLAlchemyError) as error:
        raise translate(error, database.where) from error
    finally:
        target.close()


def _single_file(place: Path) -> None:
    """No write-ahead log beside it: the file alone is the copy."""
    connection = sqlite3.connect(place)
    try:
        connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise translate(error, str(place)) from error
    finally:
        connection.close()
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: Connection, target: Database) -> None:
    with target.write() as into:
        for table in metadata.sorted_tables:
            rows = source.execution_options(yield_per=_ROWS).execute(select(table))
            for part in rows.mappings().partitions(_ROWS):
                into.execute(insert(table), [dict(row) for row in part])


def put_in_place(copy: Path, place: Path) -> Path | None:
    """Replace the database file by a copy in the same folder; the old one is kept beside it, and its path given.

    Raises StateError when another process has the old one open: nothing is changed then.
    """
    kept: Path | None = None
    try:
        if place.exists():
            _nobody_else(place)
            kept = _free_name(place)
            os.link(place, kept)
        copy.replace(place)
        sync_folder(place.parent)
    except OSError as error:
        raise StateError(f"the copy cannot be put in place: {error.strerror}", where=str(place)) from error
    return kept


def _free_name(place: Path) -> Path:
    number = 1
    while (found := place.with_name(f"{place.name}.before-restore-{number}")).exists():
        number += 1
    return found


def _nobody_else(place: Path) -> None:
    """Only the one connection to a database may take its write-ahead log away: SQLite says when there is another."""
    connection = sqlite3.connect(place, timeout=1.0, isolation_level=None)
    try:
        mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        if mode != ("delete",):
            raise sqlite3.OperationalError("database is locked")
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise StateError(
                "another process holds the database",
                where=str(place),
                hint="end `customhouse up` and `customhouse webhook` first; nothing was changed",
            ) from error
        # A database that is damaged is what a restore is for; it is kept beside the new one as it is.
    finally:
        connection.close()


def copy_in(copy: Path, store: Store) -> None:
    """Replace every row of a server's database by those of a copy, in one transaction. Raises StateError."""
    database = store.database
    with open_store(copy) as made, made.database.read() as source, database.write() as into:
        if not database.is_sqlite:
            into.execute(text(f"LOCK TABLE {', '.join(metadata.tables)} IN ACCESS EXCLUSIVE MODE"))
        for table in reversed(metadata.sorted_tables):
            into.execute(delete(table))
        for table in metadata.sorted_tables:
            rows = source.execute(select(table))
            for part in rows.mappings().partitions(_ROWS):
                into.execute(insert(table), [dict(row) for row in part])
            if "id" in table.columns and not database.is_sqlite:
                # The counter of a serial column does not follow rows that bring their own number.
                into.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'),"  # noqa: S608 - our own names
                        f" (SELECT COALESCE(MAX(id), 0) + 1 FROM {table.name}), false)"
                    )
                )
