"""The first schema: ledger, decisions, documents, releases, measurements."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: None = None
depends_on: None = None


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _position(name: str) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def upgrade() -> None:
    """Create every table."""
    resource = ("api_version", "kind", "namespace", "name")
    op.create_table(
        "ledger_entries",
        _position("position"),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "ledger_checkpoints",
        _position("size"),
        *_text("origin"),
        sa.Column("root", sa.LargeBinary, nullable=False),
        *_text("note"),
    )
    op.create_table("facts", sa.Column("digest", sa.Text, primary_key=True), *_text("document"))
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer, primary_key=True),
        *_text("digest", "point", "revision", "decided_at", "body", "envelope"),
        sa.Column("facts_digest", sa.Text, sa.ForeignKey("facts.digest"), nullable=False),
        sa.UniqueConstraint("digest", "point", "revision", name="decisions_once"),
    )
    op.create_table("documents", sa.Column("key", sa.Text, primary_key=True), *_text("value"))
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer, primary_key=True),
        *_text(*resource, "release", "revision", "phase", "author", "artifact", "verdict", "decision", "at", "reason"),
        sa.UniqueConstraint(*resource, "release", "revision", "phase", name="releases_once"),
    )
    op.create_index("releases_by_name", "releases", ["name"])
    identity = ("metric", "unit", "source", *resource, "release", "instance", "labels")
    op.create_table(
        "series",
        sa.Column("id", sa.Integer, primary_key=True),
        *_text(*identity),
        sa.UniqueConstraint(*identity, name="series_once"),
    )
    op.create_table(
        "samples",
        sa.Column("series", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("value", sa.Float(53), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "charges",
        sa.Column("id", sa.Integer, primary_key=True),
        *_text(*resource, "release", "start", "end", "category", "artifact", "pico", "currency", "labels"),
        sa.UniqueConstraint(*resource, "release", "start", "end", "category", name="charges_once"),
    )
    op.create_index("charges_by_start", "charges", ["start"])


def downgrade() -> None:
    """Never: a ledger is not thrown away to go back a version."""
    raise RuntimeError("restore a backup to go back to an older version")
