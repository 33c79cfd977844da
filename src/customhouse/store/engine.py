"""Connections and transactions: one way to read, one way to write, and every driver error said once in our words."""

from __future__ import annotations

import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import ConnectionPoolEntry

from customhouse._kit.http import is_loopback
from customhouse.core.errors import StateError

BUSY_TIMEOUT_MS = 10_000
"""How long a writer waits for another one: ten times the longest transaction here (a batch of 10,000 entries)."""

_ADVICE = (
    ("disk is full", "the disk is full", "free some space; nothing was half-written"),
    ("readonly database", "the database cannot be written", "check the owner and mode of the file and its folder"),
    ("not a database", "this file is not a Customhouse database", "choose another --state, or restore a backup"),
    ("malformed", "the database is damaged", "restore a backup; `sqlite3 FILE .recover` may save rows"),
    ("disk i/o error", "the disk failed", "check the disk and its free space, then restore a backup if needed"),
    ("locked", "another process holds the database", "end it, or wait and try again"),
    ("unable to open", "the database cannot be opened", "check that the folder exists and may be written"),
    ("no such table", "the schema is not complete", "restore a backup"),
    ("does not exist", "the database or a table does not exist", "create the database first"),
    ("communication error", "the database server is out of reach", "start it, or correct the URL"),
    ("can't create a connection", "the database server is out of reach", "start it, or correct the URL"),
    ("password authentication failed", "the database server refuses the login", "check the user and the password"),
    ("connection to server", "the database server is out of reach", "start it, or correct the URL"),
    ("connection refused", "the database server is out of reach", "start it, or correct the URL"),
)


def translate(error: Exception, where: str) -> StateError:
    """A driver's error in our words, with what to do."""
    text = _said(getattr(error, "orig", None) or error)
    for marker, message, hint in _ADVICE:
        if marker in text.lower():
            return StateError(message, where=where, hint=hint)
    return StateError(f"the database refused: {text.splitlines()[0][:300]}", where=where)


def _said(error: BaseException) -> str:
    """The driver's words. pg8000 gives the fields of the server's message, of which M is for people."""
    fields = error.args[0] if error.args else None
    return str(fields.get("M", fields)) if isinstance(fields, dict) else str(error)


class Database:
    """An engine with the transactions that the adapters use. Safe in several threads of one process.

    `durable` False gives up the fsync of each commit (SQLite synchronous=NORMAL): a power cut may lose the last
    commits, a killed process loses none. Only measurements are written so.
    """

    def __init__(self, url: URL | str, *, durable: bool = True) -> None:
        self.url = make_url(url)
        shown = self.url.render_as_string(hide_password=True)
        self.where = (self.url.database if self.is_sqlite else None) or shown
        self.engine = _engine(self.url, self.where, durable=durable)

    @property
    def is_sqlite(self) -> bool:
        """Whether the file kind of database is below."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database throughout."""
        with self._transaction(immediate=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that takes the write lock at its start, so that what it reads cannot change under it."""
        with self._transaction(immediate=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, immediate: bool) -> Iterator[Connection]:
        try:
            with self.engine.connect() as connection:
                chosen = connection.execution_options(customhouse_immediate=immediate)
                with chosen.begin():
                    yield chosen
        except (exc.SQLAlchemyError, sqlite3.Error) as error:  # the latter from the PRAGMAs of a new connection
            raise translate(error, self.where) from error

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _encrypted(url: URL) -> tuple[URL, dict[str, Any]]:
    """TLS with a verified certificate to any host but this one; `?sslmode=disable` gives it up, `sslrootcert` trusts.

    Both words are libpq's. pg8000 knows neither, so they are taken out of the address.
    """
    if url.get_driver_name() != "pg8000":
        return url, {}
    mode, authority = (str(url.query.get(name, "")) for name in ("sslmode", "sslrootcert"))
    url = url.difference_update_query(["sslmode", "sslrootcert"])
    if mode not in ("", "disable", "verify-full"):
        raise exc.ArgumentError("sslmode is verify-full (the default beyond this machine) or disable")
    if mode == "disable" or not url.host or (is_loopback(url.host) and not mode):
        return url, {}
    return url, {"ssl_context": ssl.create_default_context(cafile=authority or None)}


def _engine(url: URL, where: str, *, durable: bool) -> Engine:
    try:
        if url.get_backend_name() != "sqlite":
            url, arguments = _encrypted(url)
            return create_engine(url, pool_pre_ping=True, connect_args=arguments)
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    except OSError as error:  # the file of certificates
        raise StateError(f"sslrootcert cannot be read: {error.strerror}", where=where) from error
    except (exc.ArgumentError, ImportError) as error:
        if isinstance(error, exc.ArgumentError) and "sslmode" in str(error):
            raise StateError(str(error), where=where) from error
        raise StateError(
            f"no driver for {url.drivername}",
            where=where,
            hint="pip install 'customhouse[postgres]', or use a SQLite file",
        ) from error

    def configure(connection: object, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # BEGIN is ours, see `begin`
        cursor = connection.cursor()  # type: ignore[attr-defined]
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            f"synchronous={'FULL' if durable else 'NORMAL'}",
            "foreign_keys=ON",
            "trusted_schema=OFF",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("customhouse_immediate", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN DEFERRED")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", begin)
    return engine
