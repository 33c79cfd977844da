"""Measurements: two days of samples, Charges for ever, times in order whatever their fraction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from customhouse._kit.money import Money
from customhouse.core.cost import Charge
from customhouse.core.errors import StateError, UsageError
from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef
from customhouse.store import Store, open_store
from customhouse.store.measurements import KEEP
from customhouse.store.rows import from_microseconds, load, microseconds, stamp, unstamp

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
FRAUD = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "default", "fraud")


def seen(at: datetime, value: float = 1.0, metric: str = "requests_total", instance: str = "a") -> Observation:
    return Observation(at, "local", FRAUD, "sha256:r", metric, "1", value, instance, {"code": "200"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "state.db") as opened:
        yield opened


def rows(store: Store, table: str) -> int:
    connection = sqlite3.connect(store.place)
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(count)


def test_samples_older_than_two_days_are_pruned_and_charges_are_not(store: Store) -> None:
    charge = Charge(FRAUD, "r", "m", AT, AT + timedelta(hours=1), "compute", Money(1))
    store.measurements.charge([charge])
    store.measurements.append([seen(AT), seen(AT, metric="old_only")])
    store.measurements.append([seen(AT + timedelta(hours=30))])
    store.measurements.append([seen(AT + KEEP + timedelta(hours=1))])
    assert [o.at for o in store.measurements.series("requests_total")] == [
        AT + timedelta(hours=30),
        AT + KEEP + timedelta(hours=1),
    ]
    assert rows(store, "series") == 1
    assert list(store.measurements.charges()) == [charge]
    store.measurements.append([seen(AT + KEEP + timedelta(hours=2), metric="old_only")])
    assert len(store.measurements.series("old_only")) == 1


def test_a_series_is_stored_once_however_many_samples(store: Store) -> None:
    for second in range(30):
        store.measurements.append([seen(AT + timedelta(seconds=second), instance=i) for i in "ab"])
    assert (rows(store, "series"), rows(store, "samples")) == (2, 60)


def test_the_same_time_again_overwrites(store: Store) -> None:
    store.measurements.append([seen(AT, 1)])
    store.measurements.append([seen(AT, 2)])
    assert [o.value for o in store.measurements.series("requests_total")] == [2]


def test_a_failed_batch_does_not_spoil_the_next(store: Store) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        store.measurements.append([seen(AT), seen(AT, "x")])  # type: ignore[arg-type]
    with pytest.raises(StateError):
        store.measurements.append([seen(AT), seen(AT, float("nan"), "other")])
    store.measurements.append([seen(AT, 3, "third")])
    assert [o.value for o in store.measurements.series("third")] == [3]
    assert list(store.measurements.series("other")) == []


def test_a_time_that_is_none_is_refused(store: Store) -> None:
    for read in (lambda: store.measurements.series("x", since="yesterday"), lambda: store.measurements.charges("x")):
        with pytest.raises(UsageError, match="not a time"):
            read()


def test_times_with_and_without_fractions_are_in_order() -> None:
    times = [AT, AT + timedelta(microseconds=500_000), AT + timedelta(seconds=1)]
    assert sorted(map(stamp, times)) == [stamp(at) for at in times]
    assert [unstamp(stamp(at)) for at in times] == times
    assert [from_microseconds(microseconds(at)) for at in times] == times
    assert stamp(AT.astimezone(timezone(timedelta(hours=5)))) == stamp(AT)
    with pytest.raises(ValueError, match="zone"):
        stamp(datetime(2026, 3, 1))  # noqa: DTZ001 - a naive time is what is refused


def test_a_damaged_value_is_a_state_error() -> None:
    with pytest.raises(StateError, match="damaged"):
        load("{")
