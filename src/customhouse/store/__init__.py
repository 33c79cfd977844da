"""The one home of SQLAlchemy and Alembic: tables, migrations and the adapters of the storage ports in `core.ports`.

    with open_store(".customhouse/state.db") as store:
        store.ledger, store.decisions, store.state, store.releases, store.measurements

May not live here: another plane, any rule about what the stored values mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from customhouse.store.database import Store

__all__ = ["Store", "open_store"]


def open_store(place: str | Path) -> Store:
    """See `store.database.open_store`; SQLAlchemy is imported when this is called, not before."""
    from customhouse.store.database import open_store as opened

    return opened(place)


def __getattr__(name: str) -> object:
    if name == "Store":
        from customhouse.store.database import Store

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
