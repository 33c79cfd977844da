"""`customhouse cost`: estimates of files, and what the state says was charged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from customhouse._kit.money import Money, total
from customhouse.app import wiring
from customhouse.app.clearance import declarations_of
from customhouse.app.gatekeeping import GateRequest, question
from customhouse.app.settings import Settings
from customhouse.app.spend import month_charges
from customhouse.control.diff import changes
from customhouse.core.change import Actor, ActorKind
from customhouse.core.cost import CostReport
from customhouse.observability.estimate import report


def estimate(settings: Settings, paths: Sequence[str]) -> CostReport:
    """The cost of everything that files declare, before and after (before: nothing).

    Raises DeclarationError, PriceError and UsageError.
    """
    asked = question(settings, GateRequest(paths=tuple(paths)), spend=False)
    declared = declarations_of(asked.tree, asked.head, ())
    found = changes((), declared, None, Actor(ActorKind.PERSON, asked.author))
    return report(found, asked.governing.book, asked.governing.prices)


def month(settings: Settings) -> dict[str, Any]:
    """Charges of the month: `{"currency","month_to_date","rows":[{"resource","release","category","amount"}]}`."""
    with wiring.store(settings, create=False) as opened:
        charges = month_charges(opened.measurements, wiring.clock().now())
    sums: dict[tuple[str, str, str], list[Money]] = defaultdict(list)
    for charge in charges:
        sums[str(charge.resource), charge.release, charge.category].append(charge.amount)
    rows = [
        {"resource": resource, "release": release, "category": category, "amount": str(total(amounts))}
        for (resource, release, category), amounts in sorted(sums.items())
    ]
    return {"currency": "USD", "month_to_date": str(total((c.amount for c in charges), "USD")), "rows": rows}
