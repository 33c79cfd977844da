"""Objects with other weights, and what their status says: KServe, Argo Rollouts, HTTPRoute, plain Deployments."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse.core.errors import DeclarationError
from customhouse.execution.traffic import (
    TRACK,
    deployment_status,
    pinned_service,
    replica_split,
    rollout_release,
    rollout_status,
    route_status,
    second_deployment,
    stepped_rollout,
    template_hash,
    weighted_route,
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


def test_a_route_shares_between_two_backends_and_leaves_the_others_alone() -> None:
    other = {"backendRefs": [backend("other")], "filters": [{"type": "RequestMirror"}]}
    both = {"backendRefs": [backend("new"), backend("old", weight=1), backend("third", weight=7)]}
    route = {"kind": "HTTPRoute", "metadata": {"generation": 1}, "spec": {"rules": [other, both]}}
    found = weighted_route(route, "old", "new", 30)
    assert found["spec"]["rules"][0] == other
    weights = [item.get("weight") for item in found["spec"]["rules"][1]["backendRefs"]]
    assert weights == [30, 70, 7]
    assert "weight" not in both["backendRefs"][0]
    with pytest.raises(DeclarationError, match="no rule has both"):
        weighted_route(route, "old", "missing", 30)
    accepted = {"parents": [{"conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 1}]}]}
    assert route_status({**found, "status": accepted}, "old", "new").ready
    assert not route_status(found, "old", "new").ready
    late = {"parents": [{"conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 0}]}]}
    assert not route_status({**found, "status": late}, "old", "new").ready


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


def replica_set(uid: str, revision: str, template: str) -> dict[str, Any]:
    metadata = {"labels": {"pod-template-hash": template}, "ownerReferences": [{"uid": uid}]}
    return {"metadata": {**metadata, "annotations": {"deployment.kubernetes.io/revision": revision}}}


def test_a_service_is_pinned_only_to_what_serves_whole() -> None:
    sets = [replica_set("u1", "1", "old"), replica_set("u2", "2", "alien"), replica_set("u1", "2", "new")]
    assert template_hash(deployment(**READY), sets) == "new"
    for missing in ({"availableReplicas": 1}, {"observedGeneration": 1}, {"updatedReplicas": 1}):
        live = deployment(**{**READY, **missing})
        assert not deployment_status(live).ready
        assert template_hash(live, sets) == ""
    service = {"kind": "Service", "spec": {"selector": {"app": "x"}, "ports": []}}
    pinned = pinned_service(service, "new")
    assert pinned["spec"]["selector"] == {"app": "x", "pod-template-hash": "new"}
    assert pinned_service(pinned, "") == service
    with pytest.raises(DeclarationError, match="selects nothing"):
        pinned_service({"kind": "Service", "spec": {}}, "new")
