"""One import of advisories, within the caller's transaction: what is newer wins, and how old each part now is."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from customhouse.core.advisory import Advisory, affected_to_json
from customhouse.core.vulnerability import Rating
from customhouse.store.advisory_schema import in_time

WHOLE = 0.9
"""An import that holds so much of what is here of one database is a whole copy of it, and dates it anew.

An import of a few records alone must not make old data look new. Databases withdraw records and hardly delete any.
"""


@dataclass(frozen=True, slots=True)
class Import:
    """Where records come from. `as_of` is when that copy was made, None when nobody knows.

    `changes`: they are all that changed since the last import, so what is here is now as new as they are.
    """

    source: str
    digest: str
    as_of: datetime | None
    at: datetime
    broken: int = 0
    changes: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: records in all, new ones, changed ones, and those that were there as new or newer."""

    number: int
    records: int
    added: int
    changed: int
    kept: int
    broken: int
    as_of: datetime | None
    partial: tuple[str, ...] = ()
    """Parts (`PyPI PYSEC`) of which it held too little to make them newer."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "number": self.number,
            "records": self.records,
            "added": self.added,
            "changed": self.changed,
            "kept": self.kept,
            "broken": self.broken,
            "as_of": in_time(self.as_of),
            "partial": list(self.partial),
        }


def write_import(connection: sqlite3.Connection, records: Iterable[tuple[Advisory, bytes]], source: Import) -> Imported:
    """Write it. Of two copies of a record the one that was modified later stays, else that of the later import."""
    before = {
        (ecosystem, group): count
        for ecosystem, group, count in connection.execute("SELECT ecosystem, grp, records FROM freshness")
    }
    number = 1 + int(connection.execute("SELECT coalesce(max(number), 0) FROM imports").fetchone()[0])
    connection.execute("CREATE TEMP TABLE seen (id TEXT PRIMARY KEY, new INTEGER NOT NULL) WITHOUT ROWID")
    counts = {"records": 0, "added": 0, "changed": 0, "kept": 0}
    for advisory, data in records:
        counts["records"] += 1
        counts[_write(connection, advisory, data, source, number)] += 1
    connection.execute(
        "INSERT INTO imports VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(number, source.source, source.digest, in_time(source.as_of), in_time(source.at)),
            *(counts["records"], counts["added"], counts["changed"], counts["kept"], source.broken),
        ),
    )
    partial = _date(connection, before, source)
    connection.execute("DROP TABLE seen")
    if counts["added"] or counts["changed"]:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('digest', ?)", (_digest(connection),))
    return Imported(number=number, broken=source.broken, as_of=source.as_of, partial=partial, **counts)


def _write(connection: sqlite3.Connection, advisory: Advisory, data: bytes, source: Import, number: int) -> str:
    """`added`, `changed` or `kept`."""
    digest = hashlib.sha256(data).digest()
    query = "SELECT modified, as_of, digest FROM advisories WHERE id = ?"
    row = connection.execute(query, (advisory.id,)).fetchone()
    connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (advisory.id, row is None))
    if row is not None:
        if row[2] == digest:
            connection.execute(
                "UPDATE advisories SET as_of = max(coalesce(as_of, ''), ?) WHERE id = ?",
                (in_time(source.as_of) or "", advisory.id),
            )
            return "kept"
        if not _is_newer(advisory, source, row[0], row[1]):
            return "kept"
        connection.execute("DELETE FROM affected WHERE advisory = ?", (advisory.id,))
        connection.execute("DELETE FROM names WHERE advisory = ?", (advisory.id,))
    connection.execute(
        "INSERT OR REPLACE INTO advisories VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(advisory.id, advisory.group, in_time(advisory.modified), in_time(source.as_of), digest, number),
            *(_head(advisory), zlib.compress(data, 1)),
        ),
    )
    connection.executemany(
        "INSERT INTO affected VALUES (?, ?, ?, ?, ?, ?)",
        [
            (item.family, item.key, advisory.id, place, item.ecosystem, orjson.dumps(affected_to_json(item)).decode())
            for place, item in enumerate(advisory.affected)
            if item.family
        ],
    )
    names = {*advisory.aliases, *advisory.upstream} - {advisory.id}
    connection.executemany("INSERT INTO names VALUES (?, ?)", [(name, advisory.id) for name in names])
    return "added" if row is None else "changed"


def _is_newer(advisory: Advisory, source: Import, modified: str | None, as_of: str | None) -> bool:
    """Whether a record goes before the one that is here. Where one has no date of its own, the copies' dates decide."""
    new = in_time(advisory.modified)
    if new is not None and modified is not None and new != modified:
        return new > modified
    return (in_time(source.as_of) or "") >= (as_of or "")


def _head(advisory: Advisory) -> str:
    """What a finding needs; what is empty is left out."""
    head: dict[str, Any] = {
        "m": in_time(advisory.modified),
        "p": in_time(advisory.published),
        "w": in_time(advisory.withdrawn),
        "a": advisory.aliases,
        "u": advisory.upstream,
        "s": advisory.summary,
        "c": advisory.vectors,
        "r": "" if advisory.rating is Rating.UNKNOWN else advisory.rating.value,
        "l": advisory.url,
    }
    return orjson.dumps({key: value for key, value in head.items() if value}).decode()


def _date(connection: sqlite3.Connection, before: dict[tuple[str, str], int], source: Import) -> tuple[str, ...]:
    """Count what is here of each part anew, and date the parts that the import held whole; those that it did not."""
    again = {
        (ecosystem, group): count
        for ecosystem, group, count in connection.execute(
            """SELECT a.ecosystem, v.grp, count(DISTINCT a.advisory) FROM seen s JOIN affected a ON a.advisory = s.id
            JOIN advisories v ON v.id = s.id WHERE NOT s.new GROUP BY 1, 2"""
        )
    }
    now = {
        (ecosystem, group): count
        for ecosystem, group, count in connection.execute(
            """SELECT a.ecosystem, v.grp, count(DISTINCT a.advisory) FROM affected a
            JOIN advisories v ON v.id = a.advisory GROUP BY 1, 2"""
        )
    }
    held = {
        (ecosystem, group)
        for ecosystem, group in connection.execute(
            """SELECT DISTINCT a.ecosystem, v.grp FROM seen s JOIN affected a ON a.advisory = s.id
            JOIN advisories v ON v.id = s.id"""
        )
    }
    dates = {
        (ecosystem, group): at
        for ecosystem, group, at in connection.execute("SELECT ecosystem, grp, as_of FROM freshness")
    }
    partial = []
    for part in held:
        whole = source.changes or again.get(part, 0) >= WHOLE * before.get(part, 0)
        if whole:
            dates[part] = max(dates.get(part) or "", in_time(source.as_of) or "") or None
        else:
            partial.append(" ".join(part))
    connection.execute("DELETE FROM freshness")
    connection.executemany(
        "INSERT INTO freshness VALUES (?, ?, ?, ?)", [(*part, count, dates.get(part)) for part, count in now.items()]
    )
    return tuple(sorted(partial))


def _digest(connection: sqlite3.Connection) -> str:
    hasher = hashlib.sha256()
    for name, digest in connection.execute("SELECT id, digest FROM advisories ORDER BY id"):
        hasher.update(f"{name}\n".encode() + digest)
    return "sha256:" + hasher.hexdigest()
