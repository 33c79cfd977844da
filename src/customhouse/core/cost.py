"""Money words: Rate, Usage, Charge, and the cost report (COST of DESIGN section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customhouse._kit.frozen import quickly_made
from customhouse._kit.money import Money
from customhouse.core.resource import ResourceRef

HOURS_PER_MONTH = 730
"""365 × 24 / 12: the month of every monthly figure (the clouds' own calculators use it)."""


@dataclass(frozen=True, slots=True)
class BookRef:
    """Which price book a figure comes from: its digest and the date of the oldest price used in it."""

    digest: str
    as_of: str


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of one unit for one hour. `unit` is `instance`, `vcpu`, `GiB` or an accelerator class (`H100`)."""

    unit: str
    per_hour: Money
    provider: str
    region: str
    sku: str
    as_of: str
    source: str
    """How it was found: the row of the book, and for an accelerator how the machine's price was split."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Pod-hour fact: what one workload used and had reserved in [start, end). Integers in the named units."""

    resource: ResourceRef
    release: str
    start: datetime
    end: datetime
    replica_milliseconds: int
    cpu_request_millicore_milliseconds: int
    cpu_used_microseconds: int
    memory_request_byte_milliseconds: int
    memory_peak_bytes: int
    gpu_milliseconds: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Charge:
    """Money allocated to a workload for [start, end). Keyed by Declaration and artifact digest."""

    resource: ResourceRef
    release: str
    artifact: str
    start: datetime
    end: datetime
    category: str
    """`compute`, `memory`, `accelerator` or `unpriced` (amount 0, never hidden: the row is there and says so)."""
    amount: Money
    labels: Mapping[str, str] = field(default_factory=dict)


@quickly_made
@dataclass(frozen=True, slots=True)
class WorkloadCost:
    """The monthly cost of one workload: at its declared size, and at the bounds of its replica range."""

    resource: ResourceRef
    monthly: Money
    low: Money
    high: Money
    breakdown: tuple[Mapping[str, Any], ...] = ()
    """Rows `{"item","quantity","unit","rate","monthly","source"}`, amounts as decimal strings."""
    unpriced: tuple[str, ...] = ()
    """What has no price (a GPU class not in the book …): unknown is not 0, and a policy decides what follows."""
    uncounted: tuple[str, ...] = ()
    """What the figures do not hold though it will cost something (a disk whose class has no price, egress)."""
    replica: Money | None = None
    """The most that one pod of any of its sets costs a month; None: take `high` over the replicas."""
    per_million_tokens: Money | None = None
    """What a million tokens cost at the declared throughput of one replica; None where none is declared."""
    per_thousand_predictions: Money | None = None
    room: bool = False
    """Whether `high` is room for workloads that are priced themselves (a node pool, a quota)."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget as of a moment; `left` may be negative. `snapshot` is the digest of the spend snapshot it rests on."""

    name: str
    limit: Money
    month_to_date: Money
    forecast: Money
    """What the rest of the month is expected to add, without this change."""
    left: Money
    snapshot: str | None = None
    spend_age_hours: int | None = None
    """Whole hours since what was spent was last known; None: this process has the record itself."""


@dataclass(frozen=True, slots=True)
class CostReport:
    """COST: before, after and range of a set of changes, per month."""

    currency: str
    book: BookRef
    before: Money
    after: Money
    low: Money
    high: Money
    workloads: tuple[WorkloadCost, ...]
    budgets: tuple[BudgetState, ...] = ()
    unpriced: tuple[str, ...] = ()
    workloads_before: Mapping[ResourceRef, Money] = field(default_factory=dict)
    """What each changed workload that was there before cost then, also those that are removed; they sum to `before`."""

    @property
    def removed(self) -> Mapping[ResourceRef, Money]:
        """The workloads that are not there any more, and what they cost."""
        left = {work.resource for work in self.workloads}
        return {ref: amount for ref, amount in self.workloads_before.items() if ref not in left}

    def to_json(self) -> dict[str, Any]:
        """The JSON of DESIGN section 5; amounts are decimal strings."""
        return {
            "currency": self.currency,
            "book": {"digest": self.book.digest, "as_of": self.book.as_of},
            "monthly_before": str(self.before),
            "monthly_after": str(self.after),
            "monthly_low": str(self.low),
            "monthly_high": str(self.high),
            "workloads": [
                {
                    "resource": work.resource.to_json(),
                    "before": _text_of(self.workloads_before.get(work.resource)),
                    "monthly": str(work.monthly),
                    "low": str(work.low),
                    "high": str(work.high),
                    "room": work.room,
                    "breakdown": [dict(row) for row in work.breakdown],
                    "unpriced": list(work.unpriced),
                    "uncounted": list(work.uncounted),
                    "per_million_tokens": _text_of(work.per_million_tokens),
                    "per_thousand_predictions": _text_of(work.per_thousand_predictions),
                }
                for work in self.workloads
            ],
            "budgets": [
                {
                    "name": budget.name,
                    "limit": str(budget.limit),
                    "month_to_date": str(budget.month_to_date),
                    "forecast": str(budget.forecast),
                    "left": str(budget.left),
                }
                for budget in self.budgets
            ],
            "removed": [{"resource": ref.to_json(), "before": str(amount)} for ref, amount in self.removed.items()],
            "unpriced": list(self.unpriced),
        }


def _text_of(amount: Money | None) -> str | None:
    """None: it was not there."""
    return None if amount is None else str(amount)
