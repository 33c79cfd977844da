"""What an interruption costs: as customhouse.yaml expects it (`prices.interruptions`), and as it came.

Expected: `lostMinutes` of the pod's price. As it came: the minutes from the eviction until another pod did its work
again; and of batch work that saves nothing, the minutes that it had run. What was done since the last save of a pod
that saves is known to the pod alone, and is in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from customhouse._kit.money import Money
from customhouse.app.extender_spec import lost_minutes
from customhouse.app.governance import Governance
from customhouse.core.errors import CustomhouseError
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.workload import workload
from customhouse.execution.extender_nodes import facts_of
from customhouse.observability.quotes import demand, quote
from customhouse.observability.rates import RateCard


@dataclass(frozen=True, slots=True)
class Lost:
    """Minutes and money of one interruption; None where nobody says, or no price is known."""

    minutes: Fraction
    money: Money | None
    expected_minutes: int | None
    expected_money: Money | None

    def to_json(self) -> Mapping[str, Any]:
        """For the ledger and `status`: amounts as decimal strings."""
        return {
            "minutes": str(round(float(self.minutes), 2)),
            "cost": None if self.money is None else str(self.money),
            "expected_minutes": self.expected_minutes,
            "expected_cost": None if self.expected_money is None else str(self.expected_money),
            "currency": None if self.money is None else self.money.currency,
        }


def lost(governing: Governance, node: Manifest, pod: Manifest, minutes: Fraction) -> Lost:
    """Of one pod of a node. It raises nothing: what has no price is told without one."""
    machine = facts_of(node)
    expected = lost_minutes(governing.configuration.interruptions, machine.machine)
    try:
        configuration = governing.configuration
        place = (machine.provider or configuration.provider, machine.region or configuration.region)
        work = workload(pod, ResourceRef.of(pod))
        if work is None:
            return Lost(minutes, None, expected, None)
        wanted = replace(demand(work), spot=machine.spot)
        if wanted.accelerators and machine.accelerator is not None:
            wanted = replace(wanted, accelerator=machine.accelerator)
        found = quote(wanted, RateCard(governing.book, *place, spot=machine.spot))
    except CustomhouseError:
        return Lost(minutes, None, expected, None)
    if found.unpriced:
        return Lost(minutes, None, expected, None)
    money = None if expected is None else found.cost(Fraction(expected, 60))
    return Lost(minutes, found.cost(minutes / 60), expected, money)
