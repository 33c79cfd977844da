"""What the dashboard, the API and `customhouse status` show: one read model, so no page can disagree with the CLI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """One revision of a workload that runs or ran. Amounts are decimal text in `currency` of the Overview."""

    name: str
    namespace: str
    kind: str
    release: str
    artifact: str
    revision: str
    author: str
    phase: str
    health: str
    message: str
    weight: int | None
    requests: int
    errors: int
    p95_ms: float | None
    per_hour: str | None
    per_thousand_predictions: str | None
    at: str


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One Decision of the gate; `reason` is the first finding that decided it."""

    digest: str
    at: str
    verdict: str
    point: str
    resource: str
    revision: str
    findings: int
    reason: str


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A budget this month."""

    name: str
    limit: str
    month_to_date: str
    forecast: str
    left: str


@dataclass(frozen=True, slots=True)
class Costs:
    """Money this month: what was charged so far, what the month will come to with its interval, what is declared."""

    currency: str
    month_to_date: str
    month_forecast: str
    month_low: str
    month_high: str
    declared_monthly: str
    book: str
    book_as_of: str
    unpriced: tuple[str, ...]
    budgets: tuple[BudgetRow, ...]


@dataclass(frozen=True, slots=True)
class EventRow:
    """One Entry of the ledger, in words."""

    index: int
    at: str
    kind: str
    actor: str
    text: str


@dataclass(frozen=True, slots=True)
class ProposalRow:
    """A branch that the optimiser wrote."""

    id: str
    branch: str
    title: str
    saving: str
    risk: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that the first page shows, as of `at`."""

    at: str
    repository: str
    branch: str
    head: str
    deployed: str
    state: str
    problem: str
    gateway: str
    ledger_size: int
    ledger_root: str
    releases: tuple[ReleaseRow, ...]
    decisions: tuple[DecisionRow, ...]
    costs: Costs | None
    events: tuple[EventRow, ...] = ()
    proposals: tuple[ProposalRow, ...] = ()
    drift: tuple[Mapping[str, Any], ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The JSON of `/api/v1/overview` and `customhouse status -o json`."""
        return asdict(self)
