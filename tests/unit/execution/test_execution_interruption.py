"""Notices on nodes, and who leaves a node that goes: the pure part."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from customhouse.execution.interruption import CONDITIONS, TAINTS, Response, gravest, notices_of
from customhouse.execution.interruption_drain import Around, Occupant, Owner, Step, drain, occupant_of

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


def node(*taints: Any, conditions: Any = ()) -> dict[str, Any]:
    found = [item if isinstance(item, dict) else {"key": item, "effect": "NoSchedule"} for item in taints]
    return {
        "metadata": {"name": "n", "uid": "u"},
        "spec": {"taints": found},
        "status": {"conditions": list(conditions)},
    }


def pod(name: str, **more: Any) -> Occupant:
    given = {"owner": Owner("apps/v1", "ReplicaSet", "rs", "rs"), "ready": True, "running": True, **more}
    return Occupant("ns", name, name, "n", **given)


def job(name: str, **more: Any) -> Occupant:
    return pod(name, owner=Owner("batch/v1", "Job", name, f"job-{name}"), ready=False, **more)


def steps(
    pods: list[Occupant], left: float | None, *, waited: float = 0.0, around: Around | None = None
) -> dict[str, Step]:
    end = None if left is None else NOW + timedelta(seconds=left)
    ready = {"rs": sum(item.ready and not item.leaving for item in pods)}
    around = around or Around(ready, ready)
    return {step.pod.name: step for step in drain(pods, around, NOW, NOW - timedelta(seconds=waited), end)}


@pytest.mark.parametrize("key", sorted(TAINTS))
def test_each_taint_is_a_notice(key: str) -> None:
    (found,) = notices_of(node(key))
    assert (found.node, found.sign.name, found.moment) == ("n", key, None)


@pytest.mark.parametrize("kind", sorted(CONDITIONS))
def test_each_condition_is_a_notice_only_while_it_is_true(kind: str) -> None:
    message = "Preempt Scheduled: Mon, 23 Nov 2026 04:00:38 GMT"
    true, false = ({"type": kind, "status": word, "message": message} for word in ("True", "False"))
    (found,) = notices_of(node(conditions=[true]))
    assert found.moment == NOW + timedelta(seconds=38)
    assert notices_of(node(conditions=[false])) == ()


@pytest.mark.parametrize("message", ["Freeze Scheduled: Mon, 23 Nov 2026 04:00:38 GMT", "Reboot Scheduled: soon", ""])
def test_a_machine_that_comes_back_is_not_drained(message: str) -> None:
    assert notices_of(node(conditions=[{"type": "VMEventScheduled", "status": "True", "message": message}])) == ()


@pytest.mark.parametrize("message", ["Preempt Scheduled: soon", "Preempt Scheduled: Mon, 99 Nov 2026 04:00:38 GMT", ""])
def test_a_moment_that_cannot_be_read_leaves_the_notice_with_the_least_time(message: str) -> None:
    (found,) = notices_of(node(conditions=[{"type": "PreemptScheduled", "status": "True", "message": message}]))
    assert (found.moment, found.deadline(NOW)) == (None, NOW + timedelta(seconds=30))


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"spec": None, "status": None, "metadata": None},
        {"spec": {"taints": "x"}, "status": {"conditions": {}}},
        node(conditions=[None, "x", {"type": 3, "status": "True"}]),
        {"spec": {"taints": [None, 3, {"key": ["x"]}]}},
    ],
)
def test_a_node_that_says_nonsense_says_nothing(manifest: dict[str, Any]) -> None:
    assert notices_of(manifest) == ()


def test_an_own_taint_says_how_long_there_is() -> None:
    for value, seconds in (("90s", 90), ("90", 90), ("", 120), ("soon", 120), ("0", 120), ("999999999999", 120)):
        (found,) = notices_of(node({"key": "customhouse.dev/interruption", "value": value}))
        assert found.deadline(NOW) == NOW + timedelta(seconds=seconds)


def test_of_two_notices_the_gravest_counts_and_of_those_the_one_with_less_time() -> None:
    both = notices_of(node("aws-node-termination-handler/rebalance-recommendation", "karpenter.sh/disrupted"))
    found = gravest(both, NOW)
    assert found is not None
    assert found.sign.response is Response.THEIRS
    found = gravest(
        notices_of(node("aws-node-termination-handler/spot-itn", "cloud.google.com/impending-node-termination")), NOW
    )
    assert found is not None
    assert found.sign.seconds == 30


def test_the_time_of_a_late_notice_runs_from_when_it_was_set() -> None:
    taint = {"key": "aws-node-termination-handler/spot-itn", "timeAdded": "2026-11-23T03:59:00Z"}
    (found,) = notices_of(node(taint))
    assert found.deadline(NOW) == NOW + timedelta(seconds=60)
    (ahead,) = notices_of(node({**taint, "timeAdded": "2026-11-23T05:00:00Z"}))  # clocks differ
    assert ahead.deadline(NOW) == NOW + timedelta(seconds=120)


def test_what_saves_its_state_goes_at_once_and_gets_no_longer_than_there_is() -> None:
    found = steps([job("a", checkpoint="/s", grace_s=25), job("b", checkpoint="/s", grace_s=600)], 125)
    assert (found["a"].evict, found["a"].grace_s) == (True, None)
    assert (found["b"].evict, found["b"].grace_s) == (True, 120)


def test_what_saves_nothing_runs_on_until_the_last_moment() -> None:
    assert not steps([job("a")], 120)["a"].evict
    assert steps([job("a")], 34)["a"].evict
    assert steps([job("a")], None)["a"].evict


def test_a_node_that_should_be_gone_and_is_not_gives_each_pod_its_own_time() -> None:
    assert steps([job("a", checkpoint="/s", grace_s=600)], -60)["a"] == Step(
        job("a", checkpoint="/s", grace_s=600), evict=True
    )


def test_replicas_go_one_after_the_other_and_all_when_time_runs_out() -> None:
    pods = [pod("a"), pod("b", priority=5)]
    found = steps(pods, 120)
    assert (found["b"].evict, found["a"].evict) == (True, False)
    ready = Around({"rs": 1}, {"rs": 2}, frozenset({"b"}))
    assert not steps([pod("a"), pod("b")], 120, around=ready)["a"].evict
    assert {step.evict for step in steps(pods, 40).values()} == {True}


def test_where_nobody_says_when_the_node_goes_a_replica_waits_five_minutes_for_the_one_before() -> None:
    ready = Around({"rs": 1}, {"rs": 2})
    assert not steps([pod("a")], None, waited=299, around=ready)["a"].evict
    assert steps([pod("a")], None, waited=301, around=ready)["a"].evict


def test_after_five_minutes_they_still_go_one_by_one_and_the_next_waits_from_the_last() -> None:
    pods = [pod("a"), pod("b"), pod("c")]
    late = steps(pods, None, waited=301, around=Around({"rs": 2}, {"rs": 3}))
    assert sum(step.evict for step in late.values()) == 1
    before = Around({"rs": 2}, {"rs": 3}, frozenset({"a"}), last={"rs": NOW - timedelta(seconds=1)})
    assert not any(step.evict for step in steps(pods, None, waited=301, around=before).values())


def test_a_replica_that_leaves_another_node_holds_up_this_one() -> None:
    held = Around({"rs": 2}, {"rs": 2}, busy=frozenset({"rs"}))
    assert not steps([pod("a")], 120, around=held)["a"].evict


def test_what_is_of_the_node_has_ended_or_leaves_is_not_asked() -> None:
    found = steps([pod("a", of_node=True), pod("b", ended=True), pod("c", leaving=True)], 10)
    assert not any(step.evict for step in found.values())
    assert set(found) == {"c"}


def test_a_pod_is_read_as_the_api_has_it() -> None:
    manifest = {
        "metadata": {
            "name": "p",
            "namespace": "ns",
            "uid": "1",
            "annotations": {"customhouse.dev/checkpoint": "/state"},
            "labels": {"customhouse.dev/tier": "batch"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"},
                {"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "j", "controller": True},
            ],
            "deletionTimestamp": "2026-11-23T04:00:00Z",
        },
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 25, "priority": 7},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"},
            ],
        },
    }
    owner = Owner("batch/v1", "Job", "train", "j")
    assert occupant_of(manifest) == Occupant(
        "ns",
        "p",
        "1",
        "n",
        owner,
        grace_s=25,
        priority=7,
        leaving=True,
        ready=True,
        running=True,
        checkpoint="/state",
        tier="batch",
        evicted=True,
    )


@pytest.mark.parametrize("kind", ["DaemonSet", "Node"])
def test_pods_of_the_node_itself_are_known_by_their_owner(kind: str) -> None:
    reference = {"apiVersion": "v1", "kind": kind, "name": "x", "uid": "x", "controller": True}
    assert occupant_of({"metadata": {"ownerReferences": [reference]}}).of_node
    assert occupant_of({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}).of_node
