"""Budgets: what a namespace, a label or a tier may cost in a calendar month (UTC), and where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from customhouse._kit.money import Money, MoneyError, total
from customhouse.core.cost import BudgetState, Charge, WorkloadCost
from customhouse.core.errors import ConfigError
from customhouse.core.resource import PREFIX, ResourceRef
from customhouse.observability.estimate import ChangeCost

TIER_LABEL = PREFIX + "tier"
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit per calendar month. A scope that is empty covers everything; several must all hold.

    `labels` keys may leave out the prefix `customhouse.dev/`. With `tiers`, Charges count by their tier label, so
    whoever makes them must write the tier as judged into it (`allocate.Owner.labels`), not the one that was asked for.
    Raises ConfigError for a limit below 0.
    """

    name: str
    limit: Money
    namespaces: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    tiers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.limit.pico < 0:
            raise ConfigError(f"the limit {self.limit} is below 0", where=f"budget {self.name}")

    def covers(self, ref: ResourceRef, labels: Mapping[str, str], tier: str | None = None) -> bool:
        """Whether what this resource costs counts against this budget.

        `tier` is the tier it is judged as; None takes the tier label.
        """
        judged = tier if tier is not None else labels.get(TIER_LABEL, "")
        return (
            (not self.namespaces or ref.namespace in self.namespaces)
            and (not self.tiers or judged in self.tiers)
            and all(value in (labels.get(PREFIX + key), labels.get(key)) for key, value in self.labels.items())
        )


def covering(
    budgets: Iterable[Budget], ref: ResourceRef, labels: Mapping[str, str], tier: str | None = None
) -> tuple[Budget, ...]:
    """The budgets that cover a resource, in the order given."""
    return tuple(budget for budget in budgets if budget.covers(ref, labels, tier))


def month_of(at: datetime) -> tuple[datetime, datetime]:
    """The calendar month [start, end) in UTC that holds a time. Raises ValueError for a naive time."""
    if at.tzinfo is None:
        raise ValueError("a time needs a zone")
    start = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, (start + timedelta(days=32)).replace(day=1)


def spent(budget: Budget, charges: Iterable[Charge], start: datetime, end: datetime) -> Money:
    """The Charges that the budget covers within [start, end).

    A Charge across a boundary counts by its time inside, so that the parts of any cuts add up to it exactly. Raises
    ConfigError for a Charge in another currency than the limit.
    """
    try:
        return total(
            (_inside(c, start, end) for c in charges if budget.covers(c.resource, c.labels)), budget.limit.currency
        ) + Money.zero(budget.limit.currency)
    except MoneyError as error:
        raise ConfigError(str(error), where=f"budget {budget.name}") from error


def budget_state(
    budget: Budget, charges: Iterable[Charge], forecast: Money, as_of: datetime, snapshot: str | None = None
) -> BudgetState:
    """Where a budget stands at `as_of`: left = limit − spent this month up to then − forecast of its rest."""
    start, _ = month_of(as_of)
    month_to_date = spent(budget, charges, start, as_of)
    try:
        left = budget.limit - month_to_date - forecast
    except MoneyError as error:
        raise ConfigError(str(error), where=f"budget {budget.name}") from error
    return BudgetState(budget.name, budget.limit, month_to_date, forecast, left, snapshot)


def budget_change(budget: Budget, costs: Iterable[ChangeCost], tiers: Mapping[ResourceRef, str] | None = None) -> Money:
    """What a set of changes adds to a budget for a month (negative: takes off it); `tiers` as judged, per resource.

    At the declared size. Each side counts by its own labels: a workload that comes under the budget brings its whole
    cost with it.
    """
    return _added(budget, costs, _declared, _declared, tiers)


def budget_most(budget: Budget, costs: Iterable[ChangeCost]) -> Money:
    """The same when everything in the set grows as far as it may: its upper ends less what it costs as declared before.

    What only makes room (`WorkloadCost.room`) is left out: what runs in it is counted itself.
    """
    return _added(budget, costs, _most, _declared)


def budget_rise(budget: Budget, costs: Iterable[ChangeCost]) -> Money:
    """By how much a set of changes raises the upper end of what a budget pays for."""
    return _added(budget, costs, _most, _most)


def _declared(cost: WorkloadCost) -> Money:
    return cost.monthly


def _most(cost: WorkloadCost) -> Money:
    return cost.monthly if cost.room else cost.high


def _added(
    budget: Budget,
    costs: Iterable[ChangeCost],
    now_of: Callable[[WorkloadCost], Money],
    was_of: Callable[[WorkloadCost], Money],
    tiers: Mapping[ResourceRef, str] | None = None,
) -> Money:
    judged = tiers or {}
    zero = Money.zero(budget.limit.currency)

    def added(cost: ChangeCost) -> Money:
        tier = judged.get(cost.ref)
        before = cost.labels if cost.labels_before is None else cost.labels_before
        now = now_of(cost.after) if cost.after and budget.covers(cost.ref, cost.labels, tier) else zero
        was = was_of(cost.before) if cost.before and budget.covers(cost.ref, before, tier) else zero
        return now - was

    return total((added(cost) for cost in costs), budget.limit.currency)


def _inside(charge: Charge, start: datetime, end: datetime) -> Money:
    first, last = max(charge.start, start), min(charge.end, end)
    if charge.start >= charge.end:  # an instant: it belongs to the period that holds it
        return charge.amount if start <= charge.start < end else Money.zero(charge.amount.currency)
    if first >= last:
        return Money.zero(charge.amount.currency)
    # Differences of one running total: any cuts of the same Charge add up to it exactly.
    whole = (charge.end - charge.start) // _MICROSECOND
    until_last, until_first = (
        charge.amount.pico * ((at - charge.start) // _MICROSECOND) // whole for at in (last, first)
    )
    return Money(until_last - until_first, charge.amount.currency)
