"""What the rest of the month will cost: hourly Charges so far, with the declared estimate as the prior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from customhouse._kit.money import Money, total
from customhouse.core.cost import HOURS_PER_MONTH

PRIOR_HOURS = 24
"""The declared estimate counts as much as this many observed hours."""
UNKNOWN = 0.30
"""Half width, as a share of the rest, while nothing has been observed."""
KNOWN = 0.05
"""It never shrinks below this: next week's traffic is not last week's."""
_Z = {0.8: 1.2816, 0.9: 1.6449, 0.95: 1.96, 0.99: 2.5758}


@dataclass(frozen=True, slots=True)
class MonthForecast:
    """The calendar month (UTC) of `as_of`. `spent` is so far; `rest*` is what is still to come, with its interval.

    `hours` is how many complete hours of Charges it rests on; `method` says it in words.
    """

    as_of: datetime
    spent: Money
    rest: Money
    rest_low: Money
    rest_high: Money
    hours: int
    level: float
    method: str

    @property
    def total(self) -> Money:
        """The month's total as expected."""
        return self.spent + self.rest

    @property
    def low(self) -> Money:
        """The lower end of the month's total."""
        return self.spent + self.rest_low

    @property
    def high(self) -> Money:
        """The upper end of the month's total."""
        return self.spent + self.rest_high


def month_bounds(at: datetime) -> tuple[datetime, datetime]:
    """The calendar month in UTC that holds `at`: [start, end)."""
    start = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, (start + timedelta(days=32)).replace(day=1)


def month_forecast(
    hourly: Mapping[datetime, Money], declared_monthly: Money, now: datetime, level: float = 0.9
) -> MonthForecast:
    """Mean and interval of this month's cost from Charges summed per hour (keyed by the hour's start).

    The rate is (24 h of the declared estimate + the observed hours of the last four weeks) over both; the hour that is
    not complete counts as spent and not as rate. Half the interval is the larger of z·s·√(r + r²/n) (s: spread of
    the hourly amounts, r: hours left, n: hours seen) and a share of the rest that falls from 30 % without history as
    1/√(1 + n/24) to 5 %. Raises ValueError for a level that is not 0.8, 0.9, 0.95 or 0.99; MoneyError for two
    currencies.
    """
    if level not in _Z:
        raise ValueError(f"level {level:g}: known are {', '.join(f'{known:g}' for known in _Z)}")
    currency = declared_monthly.currency
    now = now.astimezone(UTC)
    start, end = month_bounds(now)
    spent = total((amount for at, amount in hourly.items() if start <= at.astimezone(UTC) <= now), currency)
    complete = [
        amount
        for at, amount in hourly.items()
        if now - timedelta(days=28) <= at.astimezone(UTC) <= now - timedelta(hours=1)
    ]
    count = len(complete)
    left = Fraction(max(end - now, timedelta(0)) // timedelta(microseconds=1), 3_600_000_000)
    # Exact but for the last step: (prior hours × declared hourly + observed) / (prior + observed hours) × hours left.
    prior = declared_monthly.scale(PRIOR_HOURS, HOURS_PER_MONTH)
    weight = left / (PRIOR_HOURS + count)
    rest = (prior + total(complete, currency)).scale(weight.numerator, weight.denominator)
    share = max(UNKNOWN / math.sqrt(1.0 + count / PRIOR_HOURS), KNOWN)
    half = max(round(abs(rest.pico) * share), _spread(complete, float(left), _Z[level]))
    low = rest.pico - half if rest.pico < 0 else max(rest.pico - half, 0)
    method = (
        f"declared estimate ± {UNKNOWN:.0%}: no complete hour of charges yet"
        if count == 0
        else f"{count} observed hours, declared estimate counted as {PRIOR_HOURS}"
    )
    return MonthForecast(
        as_of=now,
        spent=spent,
        rest=rest,
        rest_low=Money(low, currency),
        rest_high=Money(rest.pico + half, currency),
        hours=count,
        level=level,
        method=method,
    )


def _spread(amounts: list[Money], left: float, z: float) -> int:
    """Half the interval of a sum of `left` hours, in pico-units: their own noise, and the error of the mean."""
    count = len(amounts)
    if count < 2:
        return 0
    values = [float(amount.pico) for amount in amounts]
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return round(z * deviation * math.sqrt(left + left * left / count))
