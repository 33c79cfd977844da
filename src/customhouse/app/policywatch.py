"""The candidate beside the bundle in force: asked after the Decision, told in its envelope."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from customhouse.core.decision import Decision
from customhouse.core.errors import CannotDecideError
from customhouse.core.facts import Facts
from customhouse.core.ports import PolicyEngine
from customhouse.policy.canary import Canary, Trial, compare
from customhouse.policy.gate import Gate
from customhouse.policy.waiver import Waiver


class Watch:
    """Judges with the candidate what it is on trial for; None: there is no candidate. For one thread."""

    def __init__(self, engine: PolicyEngine, canary: Canary | None) -> None:
        self._canary = canary
        self._gate = None if canary is None else Gate(engine, canary.bundle, canary.waivers)

    def see(self, decision: Decision, facts: Facts) -> Decision:
        """The same Decision with what the candidate says in its envelope; where that fails, why: it decides nothing."""
        if self._canary is None or self._gate is None or not self._canary.covers(decision.resource.namespace):
            return decision
        try:
            candidate = self._gate.rejudge(facts, point=decision.point, decided_at=decision.decided_at)
            trial = compare(self._canary.mode, decision, candidate)
        except CannotDecideError as error:
            trial = Trial(self._gate.bundle_digest, self._canary.mode, None, problem=str(error)[:500])
        return replace(decision, canary=trial.to_json())


def notices(alerts: Iterable[str], decisions: Iterable[Decision]) -> Iterator[str]:
    """What is said beside a judgement: last good bundles in use, and what trials of mode `warn` would deny."""
    yield from alerts
    for decision in decisions:
        trial = decision.canary
        if trial is None or trial["mode"] != "warn":
            continue
        if trial["verdict"] is None:
            yield f"on trial: {decision.resource}: the candidate could not decide: {trial['problem']}"
        elif trial["would_deny"]:
            for item in trial["added"]:
                if item["severity"] == "error":
                    said = f"{item['rule']}: {item['message']} {item['fix']}"
                    yield f"on trial: {decision.resource} would be denied by {said}"


def misnamed(waivers: Iterable[Waiver], rules: Iterable[str], decisions: Iterable[Decision]) -> Iterator[str]:
    """Waivers that pardon nothing since they name a rule that nobody has, but nearly: a slip of the pen.

    Only told: a waiver that outlives its rule must not shut the gate. Rules without METADATA are known by what they
    find.
    """
    known = {*rules, *(finding.rule for decision in decisions for finding in decision.findings)}
    for waiver in waivers:
        for rule in waiver.rules:
            if rule not in known:
                from difflib import get_close_matches  # only slips need it

                for near in get_close_matches(rule, sorted(known), n=1, cutoff=0.8):
                    yield f"waiver {waiver.id} is of no use: no rule is called {rule!r}; did you mean {near!r}?"
