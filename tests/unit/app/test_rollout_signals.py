"""What a look at a cluster's rollouts goes by: live objects, counters by revision, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from customhouse.app.memory import ROLLOUT, Memory, key_of
from customhouse.app.metrics_spec import MetricsSpec
from customhouse.app.rollout_kinds import walked_release
from customhouse.app.rollout_signals import Ask, Signals, cluster_signals, filled
from customhouse.app.rollouts import Rollouts, Walk
from customhouse.control.rollout import Move, arm_stats, begin, plan_of
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.cluster import Cluster
from customhouse.core.errors import TargetError
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.store import open_store

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def rollout(image: str, *, ours: bool = True, **status: Any) -> dict[str, Any]:
    annotations = {"customhouse.dev/rollout": "canary"} if ours else {}
    metadata = {"name": "x", "namespace": "n", "generation": 2, "annotations": annotations}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    strategy = {"canary": {"steps": [{"setWeight": 5}]}}
    found = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": metadata}
    found["spec"] = {"replicas": 4, "template": template, "strategy": strategy}
    return {**found, "status": {"observedGeneration": "2", **status}} if status else found


PAUSED = {
    "phase": "Paused",
    "pauseConditions": [{"reason": "CanaryPauseStep"}],
    "currentPodHash": "new",
    "stableRS": "old",
}
REF = ResourceRef.of(rollout("a"))


def walk() -> Walk:
    plan = plan_of(rollout("b"))
    assert plan is not None
    stable, candidate = (walked_release(rollout(image)) for image in ("a", "b"))
    assert stable is not None
    assert candidate is not None
    return Walk(begin(plan, REF, stable=stable, candidate=candidate, now=NOW), rollout("a"), "c1")


@dataclass(frozen=True)
class Number:
    value: float
    labels: dict[str, str]


def asked(query: str, _: datetime) -> Sequence[Number]:
    ours = 'revision="new"' in query
    assert 'namespace="n",service="x"' in query
    if "requests_total" in query:
        return [Number(50.0 if ours else 150.0, {})]
    if "bucket" in query:
        return [Number(50.0, {"le": "0.1", "pod": "p"}), Number(50.0, {"le": "+Inf"})]
    return []


def signals(live: Any, ask: Ask | None = asked) -> Signals:
    cluster = cast(Cluster, SimpleNamespace(get=lambda refs: [live for _ in refs]))
    return cluster_signals(cluster, {REF: walk()}, MetricsSpec(), ask, NOW)


def test_counters_of_two_revisions_become_those_of_two_releases() -> None:
    found = signals(rollout("b", **PAUSED))
    assert found.unknown == {}
    assert found.live[REF].health.status is HealthStatus.HEALTHY
    state = walk().state
    assert arm_stats(found.observations, state.candidate, REF).requests == 50
    stable = arm_stats(found.observations, state.stable, REF)
    assert (stable.requests, stable.latency) == (150, {0.1: 50, float("inf"): 50})


def refusing(query: str, _: datetime) -> Sequence[Number]:
    raise TargetError("Prometheus cannot be asked")


@pytest.mark.parametrize(
    ("live", "ask", "why"),
    [
        (None, asked, "it is not in the cluster"),
        (rollout("b", **PAUSED), None, "metrics.prometheus of customhouse.yaml names no server"),
        (rollout("b", **PAUSED), refusing, "Prometheus cannot be asked"),
        (rollout("b", phase="Progressing", message="more replicas"), asked, "does not name two revisions yet"),
    ],
)
def test_what_is_not_known_makes_a_rollout_wait_and_is_said(live: Any, ask: Ask | None, why: str) -> None:
    found = signals(live, ask)
    assert why in found.unknown[REF]
    assert found.observations == ()


def rollouts_of(folder: Path, *walks: Walk) -> Rollouts:
    memory = Memory(open_store(folder / f"state-{len(walks)}.db").state)
    memory.put({key_of(ROLLOUT, item.state.resource): item.to_json() for item in walks})
    return Rollouts(memory)


def test_unknown_numbers_move_nothing_but_a_candidate_that_does_not_come_up_goes_back_all_the_same(
    tmp_path: Path,
) -> None:
    rollouts = rollouts_of(tmp_path, walk())
    assert list(rollouts.walks()) == [REF]
    fine = signals(rollout("b", **PAUSED), refusing)
    assert rollouts.advance(fine.observations, fine.live, NOW, fine.unknown) == ()
    broken = signals(rollout("b", **{**PAUSED, "phase": "Degraded", "abort": True, "message": "timed out"}), refusing)
    (moved,) = rollouts.advance(broken.observations, broken.live, NOW, broken.unknown)
    assert moved.verdict.move is Move.ABORT
    assert "does not become ready" in moved.verdict.reason


def test_a_rollout_of_ours_has_the_steps_of_its_walk_and_none_else(tmp_path: Path) -> None:
    def declared(manifest: Any) -> Declaration:
        return Declaration(ResourceRef.of(manifest), manifest, Location("x.yaml"))

    def steps(manifest: Any) -> Any:
        return manifest["spec"]["strategy"]["canary"]["steps"]

    walking, resting = rollouts_of(tmp_path, walk()), rollouts_of(tmp_path)
    given = (declared(rollout("b")),)
    assert steps(walking.shaped(given)[0].manifest) == [{"setWeight": 10}, {"pause": {}}]
    assert steps(resting.shaped(given)[0].manifest) == []
    assert resting.shaped(given) is resting.shaped(given), "what did not change is not looked at again"
    foreign = (declared(rollout("b", ours=False)),)
    assert resting.shaped(foreign) is foreign, "Argo's own business"


def test_names_are_put_into_queries_as_text() -> None:
    ref = ResourceRef("v1", "X", 'n"', "x")
    assert filled('sum(a{n="$namespace",r="$revision"})', ref, "r-1") == 'sum(a{n="n\\"",r="r-1"})'


def inference(model: str) -> dict[str, Any]:
    metadata = {"name": "x", "namespace": "n", "annotations": {"customhouse.dev/rollout": "canary"}}
    predictor = {"model": {"modelFormat": {"name": "onnx"}, "storageUri": f"pvc://models/{model}"}}
    found = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata}
    return {**found, "spec": {"predictor": predictor}}


@pytest.mark.parametrize("routed", [True, False])
def test_going_back_is_a_weight_where_the_version_before_is_kept_as_a_revision(tmp_path: Path, *, routed: bool) -> None:
    """KServe would start the stable version anew, and the bad one would serve until that is ready."""
    old, new = inference("a"), inference("b")
    ref = ResourceRef.of(new)
    components = {"predictor": {"latestCreatedRevision": "x-00001", "latestRolledoutRevision": "x-00001"}}
    live = {ref: LiveObject(ref, old, Health(HealthStatus.HEALTHY, ""), {"components": components} if routed else {})}
    memory = Memory(open_store(tmp_path / "state.db").state)
    rollouts = Rollouts(memory)
    before, after = (Declaration(ref, manifest, Location("x.yaml")) for manifest in (old, new))
    change = Change(Operation.UPDATE, ref, before, after, None, Actor(ActorKind.PERSON, "Ada"))
    documents, (begun,) = rollouts.begun_by([change], live, "c2", (), NOW)
    memory.put(documents)
    assert begun.routed is routed
    broken = {ref: LiveObject(ref, new, Health(HealthStatus.DEGRADED, "no replica"), {})}
    (moved,) = rollouts.advance([], broken, NOW)
    memory.put(moved.documents)
    (shown,) = rollouts.shaped((after,))
    predictor = shown.manifest["spec"]["predictor"]
    assert predictor["model"]["storageUri"] == f"pvc://models/{'b' if routed else 'a'}"
    assert predictor.get("canaryTrafficPercent") == (0 if routed else None)
