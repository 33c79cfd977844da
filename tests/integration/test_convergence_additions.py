"""What others add to declared objects on a real API server: told, taken away where that is safe, or left."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from convergence_world import ConvergenceWorld, config_map, deployment

from customhouse._kit.clock import from_rfc3339
from customhouse.control.convergence import Conduct
from customhouse.control.rounds import Found
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")


@pytest.fixture
def world(kubernetes: ControlPlane) -> Iterator[ConvergenceWorld]:
    made = ConvergenceWorld(kubernetes)
    yield made
    made.end()


def added(world: ConvergenceWorld) -> dict[str, str]:
    """Pointer → manager of all that was told as added and is left."""
    found = [item for item in world.convergence.drifting.values() if item.found is Found.ADDED]
    return {one.diff.pointer: one.manager for item in found for one in item.fields}


def container(live: Any, *, name: str) -> dict[str, Any]:
    return {**live["spec"]["template"]["spec"]["containers"][0], "name": name}


def test_what_a_person_added_is_told_and_taken_away(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("hands")
    world.declare(deployment("model", place))
    world.settle()
    live = world.get("Deployment", place, "model")
    containers = [container(live, name="debug"), container(live, name="app")]
    containers[1]["env"] = [{"name": "LEVEL", "value": "debug"}, *containers[1]["env"]]
    template = {"spec": {"template": {"spec": {"containers": containers, "hostNetwork": True}}}}
    world.patch("Deployment", place, "model", template)
    world.until(lambda: len(world.get("Deployment", place, "model")["spec"]["template"]["spec"]["containers"]) == 1)
    world.settle()
    after = world.get("Deployment", place, "model")["spec"]["template"]["spec"]
    assert after == live["spec"]["template"]["spec"]
    drift = [item for made in world.rounds for item in made.drift]
    assert [(item.found, item.corrected) for item in drift] == [(Found.ADDED, True)]
    pointers = {one.diff.pointer: one.manager for one in drift[0].fields}
    assert pointers["/spec/template/spec/hostNetwork"] == "kubectl-edit"
    assert "/spec/template/spec/containers/0/image" in pointers
    world.until(lambda: not world.convergence.drifting)


def test_an_altered_field_and_an_added_one_of_the_same_edit_are_both_put_right(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("both")
    world.declare(config_map("settings", place, text="a"))
    world.settle()
    world.patch("ConfigMap", place, "settings", {"data": {"text": "b", "more": "c"}}, manager="a-program")
    world.until(lambda: world.get("ConfigMap", place, "settings")["data"] == {"text": "a"})
    world.until(lambda: not world.convergence.drifting)
    told = {one.diff.pointer: one.manager for made in world.rounds for item in made.drift for one in item.fields}
    assert told == {"/data/text": "a-program", "/data/more": "a-program"}


def test_keys_that_a_program_adds_to_declared_data_go_and_data_that_is_to_be_filled_stays(
    world: ConvergenceWorld,
) -> None:
    place = world.plane.namespace("data")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": place}}
    value = base64.b64encode(b"hidden-value").decode()
    world.declare(config_map("bundle", place), {**secret, "stringData": {"user": "a"}})
    world.settle()
    world.patch("ConfigMap", place, "bundle", {"data": {"ca.crt": "filled"}}, manager="a-program")
    world.patch("Secret", place, "token", {"data": {"more": value}}, manager="a-program")
    world.until(lambda: set(world.get("Secret", place, "token")["data"]) == {"user"})
    world.settle()
    assert world.get("ConfigMap", place, "bundle")["data"] == {"ca.crt": "filled"}
    assert value not in repr(world.rounds)
    assert "hidden-value" not in repr(world.rounds)


def test_what_programs_add_is_told_as_long_as_it_is_there_over_restarts_too(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("programs")
    world.declare(deployment("model", place))
    world.settle()
    toleration = {"spec": {"template": {"spec": {"tolerations": [{"key": "x", "operator": "Exists"}]}}}}
    world.patch("Deployment", place, "model", toleration, manager="a-program")
    world.until(lambda: added(world))
    # The object goes on living: what happens to it beside does not make it as declared.
    world.patch("Deployment", place, "model", {"metadata": {"labels": {"x": "y"}}}, manager="kube-controller-manager")
    world.settle()
    assert added(world) == {"/spec/template/spec/tolerations": "a-program"}
    world.restart()
    world.declare(deployment("model", place))
    world.until(lambda: added(world) == {"/spec/template/spec/tolerations": "a-program"})
    assert len([item for made in world.rounds for item in made.drift]) == 2  # once a process


def test_where_drift_is_only_reported_nothing_is_taken_away(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("reported")
    world.conduct = Conduct(correct=False)
    world.restart()
    world.declare(config_map("settings", place, text="a"))
    world.settle()
    world.patch("ConfigMap", place, "settings", {"data": {"more": "c"}})
    world.until(lambda: added(world) == {"/data/more": "kubectl-edit"})
    for _ in range(3):
        world.convergence.step()
    assert world.get("ConfigMap", place, "settings")["data"] == {"text": "a", "more": "c"}


def test_fields_that_are_to_be_ignored_are_others_once_they_set_them(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("ignored")
    made = deployment("model", place, replicas=2)
    made["metadata"]["annotations"] = {"customhouse.dev/ignore-differences": "/spec/replicas, /spec/strategy"}
    world.declare(made)
    world.settle()
    assert world.get("Deployment", place, "model")["spec"]["replicas"] == 2
    recreate = {"type": "Recreate", "rollingUpdate": None}
    world.patch("Deployment", place, "model", {"spec": {"replicas": 5, "strategy": recreate}})
    world.patch("Deployment", place, "model", {"spec": {"paused": True}})
    world.until(lambda: "paused" not in world.get("Deployment", place, "model")["spec"])
    made["spec"]["template"]["spec"]["containers"][0]["image"] = "example/app:2"
    world.declare(made)
    world.settle()
    live = world.get("Deployment", place, "model")["spec"]
    assert (live["replicas"], live["strategy"]["type"]) == (5, "Recreate")
    assert live["template"]["spec"]["containers"][0]["image"] == "example/app:2"
    told = {one.diff.pointer for made in world.rounds for item in made.drift for one in item.fields}
    assert told == {"/spec/paused"}


def test_a_restart_by_hand_is_no_drift(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("restarted")
    world.declare(deployment("model", place))
    world.settle()
    note = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    world.patch(
        "Deployment", place, "model", {"spec": {"template": {"metadata": {"annotations": note}}}}, manager="kubectl"
    )
    key = ("apps", "Deployment", place, "model")
    version = int(world.versions("Deployment", place)["model"])
    world.until(lambda: (seen := world.sight.seen(key)) and seen.version >= version)
    world.settle()
    assert [made.drift for made in world.rounds if made.drift] == []
    assert "annotations" in world.get("Deployment", place, "model")["spec"]["template"]["metadata"]


def test_of_what_was_made_by_hand_before_only_what_nobody_declares_is_told_and_it_stays(
    world: ConvergenceWorld,
) -> None:
    place = world.plane.namespace("adopted")
    before = deployment("model", place)
    before["spec"]["template"]["spec"]["hostNetwork"] = True
    path = f"/apis/apps/v1/namespaces/{place}/deployments"
    world.plane.call("POST", f"{path}?fieldManager=kubectl-create", before)
    made = from_rfc3339(world.get("Deployment", place, "model")["metadata"]["creationTimestamp"])
    world.plane.until(lambda: datetime.now(UTC) >= made + timedelta(seconds=1))  # times are told in seconds
    world.declare(deployment("model", place))
    world.until(lambda: added(world))
    world.settle()
    assert world.get("Deployment", place, "model")["spec"]["template"]["spec"]["hostNetwork"] is True
    assert set(added(world)) == {"/spec/template/spec/hostNetwork"}


def test_what_is_put_into_an_object_without_a_declared_field_is_told(world: ConvergenceWorld) -> None:
    """The API writes down no owner there: `managedFields` begin with the first field that somebody applies."""
    place = world.plane.namespace("bare")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "model", "namespace": place}}
    room = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{place}-room"}}
    world.declare(account, room)
    world.settle()
    live = f"/api/v1/namespaces/{place}/serviceaccounts/model"
    world.plane.call("PUT", f"{live}?fieldManager=kubectl", {**account, "secrets": [{"name": "stolen"}]})
    world.plane.call("PUT", f"/api/v1/namespaces/{place}-room?fieldManager=kubectl", room)
    world.until(lambda: added(world))
    assert set(added(world)) == {"/secrets/0"}


def test_an_edit_with_which_the_declaration_cannot_be_together_is_told_as_drift(world: ConvergenceWorld) -> None:
    """Two ports of a Service need names, so the API refuses to put the declared one beside the one that is there."""
    place = world.plane.namespace("stuck")
    spec = {"selector": {"app": "model"}, "ports": [{"port": 80}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "model", "namespace": place}, "spec": spec}
    world.declare(service)
    world.settle()
    path = f"/api/v1/namespaces/{place}/services/model"
    live = world.plane.call("GET", path)
    ports = [{**live["spec"]["ports"][0], "port": 81}]
    world.plane.call("PUT", f"{path}?fieldManager=a-program", {**live, "spec": {**live["spec"], "ports": ports}})
    world.until(lambda: world.convergence.drifting)
    (drift,) = world.convergence.drifting.values()
    assert (drift.found, drift.corrected) == (Found.ALTERED, False)
    assert drift.fields[0].diff.pointer.startswith("/spec/ports/0")
    assert "ports" in next(iter(world.convergence.problems.values()))
    for _ in range(3):
        world.convergence.step()
    assert len([item for made in world.rounds for item in made.drift]) == 1
    world.plane.call("PUT", f"{path}?fieldManager=a-program", {**live, "metadata": {"name": "model"}})
    world.settle()
    world.until(lambda: not world.convergence.drifting)
