"""A canary walks its weights, and goes back at once when it is worse."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from customhouse.control.rollout import (
    ArmStats,
    Move,
    RolloutPlan,
    RolloutState,
    abort,
    advance,
    arm_stats,
    begin,
    overlay,
    plan_of,
)
from customhouse.core.errors import DeclarationError
from customhouse.core.observation import Observation
from customhouse.core.release import RolloutPhase
from customhouse.core.resource import ResourceRef

REF = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "fraud", "fraud-detection")
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, float("inf"))


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def arm(requests=0, errors=0, loss=0.06, deviation=0.3, seconds=0.008, labelled=None, cost=None) -> ArmStats:
    """Counters of an arm in which every request took `seconds` and losses have that mean and deviation."""
    labelled = requests if labelled is None else labelled
    return ArmStats(
        requests=requests,
        errors=errors,
        latency={bound: requests if seconds <= bound else 0 for bound in BOUNDS},
        labelled=labelled,
        log_loss=labelled * loss,
        log_loss_squares=labelled * (deviation**2 + loss**2),
        outcomes={"tn": labelled},
        costed=0 if cost is None else requests,
        cost=requests * (cost or 0),
        cost_squares=requests * (cost or 0) ** 2 * 1.3,
    )


def started(plan: RolloutPlan | None = None, first: ArmStats | None = None) -> RolloutState:
    state = begin(plan or RolloutPlan(), REF, stable="sha256:old", candidate="sha256:new", now=NOW)
    state, verdict = advance(state, first or ArmStats(), first or ArmStats(), NOW)
    assert (verdict.move, verdict.weight) == (Move.WAIT, state.plan.steps[0])
    return state


def test_an_equal_candidate_walks_every_step_and_is_promoted():
    state = started()
    state, verdict = advance(state, arm(120), arm(1080), later(10))
    assert (verdict.move, verdict.weight, state.weight) == (Move.STEP, 50, 50)
    state, verdict = advance(state, arm(400), arm(1400), later(20))
    assert (verdict.move, verdict.weight) == (Move.PROMOTE, 100)
    assert state.phase is RolloutPhase.PROMOTED
    assert advance(state, arm(0), arm(0), later(30))[1].move is Move.PROMOTE


def test_a_step_counts_only_what_was_seen_in_it():
    state = started()
    state, _ = advance(state, arm(120), arm(1080), later(10))
    state, verdict = advance(state, arm(219), arm(1300), later(20))
    assert verdict.move is Move.WAIT
    assert "candidate has 99 of 100 requests" in verdict.reason


def test_too_little_traffic_waits_and_then_goes_back_as_declared():
    state = started(RolloutPlan(max_duration_s=60))
    state, verdict = advance(state, arm(7), arm(50), later(30))
    assert verdict.move is Move.WAIT
    assert "candidate has 7 of 100 requests" in verdict.reason
    state, verdict = advance(state, arm(9), arm(70), later(60))
    assert (verdict.move, verdict.weight, state.phase) == (Move.ABORT, 0, RolloutPhase.ROLLED_BACK)
    assert "not decided within 60 s, rolled back as declared" in verdict.reason


def test_a_declared_promotion_at_the_time_limit_is_honoured():
    state = started(RolloutPlan(max_duration_s=60, on_timeout="promote"))
    state, verdict = advance(state, arm(9), arm(70), later(61))
    assert (verdict.move, verdict.weight) == (Move.PROMOTE, 100)


def test_no_traffic_at_all_is_no_reason_to_go_on():
    state = started()
    assert advance(state, ArmStats(), ArmStats(), later(1))[1].move is Move.WAIT


def test_a_clock_that_stepped_back_does_not_end_a_rollout():
    state = started(RolloutPlan(max_duration_s=60))
    assert advance(state, arm(9), arm(70), later(-3600))[1].move is Move.WAIT


def test_worse_predictions_go_back_at_once_and_say_the_figures():
    state = started()
    state, verdict = advance(state, arm(200, loss=0.40, deviation=0.7), arm(1800), later(10))
    assert (verdict.move, verdict.weight, state.weight) == (Move.ABORT, 0, 0)
    assert "log-loss 0.400 against 0.060 of stable" in verdict.reason
    assert state.reason == verdict.reason
    assert advance(state, arm(400), arm(3000), later(20)) == (state, state_verdict(state))
    json.dumps(verdict.figures)


def state_verdict(state):
    return advance(state, ArmStats(), ArmStats(), NOW)[1]


def test_more_errors_go_back_before_the_sample_is_full():
    state = started()
    state, verdict = advance(state, arm(20, errors=9), arm(180), later(2))
    assert verdict.move is Move.ABORT
    assert "errors 45.00 % against 0.00 %" in verdict.reason


def test_each_step_may_spend_less_of_the_false_abort_rate_than_the_one_before():
    state = started()
    state, first = advance(state, arm(120), arm(1080), later(10))
    _, second = advance(state, arm(121), arm(1081), later(20))
    assert first.figures["log_evidence_needed"] == pytest.approx(-math.log(0.01 * 6 / math.pi**2 / 3), abs=1e-3)
    spent = second.figures["log_evidence_needed"] - first.figures["log_evidence_needed"]
    assert spent == pytest.approx(math.log(4), abs=2e-3)


def test_slower_answers_go_back():
    state = started()
    state, verdict = advance(state, arm(150, seconds=0.2), arm(1350, seconds=0.008), later(5))
    assert verdict.move is Move.ABORT
    assert "latency p95" in verdict.reason


def test_slower_within_the_declared_bounds_is_let_through():
    state = started(RolloutPlan(latency_ratio=50.0))
    state, verdict = advance(state, arm(150, seconds=0.2), arm(1350, seconds=0.008), later(5))
    assert verdict.move is Move.STEP


def test_faster_and_better_is_never_a_breach():
    state = started()
    _, verdict = advance(state, arm(150, seconds=0.004, loss=0.01), arm(1350, seconds=0.2, errors=90), later(5))
    assert verdict.move is Move.STEP


def test_dearer_predictions_go_back_when_a_ratio_is_declared():
    plan = RolloutPlan(cost_ratio=1.2)
    _, verdict = advance(started(plan), arm(900, cost=1300), arm(9000, cost=1000), later(5))
    assert verdict.move is Move.ABORT
    assert "cost per 1,000 predictions 1.300000 against 1.000000 of stable" in verdict.reason
    assert advance(started(plan), arm(900, cost=1190), arm(9000, cost=1000), later(5))[1].move is Move.STEP
    assert advance(started(), arm(900, cost=9999), arm(9000, cost=1000), later(5))[1].move is Move.STEP


def test_a_declared_measure_that_nobody_measures_holds_the_rollout_and_says_so():
    for plan, missing in (
        (RolloutPlan(cost_ratio=1.2), "the cost of 200 predictions of each is not known yet"),
        (RolloutPlan(drift=0.1), "what 30 predictions of each said is not known yet"),
    ):
        _, verdict = advance(started(plan), arm(900), arm(9000), later(5))
        assert verdict.move is Move.WAIT
        assert missing in verdict.reason


def test_wrong_predictions_go_back_when_a_drop_is_declared():
    def judged(wrong, drop):
        state = started(RolloutPlan(accuracy_drop=drop, min_labelled=0))
        ours = replace(arm(1000), outcomes={"tn": 1000 - wrong, "fn": wrong})
        theirs = replace(arm(9000), outcomes={"correct": 8550, "wrong": 450})
        return advance(state, ours, theirs, later(5))[1]

    verdict = judged(110, 0.01)
    assert verdict.move is Move.ABORT
    assert "wrong predictions 11.00 % against 5.00 %" in verdict.reason
    assert "1000 labelled predictions" in verdict.reason
    assert judged(55, 0.01).move is Move.STEP


def test_predictions_that_drift_go_back_without_any_label():
    def judged(scores):
        state = started(RolloutPlan(drift=0.05, min_labelled=0))
        ours = replace(arm(1000, labelled=0), scores=scores)
        theirs = replace(arm(9000, labelled=0), scores={"0": 8100, "5": 450, "9": 450})
        return advance(state, ours, theirs, later(5))[1]

    assert judged({"0": 905, "5": 49, "9": 46}).move is Move.STEP
    verdict = judged({"0": 700, "5": 150, "9": 150})
    assert verdict.move is Move.ABORT
    assert "drift of predictions" in verdict.reason


def test_no_traffic_is_inconclusive_however_long_it_lasts():
    for on_timeout in ("abort", "promote"):
        state = started(RolloutPlan(max_duration_s=60, on_timeout=on_timeout))
        for ours, theirs, silent in ((arm(0), arm(500), "candidate"), (arm(5), arm(0), "stable")):
            _, verdict = advance(state, ours, theirs, later(6000))
            assert verdict.move is Move.WAIT
            assert verdict.reason == f"canary at 10 %: inconclusive: no traffic to {silent}"


def test_an_estimate_outside_its_bound_is_not_promoted_for_lack_of_evidence():
    state = started()
    _, verdict = advance(state, arm(100, loss=0.10, deviation=0.5), arm(900, deviation=0.5), later(5))
    assert verdict.move is Move.WAIT
    assert "log-loss 0.100 against 0.060 is not certain yet" in verdict.reason


def test_unlabelled_traffic_holds_a_rollout_that_asks_for_labels_and_not_one_that_does_not():
    assert advance(started(), arm(200, labelled=0), arm(1800, labelled=0), later(5))[1].move is Move.WAIT
    free = started(RolloutPlan(min_labelled=0))
    assert advance(free, arm(200, labelled=0), arm(1800, labelled=0), later(5))[1].move is Move.STEP


def test_a_declared_least_time_per_step_is_kept():
    state = started(RolloutPlan(min_step_s=30))
    assert advance(state, arm(500), arm(4000), later(29))[1].move is Move.WAIT
    assert advance(state, arm(500), arm(4000), later(30))[1].move is Move.STEP


def test_a_counter_that_began_again_begins_the_step_again_and_spends_alpha():
    state = started(first=arm(1000))
    state, verdict = advance(state, arm(3), arm(1100), later(5))
    assert verdict.move is Move.WAIT
    assert "began again" in verdict.reason
    assert (state.segment, state.step) == (2, 0)
    assert advance(state, arm(150), arm(2200), later(10))[1].move is Move.STEP


def test_counters_that_begin_again_for_ever_do_not_outlive_the_time_limit():
    state = started(RolloutPlan(max_duration_s=60), first=arm(1000))
    state, verdict = advance(state, arm(3), arm(1100), later(61))
    assert verdict.move is Move.ABORT
    assert state.phase is RolloutPhase.ROLLED_BACK


def test_the_state_survives_a_restart_in_the_store():
    state = started(RolloutPlan(steps=(5, 25, 60), cost_ratio=1.3), first=arm(10, cost=7))
    again = RolloutState.from_json(json.loads(json.dumps(state.to_json())))
    assert again == state
    looked = (arm(150, cost=7), arm(1350, cost=7), later(5))
    assert advance(again, *looked) == advance(state, *looked)


def test_a_person_can_end_it_once():
    state, verdict = abort(started(), "the candidate never became ready")
    assert (verdict.move, state.phase) == (Move.ABORT, RolloutPhase.ROLLED_BACK)
    assert abort(state, "again")[1].reason == "the candidate never became ready"


def test_a_canary_of_the_same_version_is_refused():
    with pytest.raises(ValueError, match="needs two versions"):
        begin(RolloutPlan(), REF, stable="sha256:a", candidate="sha256:a", now=NOW)


def blue_green(**bounds):
    return RolloutPlan(steps=(0, 100), way="blue-green", **bounds)


def test_blue_green_switches_all_of_the_traffic_at_once_and_is_held_to_what_stable_did_before():
    state = started(blue_green())
    state, verdict = advance(state, arm(0), arm(60), later(5))
    assert (verdict.move, verdict.weight) == (Move.WAIT, 0)
    assert "before the switch: stable has 60 of 100 requests" in verdict.reason
    state, verdict = advance(state, arm(0), arm(900), later(10))
    assert (verdict.move, verdict.weight, state.weight) == (Move.STEP, 100, 100)
    again = RolloutState.from_json(json.loads(json.dumps(state.to_json())))
    assert again == state
    good, verdict = advance(state, arm(120), arm(900), later(20))
    assert (verdict.move, good.phase) == (Move.PROMOTE, RolloutPhase.PROMOTED)
    bad, verdict = advance(state, arm(60, errors=30), arm(900), later(20))
    assert (verdict.move, verdict.weight, bad.weight) == (Move.ABORT, 0, 0)
    assert "errors 50.00 % against 0.00 % of stable" in verdict.reason


def test_blue_green_without_traffic_is_inconclusive_before_and_after_the_switch():
    state, verdict = advance(started(blue_green()), arm(0), arm(0), later(99_999))
    assert (verdict.move, verdict.weight) == (Move.WAIT, 0)
    assert "inconclusive: no traffic to stable" in verdict.reason
    state, _ = advance(state, arm(0), arm(900), later(99_999))
    _, verdict = advance(state, arm(0), arm(900), later(999_999))
    assert (verdict.move, verdict.weight) == (Move.WAIT, 100)
    assert "inconclusive: no traffic to candidate" in verdict.reason


def test_the_version_before_is_kept_running_while_all_of_the_traffic_is_on_trial():
    manifest = service({})
    state, _ = advance(started(blue_green()), arm(0), arm(900), later(10))
    shown = overlay(manifest, state)
    assert shown["spec"]["predictor"]["canaryTrafficPercent"] == 100
    assert shown["metadata"]["annotations"] == {"customhouse.dev/rollout-keep": "stable"}
    state, _ = advance(state, arm(120), arm(900), later(20))
    assert overlay(manifest, state) == manifest


def test_the_overlay_carries_the_weight_and_leaves_the_declaration_alone():
    manifest = service({})
    state = started()
    shown = overlay(manifest, state)
    assert shown["spec"]["predictor"]["canaryTrafficPercent"] == 10
    assert "canaryTrafficPercent" not in manifest["spec"]["predictor"]
    promoted, _ = advance(started(RolloutPlan(steps=(10,))), arm(120), arm(1080), later(10))
    assert overlay(shown, promoted) == manifest


def test_counters_are_read_from_observations_of_one_release():
    def seen(metric, value, *, release="new", instance="gateway", at=0, **labels):
        return Observation(later(at), "local", REF, release, metric, "1", value, instance, labels)

    observations = [
        seen("customhouse_requests_total", 5, code="200", at=0),
        seen("customhouse_requests_total", 9, code="200", at=5),
        seen("customhouse_requests_total", 7, code="200", at=3),
        seen("customhouse_requests_total", 1, code="500"),
        seen("customhouse_requests_total", 100, release="old", code="200"),
        seen("customhouse_request_errors_total", 1),
        seen("customhouse_request_duration_seconds_bucket", 8, le="0.01"),
        seen("customhouse_request_duration_seconds_bucket", 10, le="+Inf"),
        seen("customhouse_predictions_labelled_total", 4),
        seen("customhouse_prediction_log_loss_sum", 0.5),
        seen("customhouse_prediction_log_loss_squares_sum", 0.25),
        seen("customhouse_prediction_outcomes_total", 4, outcome="tn"),
        seen("customhouse_requests_total", 2, instance="second", code="200"),
        seen("customhouse_requests_total", float("nan"), instance="third", code="200"),
        seen("customhouse_request_duration_seconds_bucket", 7, le="soon"),
        seen("customhouse_request_duration_seconds_bucket", 7),
    ]
    assert arm_stats(observations, "new", REF) == ArmStats(
        requests=12,
        errors=1,
        latency={0.01: 8, float("inf"): 10},
        labelled=4,
        log_loss=0.5,
        log_loss_squares=0.25,
        outcomes={"tn": 4},
    )


def service(annotations, kind="InferenceService"):
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": kind,
        "metadata": {"name": "fraud-detection", "namespace": "fraud", "annotations": annotations},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}}}},
    }


def declared(steps=None, analysis=None, rollout="canary"):
    found = {"rollout": rollout, "rollout-steps": steps, "rollout-analysis": analysis}
    return service({f"customhouse.dev/{name}": text for name, text in found.items() if text is not None})


def test_a_declared_canary_is_read_with_its_units():
    plan = plan_of(
        declared(
            "5%, 25, 100",
            "min-requests=50, min-labelled=0; min-step=10s\nmax-duration=1h30m, on-timeout=promote, false-abort=0.5%, "
            "error-increase=2%, latency-quantile=p99, latency-ratio=x2, latency-increase=50ms, log-loss-increase=0.05, "
            "cost-ratio=1.2",
        )
    )
    assert plan == RolloutPlan((5, 25), 50, 0, 10.0, 5400.0, "promote", 0.005, 0.02, 0.99, 2.0, 0.05, 0.05, 1.2)


def test_blue_green_is_declared_without_steps():
    assert plan_of(declared(rollout="blue-green", analysis="drift=5%, accuracy-drop=1%")) == RolloutPlan(
        steps=(0, 100), way="blue-green", drift=0.05, accuracy_drop=0.01
    )
    with pytest.raises(DeclarationError, match="blue-green has no steps"):
        plan_of(declared("10", rollout="blue-green"))


def test_a_rollout_of_argo_is_walked_as_a_canary_and_not_otherwise():
    def argo(way, strategy, spec=None):
        metadata = {"name": "x", "namespace": "n", "annotations": {"customhouse.dev/rollout": way}}
        whole = {"template": {}, "strategy": strategy} if spec is None else spec
        return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": metadata, "spec": whole}

    assert plan_of(argo("canary", {"canary": {}})) == RolloutPlan()
    for wrong in (argo("blue-green", {"blueGreen": {}}), argo("canary", {"blueGreen": {}}), argo("canary", {}, [])):
        with pytest.raises(DeclarationError, match="walked as a canary alone"):
            plan_of(wrong)
    with pytest.raises(DeclarationError, match=r"no spec\.template of its own"):
        plan_of(argo("canary", {}, {"strategy": {"canary": {}}, "workloadRef": {"name": "x"}}))


def test_a_share_in_git_and_a_rollout_are_not_declared_together():
    """What Git says of it would come back with the promotion, and most of the traffic would be the old version's."""
    shared = {**declared(), "spec": {"predictor": {"model": {}, "canaryTrafficPercent": 10}}}
    with pytest.raises(DeclarationError, match="canaryTrafficPercent says a share too"):
        plan_of(shared)
    assert plan_of({**shared, "metadata": {"name": "x"}}) is None, "who walks by hand"


def test_without_the_annotation_there_is_no_canary_and_defaults_need_no_other():
    assert plan_of(service({})) is None
    assert plan_of({**service({}), "metadata": {"name": "x", "annotations": None}}) is None
    assert plan_of(declared()) == RolloutPlan()


def test_annotations_that_are_no_mapping_are_refused():
    with pytest.raises(DeclarationError, match=r"metadata\.annotations is not a mapping"):
        plan_of(service(["customhouse.dev/rollout: canary"]))


def deployment(**spec: Any) -> dict[str, Any]:
    """A plain Deployment with a canary."""
    annotations = {"customhouse.dev/rollout": "canary"}
    metadata = {"name": "fraud-detection", "namespace": "n", "annotations": annotations}
    whole = {"replicas": 2, "template": {"metadata": {"labels": {"app": "x"}}}, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": whole}


@pytest.mark.parametrize(
    ("manifest", "annotation", "says"),
    [
        (declared(rollout="blue"), "rollout", "'blue' is not a way to roll out"),
        (service({"customhouse.dev/rollout": "canary"}, kind="StatefulSet"), "rollout", "only an InferenceService"),
        (deployment(template=None), "rollout", "has no spec.template"),
        (deployment(replicas=0), "rollout", "does not say how many are shared"),
        (deployment(paused=True), "rollout", "spec.paused keeps"),
        (deployment(strategy={"type": "Recreate"}), "rollout", "Recreate ends all replicas"),
        (
            deployment(selector={"matchLabels": {"customhouse.dev/track": "a"}}),
            "rollout",
            "what the rollout itself writes",
        ),
        (service({"customhouse.dev/rollout-steps": "10"}), "rollout-steps", "has no effect without"),
        (declared("50,10"), "rollout-steps", "does not rise"),
        (declared("0,10"), "rollout-steps", "does not rise"),
        (declared("10,10"), "rollout-steps", "does not rise"),
        (declared("10,101"), "rollout-steps", "does not rise"),
        (declared("100"), "rollout-steps", "100 alone is no canary"),
        (declared("ten"), "rollout-steps", "'ten' cannot be read"),
        (declared(""), "rollout-steps", "cannot be read"),
        (declared(analysis="min-request=3"), "rollout-analysis", "did you mean min-requests?"),
        (declared(analysis="min-requests"), "rollout-analysis", "is not key=value"),
        (declared(analysis="min-requests=-1"), "rollout-analysis", "a whole number"),
        (declared(analysis="min-requests=1, min-requests=2"), "rollout-analysis", "given twice"),
        (declared(analysis="false-abort=0"), "rollout-analysis", "between 0.0001% and 50%"),
        (declared(analysis="false-abort=150%"), "rollout-analysis", "a share below 1"),
        (declared(analysis="latency-ratio=0.5"), "rollout-analysis", "at least 1"),
        (declared(analysis="latency-quantile=95"), "rollout-analysis", "p50 to p99.9"),
        (declared(analysis="max-duration=soon"), "rollout-analysis", "a duration"),
        (declared(analysis="max-duration=-5s"), "rollout-analysis", "not negative"),
        (declared(analysis="on-timeout=hope"), "rollout-analysis", "abort or promote"),
        (declared(analysis="log-loss-increase=0"), "rollout-analysis", "positive number of nats"),
        (declared(analysis="x=" + "1" * 2000), "rollout-analysis", "at most 1024 characters"),
    ],
)
def test_a_wrong_annotation_is_named_with_what_to_write(manifest, annotation, says):
    with pytest.raises(DeclarationError) as caught:
        plan_of(manifest)
    assert f"annotation customhouse.dev/{annotation}: " in str(caught.value)
    assert says in str(caught.value)
    assert "fraud-detection" in caught.value.where
