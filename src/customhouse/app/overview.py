"""What the dashboard, the API and `customhouse status` show: one read model, so no page can disagree with the CLI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One statement about a release's model, as the gate saw it. `text` says it in words, with the signer."""

    kind: str
    verified: bool
    signer: str
    text: str


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """One revision of a workload that runs or ran. Amounts are decimal text in `currency` of the Overview.

    `state` says in a word what became of it: `serving`, `canary`, `starting`, `replaced`, `removed`, `rolled back`; of
    a Job `running`, `complete`, `failed`. `phase` is the rollout's own word, kept for scripts.
    """

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
    version: str = ""
    """The last part of where the model lies (`v2.1`), or the image's name; empty when neither is declared."""
    source: str = ""
    """The model's storageUri, or the first image."""
    state: str = ""
    charged: str = "0.00"
    """What was charged for this release this month, exact."""
    endpoint: str = ""
    """Where it answers (Open Inference Protocol v2); empty unless it gets traffic."""
    evidence: tuple[EvidenceRow, ...] = ()
    """What is said of its model, as the Decision that let it in has it."""
    vulnerabilities: str = ""
    """What became known of its packages since (`app.vulnwatch_loop`), and what the rules say now; empty: nothing."""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One complaint of a Decision, with the place in the commit and what to do about it."""

    rule: str
    severity: str
    message: str
    fix: str
    place: str
    waiver: str | None


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One Decision of the gate; `reason` is the first finding that decided it.

    `findings` counts those that no waiver covers; `problems` has all of them. `subject` is the commit's first line.
    """

    digest: str
    at: str
    verdict: str
    point: str
    resource: str
    revision: str
    findings: int
    reason: str
    subject: str = ""
    problems: tuple[FindingRow, ...] = ()


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
    """One Entry of the ledger in words, or a run of `count` alike ones (charges, evidence) from `first` to `index`."""

    index: int
    at: str
    kind: str
    actor: str
    text: str
    first: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class ProposalRow:
    """A branch that the optimiser wrote, for what is declared now. `saving` is exact, a month."""

    id: str
    branch: str
    title: str
    saving: str
    risk: str
    resource: str = ""
    commit: str = ""


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
    cluster: Mapping[str, Any] = field(default_factory=dict)
    """Where the target is a cluster: what is waiting, drifting, kept and blocked (`app.clusterkeeping`)."""
    scheduling: Mapping[str, Any] = field(default_factory=dict)
    """Where `up` runs the scheduler's extender, or proposes node pools: what they say (`app.extender_child`)."""

    def to_json(self) -> dict[str, Any]:
        """The JSON of `/api/v1/overview` and `customhouse status -o json`."""
        return asdict(self)
