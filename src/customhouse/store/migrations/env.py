"""What Alembic runs for every command: use the caller's connection and its transaction."""

from __future__ import annotations

from alembic import context

from customhouse.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
