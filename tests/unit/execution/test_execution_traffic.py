"""Objects with other weights, and what their status says: KServe, Argo Rollouts, HTTPRoute, plain Deployments."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse.core.errors import DeclarationError
from customhouse.core.release import TRACK
from customhouse.execution.plain_traffic import (
    RELEASE,
    candidate_deployment,
    candidate_service,
    deployment_release,
    routed_services,
    selects,
    shared_route,
    strangers_among,
    tracked_deployment,
    tracked_service,
)
from customhouse.execution.traffic import (
    deployment_status,
    replica_split,
    rollout_release,
    rollout_status,
    route_status,
    second_deployment,
    stepped_rollout,
)


def rollout(strategy: Any, **status: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "r/c:2"}]}}
    spec = {"replicas": 4, "template": template, "strategy": strategy}
    found = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"generation": 2}, "spec": spec}
    return {**found, "status": {"observedGeneration": "2", **status}} if status else found


def test_a_rollout_goes_to_the_weight_and_waits_there() -> None:
    declared = rollout({"canary": {"steps": [{"setWeight": 5}, {"pause": {"duration": "1h"}}], "maxSurge": 1}})
    asked = stepped_rollout(declared, 20)
    assert asked["spec"]["strategy"] == {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}], "maxSurge": 1}}
    assert stepped_rollout(declared, None)["spec"]["strategy"] == {
        "canary": {"steps": [{"setWeight": 100}], "maxSurge": 1}
    }
    assert rollout_release(asked) == rollout_release(declared)
    switch = rollout({"blueGreen": {"activeService": "x"}})
    for percent, promotes in ((0, False), (100, True), (None, True)):
        found = stepped_rollout(switch, percent)["spec"]["strategy"]["blueGreen"]
        assert found == {"activeService": "x", "autoPromotionEnabled": promotes}


@pytest.mark.parametrize(
    ("manifest", "percent", "says"),
    [
        (rollout({"blueGreen": {"activeService": "x"}}), 20, "blue-green Rollout cannot have 20 %"),
        (rollout({}), 20, "names no strategy"),
        (rollout({"canary": {}}), 101, "101 is not a share"),
    ],
)
def test_a_weight_that_makes_no_sense_is_refused(manifest: Any, percent: int, says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        stepped_rollout(manifest, percent)


def test_a_rollout_is_ready_for_more_when_it_waits_at_its_weight() -> None:
    strategy = {"canary": {}}
    paused = {"phase": "Paused", "pauseConditions": [{"reason": "CanaryPauseStep"}]}
    hashes = {"currentPodHash": "new", "stableRS": "old", "updatedReplicas": 1, "availableReplicas": 4}
    said = rollout_status(rollout(strategy, **paused, **hashes))
    assert (said.ready, said.candidate, said.stable, said.weights) == (True, "new", "old", {"old": 75, "new": 25})
    assert not rollout_status(rollout(strategy, phase="Progressing", **hashes)).ready
    assert not rollout_status(rollout(strategy, **paused, **{**hashes, "observedGeneration": "1"})).ready
    assert not rollout_status(rollout(strategy)).ready
    late = rollout_status(rollout(strategy, **paused, **hashes), before="new")
    assert (late.current, late.candidate, late.ended) == (False, "", ""), "the revision of the template before"
    asked = rollout({"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}, **paused, **hashes, replicas=4)
    assert not rollout_status(asked).ready, "the pause of the step before"
    asked["status"]["updatedReplicas"] = 2
    assert rollout_status(asked).ready
    asked["status"]["canary"] = {"weights": {"canary": {"weight": 25}}}
    assert not rollout_status(asked).ready, "the router was told of less"
    user = {"phase": "Paused", "pauseConditions": [{"reason": "UserDefined"}]}
    assert not rollout_status(rollout(strategy, **user, **hashes)).ready
    assert rollout_status(rollout(strategy, phase="Degraded", abort=True, **hashes)).ended == "aborted"
    done = rollout_status(rollout(strategy, phase="Healthy", currentPodHash="new", stableRS="new"))
    assert (done.ready, done.ended, done.candidate, done.weights) == (True, "promoted", "", {"new": 100})


def backend(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "port": 80, **more}


def test_a_route_gives_a_part_of_what_its_service_has_and_leaves_the_others_alone() -> None:
    other = {"backendRefs": [backend("other")], "filters": [{"type": "RequestMirror"}]}
    elsewhere = backend("old", namespace="far")
    both = {"backendRefs": [backend("old", weight=3), backend("third", weight=7), elsewhere]}
    route = {"kind": "HTTPRoute", "metadata": {"generation": 1, "namespace": "n"}, "spec": {"rules": [other, both]}}
    assert routed_services(route) == {"other", "old", "third"}
    found = shared_route(route, {"old"}, 30)
    assert found["spec"]["rules"][0] == other
    weights = {
        (item["name"], item.get("namespace", "")): item.get("weight")
        for item in found["spec"]["rules"][1]["backendRefs"]
    }
    assert weights == {("old", ""): 210, ("old-candidate", ""): 90, ("third", ""): 700, ("old", "far"): 100}
    assert both["backendRefs"][0]["weight"] == 3

    def weighed(percent: int, *backends: dict[str, Any]) -> list[int]:
        one = shared_route({**route, "spec": {"rules": [{"backendRefs": list(backends)}]}}, {"old"}, percent)
        return [item["weight"] for item in one["spec"]["rules"][0]["backendRefs"]]

    assert weighed(1, backend("old", weight=1_000_000)) == [990_000, 10_000], "the API allows no more"
    assert weighed(50, backend("old", weight=0), backend("third")) == [0, 0, 100]


def test_a_route_is_ready_when_every_gateway_has_taken_it_in_as_it_is_now() -> None:
    def said(*conditions: dict[str, Any]) -> Any:
        return route_status({"metadata": {"generation": 2}, "status": {"parents": [{"conditions": list(conditions)}]}})

    accepted = {"type": "Accepted", "status": "True", "observedGeneration": 2}
    assert said(accepted).ready
    assert said(accepted, {"type": "vendor.example/Programmed", "status": "False"}).ready, "no condition of the API"
    assert said(accepted | {"observedGeneration": 1}).message == "its Gateway has not taken it in as it is now"
    unresolved = {"type": "ResolvedRefs", "status": "False", "observedGeneration": 2, "message": "no Service old"}
    assert (said(accepted, unresolved).ready, said(accepted, unresolved).message) == (False, "no Service old")
    assert route_status({"metadata": {"generation": 2}}).message == "no Gateway has accepted it"


@given(total=st.integers(1, 200), percent=st.integers(0, 100))
def test_replicas_are_shared_without_taking_any_from_stable_below_half(total: int, percent: int) -> None:
    stable, candidate = replica_split(total, percent)
    assert (stable == 0, candidate == 0) == (percent == 100, percent == 0)
    assert max(stable, candidate) == total
    if 0 < percent <= 50:
        assert stable == total
    if min(stable, candidate) > 1:
        assert abs(100 * candidate / (stable + candidate) - percent) <= 100 / (stable + candidate)


def deployment(**status: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "x", "team": "risk"}}, "spec": {"containers": []}}
    metadata = {"name": "x" * 60, "namespace": "n", "uid": "u1", "generation": 2, "resourceVersion": "9"}
    metadata["annotations"] = {"deployment.kubernetes.io/revision": "2"}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec, "status": status}


READY = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def test_the_second_deployment_keeps_every_label_and_never_selects_the_first_ones_pods() -> None:
    found = second_deployment(deployment(**READY), 1)
    assert found["metadata"]["name"].endswith("-candidate")
    assert len(found["metadata"]["name"]) <= 63
    assert "uid" not in found["metadata"]
    assert "status" not in found
    assert found["spec"]["selector"]["matchLabels"] == {"app": "x", TRACK: "candidate"}
    assert found["spec"]["template"]["metadata"]["labels"] == {"app": "x", "team": "risk", TRACK: "candidate"}
    assert found["spec"]["replicas"] == 1


def test_a_service_is_for_one_of_the_two_and_the_other_gets_one_inside_the_cluster() -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    spec = {"selector": {"app": "x"}, "ports": ports, "type": "LoadBalancer", "clusterIP": "10.0.0.7"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "n"}, "spec": spec}
    assert tracked_service(service, "stable")["spec"]["selector"] == {"app": "x", TRACK: "stable"}
    found = candidate_service(service)
    assert found["metadata"] == {"name": "x-candidate", "namespace": "n"}
    assert found["spec"] == {"selector": {"app": "x", TRACK: "candidate"}, "ports": [{"port": 80}], "type": "ClusterIP"}
    assert candidate_service({**service, "spec": {**spec, "clusterIP": "None"}})["spec"]["clusterIP"] == "None"
    pods = deployment(**READY)
    assert selects(service, pods)
    assert selects(tracked_service(service, "stable"), pods), "our own label aside"
    assert not selects({**service, "spec": {"selector": {"app": "y"}}}, pods)
    assert not selects({**service, "spec": {}}, pods), "a Service without a selector has endpoints of its own"
    assert strangers_among([service, found], {"x"}, pods) == ("x-candidate",)


def test_our_own_marks_are_no_part_of_a_release() -> None:
    declared = deployment()
    marked = tracked_deployment(declared, label=True)
    assert deployment_release(marked) == deployment_release(declared)
    assert marked["metadata"]["annotations"][RELEASE] == deployment_release(declared)
    assert marked["spec"]["template"]["metadata"]["labels"][TRACK] == "stable"
    assert TRACK not in tracked_deployment(declared, label=False)["spec"]["template"]["metadata"]["labels"]
    declared["metadata"]["annotations"] = {"customhouse.dev/rollout": "canary", "a": "b"}
    found = candidate_deployment(declared, 3)
    assert found["metadata"]["annotations"] == {"a": "b", RELEASE: deployment_release(declared)}
    assert found["spec"]["replicas"] == 3
    with pytest.raises(DeclarationError, match="no pod template"):
        deployment_release({"kind": "Deployment", "spec": {}})


@pytest.mark.parametrize("missing", [{"availableReplicas": 1}, {"observedGeneration": 1}, {"updatedReplicas": 1}])
def test_a_deployment_is_ready_when_it_serves_whole(missing: dict[str, int]) -> None:
    assert deployment_status(deployment(**READY)).ready
    assert not deployment_status(deployment(**{**READY, **missing})).ready
