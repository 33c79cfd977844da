"""The one home of SQLAlchemy and Alembic: tables, migrations and the adapters of the storage ports in `core.ports`."""
