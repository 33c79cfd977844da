"""What interruptions are expected to cost, as a part of the price of an hour on spot capacity.

`share = interruptions a month ÷ 730 × hours lost each time`: so much more is paid for an hour of work that counts. How
often a machine is taken and what is lost says reviewed configuration (`prices.interruptions`); nothing is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from customhouse._kit.money import Money
from customhouse.core.cost import HOURS_PER_MONTH
from customhouse.core.devices import node_values
from customhouse.core.podsets import PodSet
from customhouse.observability.prices import BOOK_CURRENCY
from customhouse.observability.quotes import Part, Quote

_TYPES = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")


@dataclass(frozen=True, slots=True)
class ExpectedInterruption:
    """How often machines whose type matches `machines` (a regular expression, whole) are taken, and what that loses."""

    machines: str
    percent_per_month: int
    lost_minutes: int

    @property
    def share(self) -> Fraction:
        """By what part the price of an hour of work is higher than that of an hour of machine."""
        return Fraction(self.percent_per_month * self.lost_minutes, 100 * 60 * HOURS_PER_MONTH)


def with_interruptions(quoted: Quote, one: PodSet, expected: Sequence[ExpectedInterruption]) -> Quote:
    """The quote with one part more, for pods on spot capacity; as it is where nothing is expected of their machine.

    The machine is the one that they name, else the one that their accelerator is priced by. Pods that name none are
    matched as the empty text: by an entry for all machines (`.*`).
    """
    if not one.spot or not expected or not quoted.parts:
        return quoted
    named = next(node_values(one.pod, _TYPES), "") or (quoted.machine.name if quoted.machine is not None else "")
    found = next((item for item in expected if re.fullmatch(item.machines, named)), None)
    if found is None or not found.share:
        return quoted
    hourly = sum((part.per_hour for part in quoted.parts), Fraction(0))
    how = (
        f"{found.percent_per_month} % of such machines taken a month, {found.lost_minutes} minutes lost each time "
        f"(prices.interruptions, {found.machines})"
    )
    rate = Money(round(hourly), BOOK_CURRENCY)
    part = Part("expected interruptions", found.share, "hour of work", rate, hourly * found.share, how)
    return replace(quoted, parts=(*quoted.parts, part))
