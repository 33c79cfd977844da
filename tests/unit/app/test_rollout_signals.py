"""What a look at a cluster's rollouts goes by: live objects, counters by revision, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from customhouse.app.memory import ROLLOUT, Memory, key_of
from customhouse.app.metrics_spec import MetricsSpec
from customhouse.app.rollout_argo import Marks
from customhouse.app.rollout_kinds import Course, walked_release
from customhouse.app.rollout_signals import Ask, Signals, cluster_signals, filled, worth_telling
from customhouse.app.rollouts import Moved, Rollouts, Walk
from customhouse.control.rollout import Move, arm_stats, begin, plan_of
from customhouse.control.rollout_plan import KEEP
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.cluster import Cluster
from customhouse.core.errors import DeclarationError, TargetError
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.execution.health import health
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
        (rollout("b", phase="Progressing", message="more replicas"), asked, "names no second revision yet"),
        (rollout("b", **{**PAUSED, "observedGeneration": "1"}), asked, "names no second revision yet"),
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
        return manifest["spec"]["strategy"]["canary"].get("steps")

    walking, resting = rollouts_of(tmp_path, walk()), rollouts_of(tmp_path)
    given = (declared(rollout("b")),)
    assert steps(walking.shaped(given)[0].manifest) == [{"setWeight": 10}, {"pause": {}}]
    assert steps(resting.shaped(given)[0].manifest) == [{"setWeight": 100}]
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


FIRST, SECOND, THIRD = "x-00001", "x-00002", "x-00003"
DECLARED = Declaration(ResourceRef.of(inference("a")), inference("a"), Location("x.yaml"))


def declaration(model: str, **annotations: str) -> Declaration:
    manifest = inference(model)
    manifest["metadata"]["annotations"] |= {f"customhouse.dev/{key}": value for key, value in annotations.items()}
    return replace(DECLARED, manifest=manifest)


def kserve(created: str, ready: str, rolled: str, newest: int, percent: int | None, **status: Any) -> LiveObject:
    """What KServe says of `x`, and whether it is well; `newest` is the share of the newest ready revision."""
    manifest = inference("?")
    if percent is not None:
        manifest["spec"]["predictor"]["canaryTrafficPercent"] = percent
    traffic = [{"revisionName": ready, "percent": newest, "latestRevision": True}]
    traffic += [{"revisionName": rolled, "percent": 100 - newest, "tag": "prev"}] if newest < 100 else []
    revisions = {"latestCreatedRevision": created, "latestReadyRevision": ready, "latestRolledoutRevision": rolled}
    said = {"deploymentMode": "Knative", "components": {"predictor": {**revisions, "traffic": traffic}}}
    state = "True" if created == ready else "Unknown"
    status = {**said, "conditions": [{"type": "Ready", "status": state}], **status}
    whole = {**manifest, "status": status}
    return LiveObject(DECLARED.ref, whole, health(whole), status)


class Desk:
    """Rollouts of one service, the commits that change it, and looks at what a cluster says of it."""

    def __init__(self, folder: Path) -> None:
        self.memory = Memory(open_store(folder / "state.db").state)
        self.rollouts = Rollouts(self.memory)

    def changed(self, before: str, after: str, live: LiveObject, known: tuple[str, ...] = ()) -> tuple[Walk, ...]:
        old, new = declaration(before), declaration(after)
        change = Change(Operation.UPDATE, new.ref, old, new, None, Actor(ActorKind.PERSON, "Ada"))
        documents, walks = self.rollouts.begun_by([change], {new.ref: live}, "c", known, NOW)
        self.memory.put(documents)
        return walks

    def look(self, live: LiveObject, at: datetime = NOW) -> tuple[Moved, ...]:
        cluster = cast(Cluster, SimpleNamespace(get=lambda refs: [live.manifest for _ in refs]))
        self.rollouts.land(lambda _: {live.ref: live}, at)
        walks = self.rollouts.walks()
        found = cluster_signals(cluster, walks, MetricsSpec(), lambda *_: (), at)
        moved = self.rollouts.advance(found.observations, found.live, at, found.unknown)
        for item in moved:
            self.memory.put(item.documents)
        return moved

    def share(self, model: str) -> int | None:
        (shown,) = self.rollouts.shaped((declaration(model),))
        found: int | None = shown.manifest["spec"]["predictor"].get("canaryTrafficPercent")
        assert KEEP not in shown.manifest["metadata"]["annotations"], "an annotation would be another revision"
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_candidate_has_no_share_before_its_own_revision_is_ready(desk: Desk) -> None:
    """Knative gives the share to the newest ready revision: after a rollback that is the one that was worse."""
    desk.changed("a", "b", kserve(FIRST, FIRST, FIRST, 100, None))
    assert desk.share("b") == 0
    for early in (
        kserve(FIRST, FIRST, FIRST, 100, 0),  # KServe has not looked
        kserve(FIRST, FIRST, FIRST, 0, 0),  # the shares are there, its revision is not
        kserve(SECOND, FIRST, FIRST, 0, 0),  # it is not ready
        kserve(SECOND, SECOND, FIRST, 100, 0),  # it is ready, and the shares are another's
    ):
        assert desk.look(early) == ()
        assert desk.share("b") == 0
    (moved,) = desk.look(kserve(SECOND, SECOND, FIRST, 0, 0))
    assert (moved.verdict.move, desk.share("b")) == (Move.WAIT, 10)


def test_what_the_version_before_fails_with_is_not_held_against_the_candidate(desk: Desk) -> None:
    failed = [{"type": "Ready", "status": "False", "reason": "RevisionFailed"}]
    desk.changed("b", "c", kserve(SECOND, FIRST, FIRST, 0, 0, conditions=failed))
    assert desk.look(kserve(SECOND, FIRST, FIRST, 0, 0, conditions=failed)) == ()
    (moved,) = desk.look(kserve(THIRD, FIRST, FIRST, 0, 0, conditions=failed))
    assert moved.verdict.move is Move.ABORT
    assert desk.share("c") == 0


def test_a_candidate_that_never_comes_is_given_up_only_where_it_was_applied(desk: Desk) -> None:
    desk.changed("a", "b", kserve(FIRST, FIRST, FIRST, 100, None))
    late = NOW + timedelta(hours=2)
    assert desk.look(kserve(FIRST, FIRST, FIRST, 100, None), late) == (), "a cluster that is observed alone"
    (moved,) = desk.look(kserve(SECOND, FIRST, FIRST, 0, 0), late)
    assert moved.verdict.reason == "the new release is not ready after 3600 s"


def test_going_back_is_a_weight_and_the_revert_gets_no_share_before_it_is_ready(desk: Desk) -> None:
    (begun,) = desk.changed("a", "b", kserve(FIRST, FIRST, FIRST, 100, None))
    desk.look(kserve(SECOND, SECOND, FIRST, 0, 0))
    broken = [{"type": "Ready", "status": "False", "reason": "RevisionFailed"}]
    (moved,) = desk.look(kserve(SECOND, SECOND, FIRST, 10, 10, conditions=broken))
    assert moved.verdict.move is Move.ABORT
    assert desk.share("b") == 0
    # The revert: the same release as before, and the newest ready revision is the bad one until its own is ready.
    assert desk.changed("b", "a", kserve(SECOND, SECOND, FIRST, 0, 0), (begun.state.stable,)) == ()
    for early in (kserve(SECOND, SECOND, FIRST, 0, 0), kserve(THIRD, SECOND, FIRST, 0, 0)):
        desk.look(early, NOW + timedelta(days=1))
        assert desk.share("a") == 0
        assert desk.rollouts.unfinished()
    desk.look(kserve(THIRD, THIRD, FIRST, 0, 0))
    assert desk.share("a") is None
    assert not desk.rollouts.unfinished()


def test_a_fix_after_a_rollback_is_held_against_what_serves(desk: Desk) -> None:
    desk.changed("a", "b", kserve(FIRST, FIRST, FIRST, 100, None))
    broken = [{"type": "Ready", "status": "False", "reason": "RevisionFailed"}]
    desk.look(kserve(SECOND, SECOND, FIRST, 0, 0, conditions=broken))
    (walk,) = desk.changed("b", "c", kserve(SECOND, SECOND, SECOND, 0, 0))  # KServe has not put it right yet
    assert walk.course == Course(FIRST, SECOND)
    assert walk.state.stable == walked_release(inference("a"))
    assert desk.share("c") == 0


def test_a_change_that_nobody_walks_is_promoted_when_its_revision_is_ready(desk: Desk) -> None:
    assert desk.changed("a", "b", kserve(FIRST, "", "", 100, None)) == (), "nothing has served: nothing to compare with"
    assert desk.share("b") is None
    assert desk.rollouts.unfinished()
    desk.look(kserve(FIRST, FIRST, FIRST, 100, None))
    assert desk.rollouts.unfinished(), "the version before"
    desk.look(kserve(SECOND, SECOND, SECOND, 100, None))
    assert not desk.rollouts.unfinished()
    desk.changed("b", "a", kserve(SECOND, SECOND, SECOND, 100, None), (str(walked_release(inference("a"))),))
    desk.look(kserve(SECOND, SECOND, SECOND, 100, None), NOW + timedelta(minutes=6))
    assert not desk.rollouts.unfinished(), "KServe made nothing new of it"


@pytest.mark.parametrize("mode", ["Standard", "RawDeployment", "ModelMesh"])
def test_a_rollout_where_kserve_shares_no_traffic_is_refused(desk: Desk, mode: str) -> None:
    live = kserve("", "", "", 100, None, deploymentMode=mode, observedGeneration=3)
    with pytest.raises(DeclarationError, match=f"in its mode {mode}, where a new version has all of the traffic"):
        desk.changed("a", "b", live)
    assert not desk.rollouts.walks()
    assert desk.changed("a", "b", live, (str(walked_release(inference("b"))),)) == (), "what was good goes straight"


@pytest.mark.parametrize("part", ["transformer", "explainer"])
def test_what_is_not_walked_does_not_change_along_with_what_is(desk: Desk, part: str) -> None:
    live, old, new = kserve(FIRST, FIRST, FIRST, 100, None), declaration("a"), declaration("b")
    new = replace(new, manifest={**new.manifest, "spec": {**new.manifest["spec"], part: {"containers": []}}})
    change = Change(Operation.UPDATE, new.ref, old, new, None, Actor(ActorKind.PERSON, "Ada"))
    with pytest.raises(DeclarationError, match=f"the {part} changes too"):
        desk.rollouts.begun_by([change], {new.ref: live}, "c", (), NOW)


def test_the_local_target_goes_back_to_the_manifest_before(desk: Desk) -> None:
    live = LiveObject(DECLARED.ref, inference("a"), Health(HealthStatus.HEALTHY, ""), {"local": {}})
    (begun,) = desk.changed("a", "b", live)
    assert begun.course is None
    (moved,) = desk.rollouts.advance([], {DECLARED.ref: replace(live, health=Health(HealthStatus.DEGRADED, "x"))}, NOW)
    desk.memory.put(moved.documents)
    (shown,) = desk.rollouts.shaped((declaration("b"),))
    assert shown.manifest["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/a"


def test_what_somebody_else_promoted_is_followed_and_what_is_not_applied_yet_says_nothing() -> None:
    done = {"phase": "Healthy", "currentPodHash": "new", "stableRS": "new", "updatedReplicas": 4}
    marked = replace(walk(), marks=Marks("old", "old"))

    def seen(live: Any, at: datetime = NOW) -> Signals:
        cluster = cast(Cluster, SimpleNamespace(get=lambda refs: [live for _ in refs]))
        return cluster_signals(cluster, {REF: marked}, MetricsSpec(), asked, at)

    assert "somebody promoted it" in seen(rollout("b", **done)).promoted[REF]
    assert seen(rollout("b", **done)).without([REF]).promoted == {}
    still = rollout("b", **{**done, "currentPodHash": "old", "stableRS": "old"})
    assert seen(still).promoted == {}, "the version before, not taken in yet"
    assert "the same as before" in seen(still, NOW + timedelta(minutes=2)).promoted[REF]
    failed = rollout("b", **{**PAUSED, "phase": "Degraded", "currentPodHash": "old", "message": "the one before"})
    assert seen(failed).live[REF].health.status is HealthStatus.PROGRESSING, "not its own failure"
    apart = seen(rollout("b", **{**PAUSED, "phase": "Degraded"})).without([REF])
    assert (apart.live[REF].health.status, apart.observations) == (HealthStatus.PROGRESSING, ())
    told = {REF: "why"}
    assert worth_telling(told, {REF: marked}, NOW) == []
    assert worth_telling(told, {REF: marked}, NOW + timedelta(minutes=1)) == [f"{REF} waits: why"]
