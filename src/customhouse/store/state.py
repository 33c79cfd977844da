"""StateStore over the database: small JSON documents under path-like keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select

from customhouse.store.engine import Database
from customhouse.store.rows import dump, insert_new, load
from customhouse.store.schema import documents


class DocumentTable:
    """Documents; each `put` is one durable transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> Any:
        """The JSON value, None when there is none."""
        with self._database.read() as connection:
            text = connection.execute(select(documents.c.value).where(documents.c.key == key)).scalar()
        return None if text is None else load(text)

    def put(self, values: Mapping[str, Any]) -> None:
        """Store several at once; None deletes. Raises StateError for what JSON does not have, storing nothing."""
        texts = [{"key": key, "value": dump(value)} for key, value in values.items() if value is not None]
        gone = [{"gone": key} for key, value in values.items() if value is None]
        with self._database.write() as connection:
            if texts:
                connection.execute(insert_new(documents, connection.dialect.name, replace=("value",)), texts)
            if gone:
                connection.execute(delete(documents).where(documents.c.key == bindparam("gone")), gone)

    def keys(self, prefix: str) -> Sequence[str]:
        """The keys that start with a prefix, sorted by code point (in Python: databases have collations)."""
        query = select(documents.c.key)
        if prefix:
            query = query.where(documents.c.key.startswith(prefix, autoescape=True))
        with self._database.read() as connection:
            found = connection.execute(query).scalars().all()
        # SQLite's LIKE takes upper and lower case for one.
        return tuple(sorted(key for key in found if key.startswith(prefix)))
