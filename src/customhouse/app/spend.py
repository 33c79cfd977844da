"""What was spent this month, and what the month will come to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.money import Money
from customhouse.core.cost import Charge
from customhouse.core.ports import Measurements
from customhouse.observability.budgets import month_of
from customhouse.optimisation.monthforecast import MonthForecast, month_forecast

HISTORY = timedelta(days=28)
"""How far back the forecast looks (see `month_forecast`)."""


def month_charges(measurements: Measurements, now: datetime) -> tuple[Charge, ...]:
    """The Charges since the month began (UTC)."""
    start, _ = month_of(now)
    return tuple(measurements.charges(to_rfc3339(start)))


def hourly(charges: Iterable[Charge]) -> dict[datetime, Money]:
    """Charges summed by the hour in which they end."""
    sums: dict[datetime, Money] = defaultdict(lambda: Money.zero("USD"))
    for charge in charges:
        at = charge.end.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        sums[at] += charge.amount
    return dict(sums)


def forecast_month(charges: Sequence[Charge], declared_monthly: Money, now: datetime) -> MonthForecast:
    """The month's total with its 90 % interval, from Charges of the last 28 days."""
    return month_forecast(hourly(charges), declared_monthly, now)
