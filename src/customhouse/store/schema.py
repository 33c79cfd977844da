"""The tables as the newest migration leaves them. Money is whole pico-units as text (beyond 64 bits); times are text.

A time is RFC 3339 in UTC, always with six decimal places, so that text order is time order. Samples alone keep theirs
as whole microseconds since 1970: they are millions of rows, and a third of the size counts there.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

HEAD = "0002"
"""The newest migration; a test holds it to Alembic's own answer. Known here so that opening need not import Alembic."""

metadata = MetaData()


def _resource() -> tuple[Column[str], ...]:
    return tuple(Column(name, Text, nullable=False) for name in ("api_version", "kind", "namespace", "name"))


ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("key", Text, nullable=False, unique=True),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
ledger_checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("size", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("origin", Text, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
)
ledger_tiles = Table(
    "ledger_tiles",
    metadata,
    # Level 1 and above of C2SP tlog-tiles, 256 hashes a row at most; level 0 are the entries' own leaf hashes.
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)
ledger_cosignatures = Table(
    "ledger_cosignatures",
    metadata,
    Column("size", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("witness", Text, primary_key=True),
    Column("line", Text, nullable=False),
)
ledger_witnessed = Table(
    "ledger_witnessed",
    metadata,
    # What this machine, as a witness, has seen of other ledgers.
    Column("origin", Text, primary_key=True),
    Column("size", BigInteger().with_variant(Integer, "sqlite"), nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
)
facts = Table("facts", metadata, Column("digest", Text, primary_key=True), Column("document", Text, nullable=False))
decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("point", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("decided_at", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("envelope", Text, nullable=False),
    Column("facts_digest", Text, ForeignKey("facts.digest"), nullable=False),
    UniqueConstraint("digest", "point", "revision", name="decisions_once"),
)
documents = Table("documents", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))
releases = Table(
    "releases",
    metadata,
    Column("id", Integer, primary_key=True),
    *_resource(),
    Column("release", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("artifact", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("api_version", "kind", "namespace", "name", "release", "revision", "phase", name="releases_once"),
    Index("releases_by_name", "name"),
)
series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("metric", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("source", Text, nullable=False),
    *_resource(),
    Column("release", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("labels", Text, nullable=False),
    UniqueConstraint(
        "metric",
        "unit",
        "source",
        "api_version",
        "kind",
        "namespace",
        "name",
        "release",
        "instance",
        "labels",
        name="series_once",
    ),
)
samples = Table(
    "samples",
    metadata,
    Column("series", Integer, ForeignKey("series.id"), primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Float(53), nullable=False),
    sqlite_with_rowid=False,
)
charges = Table(
    "charges",
    metadata,
    Column("id", Integer, primary_key=True),
    *_resource(),
    Column("release", Text, nullable=False),
    Column("start", Text, nullable=False),
    Column("end", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("artifact", Text, nullable=False),
    Column("pico", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("labels", Text, nullable=False),
    UniqueConstraint(
        "api_version", "kind", "namespace", "name", "release", "start", "end", "category", name="charges_once"
    ),
    Index("charges_by_start", "start"),
)
