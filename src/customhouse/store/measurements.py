"""Measurements over the database: samples for two days, Charges for ever.

A series (metric, source, resource, release, instance, labels) is one row; its samples are (series, time, value), about
20 bytes each. Samples older than KEEP before the newest are pruned; Charges, which are money, never are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, delete, func, select

from customhouse._kit.clock import from_rfc3339
from customhouse._kit.money import Money
from customhouse.core.cost import Charge
from customhouse.core.errors import UsageError
from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef
from customhouse.store.engine import Database
from customhouse.store.rows import (
    dump,
    from_microseconds,
    insert_new,
    load,
    microseconds,
    resource_columns,
    resource_of,
    stamp,
    unstamp,
)
from customhouse.store.schema import charges, samples, series

KEEP = timedelta(hours=48)
"""How long samples stay: the optimiser's and the canary's longest window is a day."""
_PRUNE_EVERY = timedelta(minutes=10)
_IDENTITY = ("metric", "unit", "source", "api_version", "kind", "namespace", "name", "release", "instance", "labels")
_MOST_SERIES_IN_MEMORY = 50_000
_ROWS_AT_ONCE = 1000


class MeasurementTable:
    """Observations and Charges. Observations are written without an fsync each (see `Database`)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, ...], int] = {}
        self._pruned_at = 0
        self._lock = threading.Lock()

    def append(self, observations: Iterable[Observation]) -> None:
        """Store in one transaction; the same series and time again overwrites. Old samples go every ten minutes."""
        items = [(_identity(item), microseconds(item.at), float(item.value)) for item in observations]
        if not items:
            return
        newest = max(at for _, at, _ in items)
        with self._lock:
            with self._database.write() as connection:
                known = self._series(connection, {identity for identity, _, _ in items})
                rows = [{"series": known[identity], "at": at, "value": value} for identity, at, value in items]
                connection.execute(insert_new(samples, connection.dialect.name, replace=("value",)), rows)
                prune = newest - self._pruned_at > _PRUNE_EVERY // timedelta(microseconds=1)
                if prune:
                    _prune(connection, newest - KEEP // timedelta(microseconds=1))
            # Only what was committed may be remembered: a rolled-back series id would be given to another one.
            if prune:
                self._pruned_at = newest
                self._known.clear()
            elif len(self._known) < _MOST_SERIES_IN_MEMORY:
                self._known.update(known)

    def series(self, metric: str, resource: ResourceRef | None = None, since: str = "") -> Sequence[Observation]:
        """In order of time; `since` is RFC 3339 and inclusive. Raises UsageError when it is not a time."""
        query = (
            select(series, samples.c.at, samples.c.value)
            .join(samples, samples.c.series == series.c.id)
            .where(series.c.metric == metric)
            .order_by(samples.c.at, series.c.id)
        )
        if resource is not None:
            query = query.where(*(series.c[name] == value for name, value in resource_columns(resource).items()))
        if since:
            query = query.where(samples.c.at >= microseconds(_time(since)))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        labels: dict[str, Mapping[str, str]] = {}
        return tuple(
            Observation(
                at=from_microseconds(row.at),
                source=row.source,
                resource=resource_of(row),
                release=row.release,
                metric=row.metric,
                unit=row.unit,
                value=row.value,
                instance=row.instance,
                labels=labels.setdefault(row.labels, load(row.labels)),
            )
            for row in rows
        )

    def charge(self, items: Iterable[Charge]) -> None:
        """Store; the same (resource, release, start, end, category) twice is one row."""
        rows = [
            {
                **resource_columns(item.resource),
                "release": item.release,
                "start": stamp(item.start),
                "end": stamp(item.end),
                "category": item.category,
                "artifact": item.artifact,
                "pico": str(item.amount.pico),
                "currency": item.amount.currency,
                "labels": dump(dict(item.labels)),
            }
            for item in items
        ]
        if rows:
            with self._database.write() as connection:
                connection.execute(insert_new(charges, connection.dialect.name), rows)

    def charges(self, since: str = "") -> Sequence[Charge]:
        """In order of time; those that start at `since` (RFC 3339) or later."""
        query = select(charges).order_by(charges.c.start, charges.c.id)
        if since:
            query = query.where(charges.c.start >= stamp(_time(since)))
        # A month has hundreds of thousands of rows about a handful of things: what is alike is one object.
        resource, time, labels, same = cache(ResourceRef), cache(unstamp), cache(load), cache(str)
        with self._database.read() as connection:
            return tuple(
                Charge(
                    resource=resource(row.api_version, row.kind, row.namespace, row.name),
                    release=same(row.release),
                    artifact=same(row.artifact),
                    start=time(row.start),
                    end=time(row.end),
                    category=same(row.category),
                    amount=Money(int(row.pico), same(row.currency)),
                    labels=labels(row.labels),
                )
                for row in connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE))
            )

    def _series(self, connection: Connection, wanted: set[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
        known = {identity: self._known[identity] for identity in wanted if identity in self._known}
        missing = [identity for identity in wanted if identity not in known]
        if missing:
            rows: list[dict[str, Any]] = [dict(zip(_IDENTITY, identity, strict=True)) for identity in missing]
            connection.execute(insert_new(series, connection.dialect.name), rows)
            for identity, row in zip(missing, rows, strict=True):
                match = [series.c[name] == value for name, value in row.items()]
                known[identity] = connection.execute(select(series.c.id).where(*match)).scalar_one()
        return known


def _identity(item: Observation) -> tuple[str, ...]:
    return (
        item.metric,
        item.unit,
        item.source,
        *resource_columns(item.resource).values(),
        item.release,
        item.instance,
        dump(dict(item.labels)),
    )


def _prune(connection: Connection, limit: int) -> None:
    """Delete samples before `limit` series by series, along the primary key, then series that have none left."""
    ids = connection.execute(select(series.c.id)).scalars().all()
    for identifier in ids:
        connection.execute(delete(samples).where(samples.c.series == identifier, samples.c.at < limit))
    kept = select(func.count()).select_from(samples).where(samples.c.series == series.c.id).scalar_subquery()
    connection.execute(delete(series).where(kept == 0))


def _time(text: str) -> Any:
    try:
        return from_rfc3339(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time", hint="write 2026-01-31T10:00:00Z") from error
