"""How values become columns and come back: exact, ordered, and the same in every database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Insert, Row, Table

from customhouse._kit.clock import from_rfc3339
from customhouse.core.errors import StateError
from customhouse.core.resource import ResourceRef

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCENE = "//"
_MICROSECOND = timedelta(microseconds=1)


def stamp(at: datetime) -> str:
    """RFC 3339 in UTC with six places: text order is time order. Raises ValueError for a naive time."""
    if at.tzinfo is None:
        raise ValueError("a time needs a zone")
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def unstamp(text: str) -> datetime:
    """The inverse of `stamp`."""
    return from_rfc3339(text)


def microseconds(at: datetime) -> int:
    """Whole microseconds since 1970 (no float on the way)."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The inverse of `microseconds`."""
    return _EPOCH + timedelta(microseconds=value)


def dump(value: Any) -> str:
    """JSON text with sorted keys. Raises StateError for what JSON does not have."""
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StateError(f"this value cannot be stored: {error}") from error


def load(text: str) -> Any:
    """The inverse of `dump`; damaged text is a StateError, not a crash."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise StateError("a stored value is damaged", hint="restore a backup") from error


def resource_columns(ref: ResourceRef) -> dict[str, str]:
    """The four columns of a resource. A scene is part of the place: no namespace has a slash."""
    place = f"{ref.scene}{_SCENE}{ref.namespace}" if ref.scene else ref.namespace
    return {"api_version": ref.api_version, "kind": ref.kind, "namespace": place, "name": ref.name}


def resource_of(row: Row[Any]) -> ResourceRef:
    """The resource of a row that has the four columns."""
    scene, slashes, namespace = row.namespace.rpartition(_SCENE)
    return ResourceRef(row.api_version, row.kind, namespace if slashes else row.namespace, row.name, scene)


def insert_new(table: Table, dialect: str, *, replace: tuple[str, ...] = ()) -> Insert:
    """An INSERT that passes over a row that is there already, or writes the columns `replace` of it anew."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        new = postgresql_insert(table)
        if not replace:
            return new.on_conflict_do_nothing()
        updates = {name: new.excluded[name] for name in replace}
        return new.on_conflict_do_update(index_elements=list(table.primary_key), set_=updates)
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    made = sqlite_insert(table)
    if not replace:
        return made.on_conflict_do_nothing()
    return made.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={name: made.excluded[name] for name in replace}
    )
