"""The runtime audit: every live object through the gate's own way, with the bundle, waivers and evidence of today.

1. What exists is looked at; what could not be listed is said, and is never taken for nothing.
2. What reviewed configuration exempts by name is counted and passed over.
3. What controllers derived is judged for security, under its owner's tier; its cost belongs to its owner.
4. An object that equals what the gate judged is judged with that Decision's Facts (revision, prices, budgets).
5. Anything else is a Change without a Revision, judged whole: the rules say that no commit declares it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from customhouse._kit.clock import Clock, to_rfc3339
from customhouse._kit.money import Money
from customhouse.app.admission_context import AdmissionContext, key_of
from customhouse.app.admission_likeness import forms, is_form
from customhouse.app.admission_steering import unsteered
from customhouse.app.audit_scene import Scene, built_in, owners_of
from customhouse.app.clearance import Clearance, Question
from customhouse.app.configuration import CURRENCY
from customhouse.app.foreign_audit import ForeignAudit
from customhouse.app.policywatch import Watch
from customhouse.core.beside import NOTHING, Beside, beside
from customhouse.core.change import Actor, ActorKind, Change, Operation, Revision, SignatureState
from customhouse.core.cluster import cluster_identity
from customhouse.core.cost import CostReport, WorkloadCost
from customhouse.core.decision import Decision, Point, Severity, Verdict
from customhouse.core.errors import CustomhouseError
from customhouse.core.facts import Facts
from customhouse.core.ports import PolicyEngine, Progress
from customhouse.core.resource import Declaration, ResourceRef
from customhouse.observability.estimate import ChangeCost, change_costs
from customhouse.policy.gate import Gate
from customhouse.policy.projection import project

_ACTOR = Actor(ActorKind.PERSON, "cluster")
"""Who made a live object is not known: managed fields are anybody's word."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One object with its Decision. `way` is `recorded`, `derived` or `new`; `owner` is what it is derived from."""

    decision: Decision
    uid: str
    way: str
    owner: ResourceRef | None = None


@dataclass(frozen=True, slots=True)
class Undecided:
    """One object that could not be judged, and why."""

    resource: ResourceRef
    problem: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What one audit said. It is `complete` when everything was listed and everything could be judged."""

    scene: str
    at: datetime
    seconds: float
    audited: tuple[Audited, ...]
    undecided: tuple[Undecided, ...]
    exempt: int
    problems: Mapping[str, str]
    bundle_digest: str
    cost: CostReport
    facts: Mapping[ResourceRef, Facts] = field(default_factory=dict, repr=False)
    """Only when asked for: they are large."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.problems and not self.undecided

    @property
    def denied(self) -> bool:
        """Whether an object breaks a rule that denies."""
        return any(item.decision.verdict is Verdict.DENY for item in self.audited)

    def counts(self) -> Mapping[tuple[str, str, str, str], int]:
        """(rule, category, severity, namespace) → findings that no waiver covers; notes are no violations."""
        counted: Counter[tuple[str, str, str, str]] = Counter()
        for item in self.audited:
            for finding in item.decision.findings:
                if finding.waiver is None and finding.severity is not Severity.NOTE:
                    namespace = finding.resource.namespace
                    counted[finding.rule, finding.category.value, finding.severity.value, namespace] += 1
        return dict(sorted(counted.items()))


class Auditor:
    """Audits scenes under one context with one engine. Belongs to one thread."""

    def __init__(self, context: AdmissionContext, engine: PolicyEngine, clock: Clock, clearance: Clearance) -> None:
        self._context, self._clock, self._clearance = context, clock, clearance
        self._gate = Gate(engine, context.governing.bundle, context.governing.waivers)
        self._watch = Watch(engine, context.governing.canary)
        self._foreign = ForeignAudit(context.governing, engine)

    def audit(
        self,
        scene: Scene,
        *,
        keep_facts: bool = False,
        wanted: Callable[[Sequence[Audited]], Collection[ResourceRef]] | None = None,
        progress: Progress | None = None,
    ) -> AuditReport:
        """Judge every object; one that cannot be judged is told in the report.

        `wanted` is shown what was decided and says whose Facts go into the report, `keep_facts` asks for all of them.
        Raises CannotDecideError when nothing can be: a budget is declared, and what was spent is not known.
        """
        started, now = self._clock.monotonic(), self._clock.now()
        undecided: list[Undecided] = []
        owners, around = owners_of(scene.declarations), beside(scene.declarations)
        others = [item for item in scene.declarations if not built_in(item)]
        judged = [item for item in others if not self._exempt(item.ref)]
        # What is derived, and what Kubernetes makes itself, stands beside nothing: no commit declares it.
        declared = [item for item in others if item.ref not in owners]
        changes: list[Change] = []
        costs: list[ChangeCost] = []
        for declaration in judged:
            change = Change(Operation.CREATE, declaration.ref, None, declaration, None, _ACTOR)
            try:
                costs.extend(self._costs(change, around, derived=declaration.ref in owners))
            except CustomhouseError as error:
                undecided.append(Undecided(declaration.ref, str(error)))
            else:
                changes.append(change)
        question = self._question(changes, owners)
        report, facts_of = self._clearance.facts(question, costs, now, declared=declared)
        audited: list[Audited] = []
        places: list[Declaration] = []
        kept: dict[ResourceRef, Facts] = {}
        for done, change in enumerate(changes):
            if progress is not None:
                progress("judging", done, len(changes))
            try:
                item, facts = self._judged(change, owners.get(change.ref), facts_of, now)
            except CustomhouseError as error:
                undecided.append(Undecided(change.ref, str(error)))
                continue
            audited.append(item)
            assert change.after is not None  # noqa: S101 - made so above
            places.append(change.after)
            if keep_facts:
                kept[change.ref] = facts
        audited, missed = self._with_foreign(audited, places, scene, now)
        undecided += missed
        if wanted is not None:
            # Made once more: the Facts of all objects of a cluster are too large to be held meanwhile.
            chosen = wanted(audited)
            for change in changes:
                if change.ref in chosen and change.ref not in kept:
                    kept[change.ref] = self._judged(change, owners.get(change.ref), facts_of, now)[1]
        return AuditReport(
            scene=scene.name,
            at=now,
            seconds=self._clock.monotonic() - started,
            audited=tuple(audited),
            undecided=tuple(undecided),
            exempt=len(scene.declarations) - len(judged),
            problems=scene.problems,
            bundle_digest=self._foreign.digest_with(self._gate.bundle_digest),
            cost=report,
            facts=kept,
        )

    # 2
    def _exempt(self, ref: ResourceRef) -> bool:
        names = self._context.governing.configuration.audit.exempt_namespaces
        if ref.namespace:
            return ref.namespace in names
        return ref.kind == "Namespace" and ref.name in names

    def _costs(self, change: Change, around: Beside, *, derived: bool) -> Sequence[ChangeCost]:
        governing = self._context.governing
        costs = change_costs((change,), governing.book, governing.prices, NOTHING, around)
        if not derived:
            return costs
        zero = Money.zero(CURRENCY)
        free = WorkloadCost(change.ref, zero, zero, zero)
        return [replace(cost, after=free) for cost in costs]

    def _question(self, changes: Sequence[Change], owners: Mapping[ResourceRef, Declaration]) -> Question:
        context = self._context
        roots = (item.after for item in changes if item.ref not in owners)
        return Question(
            governing=context.governing,
            tree=context,
            head=context.revision or "live",
            base=tuple(item for item in roots if item is not None),
            revision=None,
            author=_ACTOR.name,
            spend=context.spend,
            point=Point.AUDIT,
            owners=owners,
        )

    def _judged(
        self, change: Change, owner: Declaration | None, facts_of: Callable[[Change], Facts], now: datetime
    ) -> tuple[Audited, Facts]:
        facts = facts_of(change)
        assert change.after is not None  # noqa: S101 - made so above
        uid = cluster_identity(change.after.manifest)
        # 3
        if owner is not None:
            decision = self._gate.judge(change, facts, point=Point.AUDIT, decided_at=now)
            return Audited(self._watch.see(decision, facts), uid, "derived", owner.ref), facts
        # 4
        recorded = self._recorded(change.after, facts)
        if recorded is not None:
            change, facts = _in_context(change, facts, recorded)
            decision = self._gate.judge(change, facts, point=Point.AUDIT, decided_at=now)
            return Audited(self._watch.see(decision, facts), uid, "recorded"), facts
        # 5
        decision = self._gate.judge(change, facts, point=Point.AUDIT, decided_at=now)
        return Audited(self._watch.see(decision, facts), uid, "new"), facts

    def _with_foreign(
        self, audited: Sequence[Audited], places: Sequence[Declaration], scene: Scene, now: datetime
    ) -> tuple[list[Audited], list[Undecided]]:
        pairs = [(item.decision, place) for item, place in zip(audited, places, strict=True)]
        told = self._foreign.judged(pairs, scene.declarations, now)
        done: list[Audited] = []
        missed: list[Undecided] = []
        for item, place, said in zip(audited, places, told, strict=True):
            if isinstance(said, Decision):
                done.append(replace(item, decision=said))
            else:
                missed.append(Undecided(place.ref, said))
        return done, missed

    def _recorded(self, live: Declaration, facts: Facts) -> dict[str, Any] | None:
        """The Facts that the gate recorded of just this content; None when it never judged it so."""
        # What a rollout makes of it is what it is declared as.
        plain = unsteered(live, self._context.recorded, settled=True)
        found = self._context.recorded.get(key_of(plain.ref))
        if found is None:
            return None
        seen = facts.document["change"]["after"] if plain is live else project(plain.manifest, plain.ref)
        known = forms(found, self._context.governing, self._context.queues)
        if not any(is_form(form, plain, seen) for form in known):
            return None
        document: dict[str, Any] = orjson.loads(found.facts)
        return document


def _in_context(change: Change, today: Facts, recorded: dict[str, Any]) -> tuple[Change, Facts]:
    """The recorded Facts as of now, with the evidence that is filed today."""
    document = {
        **recorded,
        "as_of": today.document["as_of"],
        "artifacts": today.document["artifacts"],
        "change": {**recorded["change"], "resource": change.ref.to_json()},
    }
    operation = Operation(recorded["change"]["operation"])
    revision = recorded["revision"]
    actor = Actor(ActorKind(recorded["actor"]["kind"]), recorded["actor"]["name"])
    known = None if revision is None else _revision(revision, today)
    return replace(change, operation=operation, revision=known, actor=actor), Facts(document)


def _revision(told: Mapping[str, Any], today: Facts) -> Revision:
    from customhouse._kit.clock import from_rfc3339

    return Revision(
        id=told["id"],
        parents=(),
        author=told["author"],
        committed_at=from_rfc3339(today.document["as_of"]),  # nobody asks for it
        subject="",
        signature=SignatureState(told["signature"]),
        signer=told["signer"],
        reviewers=tuple(told["reviewers"]),
        descends=told["descends"],
    )


def report_json(report: AuditReport) -> dict[str, Any]:
    """The report as one JSON value: what was judged, what is violated, what is not known."""
    return {
        "at": to_rfc3339(report.at),
        "scene": report.scene,
        "complete": report.complete,
        "verdict": "deny" if report.denied else "allow" if report.complete else "unknown",
        "bundle_digest": report.bundle_digest,
        "objects": {
            "judged": len(report.audited),
            "exempt": report.exempt,
            "undecided": len(report.undecided),
            **{way: sum(item.way == way for item in report.audited) for way in ("recorded", "derived", "new")},
        },
        "monthly": str(report.cost.after),
        "violations": [
            {"rule": rule, "category": category, "severity": severity, "namespace": namespace, "count": count}
            for (rule, category, severity, namespace), count in report.counts().items()
        ],
        "decisions": [_audited_json(item) for item in report.audited if item.decision.findings],
        "undecided": [{"resource": item.resource.to_json(), "problem": item.problem} for item in report.undecided],
        "unlisted": dict(sorted(report.problems.items())),
    }


def _audited_json(item: Audited) -> dict[str, Any]:
    return {
        "resource": item.decision.resource.to_json(),
        "uid": item.uid or None,
        "way": item.way,
        "owner": None if item.owner is None else item.owner.to_json(),
        "digest": item.decision.digest,
        **item.decision.body(),
    }
