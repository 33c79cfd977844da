"""The tally: running sums of the Charges, so that a picture costs as little after a month as after a minute.

What is new is read, added and forgotten:

1. Services are charged in windows that tile the time: what starts at or after the end of the last window is new.
2. A Job is charged once, when it ends, from its own start, which may lie long before: what started since then is
   looked through for runs that were not counted yet.
3. Sums are kept per month (UTC) of a Charge's start and per hour of its end, as the reports of `app.spend` have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.money import Money
from customhouse.app.configuration import CURRENCY
from customhouse.app.spend import HISTORY
from customhouse.core.cost import Charge
from customhouse.core.ports import Measurements
from customhouse.core.resource import ResourceRef
from customhouse.observability.budgets import month_of

_Key = tuple[ResourceRef, str, str, str, str, tuple[tuple[str, str], ...]]
_NOTHING = Money.zero(CURRENCY)


@dataclass(slots=True)
class _Sum:
    pico: int
    start: datetime
    end: datetime


class Tally:
    """The sums of one store. Belongs to one thread, the one that charges."""

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements
        self._months: dict[datetime, dict[_Key, _Sum]] = {}
        self._hourly: dict[datetime, Money] = {}
        self._counted: set[tuple[ResourceRef, str, datetime, str]] = set()
        self._until: datetime | None = None
        self._begun = False
        self._latest = (datetime.min.replace(tzinfo=UTC),) * 2

    def update(self, now: datetime, charged: datetime | None) -> None:
        """Take in what was charged since the last call; `charged` is the earliest start of it, None: nothing was.

        The first call reads the month and the last 28 days, whatever `charged` says.
        """
        if not self._begun:
            since = min(now - HISTORY, month_of(now)[0])
        elif charged is None:
            return
        else:
            since = charged if self._until is None else min(charged, self._until)
        self._begun = True
        until = self._until
        for charge in self._measurements.charges(to_rfc3339(since)):
            if self._is_new(charge, until):
                self._add(charge)
        self._forget(now)

    def month(self, now: datetime) -> tuple[Charge, ...]:
        """The Charges of the calendar month, one for each release, category and set of labels: the same total."""
        return tuple(_charges(self._months.get(month_of(now)[0], {})))

    def hourly(self) -> Mapping[datetime, Money]:
        """What was charged in each hour (UTC) of the last 28 days, keyed by the hour's start."""
        return self._hourly

    def _is_new(self, charge: Charge, until: datetime | None) -> bool:
        if charge.resource.kind == "Job":
            run = (charge.resource, charge.release, charge.start, charge.category)
            known = run in self._counted
            self._counted.add(run)
            return not known
        if until is not None and charge.start < until:
            return False
        self._until = charge.end if self._until is None else max(self._until, charge.end)
        return True

    def _add(self, charge: Charge) -> None:
        labels = tuple(sorted(charge.labels.items()))
        amount = charge.amount
        key = (charge.resource, charge.release, charge.artifact, charge.category, amount.currency, labels)
        month = self._month(charge.start)
        known = month.get(key)
        if known is None:
            month[key] = _Sum(amount.pico, charge.start, charge.end)
        else:
            known.pico += amount.pico
            known.start, known.end = min(known.start, charge.start), max(known.end, charge.end)
        hour = charge.end.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        self._hourly[hour] = self._hourly.get(hour, _NOTHING) + amount

    def _month(self, at: datetime) -> dict[_Key, _Sum]:
        start, end = self._latest
        if not start <= at < end:
            start, end = self._latest = month_of(at)
        return self._months.setdefault(start, {})

    def _forget(self, now: datetime) -> None:
        oldest = min(now - HISTORY, month_of(now)[0])
        self._months = {start: sums for start, sums in self._months.items() if start >= month_of(oldest)[0]}
        self._hourly = {
            hour: amount
            for hour, amount in self._hourly.items()
            if hour >= oldest.replace(minute=0, second=0, microsecond=0)
        }
        self._counted = {run for run in self._counted if run[2] >= oldest}


def _charges(sums: Mapping[_Key, _Sum]) -> Iterator[Charge]:
    for (resource, release, artifact, category, currency, labels), found in sums.items():
        amount = Money(found.pico, currency)
        yield Charge(resource, release, artifact, found.start, found.end, category, amount, dict(labels))
