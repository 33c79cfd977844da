"""The decision at admission: the same Facts, rules and waivers as at the pull request, about the final object.

1. What reviewed configuration exempts by name, and what changes nothing that a rule could see, is let through.
2. An object that equals what the gate judged is judged with that Decision's Facts (its revision, prices and budgets; it
   is not charged twice), and today's rules, waivers and evidence.
3. What Kubernetes' controllers derive from it is judged for security; its cost belongs to its owner.
4. Anything else is a Change without a Revision and judged whole: no label or annotation is proof of anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import customhouse.trust.filed  # noqa: F401 - what reads evidence is loaded before the first request, not in it
from customhouse._kit.clock import Clock, to_rfc3339
from customhouse._kit.frozen import quickly_made
from customhouse._kit.money import Money, total
from customhouse.app.admission_context import AdmissionContext, Recorded, key_of
from customhouse.app.admission_declared import Unrecorded
from customhouse.app.admission_likeness import Form, forms, is_form, keys_in_git
from customhouse.app.admission_mutation import mutation
from customhouse.app.admission_objects import (
    at_size,
    declaration_of,
    declared_scaled,
    owner_of,
    replicas_of,
    unchanged,
)
from customhouse.app.admission_review import Answer, Review, undecided
from customhouse.app.admission_rules import KUBERNETES_OWN
from customhouse.app.admission_steering import as_declared, puts_back
from customhouse.app.admission_text import denial_text, not_filed, warnings_of
from customhouse.app.clearance import Question, _budgets, _cheaper, _own_budgets, judged_tier, with_costs
from customhouse.app.configuration import CURRENCY
from customhouse.app.evidence_index import reference_of
from customhouse.app.evidencing import require_past
from customhouse.app.foreign_admission import ForeignAdmission
from customhouse.app.policywatch import Watch, notices
from customhouse.app.tiering import judged_environment
from customhouse.core.beside import Beside, beside
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.cost import BookRef, WorkloadCost
from customhouse.core.decision import Decision, Point, Verdict
from customhouse.core.errors import CannotDecideError, CustomhouseError, PolicyError, PriceError
from customhouse.core.evidence import ArtifactRef, Evidence
from customhouse.core.facts import Facts
from customhouse.core.ports import PolicyEngine
from customhouse.core.remembering import remembering
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.core.workload import workload
from customhouse.observability.estimate import ChangeCost, change_costs
from customhouse.policy.facts import ArtifactEvidence, BudgetImpact, FactsContext, PolicySettings, build_facts
from customhouse.policy.gate import Gate
from customhouse.policy.limits import body_digest
from customhouse.policy.pods import artifacts as named_artifacts
from customhouse.policy.projection import project
from customhouse.policy.surroundings import Surroundings

_STATES_FOR = timedelta(seconds=30)
"""How long the state of the budgets is kept (charges come once a minute) and what was verified (certificates end)."""
_MOST_STATEMENTS = 10_000
_OPERATIONS = {"CREATE": Operation.CREATE, "UPDATE": Operation.UPDATE, "DELETE": Operation.DELETE}


@quickly_made
@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, and what is to be recorded of it. `kind` says which way it went.

    `durable`: the answer is only given once an Entry of it is stored (break-glass); otherwise `instead` is given.
    """

    answer: Answer
    kind: str
    decision: Decision | None = None
    facts: Facts | None = None
    durable: bool = False
    instead: Answer | None = None
    reason: str = ""
    digest: str = ""
    """Of the decision."""


class Admission:
    """Judges reviews under one context with one engine. Belongs to one thread."""

    def __init__(self, context: AdmissionContext, engine: PolicyEngine, clock: Clock) -> None:
        self._context, self._clock = context, clock
        self._governing = context.governing
        self._spec = context.governing.configuration.admission
        self._gate = Gate(engine, self._governing.bundle, self._governing.waivers)
        self._watch = Watch(engine, self._governing.canary)
        self._places = self._governing.prices
        self._settings = replace(self._governing.policy, require_revision=self._spec.require_revision)
        self._foreign = ForeignAdmission(context, engine)
        self._evidence: dict[tuple[str, str], tuple[datetime, tuple[Evidence, ...]]] = {}
        self._believed = context.governing.believed
        self._forms: dict[int, tuple[Form, ...]] = {}
        self._unrecorded = Unrecorded(context, self._unaltered)
        self._states: tuple[datetime, tuple[BudgetImpact, ...]] | None = None
        self._book: tuple[BookRef, int, Any] | None = None
        self._surroundings: Surroundings | None = None
        self._beside: Beside | None = None

    @property
    def bundle_digest(self) -> str:
        """What is judged with, as a Decision names it."""
        return self._foreign.digest_with(self._gate.bundle_digest)

    def rehearse(self) -> None:
        """Judge one pod: rules are compiled, prices looked up and modules imported before anybody waits for it.

        Raises PolicyError and PriceError: with such rules or prices nothing could be decided. What is merely not known
        yet (what was spent) is said to those who ask.
        """
        ref = ResourceRef("v1", "Pod", "default", "rehearsal")
        container = {
            "name": "main",
            "image": f"example.com/none@sha256:{'0' * 64}",
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": ref.name, "namespace": ref.namespace},
            "spec": {"containers": [container]},
        }
        after = Declaration(ref, pod, Location("admission"))
        mutation(after, self._governing)
        try:
            self._new(Change(Operation.CREATE, ref, None, after, None, _SYSTEM), self._clock.now())
        except (PolicyError, PriceError):
            raise
        except CannotDecideError:
            return

    def validate(self, review: Review) -> Outcome:
        """Answer a review; whatever cannot be decided is refused with the reason, and never raises."""
        now = self._clock.now()
        try:
            with remembering():
                outcome = self._with_foreign(review, self._validated(review, now), now)
        except CustomhouseError as error:
            outcome = Outcome(undecided(str(error)), "undecided", reason=str(error))
        except RecursionError:
            outcome = Outcome(undecided("the object is nested too deeply", code=400), "undecided")
        except Exception as error:  # noqa: BLE001 - a fault of ours must not let anything in, nor end the service
            reason = f"internal error: {type(error).__name__}: {error}"[:500]
            outcome = Outcome(undecided(reason), "undecided", reason=reason)
        if outcome.answer.allowed:
            return outcome
        return self._broken_glass(review, outcome, now)

    def _validated(self, review: Review, now: datetime) -> Outcome:
        namespace = review.ref.namespace or (review.ref.name if review.ref.kind == "Namespace" else "")
        if namespace in self._spec.exempt_namespaces:
            return Outcome(Answer(True), "exempt")
        if review.subresource == "status":
            return Outcome(Answer(True), "unchanged")  # what servers and controllers write; no rule sees it
        if review.operation == "CONNECT":
            return Outcome(undecided("CONNECT carries no object; leave it out of the webhook's rules"), "undecided")
        if review.subresource == "scale":
            return self._scaled(review, now)
        if review.subresource not in ("", "ephemeralcontainers", "resize"):
            return Outcome(undecided(f"the subresource {review.subresource[:60]} is not judged here"), "undecided")
        if review.operation == "DELETE" and (review.ref.kind == "Pod" or review.user in self._spec.controllers):
            # Nothing enters; what a controller deletes follows from the deletion of its owner or namespace.
            return Outcome(Answer(True), "unchanged")
        after = declaration_of(review.ref, review.object) if review.operation != "DELETE" else None
        before = declaration_of(review.ref, review.old) if review.operation != "CREATE" else None
        known = self._unrecorded.known() if review.user in self._spec.rollouts else {}
        plain, was = as_declared(after, before, known)
        if plain is not None and was is not None and unchanged(was, plain):
            return Outcome(Answer(True), "unchanged")
        if plain is not None and (recorded := self._recorded(plain, was, now)) is not None:
            return self._judged_as_recorded(recorded, now)
        change = Change(_OPERATIONS[review.operation], review.ref, before, after, None, _actor(review))
        if puts_back(after, before, known):
            return self._derived(change, None, now)
        if after is not None and review.user in self._spec.controllers:
            owner = owner_of(review.object)
            if owner is not None or review.user in KUBERNETES_OWN:
                return self._derived(change, owner, now)
        return self._new(change, now)

    def _with_foreign(self, review: Review, outcome: Outcome, now: datetime) -> Outcome:
        """What policies of others say of it too; not of what is exempt, nor of what could not be decided anyway."""
        if outcome.kind not in ("new", "derived", "recorded", "unchanged"):
            return outcome
        decision = self._foreign.judged(review, outcome.decision, self._gate.bundle_digest, now)
        if decision is None:
            return outcome
        told = _outcome(decision, outcome.facts, "foreign" if outcome.decision is None else outcome.kind)
        if outcome.decision is not None:
            return told
        # There are no Facts of it to keep, so that nobody could ask further by its digest; the ledger has the reason.
        said = replace(told.answer, message=told.answer.message.partition("\ndecision sha256:")[0], annotations={})
        return replace(told, answer=said, decision=None, digest="")

    # 2
    def _recorded(self, after: Declaration, before: Declaration | None, now: datetime) -> Recorded | None:
        key = key_of(after.ref)
        found = self._context.recorded.get(key)
        if found is not None and self._is(found, after, before):
            return found
        found = self._unrecorded.of(key, now)
        return found if found is not None and self._is(found, after, before) else None

    def _is(self, found: Recorded, after: Declaration, before: Declaration | None) -> bool:
        if id(found) not in self._forms:
            self._forms[id(found)] = forms(found, self._governing, self._context.queues)
        seen = project(after.manifest, after.ref)
        return any(is_form(form, after, seen, before) for form in self._forms[id(found)])

    def _unaltered(self, change: Change, now: datetime) -> Facts:
        """The Facts of what is declared and stays so; budgets were asked when it was allowed."""
        evidence, cost = tuple(self._filed(change, now)), self._costs(change)
        return build_facts(change, self._facts_context(change, now, evidence, cost, ()))

    def _judged_as_recorded(self, recorded: Recorded, now: datetime) -> Outcome:
        import orjson

        document: dict[str, Any] = orjson.loads(recorded.facts)
        document["as_of"] = to_rfc3339(now)
        after, operation = recorded.declaration, Operation(document["change"]["operation"])
        before = None if operation is Operation.CREATE else after
        change = Change(operation, _ref(document), before, after, None, _SYSTEM)
        document["artifacts"] = self._today(change, document["artifacts"], now)
        decision = self._gate.judge(change, Facts(document), point=Point.ADMISSION, decided_at=now)
        decision = self._watch.see(decision, Facts(document))
        revision = None if document["revision"] is None else document["revision"]["id"]
        return _outcome(replace(decision, revision=revision), Facts(document), "recorded")

    def _today(self, change: Change, artifacts: list[dict[str, Any]], now: datetime) -> list[dict[str, Any]]:
        """The recorded artifacts with the evidence that is filed today: what was withdrawn no longer counts."""
        from customhouse._kit.clock import from_rfc3339

        result = []
        for artifact in artifacts:
            named = ArtifactRef(*(artifact[key] for key in ("role", "reference", "digest", "pinned", "pointer")))
            filed = {item.digest: item for item in self._statements(named, now)}
            if artifact["evidence"] and not filed and self._missed(named):
                raise not_filed(named, change)
            kept: list[dict[str, Any]] = []
            for item in artifact["evidence"]:
                # What a certificate or a trust policy vouched for then is asked again: both expire.
                if item["digest"] not in filed or filed[item["digest"]].verified != item["verified"]:
                    continue
                issued = item["issued_at"]
                age = None if issued is None else int((now - from_rfc3339(issued)).total_seconds())
                kept.append({**item, "age_seconds": age})
            if filed.keys() != {item["digest"] for item in kept}:
                # Something was added: it may say that the artifact is bad, so all of it is read anew.
                kept = self._anew(change, artifact, now)
            result.append({**artifact, "evidence": kept})
        return result

    def _anew(self, change: Change, artifact: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
        document = self._unaltered(change, now).document
        same = (item for item in document["artifacts"] if item["digest"] == artifact["digest"])
        return next((list(item["evidence"]) for item in same), [])

    # 3
    def _derived(self, change: Change, owner: tuple[str, str] | None, now: datetime) -> Outcome:
        zero = Money.zero(CURRENCY)
        free = WorkloadCost(change.ref, zero, zero, zero)
        side = change.after
        declared = None if owner is None else self._declared_owner(change.ref.namespace, owner)
        context = replace(
            self._facts_context(change, now, tuple(self._filed(change, now)), None, ()),
            tier=judged_tier(self._governing, declared or side),
            cost_before=None if change.before is None else free,
            cost_after=free,
            derived=True,
        )
        facts = build_facts(change, context)
        decision = self._gate.judge(change, facts, point=Point.ADMISSION, decided_at=now)
        return _outcome(self._watch.see(decision, facts), facts, "derived")

    def _declared_owner(self, namespace: str, owner: tuple[str, str]) -> Declaration | None:
        kind, name = owner
        # A ReplicaSet is itself derived, and so is a CronJob's Job: <name of the owner>-<hash or time>.
        parents = {"ReplicaSet": "Deployment", "Job": "CronJob"}
        wanted = {(kind, name), (parents.get(kind, kind), name.rpartition("-")[0])}
        for item in self._context.declared:
            if (item.ref.kind, item.ref.name) in wanted and item.ref.namespace == namespace:
                return item
        return None

    # 4
    def _new(self, change: Change, now: datetime) -> Outcome:
        cost = self._costs(change)
        # What goes costs nothing more, also where nobody knows what was spent.
        impacts = () if change.after is None else self._impacts(change, cost, now)
        context = self._facts_context(change, now, tuple(self._filed(change, now)), cost, impacts)
        facts = build_facts(change, context)
        decision = self._gate.judge(change, facts, point=Point.ADMISSION, decided_at=now)
        return _outcome(self._watch.see(decision, facts), facts, "new")

    def _scaled(self, review: Review, now: datetime) -> Outcome:
        """`/scale` carries no object: what Git declares is judged at that size, unless the gate priced it already."""
        wanted, present = replicas_of(review.object), replicas_of(review.old)
        if wanted is None:
            return Outcome(undecided("the Scale has no spec.replicas", code=400), "undecided")
        if present is not None and wanted <= present:
            return Outcome(Answer(True), "unchanged")  # less never costs more
        found = declared_scaled(self._context.declared, review)
        if found is None:
            raise CannotDecideError(
                f"{review.resource}/{review.ref.name} is scaled to {wanted}, and no commit in force declares it",
                hint="declare it in Git, or change spec.replicas of the object itself, which can be judged",
            )
        work = workload(found.manifest, found.ref)
        if work is not None and wanted <= max(work.replicas_max, self._autoscaled(found)):
            return Outcome(Answer(True), "unchanged")  # within what the gate priced
        before = at_size(found, present) if present is not None else found
        after = at_size(found, wanted)
        return self._new(Change(Operation.UPDATE, found.ref, before, after, None, _actor(review)), now)

    def _autoscaled(self, declaration: Declaration) -> int:
        most = 0
        for item in self._context.declared:
            if item.ref.kind != "HorizontalPodAutoscaler" or item.ref.namespace != declaration.ref.namespace:
                continue
            spec = item.manifest.get("spec") or {}
            target = spec.get("scaleTargetRef") or {}
            if (target.get("kind"), target.get("name")) == (declaration.ref.kind, declaration.ref.name):
                count = spec.get("maxReplicas")
                most = max(most, count if isinstance(count, int) else 0)
        return most

    # what a decision rests on
    def _costs(self, change: Change) -> ChangeCost | None:
        governing = self._governing
        if self._beside is None:
            self._beside = beside(self._context.declared)
        found = change_costs((change,), governing.book, self._places, self._beside, self._beside, explained=False)
        return next(iter(found), None)

    def _facts_context(
        self,
        change: Change,
        now: datetime,
        evidence: tuple[ArtifactEvidence, ...],
        cost: ChangeCost | None,
        impacts: tuple[BudgetImpact, ...],
    ) -> FactsContext:
        governing = self._governing
        tier = judged_tier(governing, change.after or change.before)
        book, age = self._prices(now)
        return FactsContext(
            as_of=now,
            book=book,
            price_age_days=age,
            price_max_age_days=governing.configuration.price_max_age_days,
            tier=tier,
            artifacts=evidence,
            cost_before=None if cost is None else cost.before,
            cost_after=None if cost is None else cost.after,
            change_set_delta=total(() if cost is None else (cost.delta,), CURRENCY),
            budgets=tuple(_own_budgets(governing, impacts, change, cost, tier.name)),
            alternatives=() if cost is None else tuple(_cheaper(governing, change, tier)),
            settings=self._settings_for(change),
            environment=judged_environment(governing.configuration, change.ref),
            surroundings=self._around(change),
            keys_in_git=keys_in_git(change.ref, self._context),
            currency=CURRENCY,
        )

    def _settings_for(self, change: Change) -> PolicySettings:
        """No commit is asked for a deletion that Git agrees to: the commit in force does not declare the object."""
        if change.after is None and self._unrecorded.declares(change.ref) is False:
            return replace(self._settings, require_revision=False)
        return self._settings

    def _around(self, change: Change) -> Mapping[str, Any] | None:
        """What the commit in force declares around an object; indexed once for a generation of the context."""
        if self._surroundings is None:
            self._surroundings = Surroundings(self._context.declared)
        side = change.after or change.before
        # Without a repository it is not known what else is declared; that is not the same as that there is nothing.
        if side is None or self._context.revision is None:
            return None
        return self._surroundings.about(side, gone=change.after is None)

    def _prices(self, now: datetime) -> tuple[BookRef, int]:
        """The book and its age, looked up once a day: the book itself changes with a new generation only."""
        if self._book is None or self._book[2] != now.date():
            governing = self._governing
            place = (governing.prices.provider, governing.prices.region)
            limit = governing.configuration.price_max_age_days
            age = governing.book.staleness(*place, now, limit).days
            self._book = (governing.book.reference(*place), age, now.date())
        return self._book[0], self._book[1]

    def _impacts(self, change: Change, cost: ChangeCost | None, now: datetime) -> tuple[BudgetImpact, ...]:
        if not self._governing.budgets:
            return ()
        if self._states is None or not timedelta() <= now - self._states[0] < _STATES_FOR:
            context = self._context
            question = Question(
                self._governing, context, "index", context.declared, None, "admission", context.spend, Point.ADMISSION
            )
            self._states = (now, _budgets(question, (), now))
        costs = () if cost is None else (cost,)
        by_name = {budget.name: budget for budget in self._governing.budgets}
        return tuple(with_costs(i, by_name[i.state.name], costs) for i in self._states[1])

    def _filed(self, change: Change, now: datetime) -> Sequence[ArtifactEvidence]:
        if change.after is None:
            return ()
        found = []
        for artifact in named_artifacts(change.after.manifest, change.ref):
            if artifact.digest is None:
                continue
            statements = self._statements(artifact, now)
            if not statements and self._missed(artifact):
                raise not_filed(artifact, change)
            for item in statements:
                if item.verified and item.issued_at is not None:
                    require_past(item.issued_at, now, f"the {item.kind.value} of {artifact.reference} was issued")
            found.append(ArtifactEvidence(artifact, statements))
        return found

    def _missed(self, artifact: ArtifactRef) -> bool:
        """Whether it is not known here what there is: a model that has nothing, an image that was not asked for."""
        if artifact.role == "model":
            return True
        trust = self._governing.configuration.trust
        if not trust.registries:
            return False
        found = reference_of(artifact)
        if found is None or not trust.asks(found.name):
            return False
        return f"{found.name}@{artifact.digest}" not in self._context.asked

    def _statements(self, artifact: ArtifactRef, now: datetime) -> tuple[Evidence, ...]:
        files = {} if artifact.digest is None else self._context.filed(artifact.digest)
        if artifact.digest is None or not files:
            return ()  # not remembered: who asks chooses the digests
        # Of the name of a repository only a trust policy of Notary's knows anything.
        found = None if self._believed.notary is None else reference_of(artifact)
        key = (artifact.digest, "" if found is None else found.name)
        if len(self._evidence) > _MOST_STATEMENTS:
            self._evidence.clear()  # who asks chooses the names
        known = self._evidence.get(key)
        if known is None or not timedelta() <= now - known[0] < _STATES_FOR:
            said = self._governing.statements(files, artifact.digest, now, name=key[1])
            known = self._evidence[key] = (now, said)
        return known[1]

    def _broken_glass(self, review: Review, outcome: Outcome, now: datetime) -> Outcome:
        found = next((i for i in self._spec.break_glass if i.covers(review.user, review.ref.namespace, now)), None)
        if found is None:
            return outcome
        until = to_rfc3339(found.expires)
        said = f"break-glass: {found.user} lets in what is denied ({found.reason}; until {until})"
        if review.dry_run:
            return replace(outcome, answer=Answer(True, warnings=(said,)), kind="break-glass")
        allowed = Answer(
            True,
            warnings=(said, *(line for line in outcome.answer.message.splitlines() if line.strip())),
            annotations={"break-glass": said[:1000]},
        )
        refused = replace(
            outcome.answer,
            message=f"break-glass was not used, since it could not be recorded. {outcome.answer.message}",
        )
        return replace(
            outcome, answer=allowed, kind="break-glass", durable=True, instead=refused, reason=f"{found.reason}"
        )


_SYSTEM = Actor(ActorKind.PERSON, "admission")


def _outcome(decision: Decision, facts: Facts | None, kind: str) -> Outcome:
    digest = body_digest(decision)
    if decision.verdict is Verdict.DENY:
        return Outcome(Answer(False, denial_text(decision, digest)), kind, decision, facts, digest=digest)
    warnings = warnings_of(decision) if decision.verdict is Verdict.WARN else ()
    warnings = (*warnings, *notices((), (decision,)))
    annotations = {"decision": digest}
    return Outcome(Answer(True, warnings=warnings, annotations=annotations), kind, decision, facts, digest=digest)


def _actor(review: Review) -> Actor:
    return Actor(ActorKind.PERSON, review.user[:500] or "unknown")


def _ref(document: Mapping[str, Any]) -> ResourceRef:
    value = document["change"]["resource"]
    return ResourceRef(value["apiVersion"], value["kind"], value["namespace"], value["name"])
