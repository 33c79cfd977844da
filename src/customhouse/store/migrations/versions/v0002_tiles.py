"""Tiles of the ledger's tree, so that opening and proving read O(log n); cosignatures; what a witness has seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from customhouse._kit.hashtree import TILE_WIDTH, CompactRange

revision = "0002"
down_revision = "0001"
branch_labels: None = None
depends_on: None = None

_BATCH = 65_536


def _whole(name: str, *, primary_key: bool = False) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, primary_key=primary_key, autoincrement=False, nullable=False)


def _text(name: str, *, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=primary_key, nullable=False)


def upgrade() -> None:
    """Create the tables, then fill the tiles from the leaf hashes that were recorded with the entries."""
    tiles = op.create_table(
        "ledger_tiles",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False, nullable=False),
        _whole("number", primary_key=True),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "ledger_cosignatures",
        _whole("size", primary_key=True),
        _text("witness", primary_key=True),
        _text("line"),
    )
    op.create_table(
        "ledger_witnessed",
        _text("origin", primary_key=True),
        _whole("size"),
        sa.Column("root", sa.LargeBinary, nullable=False),
        _text("note"),
    )
    _fill(tiles)


def _fill(tiles: sa.Table) -> None:
    connection, tree = op.get_bind(), CompactRange()
    levels: dict[int, list[bytes]] = {}
    query = sa.text(
        "SELECT position, leaf_hash FROM ledger_entries WHERE position >= :first ORDER BY position LIMIT :most"
    )
    first = 0
    while rows := connection.execute(query, {"first": first, "most": _BATCH}).all():
        tree.extend(bytes(row[1]) for row in rows)
        first = rows[-1][0] + 1
        for level, top in tree.completed:
            levels.setdefault(level, []).append(top)
        tree.completed.clear()
    for level, hashes in levels.items():
        for start in range(0, len(hashes), TILE_WIDTH):
            joined = b"".join(hashes[start : start + TILE_WIDTH])
            row = {"level": level, "number": start // TILE_WIDTH, "hashes": joined}
            connection.execute(tiles.insert().values(row))


def downgrade() -> None:
    """Never: a ledger is not thrown away to go back a version."""
    raise RuntimeError("restore a backup to go back to an older version")
