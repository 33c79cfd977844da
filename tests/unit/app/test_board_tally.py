"""The board's sums are those of the reports, whatever was charged in between and however often it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse._kit.money import Money, total
from customhouse.app.spend import HISTORY, hourly, month_charges
from customhouse.app.tally import Tally
from customhouse.core.cost import Charge
from customhouse.core.resource import ResourceRef
from customhouse.observability.budgets import Budget, budget_state
from customhouse.testing.memory import MemoryMeasurements

SERVICE = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "shop", "score")
JOB = ResourceRef("batch/v1", "Job", "shop", "train")
START = datetime(2026, 2, 27, 22, 30, tzinfo=UTC)


def charged(ref: ResourceRef, release: str, start: datetime, end: datetime, pico: int, owner: str = "ada") -> Charge:
    return Charge(ref, release, "", start, end, "compute", Money(pico, "USD"), {"customhouse.dev/owner": owner})


class Counting(MemoryMeasurements):
    """Measurements that say how many rows were handed out."""

    rows = 0

    def charges(self, since: str = ""):  # type: ignore[no-untyped-def]
        found = super().charges(since)
        self.rows += len(found)
        return found


STEPS = st.lists(
    st.tuples(
        st.integers(1, 3000),  # the window's minutes
        st.integers(0, 3),  # how many releases were charged in it
        st.integers(0, 10**13),  # an amount in pico-USD
        st.one_of(st.none(), st.integers(1, 5000)),  # a Job that ended in it began this many minutes before
        st.booleans(),  # whether the board looks after it
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60)
@given(STEPS)
def test_the_tally_is_what_a_full_reading_gives(steps: list[tuple[int, int, int, int | None, bool]]) -> None:
    kept, now = MemoryMeasurements(), START
    tally = Tally(kept)
    tally.update(now, None)
    earliest: list[datetime] = []
    for number, (minutes, releases, pico, job, looks) in enumerate(steps):
        begun, now = now, now + timedelta(minutes=minutes)
        rows = [charged(SERVICE, f"r{i}", begun, now, pico + i, owner=f"o{number % 2}") for i in range(releases)]
        if rows:
            kept.charge(rows)
            earliest.append(begun)
        if job is not None:
            kept.charge([charged(JOB, f"j{number}", now - timedelta(minutes=job), now, pico)])
            earliest.append(now - timedelta(minutes=job))
        if not looks:
            continue
        tally.update(now, min(earliest, default=None))
        earliest.clear()
        month, plain = tally.month(now), month_charges(kept, now)
        assert total((c.amount for c in month), "USD") == total((c.amount for c in plain), "USD")
        assert _by_release(month) == _by_release(plain)
        for budget in (Budget("all", Money.parse("9")), Budget("one", Money.parse("9"), (), {"owner": "o1"})):
            one, other = (budget_state(budget, found, Money.zero(), now) for found in (month, plain))
            assert one == other
        assert _late(tally.hourly(), now) == _late(hourly(kept.charges()), now)


def _late(sums: Mapping[datetime, Money], now: datetime) -> dict[datetime, Money]:
    return {hour: amount for hour, amount in sums.items() if hour >= now - HISTORY}


def _by_release(charges) -> dict[tuple[ResourceRef, str, str], Money]:  # type: ignore[no-untyped-def]
    sums: dict[tuple[ResourceRef, str, str], Money] = {}
    for charge in charges:
        key = (charge.resource, charge.release, charge.labels["customhouse.dev/owner"])
        sums[key] = sums.get(key, Money.zero()) + charge.amount
    return sums


def test_a_second_look_reads_only_what_is_new() -> None:
    kept, now = Counting(), START
    tally = Tally(kept)
    for _ in range(200):
        kept.charge([charged(SERVICE, "r", now, now + timedelta(minutes=1), 10**9)])
        now += timedelta(minutes=1)
        tally.update(now, now - timedelta(minutes=1))
    assert kept.rows == 200
    tally.update(now, None)
    assert kept.rows == 200


def test_a_new_month_begins_with_nothing() -> None:
    kept = MemoryMeasurements()
    tally = Tally(kept)
    end = datetime(2026, 3, 1, tzinfo=UTC)
    kept.charge([charged(SERVICE, "r", end - timedelta(hours=1), end, 10**12)])
    tally.update(end - timedelta(seconds=1), None)
    assert len(tally.month(end - timedelta(seconds=1))) == 1
    assert tally.month(end) == ()
    assert total(tally.hourly().values()) == Money(10**12, "USD")
