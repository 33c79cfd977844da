"""The tables of the advisories' file. Times are RFC 3339 in UTC with six places, so that text order is time order."""

from __future__ import annotations

from datetime import datetime

from customhouse._kit.clock import from_rfc3339

VERSION = 2
"""Also of the keys in it (`trust.vulnerabilities.ecosystems.name_key`): others would find nothing, silently."""
SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # `head` is what a finding needs, small; `record` is the whole as published (zlib); `as_of` is its import's.
    """CREATE TABLE advisories (id TEXT PRIMARY KEY, grp TEXT NOT NULL, modified TEXT, as_of TEXT, digest BLOB NOT NULL,
        import INTEGER NOT NULL, head TEXT NOT NULL, record BLOB NOT NULL)""",
    "CREATE INDEX advisories_by_import ON advisories (import)",
    """CREATE TABLE affected (family TEXT NOT NULL, key TEXT NOT NULL, advisory TEXT NOT NULL,
        position INTEGER NOT NULL, ecosystem TEXT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (family, key, advisory, position)) WITHOUT ROWID""",
    "CREATE INDEX affected_by_advisory ON affected (advisory)",
    """CREATE TABLE names (name TEXT NOT NULL, advisory TEXT NOT NULL, PRIMARY KEY (name, advisory)) WITHOUT ROWID""",
    "CREATE INDEX names_by_advisory ON names (advisory)",
    """CREATE TABLE imports (number INTEGER PRIMARY KEY, source TEXT NOT NULL, digest TEXT NOT NULL, as_of TEXT,
        imported_at TEXT NOT NULL, records INTEGER NOT NULL, added INTEGER NOT NULL, changed INTEGER NOT NULL,
        kept INTEGER NOT NULL, broken INTEGER NOT NULL)""",
    """CREATE TABLE freshness (ecosystem TEXT NOT NULL, grp TEXT NOT NULL, records INTEGER NOT NULL, as_of TEXT,
        PRIMARY KEY (ecosystem, grp)) WITHOUT ROWID""",
)


def in_time(at: datetime | None) -> str | None:
    """A time as a column."""
    return None if at is None else at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def of_time(text: str | None) -> datetime | None:
    """The inverse."""
    return None if text is None else from_rfc3339(text)
