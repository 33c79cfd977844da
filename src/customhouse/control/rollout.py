"""The state machine of a canary or blue-green release: begin → wait / step … → promote, or abort at any moment.

    plan = plan_of(candidate_manifest)                      # None: no canary declared
    state = begin(plan, ref, stable=..., candidate=..., now=clock.now())
    target.apply(overlay(candidate_manifest, state))
    state, verdict = advance(state, arm_stats(seen, candidate), arm_stats(seen, stable), clock.now())

Pure: no clock, no input or output. The candidate is judged against the stable version over the same time, never
against fixed numbers, and only with what was counted since the present step began (weights differ between steps). Only
blue-green, where the stable version has no traffic any more, compares with what that did right before the switch. The
declared false-abort rate is spent over tests and steps: step i may use α·6/(π²i²), shared equally by its measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.control.rollout_analysis import (
    ENOUGH_COSTED,
    ENOUGH_LABELS,
    ArmStats,
    Comparison,
    compare_accuracy,
    compare_cost,
    compare_drift,
    compare_errors,
    compare_latency,
    compare_quality,
)
from customhouse.control.rollout_counters import arm_stats, stats_json, stats_of
from customhouse.control.rollout_plan import BLUE_GREEN, KEEP, RolloutPlan, plan_of
from customhouse.core.release import RolloutPhase
from customhouse.core.resource import Manifest, ResourceRef

__all__ = [
    "ArmStats",
    "Move",
    "RolloutPlan",
    "RolloutState",
    "RolloutVerdict",
    "abort",
    "advance",
    "arm_stats",
    "begin",
    "overlay",
    "plan_of",
    "promote",
]


class Move(StrEnum):
    """What the rollout does next."""

    WAIT = "wait"
    STEP = "step"
    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class RolloutVerdict:
    """The answer of one look. `weight` is the candidate's percentage from now on; `figures` are JSON values."""

    move: Move
    weight: int
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RolloutState:
    """A canary in progress, complete enough to go on after a restart. Digests are those the caller began with."""

    resource: ResourceRef
    stable: str
    candidate: str
    plan: RolloutPlan
    phase: RolloutPhase
    step: int
    segment: int
    """Stretches of analysis begun so far (a step, or a step begun again after counters went back): spends alpha."""
    started_at: datetime
    step_at: datetime
    baseline_candidate: ArmStats | None = None
    baseline_stable: ArmStats | None = None
    reference: ArmStats | None = None
    """Blue-green after the switch: what the stable version did while the candidate ran beside it."""
    reason: str = ""

    @property
    def weight(self) -> int:
        """The candidate's share of the traffic in percent: 100 once promoted, 0 once rolled back."""
        if self.phase is RolloutPhase.PROMOTED:
            return 100
        return self.plan.steps[self.step] if self.phase is RolloutPhase.CANARY else 0

    def to_json(self) -> dict[str, Any]:
        """For the state store."""
        return {
            "resource": self.resource.stored(),
            "stable": self.stable,
            "candidate": self.candidate,
            "plan": self.plan.to_json(),
            "phase": self.phase.value,
            "step": self.step,
            "segment": self.segment,
            "started_at": to_rfc3339(self.started_at),
            "step_at": to_rfc3339(self.step_at),
            "baseline_candidate": stats_json(self.baseline_candidate),
            "baseline_stable": stats_json(self.baseline_stable),
            "reference": stats_json(self.reference),
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RolloutState:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for what it did not write."""
        ref = value["resource"]
        return cls(
            resource=ResourceRef(ref["apiVersion"], ref["kind"], ref["namespace"], ref["name"], ref.get("scene", "")),
            stable=value["stable"],
            candidate=value["candidate"],
            plan=RolloutPlan.from_json(value["plan"]),
            phase=RolloutPhase(value["phase"]),
            step=value["step"],
            segment=value["segment"],
            started_at=from_rfc3339(value["started_at"]),
            step_at=from_rfc3339(value["step_at"]),
            baseline_candidate=stats_of(value["baseline_candidate"]),
            baseline_stable=stats_of(value["baseline_stable"]),
            reference=stats_of(value.get("reference")),
            reason=value["reason"],
        )


def begin(plan: RolloutPlan, resource: ResourceRef, *, stable: str, candidate: str, now: datetime) -> RolloutState:
    """A canary at its first weight. Raises ValueError when the two versions are the same."""
    if stable == candidate:
        raise ValueError(f"{resource}: a canary needs two versions, both are {stable}")
    return RolloutState(resource, stable, candidate, plan, RolloutPhase.CANARY, 0, 1, now, now)


def abort(state: RolloutState, reason: str) -> tuple[RolloutState, RolloutVerdict]:
    """Roll back for a reason seen elsewhere (the candidate never became ready, a person said so). Idempotent."""
    if state.phase is RolloutPhase.ROLLED_BACK:
        return state, RolloutVerdict(Move.ABORT, 0, state.reason)
    return replace(state, phase=RolloutPhase.ROLLED_BACK, reason=reason), RolloutVerdict(Move.ABORT, 0, reason)


def promote(state: RolloutState, reason: str) -> tuple[RolloutState, RolloutVerdict]:
    """All of the traffic for a reason seen elsewhere (a person gave it everything). Idempotent."""
    return _ended(state, RolloutVerdict(Move.PROMOTE, 100, reason))


def advance(
    state: RolloutState, candidate: ArmStats, stable: ArmStats, now: datetime
) -> tuple[RolloutState, RolloutVerdict]:
    """One look. `candidate` and `stable` are cumulative counters read at the same moment, of any origin.

    The first look of a step only notes the counters. A rollout that has ended answers the same again.
    """
    # 1. An ended rollout says what it said.
    if state.phase is RolloutPhase.PROMOTED:
        return state, RolloutVerdict(Move.PROMOTE, 100, state.reason)
    if state.phase is RolloutPhase.ROLLED_BACK:
        return state, RolloutVerdict(Move.ABORT, 0, state.reason)
    plan, weight = state.plan, state.weight
    # 2. Begin a stretch of analysis: the first look, or counters that began again (their process was restarted).
    before, before_stable = state.baseline_candidate, state.baseline_stable
    if before is None or before_stable is None:
        state = replace(state, baseline_candidate=candidate, baseline_stable=stable)
        return state, RolloutVerdict(Move.WAIT, weight, f"canary at {weight} %: counting begins")
    if candidate.went_back(before) or stable.went_back(before_stable):
        return _restarted(state, candidate, stable, now)
    ours, theirs = candidate.minus(before), stable.minus(before_stable)
    if plan.way == BLUE_GREEN:
        if state.reference is None:
            return _previewed(state, candidate, stable, theirs, now)
        theirs = state.reference
    # 3. Judge every measure; a breach ends it at once, whatever the sample.
    comparisons = _comparisons(plan, ours, theirs)
    alpha = plan.false_abort * 6.0 / (math.pi**2 * state.segment**2) / plan.measures
    figures = _figures(weight, ours, theirs, comparisons, alpha)
    for comparison in comparisons:
        if comparison.breaches(alpha):
            return _ended(state, RolloutVerdict(Move.ABORT, 0, _breach_text(comparison, ours, weight), figures))
    # 4. Enough seen, and nothing outside its bound (not even by chance)? Then the next weight, or all of it.
    missing = _missing(plan, ours, theirs, comparisons, _age(state, now))
    if not missing:
        return _stepped(state, candidate, stable, now, figures)
    # 5. Otherwise wait, but not for ever; no traffic at all says nothing of the candidate, however long it lasts.
    idle = _idle(ours, theirs)
    if idle:
        return state, RolloutVerdict(Move.WAIT, weight, f"canary at {weight} %: {idle}", figures)
    verdict = _timed_out(state, now, figures)
    if verdict is not None:
        return _ended(state, replace(verdict, reason=f"{verdict.reason}; still {missing}"))
    return state, RolloutVerdict(Move.WAIT, weight, f"canary at {weight} %: {missing}", figures)


def overlay(manifest: Manifest, state: RolloutState) -> Manifest:
    """The candidate's manifest with `spec.predictor.canaryTrafficPercent` of the present weight (absent once promoted).

    At 100 the rollout is still undecided, and KEEP says so. The declared manifest is not changed; what Git says of
    that field yields while the rollout runs.
    """
    predictor = {key: value for key, value in manifest["spec"]["predictor"].items() if key != "canaryTrafficPercent"}
    if state.phase is not RolloutPhase.PROMOTED:
        predictor["canaryTrafficPercent"] = state.weight
        if state.weight == 100:
            metadata = manifest["metadata"]
            kept = {**(metadata.get("annotations") or {}), KEEP: "stable"}
            manifest = {**manifest, "metadata": {**metadata, "annotations": kept}}
    return {**manifest, "spec": {**manifest["spec"], "predictor": predictor}}


def _comparisons(plan: RolloutPlan, ours: ArmStats, theirs: ArmStats) -> tuple[Comparison, ...]:
    found = (
        compare_errors(ours, theirs, increase=plan.error_increase),
        compare_latency(
            ours,
            theirs,
            quantile=plan.latency_quantile,
            ratio=plan.latency_ratio,
            increase_s=plan.latency_increase_s,
        ),
        compare_quality(ours, theirs, increase=plan.log_loss_increase) if plan.min_labelled else None,
        None if plan.accuracy_drop is None else compare_accuracy(ours, theirs, drop=plan.accuracy_drop),
        None if plan.cost_ratio is None else compare_cost(ours, theirs, ratio=plan.cost_ratio),
        None if plan.drift is None else compare_drift(ours, theirs, distance=plan.drift),
    )
    return tuple(comparison for comparison in found if comparison is not None)


def _missing(
    plan: RolloutPlan, ours: ArmStats | None, theirs: ArmStats, comparisons: tuple[Comparison, ...], elapsed: float
) -> str:
    """What this step still needs, as text; empty when nothing. `ours` is None while the candidate is not asked."""
    needs = []
    labels = max(plan.min_labelled, ENOUGH_LABELS) if plan.min_labelled else 0
    seen = {item.measure for item in comparisons}
    if plan.cost_ratio is not None and not any(name.startswith("cost") for name in seen):
        needs.append(f"the cost of {ENOUGH_COSTED} predictions of each is not known yet")
    if plan.accuracy_drop is not None and "wrong predictions" not in seen:
        needs.append(f"the outcomes of {ENOUGH_LABELS} predictions of each are not known yet")
    if plan.drift is not None and not any(name.startswith("drift") for name in seen):
        needs.append(f"what {ENOUGH_LABELS} predictions of each said is not known yet")
    for name, arm in (("candidate", ours), ("stable", theirs)):
        if arm is None:
            continue
        if arm.requests < plan.min_requests:
            needs.append(f"{name} has {arm.requests} of {plan.min_requests} requests")
        if arm.labelled < labels:
            needs.append(f"{name} has {arm.labelled} of {labels} labelled predictions")
    if elapsed < plan.min_step_s:
        needs.append(f"{max(elapsed, 0.0):.0f} of {plan.min_step_s:g} s of this step")
    for item in comparisons:
        if item.beyond:
            figures = f"{_shown(item.candidate, item.unit)} against {_shown(item.stable, item.unit)}"
            needs.append(f"{item.measure} {figures} is not certain yet")
    return ", ".join(needs)


def _restarted(
    state: RolloutState, candidate: ArmStats, stable: ArmStats, now: datetime
) -> tuple[RolloutState, RolloutVerdict]:
    """A process began again, and its counters with it: so does this step."""
    state = replace(state, baseline_candidate=candidate, baseline_stable=stable, segment=state.segment + 1, step_at=now)
    late = _timed_out(state, now, {})
    if late is not None:
        return _ended(state, late)
    reason = f"canary at {state.weight} %: a counter began again, so does this step"
    return state, RolloutVerdict(Move.WAIT, state.weight, reason)


def _previewed(
    state: RolloutState, candidate: ArmStats, stable: ArmStats, theirs: ArmStats, now: datetime
) -> tuple[RolloutState, RolloutVerdict]:
    """Blue-green before the switch: the candidate runs unasked; what the stable one does is what it will be held to."""
    plan = state.plan
    missing = _missing(
        replace(plan, cost_ratio=None, accuracy_drop=None, drift=None), None, theirs, (), _age(state, now)
    )
    if missing and (theirs.requests or not plan.min_requests):
        late = _timed_out(state, now, {})
        if late is not None:
            return _ended(state, replace(late, reason=f"{late.reason}; still {missing}"))
    if missing:
        idle = "" if theirs.requests else "inconclusive: no traffic to stable; "
        return state, RolloutVerdict(Move.WAIT, 0, f"blue-green, before the switch: {idle}{missing}")
    state = replace(
        state,
        step=1,
        segment=state.segment + 1,
        step_at=now,
        baseline_candidate=candidate,
        baseline_stable=stable,
        reference=theirs,
    )
    return state, RolloutVerdict(Move.STEP, 100, "ready beside the stable version: 100 % from now")


def _age(state: RolloutState, now: datetime) -> float:
    return (now - state.step_at).total_seconds()


def _idle(ours: ArmStats, theirs: ArmStats) -> str:
    """Said when an arm has had no request since the step began: that is inconclusive, and never a failure."""
    silent = [name for name, arm in (("candidate", ours), ("stable", theirs)) if arm.requests == 0]
    return f"inconclusive: no traffic to {' and '.join(silent)}" if silent else ""


def _stepped(
    state: RolloutState, candidate: ArmStats, stable: ArmStats, now: datetime, figures: Mapping[str, Any]
) -> tuple[RolloutState, RolloutVerdict]:
    if state.step + 1 >= len(state.plan.steps):
        reason = f"no worse than stable at {state.weight} % of the traffic"
        return _ended(state, RolloutVerdict(Move.PROMOTE, 100, reason, figures))
    state = replace(
        state,
        step=state.step + 1,
        segment=state.segment + 1,
        step_at=now,
        baseline_candidate=candidate,
        baseline_stable=stable,
    )
    return state, RolloutVerdict(Move.STEP, state.weight, f"no worse than stable: {state.weight} % from now", figures)


def _timed_out(state: RolloutState, now: datetime, figures: Mapping[str, Any]) -> RolloutVerdict | None:
    plan = state.plan
    if (now - state.started_at).total_seconds() < plan.max_duration_s:
        return None
    reason = f"not decided within {plan.max_duration_s:g} s"
    if plan.on_timeout == "promote":
        return RolloutVerdict(Move.PROMOTE, 100, f"{reason}, promoted as declared", figures)
    return RolloutVerdict(Move.ABORT, 0, f"{reason}, rolled back as declared", figures)


def _ended(state: RolloutState, verdict: RolloutVerdict) -> tuple[RolloutState, RolloutVerdict]:
    phase = RolloutPhase.PROMOTED if verdict.move is Move.PROMOTE else RolloutPhase.ROLLED_BACK
    return replace(state, phase=phase, reason=verdict.reason), verdict


def _breach_text(item: Comparison, ours: ArmStats, weight: int) -> str:
    labelled = item.unit == "nat" or item.measure == "wrong predictions"
    seen = f"{ours.labelled} labelled predictions" if labelled else f"{ours.requests} requests"
    odds = f"{math.exp(item.log_evidence):.3g}" if item.log_evidence < 600 else f"e^{item.log_evidence:.0f}"
    return (
        f"{item.measure} {_shown(item.candidate, item.unit)} against {_shown(item.stable, item.unit)} of stable at the "
        f"same time, on {seen} at {weight} % (evidence {odds} to 1)"
    )


def _shown(value: float, unit: str) -> str:
    if unit == "1":
        return f"{value * 100:.2f} %"
    if unit == "u":
        return f"{value / 1e6:.6f}"
    return f"{value * 1000:.1f} ms" if unit == "s" else f"{value:.3f}"


def _figures(
    weight: int, ours: ArmStats, theirs: ArmStats, comparisons: tuple[Comparison, ...], alpha: float
) -> dict[str, Any]:
    return {
        "weight": weight,
        "requests": {"candidate": ours.requests, "stable": theirs.requests},
        "labelled": {"candidate": ours.labelled, "stable": theirs.labelled},
        "outcomes": {"candidate": dict(ours.outcomes), "stable": dict(theirs.outcomes)},
        "log_evidence_needed": round(-math.log(alpha), 3),
        "measures": [
            {
                "measure": item.measure,
                "unit": item.unit,
                "candidate": round(item.candidate, 6),
                "stable": round(item.stable, 6),
                "log_evidence": round(item.log_evidence, 3),
                "beyond": item.beyond,
            }
            for item in comparisons
        ],
    }
