"""Clearance: the use case of the gate.

It asks trust for Evidence and observability for prices, folds both into Facts per Change and lets policy judge; the
planes themselves never meet. The steps are numbered as in ARCHITECTURE.md, "The way of one change".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from customhouse._kit.clock import Clock
from customhouse._kit.digest import tree
from customhouse._kit.money import Money, total
from customhouse.app.absent import require_present
from customhouse.app.artifacts import Volumes
from customhouse.app.configuration import CURRENCY, FILE
from customhouse.app.declared import declarations_of, labels_of, require_placed
from customhouse.app.evidence_index import EvidenceIndex
from customhouse.app.evidencing import Desk, Hashing, require_past
from customhouse.app.filescan import Before, repository_files
from customhouse.app.governance import GOVERNANCE, Governance, as_declaration, declared_governance
from customhouse.app.governance import governance as read_governance
from customhouse.app.identity import PRINCIPAL
from customhouse.app.judging import Preparing, room_for
from customhouse.app.policyprobe import ProbeTree
from customhouse.app.policyprobe import check as check_rules
from customhouse.app.policywatch import Watch
from customhouse.app.pricing import Monthly, costs_of, monthly_total, placed
from customhouse.app.sources import SourceTree
from customhouse.app.stopwatch import Stopwatch
from customhouse.app.tiering import judged_environment
from customhouse.app.tiering import judged_tier as tier_of
from customhouse.control.diff import changes
from customhouse.control.rendering import Fetched, Sight
from customhouse.control.rollout_plan import plan_of
from customhouse.control.scenes import aligned, by_scene
from customhouse.core.beside import beside
from customhouse.core.change import Actor, ActorKind, Change, Revision, SignatureState
from customhouse.core.cost import Charge, CostReport
from customhouse.core.decision import Decision, Point, Verdict, overall
from customhouse.core.errors import CannotDecideError, DeclarationError
from customhouse.core.facts import Facts
from customhouse.core.forge import Review
from customhouse.core.podsets import pod_sets
from customhouse.core.ports import PolicyEngine
from customhouse.core.remembering import remembering
from customhouse.core.resource import Declaration, ResourceRef
from customhouse.core.workload import workload
from customhouse.observability.alternatives import alternatives
from customhouse.observability.budgets import (
    Budget,
    budget_change,
    budget_most,
    budget_rise,
    budget_state,
    month_of,
)
from customhouse.observability.estimate import ChangeCost, summary
from customhouse.policy.facts import (
    Alternative,
    BudgetImpact,
    FactsContext,
    PolicySettings,
    build_facts,
)
from customhouse.policy.gate import Gate
from customhouse.policy.surroundings import Surroundings
from customhouse.policy.tiers import TierJudgement


@dataclass(frozen=True, slots=True)
class Spend:
    """What was charged this month, as of a moment: the Charges, and the digest of the snapshot they come from.

    `known` False: this process has no spend record at all; with a budget declared the gate then cannot decide.
    """

    charges: tuple[Charge, ...] = ()
    known: bool = True
    snapshot: str | None = None
    as_of: datetime | None = None
    """Up to when the snapshot knows of Charges; None without one."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be judged: `head` of `tree` against the `base` Declarations, under `governing`.

    `revision` is None for a work tree or bare files; `author` is who asks for the changes.
    """

    governing: Governance
    tree: SourceTree
    head: str
    base: tuple[Declaration, ...]
    revision: Revision | None
    author: str
    spend: Spend
    point: Point = Point.GATE
    rules_before: Mapping[str, str] | None = None
    """The governance files where the changes start from, when that is not where `governing` is from."""
    review: Review | None = None
    """What the forge says of the revision; None: it was not asked."""
    before: Before | None = None
    """What the changes start from as files; None: the files that are no Declarations are not looked at."""
    owners: Mapping[ResourceRef, Declaration] = field(default_factory=dict)
    """What controllers derived, with what it is derived from: the owner has the tier, the labels and the cost."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that was said of one set of changes, in the order of the changes, and what was asked."""

    question: Question
    revision: Revision | None
    changes: tuple[Change, ...]
    decisions: tuple[Decision, ...]
    facts: Sequence[Facts]
    cost: CostReport
    declarations: tuple[Declaration, ...]
    fetched: tuple[Fetched, ...] = ()
    """What of it came from registries, by digest."""

    @property
    def verdict(self) -> Verdict:
        """The strictest verdict; allow when nothing changes."""
        return overall(self.decisions)


class Clearance:
    """Judges changes with one engine. `workspace` is where relative volume folders start."""

    def __init__(
        self,
        engine: PolicyEngine,
        clock: Clock,
        workspace: Path,
        hashing: Hashing = tree,
        *,
        processes: int = 1,
        index: Callable[[Governance], EvidenceIndex | None] | None = None,
        monthly: Monthly | None = None,
    ) -> None:
        """`processes`: how many may share the work; more than one only where trees are read without a program.

        `index` gives what is known of evidence in the registries that a Governance names; `monthly` is what earlier
        judgements found out about costs.
        """
        self._monthly = monthly or Monthly()
        self._index = index
        self._engine = engine
        self._processes = processes
        self._clock = clock
        self._workspace = workspace
        self._hashing = hashing

    def judge(self, question: Question) -> Judgement:
        """Judge every Change of a question.

        Raises CannotDecideError (or a subclass) when anything that a rule needs is not known: the gate stays shut.
        """
        with remembering():  # prices, evidence and Facts all ask what pods an object has
            return self._judge(question)

    def _judge(self, question: Question) -> Judgement:
        governing, revision = question.governing, question.revision
        # 1. The revision: who wrote it, and whether that could be found out.
        if governing.configuration.require_signed_commits and revision is not None:
            _require_decided(revision)
        # 2. What it declares, also about how its successors are judged.
        governance = [
            as_declaration(governing.files if question.rules_before is None else question.rules_before),
            as_declaration(declared_governance(question.tree, question.head)),
        ]
        before, after = ([item] if item is not None else [] for item in governance)
        sight = Sight()
        declared = declarations_of(
            question.tree,
            question.head,
            governing.configuration.paths,
            governing.configuration.render,
            sight,
            trusted=governing.configuration.trusted_registries,
        )
        require_placed(question.tree, question.head, declared)
        require_present(question.base, declared, sight)
        base, declared = aligned(question.base, declared)
        question = replace(question, base=base)
        # 3. The changes.
        actor = Actor(_actor_kind(revision), question.author)
        found = (
            *changes(before, after, revision, actor),
            *changes((), _files(question, sight), revision, actor),
            *changes(question.base, declared, revision, actor),
        )
        check_readable(found)
        for change in found:
            if change.after is not None:
                plan_of(change.after.manifest)  # a canary that cannot be read is said here, not when it should begin
        stopwatch = Stopwatch()
        desk = self._desk(question, stopwatch)
        try:
            # Models are hashed and evidence is verified while the rest is priced.
            desk.begin(found)
            # 4. Money: before, after, and what the whole set adds to each budget.
            costs = costs_of(found, question.base, declared, governing, stopwatch)
            # 5. Facts and Decision, per Change.
            now = self._clock.now()
            report, facts_of = self.facts(question, costs, now, desk=desk, declared=declared)
            gate = Gate(self._engine, governing.bundle, governing.waivers)
            watch = Watch(self._engine, governing.canary)
            decisions: list[Decision] = []
            facts = room_for(len(found))
            # A fork has none of the threads that still hash.
            processes = 1 if desk.busy else self._processes
            prepared = Preparing(gate, facts_of, stopwatch, processes=processes).of(found)
            for change, ready in zip(found, prepared, strict=True):
                document = ready.facts
                with stopwatch.measure(change.ref, "rules"):
                    if change.after is not None and change.ref.kind == GOVERNANCE:
                        self._check_successor(question, change, document, now)
                    decision = gate.judge(
                        ready.seen, document, point=question.point, decided_at=now, answer=ready.answer
                    )
                facts.append(document)
                decision = watch.see(decision, document)
                decisions.append(replace(decision, timings=stopwatch.milliseconds(change.ref)))
            # Policies of others see all objects at once, raw.
            if governing.foreign is not None:
                from customhouse.app.foreign import Foreign

                foreign = Foreign(governing.foreign, self._engine)
                decisions = [*foreign.decide(decisions, found, declared, governing.waivers, now)]
        finally:
            desk.close()
        return Judgement(question, revision, found, tuple(decisions), facts, report, declared, sight.fetched)

    def _desk(self, question: Question, stopwatch: Stopwatch | None = None) -> Desk:
        governing = question.governing
        volumes = Volumes.of(governing.configuration.volumes, self._workspace)
        return Desk(
            question.tree,
            question.head,
            governing,
            volumes,
            self._clock,
            stopwatch or Stopwatch(),
            self._hashing,
            index=None if self._index is None else self._index(governing),
        )

    def facts(
        self,
        question: Question,
        costs: Sequence[ChangeCost],
        now: datetime,
        *,
        desk: Desk | None = None,
        declared: Sequence[Declaration] | None = None,
    ) -> tuple[CostReport, Callable[[Change], Facts]]:
        """What the costs come to, and what gives the Facts of each Change: the one way, for files and live objects.

        `declared` is all that stands beside the changes (None: the base of the question). Raises CannotDecideError; so
        does what it gives, for a Change that cannot be judged.
        """
        governing = question.governing
        budgets = _budgets(question, costs, now, self._monthly)
        report = summary(costs, governing.book, governing.prices, [impact.state for impact in budgets])
        provider, region = governing.prices.provider, governing.prices.region
        limit = governing.configuration.price_max_age_days
        shared = FactsContext(
            as_of=now,
            book=governing.book.reference(provider, region),
            price_age_days=governing.book.staleness(provider, region, now, limit).days,
            price_max_age_days=limit,
            change_set_delta=total((cost.delta for cost in costs), CURRENCY),
            budgets=budgets,
            settings=_settings(question),
            review=question.review,
            currency=CURRENCY,
        )
        by_ref = {cost.cause or cost.ref: cost for cost in costs}
        evidence = desk or self._desk(question)
        scenes = by_scene(question.base if declared is None else declared)
        around: dict[str, Surroundings] = {}

        def facts_of(change: Change) -> Facts:
            with placed(change.after or change.before):
                context = self._context(question, change, by_ref.get(change.ref), shared, evidence)
                side = change.after or change.before
                if side is not None:
                    scene = change.ref.scene if change.ref.scene in scenes else ""
                    if scene not in around:  # where nothing changes nobody asks
                        around[scene] = Surroundings(scenes[scene])
                    about = around[scene].about(side, gone=change.after is None)
                    context = replace(context, surroundings=about)
                return build_facts(change, context)

        return report, facts_of

    def _check_successor(self, question: Question, change: Change, document: Facts, now: datetime) -> None:
        """New rules must be able to judge: once merged, rules that do not compile would shut the gate for good."""
        successor = read_governance(question.tree, question.head, shelf=question.governing.proposed_shelf)
        gate = Gate(self._engine, successor.bundle, successor.waivers)
        gate.judge(change, document, point=question.point, decided_at=now)
        if successor.bundle.digest != question.governing.bundle.digest:
            check_rules(gate, self._engine, tuple(self._probes(successor, now)), now)
        if successor.foreign is not None:
            from customhouse.app.foreign import Foreign

            Foreign(successor.foreign, self._engine)

    def _probes(self, successor: Governance, now: datetime) -> Iterator[Facts]:
        """Facts of all kinds of objects, as they are created, changed and removed under a successor."""
        tree, actor = ProbeTree(), Actor(ActorKind.PERSON, "a probe")
        states = {rev: declarations_of(tree, rev, ()) for rev in ("none", "1", "2")}
        for start, end in (("none", "1"), ("1", "2"), ("2", "none")):
            found = changes(states[start], states[end], None, actor)
            question = Question(successor, tree, end, states[start], None, actor.name, Spend())
            costs = costs_of(found, states[start], states[end], successor, Stopwatch())
            _, facts_of = self.facts(question, costs, now)
            yield from (facts_of(change) for change in found)

    def _context(
        self, question: Question, change: Change, cost: ChangeCost | None, shared: FactsContext, desk: Desk
    ) -> FactsContext:
        owner = question.owners.get(change.ref)
        tier = judged_tier(question.governing, owner or change.after or change.before)
        return replace(
            shared,
            tier=tier,
            environment=judged_environment(question.governing.configuration, change.ref),
            derived=owner is not None,
            artifacts=desk.of(change),
            cost_before=None if cost is None else cost.before,
            cost_after=None if cost is None else cost.after,
            budgets=tuple(_own_budgets(question.governing, shared.budgets, change, cost, tier.name)),
            alternatives=tuple(_cheaper(question.governing, change, tier)),
        )


def _files(question: Question, sight: Sight) -> tuple[Declaration, ...]:
    """What is wrong with files that are no Declarations, as an object."""
    if question.before is None:
        return ()
    governing = question.governing
    found = repository_files(
        question.before,
        question.tree.files(question.head),
        sight,
        paths=governing.configuration.paths,
        governed=(*governing.files, *declared_governance(question.tree, question.head)),
    )
    return () if found is None else (found,)


def _settings(question: Question) -> PolicySettings:
    """What the rules are told; what runs needs a revision where the admission webhook asks for one."""
    governing = question.governing
    if question.point is not Point.AUDIT:
        return governing.policy
    return replace(governing.policy, require_revision=governing.configuration.admission.require_revision)


def _budgets(
    question: Question, costs: Sequence[ChangeCost], now: datetime, known: Monthly | None = None
) -> tuple[BudgetImpact, ...]:
    governing, spend = question.governing, question.spend
    if not governing.budgets:
        return ()
    if not spend.known:
        raise CannotDecideError(
            "a budget is declared, and what was spent this month is not known here",
            where=FILE,
            hint="fetch refs/customhouse/snapshot of the remote that `customhouse up` publishes, or name --state",
        )
    if spend.charges:
        require_past(max(charge.end for charge in spend.charges), now, "the last charge in the state was made")
    start, end = month_of(now)
    # What a snapshot does not know yet is taken to have gone on as declared.
    known_until = now if spend.as_of is None else min(spend.as_of, now)
    microsecond = timedelta(microseconds=1)
    scenes = [(scene, items, beside(items)) for scene, items in by_scene(question.base, all_for_none=True).items()]
    impacts = []
    for budget in governing.budgets:
        running = total(
            (
                monthly_total(
                    governing,
                    (item for item in items if item.ref.scene == scene and budget.covers(item.ref, labels_of(item))),
                    around,
                    known,
                )
                for scene, items, around in scenes
            ),
            CURRENCY,
        )
        # What already runs goes on running for the rest of the month.
        forecast = running.scale((end - known_until) // microsecond, (end - start) // microsecond)
        state = replace(
            budget_state(budget, spend.charges, forecast, now, spend.snapshot),
            spend_age_hours=None if spend.as_of is None else (now - known_until) // timedelta(hours=1),
        )
        # What is audited runs already: it is in the forecast, and adds nothing to it.
        added = () if question.point is Point.AUDIT else costs
        impacts.append(with_costs(BudgetImpact(state, Money.zero(CURRENCY)), budget, added))
    return tuple(impacts)


def with_costs(impact: BudgetImpact, budget: Budget, costs: Sequence[ChangeCost]) -> BudgetImpact:
    """What a set of changes does to a budget, at its declared size and at its upper end."""
    return replace(impact, change=budget_change(budget, costs), most=budget_most(budget, costs))


def check_readable(found: Iterable[Change]) -> None:
    """Raise DeclarationError, at its place in the file, for a workload that cannot be read."""
    for change in found:
        for side in (change.before, change.after):
            if side is not None:
                with placed(side):
                    workload(side.manifest, side.ref)
                    pod_sets(side.manifest, side.ref.api_version, side.ref.kind)


def judged_tier(governing: Governance, declaration: Declaration | None) -> TierJudgement:
    """The tier a Declaration is judged as (`app.tiering`)."""
    return tier_of(governing.configuration, declaration)


def _require_decided(revision: Revision) -> None:
    if revision.signature is SignatureState.UNKNOWN:
        raise CannotDecideError(
            "the commit's signature could not be checked",
            where=revision.id[:12],
            hint="install ssh-keygen (openssh-client) or gpg where the gate runs",
        )


def _actor_kind(revision: Revision | None) -> ActorKind:
    if revision is not None and revision.signature is SignatureState.VERIFIED and revision.signer == PRINCIPAL:
        return ActorKind.CUSTOMHOUSE
    return ActorKind.PERSON


def _own_budgets(
    governing: Governance, impacts: Iterable[BudgetImpact], change: Change, cost: ChangeCost | None, tier: str
) -> Iterator[BudgetImpact]:
    """The budgets that cover a Change, each with what the Change by itself adds to it."""
    side = change.after or change.before
    for impact in impacts:
        budget = next(item for item in governing.budgets if item.name == impact.state.name)
        # An autoscaler spends the budget of its target, whatever labels it wears itself.
        theirs = cost is not None and cost.cause is not None and budget.covers(cost.ref, cost.labels)
        if side is not None and (theirs or budget.covers(change.ref, labels_of(side), tier)):
            alone = () if cost is None else (cost,)
            yield replace(impact, own=budget_change(budget, alone), rise=budget_rise(budget, alone))


def _cheaper(governing: Governance, change: Change, tier: TierJudgement) -> Iterator[Alternative]:
    if change.after is None:
        return
    try:
        work = workload(change.after.manifest, change.ref)
    except DeclarationError:
        return
    if work is None or not work.accelerators:
        return
    for item in alternatives(
        work, governing.book, governing.prices, tier.spec.gpu_classes, change.after.manifest, other_regions=False
    ):
        yield Alternative(item.description, item.monthly)
