"""Advisories in a SQLite file of their own: big, shared if one likes, and made anew from what was imported.

    with open_advisories(path) as advisories:
        advisories.find({("PyPI", "jinja2")}), advisories.freshness()

Python's own sqlite3 and no SQLAlchemy: a scan must not pay for importing it, and nothing here is migrated. A file of
another version is refused, and made again by importing again.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from customhouse.core.advisory import Advisory, Known, affected_from_json
from customhouse.core.errors import StateError
from customhouse.core.vulnerability import Freshness, Rating
from customhouse.store.advisory_import import Import, Imported, write_import
from customhouse.store.advisory_schema import SCHEMA, VERSION, in_time, of_time

BUSY_TIMEOUT_MS = 60_000
"""How long a reader or writer waits: an import of all of OSV takes less than a minute."""
_AT_ONCE = 400
"""Keys of one query; SQLite takes 32,766 values."""


class Advisories:
    """The file, open. One process may have it open many times; one import at a time, others wait."""

    def __init__(self, connection: sqlite3.Connection, where: str) -> None:
        self._connection, self.where = connection, where

    def bring(self, records: Iterable[tuple[Advisory, bytes]], source: Import) -> Imported:
        """Store records, all or none: what `records` raises undoes the import. Raises StateError."""
        with self._guarded(), self._transaction():
            return write_import(self._connection, records, source)

    def find(self, keys: Iterable[tuple[str, str]]) -> Known:
        """The advisories of packages, (family, key) each; packages without any are left out."""
        wanted = sorted(keys)
        rows: list[tuple[str, str, str, str]] = []
        with self._guarded():
            for start in range(0, len(wanted), _AT_ONCE):
                part = wanted[start : start + _AT_ONCE]
                marks = ",".join(["(?,?)"] * len(part))
                query = f"SELECT family, key, advisory, body FROM affected WHERE (family, key) IN (VALUES {marks})"  # noqa: S608 - marks alone
                rows += self._connection.execute(query, [text for pair in part for text in pair]).fetchall()
            return self._known(rows, self._heads({row[2] for row in rows}))

    def everything(self) -> Known:
        """All of it: for whoever asks of very many packages, or keeps it in memory."""
        with self._guarded():
            rows = self._connection.execute("SELECT family, key, advisory, body FROM affected").fetchall()
            heads = dict(self._connection.execute("SELECT id, head FROM advisories").fetchall())
            return self._known(rows, heads)

    def _heads(self, ids: Iterable[str]) -> dict[str, str]:
        wanted = sorted(ids)
        found: dict[str, str] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            query = f"SELECT id, head FROM advisories WHERE id IN ({','.join('?' * len(part))})"  # noqa: S608 - marks alone
            found.update(self._connection.execute(query, part).fetchall())
        return found

    def _known(self, rows: Sequence[tuple[str, str, str, str]], heads: Mapping[str, str]) -> Known:
        made = {name: _advisory(name, orjson.loads(head)) for name, head in heads.items()}
        found: dict[tuple[str, str], dict[str, Advisory]] = {}
        for family, key, name, body in rows:
            one = affected_from_json(orjson.loads(body), family, key)
            there = found.setdefault((family, key), {})
            before = there.get(name)
            advisory = made[name] if before is None else before
            there[name] = replace(advisory, affected=(*advisory.affected, one))
        return {pair: tuple(advisories.values()) for pair, advisories in found.items()}

    def record(self, name: str) -> list[dict[str, Any]]:
        """The whole records of an id, or of an alias, as published; empty when there is none."""
        query = """SELECT record FROM advisories WHERE id = ?1
            OR id IN (SELECT advisory FROM names WHERE name = ?1) ORDER BY id"""
        with self._guarded():
            rows = self._connection.execute(query, (name,)).fetchall()
            return [orjson.loads(zlib.decompress(row[0])) for row in rows]

    def freshness(self) -> tuple[Freshness, ...]:
        """How old what is here is, of each ecosystem (with its release)."""
        query = "SELECT ecosystem, grp, records, as_of FROM freshness ORDER BY ecosystem, grp"
        groups: dict[str, list[tuple[str, int, datetime | None]]] = {}
        with self._guarded():
            for ecosystem, group, count, at in self._connection.execute(query):
                groups.setdefault(ecosystem, []).append((group, count, of_time(at)))
        return tuple(_freshness(ecosystem, rows) for ecosystem, rows in groups.items())

    def imports(self) -> list[dict[str, Any]]:
        """What was imported, newest first: source, digest, as_of, imported_at, and counts."""
        names = ("number", "source", "digest", "as_of", "imported_at", "records", "added", "changed", "kept", "broken")
        with self._guarded():
            rows = self._connection.execute(f"SELECT {', '.join(names)} FROM imports ORDER BY number DESC LIMIT 1000")  # noqa: S608
            return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]

    def number(self) -> int:
        """The number of the newest import; 0 when there was none."""
        with self._guarded():
            return int(self._connection.execute("SELECT coalesce(max(number), 0) FROM imports").fetchone()[0])

    def touched_since(self, number: int) -> frozenset[tuple[str, str]]:
        """The packages, (family, key), of which an import after that one brought or changed an advisory."""
        query = """SELECT DISTINCT a.family, a.key FROM advisories v JOIN affected a ON a.advisory = v.id
            WHERE v.import > ?"""
        with self._guarded():
            return frozenset(self._connection.execute(query, (number,)).fetchall())

    def digest(self) -> str:
        """Of all records that are here; empty when there are none."""
        with self._guarded():
            row = self._connection.execute("SELECT value FROM meta WHERE key = 'digest'").fetchone()
            return "" if row is None else str(row[0])

    def count(self) -> int:
        """How many records there are, withdrawn ones too."""
        with self._guarded():
            return int(self._connection.execute("SELECT count(*) FROM advisories").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Advisories:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is asked within sees one state, whoever imports meanwhile: findings and ages that belong together."""
        with self._guarded():
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")  # nothing was written

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, zlib.error, orjson.JSONDecodeError, KeyError) as error:
            raise _translated(error, self.where) from error


def open_advisories(path: Path, *, create: bool = False) -> Advisories:
    """Open the file; `create` makes it (mode 0600, its folder 0700) where there is none. Raises StateError."""
    where = str(path)
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        elif not path.is_file():
            raise StateError("there are no advisories", where=where, hint="`customhouse vuln import PATH` brings them")
    except OSError as error:
        raise StateError(
            f"the advisories cannot be opened: {error.strerror}", where=where, hint="name another file with --db"
        ) from error
    try:
        connection = sqlite3.connect(where, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None)
        try:
            _prepare(connection, where)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise _translated(error, where) from error
    return Advisories(connection, where)


def _prepare(connection: sqlite3.Connection, where: str) -> None:
    # A killed import loses nothing of the one before; a power cut may lose the last import, which can be done again.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "trusted_schema=OFF", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version or tables:
        raise StateError(
            f"these advisories have version {version}, and this program reads {VERSION}",
            where=where,
            hint="remove the file and import again, or name another with --db",
        )
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have made the tables while this one waited.
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _translated(error: Exception, where: str) -> StateError:
    text = str(error).lower()
    if "full" in text:
        return StateError("the disk is full", where=where, hint="free some space; nothing was half-written")
    if "readonly" in text:
        return StateError("the advisories cannot be written", where=where, hint="check the file's owner and mode")
    if "locked" in text:
        return StateError("another process writes the advisories", where=where, hint="wait and try again")
    return StateError(
        f"the advisories cannot be read: {str(error)[:200]}", where=where, hint="remove the file and import again"
    )


def _freshness(ecosystem: str, rows: Sequence[tuple[str, int, datetime | None]]) -> Freshness:
    times = [at for _, _, at in rows]
    known = [at for at in times if at is not None]
    return Freshness(
        ecosystem, sum(count for _, count, _ in rows), min(known) if len(known) == len(times) else None, tuple(rows)
    )


def _advisory(name: str, head: Mapping[str, Any]) -> Advisory:
    return Advisory(
        id=name,
        modified=of_time(head.get("m")),
        published=of_time(head.get("p")),
        withdrawn=of_time(head.get("w")),
        aliases=tuple(head.get("a", ())),
        upstream=tuple(head.get("u", ())),
        summary=head.get("s", ""),
        vectors=tuple(head.get("c", ())),
        rating=Rating(head.get("r", "unknown")),
        url=head.get("l", ""),
    )


__all__ = ["Advisories", "Import", "Imported", "in_time", "open_advisories"]
