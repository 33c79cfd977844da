"""What customhouse.yaml says of interruptions of spot machines (`prices.interruptions`): how often, what is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HOURS_PER_MONTH = 730
Fail = Callable[[str, str], object]


@dataclass(frozen=True, slots=True)
class Interruption:
    """How often machines whose type matches `machines` (a regular expression, whole) are taken away, in a month."""

    machines: str
    percent_per_month: int
    lost_minutes: int = 60
    """Work that is lost, and time until it runs again, each time."""

    def factor(self) -> float:
        """By what the price of an hour of work is higher than that of an hour of machine."""
        return 1 + self.percent_per_month / 100 / HOURS_PER_MONTH * self.lost_minutes / 60

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        return {
            "machines": self.machines,
            "percentPerMonth": self.percent_per_month,
            "lostMinutes": self.lost_minutes,
        }


def interruptions_of(given: Sequence[Mapping[str, Any]], fail: Fail) -> tuple[Interruption, ...]:
    """The entries in order; the first that matches a machine counts. `fail` raises ConfigError at a JSON pointer."""
    found = []
    for index, item in enumerate(given):
        pattern = item["machines"]
        try:
            re.compile(pattern)
        except re.error as error:
            fail(f"/prices/interruptions/{index}/machines", f"machines is no regular expression: {error}")
        found.append(Interruption(pattern, item["percentPerMonth"], item.get("lostMinutes", 60)))
    return tuple(found)


def interruption_factor(entries: Sequence[Interruption], machine: str) -> float:
    """What the price of a spot machine is multiplied by; 1 where nobody says how often it is taken away."""
    return next((item.factor() for item in entries if re.fullmatch(item.machines, machine)), 1.0)


def lost_minutes(entries: Sequence[Interruption], machine: str) -> int | None:
    """What one interruption of such a machine is expected to lose; None where nobody says."""
    return next((item.lost_minutes for item in entries if re.fullmatch(item.machines, machine)), None)
