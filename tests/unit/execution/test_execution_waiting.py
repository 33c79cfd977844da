"""What pods say of why they do not run, in the words that the scheduler and the kubelet write (PodStatus)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse.execution.waiting import pods_of, why_waiting

UNSCHEDULABLE = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def pod(*containers: dict[str, Any], phase: str = "Pending", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "status": {"phase": phase, "containerStatuses": list(containers), **status}}


def container(state: dict[str, Any], last: dict[str, Any] | None = None, *, ready: bool = False) -> dict[str, Any]:
    return {"name": "m", "image": "r.example/m:1", "ready": ready, "state": state, "lastState": last or {}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def test_no_room_is_told_with_the_schedulers_words_once_for_all_its_pods() -> None:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": UNSCHEDULABLE}
    assert why_waiting([pod(conditions=[scheduled])] * 3) == f"no node for it: {UNSCHEDULABLE} (3 pods)"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            container(waiting("ImagePullBackOff", "Back-off 5m0s")),
            "container m: the image r.example/m:1 cannot be pulled",
        ),
        (container(waiting("ErrImagePull", "not found")), "container m: the image r.example/m:1 cannot be pulled"),
        (
            container(
                waiting("CrashLoopBackOff", "back-off 40s"), {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
            ),
            "container m ends again and again with exit code 137 (OOMKilled)",
        ),
        (
            container(waiting("CreateContainerConfigError", 'secret "x" not found')),
            'container m: CreateContainerConfigError: secret "x" not found',
        ),
        (container({"running": {}}), "container m runs and is not ready"),
        (
            container({"running": {}}, {"terminated": {"exitCode": 1, "reason": "Error"}}),
            "container m ended with exit code 1 and is not ready again",
        ),
        (container(waiting("ContainerCreating")), ""),
        (container({"running": {}}, ready=True), ""),
    ],
)
def test_what_a_container_waits_for(found: dict[str, Any], said: str) -> None:
    assert why_waiting([pod(found)]) == said


def test_the_most_frequent_comes_first_and_two_are_told() -> None:
    made = [pod(phase="Failed", message=text) for text in ("a", "b", "b", "c", "c", "c")]
    assert why_waiting(made) == "c (3 pods); b (2 pods)"


def test_pods_that_leave_or_are_done_say_nothing() -> None:
    leaving = {**pod(container({"running": {}})), "metadata": {"deletionTimestamp": "2026-11-23T00:00:00Z"}}
    assert why_waiting([leaving, pod(phase="Succeeded")]) == ""


def test_whose_pods_they_are() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"app": "m"}, "matchExpressions": expressions}
    deployment = {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"selector": selector}}
    assert pods_of(deployment) == "app=m,tier in (a,b),!old"
    assert pods_of({"kind": "Job", "metadata": {"name": "j"}}) == "batch.kubernetes.io/job-name=j"
    assert pods_of({"kind": "ConfigMap", "metadata": {"name": "c"}}) == ""
    odd = {"kind": "Deployment", "spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}}
    assert pods_of(odd) == "", "what is not understood selects nothing, and never everything"


_NAMES = (
    "metadata",
    "status",
    "conditions",
    "containerStatuses",
    "state",
    "waiting",
    "lastState",
    "type",
    "reason",
    "phase",
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=4))
def test_nonsense_is_no_crash(made: dict[str, Any]) -> None:
    assert isinstance(why_waiting([made]), str)
    assert isinstance(pods_of({**made, "kind": "Deployment"}), str)
