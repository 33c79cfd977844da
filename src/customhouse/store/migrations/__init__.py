"""The one migration history. `upgrade` is called with a connection in a transaction that it does not end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration for this history, bound to an open connection."""
    from alembic.config import Config

    made = Config()
    # Alembic interpolates % in its options, and a path may hold one.
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest migration."""
    from alembic import command

    command.upgrade(config(connection), "head")
