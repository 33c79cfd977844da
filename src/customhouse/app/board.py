"""The board: builds the Overview of a control plane that runs.

The loop's own thread builds it, between two steps, so it has to be cheap: what cannot change between two revisions
(prices, subjects of commits) is asked once, and what only grows (charges, ledger entries) is read once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from weakref import WeakKeyDictionary, proxy

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.money import Money, total
from customhouse.app.configuration import CURRENCY
from customhouse.app.controlplane import ControlPlane
from customhouse.app.declared import labels_of
from customhouse.app.governance import Governance
from customhouse.app.happenings import Happenings
from customhouse.app.memory import PROPOSAL
from customhouse.app.overview import BudgetRow, Costs, DecisionRow, FindingRow, Overview, ProposalRow, ReleaseRow
from customhouse.app.pricing import Monthly, monthly_total
from customhouse.app.proposals import open_proposals
from customhouse.app.releaserows import ReleaseRows
from customhouse.app.spend import forecast_month
from customhouse.app.tally import Tally
from customhouse.core.cost import Charge
from customhouse.core.errors import SourceError
from customhouse.core.resource import Declaration
from customhouse.observability.budgets import budget_state
from customhouse.optimisation.monthforecast import month_forecast

_ROWS = 50
_SUBJECTS_AT_ONCE = 5
"""How many commits are asked for their subject in one picture: each asks the git program."""


def overview(plane: ControlPlane) -> Overview:
    """The picture now. To be called by the thread that runs the control plane."""
    return Board.of(plane).picture()


class Board:
    """Builds the pictures of one control plane."""

    _boards: ClassVar[WeakKeyDictionary[ControlPlane, Board]] = WeakKeyDictionary()

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._releases = ReleaseRows(plane)
        self._tally = Tally(plane.store.measurements)
        self._happenings = Happenings(plane.ledger)
        self._subjects: dict[str, str] = {}
        self._ancestry: dict[tuple[str, str], bool] = {}
        self._known_costs: defaultdict[str, Monthly] = defaultdict(Monthly)
        """By the budget's name, since what stands beside an object is told by its own budget's set; "" is all."""
        self._monthly: tuple[Governance, Sequence[Declaration], Money, tuple[Money, ...]] | None = None

    @classmethod
    def of(cls, plane: ControlPlane) -> Board:
        """The one board of a control plane; it ends with it."""
        found = cls._boards.get(plane)
        if found is None:
            found = cls._boards[plane] = cls(proxy(plane))
        return found

    def picture(self) -> Overview:
        """The Overview now. Raises StateError (the state cannot be read) and TamperError (the ledger is damaged)."""
        plane = self._plane
        deployed, now = plane.memory.deployed, plane.clock.now()
        checkpoint = plane.store.ledger.latest_checkpoint()
        size = plane.store.ledger.size()
        events = self._happenings.newest(size)
        self._tally.update(now, self._happenings.charged())
        declared, charges = plane.declared(), self._tally.month(now)
        state = "waiting" if deployed is None else "refused" if plane.problem else "following"
        releases = tuple(self._releases.rows(declared, charges, now))
        return Overview(
            at=to_rfc3339(now),
            repository=plane.location,
            branch=plane.branch,
            head=plane.head,
            deployed="" if deployed is None else deployed.revision,
            state="canary" if plane.rollouts.walks() else state,
            problem=plane.problem,
            gateway=f"127.0.0.1:{plane.target.port}" if plane.target.port else "",
            ledger_size=size,
            ledger_root="" if checkpoint is None else checkpoint.root.hex(),
            releases=releases,
            decisions=tuple(self._decisions()),
            costs=self._costs(declared, charges, now),
            events=events,
            proposals=tuple(self._proposals(declared, releases)),
            cluster={} if plane.keeping is None else plane.keeping.document(),
        )

    def _decisions(self) -> Iterator[DecisionRow]:
        budget = _SUBJECTS_AT_ONCE
        for item in self._plane.store.decisions.recent(_ROWS):
            revision = item["envelope"]["revision"] or ""
            if revision and revision not in self._subjects and budget:
                budget -= 1
                self._subjects[revision] = self._subject(revision)
            yield _decision(item, self._subjects.get(revision, ""))

    def _subject(self, revision: str) -> str:
        try:
            return self._plane.source.message(revision).partition("\n")[0][:200]
        except SourceError:  # rewritten history: the commit is gone, what was decided about it is not
            return ""

    def _proposals(self, declared: Sequence[Declaration], releases: Sequence[ReleaseRow]) -> Iterator[ProposalRow]:
        """The proposals about what is declared now: one that starts from an older release was overtaken by it."""
        since: dict[tuple[str, str, str], str] = {}
        for row in releases:
            since.setdefault((row.kind, row.namespace, row.name), row.revision)
        for value in open_proposals(self._plane.memory.all(PROPOSAL), declared):
            about = value["resource"]
            begun = since.get((about["kind"], about["namespace"], about["name"]))
            if begun is None or self._descends(value["base"], begun):
                name = f"{about['kind']} {about['namespace']}/{about['name']}"
                yield ProposalRow(
                    value["id"], value["branch"], value["title"], value["saving"], value["risk"], name, value["commit"]
                )

    def _descends(self, revision: str, ancestor: str) -> bool:
        asked = (ancestor, revision)
        if asked not in self._ancestry:
            try:
                self._ancestry[asked] = self._plane.source.is_ancestor(ancestor, revision)
            except SourceError:
                self._ancestry[asked] = False
        return self._ancestry[asked]

    def _costs(self, declared: Sequence[Declaration], charges: Sequence[Charge], now: datetime) -> Costs:
        governing = self._plane.governing()
        monthly, shares = self._declared_monthly(governing, declared)
        forecast = month_forecast(self._tally.hourly(), monthly, now)
        book = governing.book.reference(governing.prices.provider, governing.prices.region)
        budgets = []
        for budget, share in zip(governing.budgets, shares, strict=True):
            state = budget_state(budget, charges, forecast_month([], share, now).rest, now)
            budgets.append(
                BudgetRow(
                    state.name,
                    state.limit.rounded(),
                    str(state.month_to_date),
                    state.forecast.rounded(),
                    state.left.rounded(),
                )
            )
        return Costs(
            currency=CURRENCY,
            month_to_date=str(total((charge.amount for charge in charges), CURRENCY)),
            month_forecast=forecast.total.rounded(),
            month_low=forecast.low.rounded(),
            month_high=forecast.high.rounded(),
            declared_monthly=monthly.rounded(),
            book=book.digest,
            book_as_of=book.as_of[:10],
            unpriced=tuple(sorted({charge.release[:19] for charge in charges if charge.category == "unpriced"})),
            budgets=tuple(budgets),
        )

    def _declared_monthly(
        self, governing: Governance, declared: Sequence[Declaration]
    ) -> tuple[Money, tuple[Money, ...]]:
        """What is declared costs this much in a full month, in all and for each budget."""
        known = self._monthly
        if known is None or known[0] is not governing or known[1] is not declared:
            whole = monthly_total(governing, declared, known=self._known_costs[""])
            shares = []
            for budget in governing.budgets:
                covered = [item for item in declared if budget.covers(item.ref, labels_of(item))]
                everything = len(covered) == len(declared)
                costs = self._known_costs[budget.name]
                shares.append(whole if everything else monthly_total(governing, covered, known=costs))
            known = self._monthly = (governing, declared, whole, tuple(shares))
        return known[2], known[3]


def _decision(item: Mapping[str, Any], subject: str) -> DecisionRow:
    body, envelope = item["body"], item["envelope"]
    resource = envelope["resource"]
    places = [*envelope["locations"], *[None] * len(body["findings"])]
    problems = tuple(
        FindingRow(
            finding["rule"],
            finding["severity"],
            finding["message"],
            finding["fix"],
            place or finding["pointer"],
            finding["waiver"],
        )
        for finding, place in zip(body["findings"], places, strict=False)
    )
    deciding = [problem for problem in problems if problem.waiver is None]
    return DecisionRow(
        digest=item["digest"],
        at=envelope["decided_at"],
        verdict=body["verdict"],
        point=envelope["point"],
        resource=f"{resource['kind']} {resource['namespace']}/{resource['name']}",
        revision=envelope["revision"] or "",
        findings=len(deciding),
        reason=deciding[0].message if deciding else "",
        subject=subject,
        problems=problems,
    )
