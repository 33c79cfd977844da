"""What must not happen to a real API server whoever edits, copies or loses what lies in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from convergence_world import ConvergenceWorld, config_map, deployment

from customhouse.control.convergence import Conduct
from customhouse.control.tracked import OWNER, ForeignInventoryError, Tracked
from customhouse.core.errors import StateError
from customhouse.core.resource import ResourceRef
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")
_NAMESPACES = "/api/v1/namespaces"


@pytest.fixture
def world(kubernetes: ControlPlane) -> Iterator[ConvergenceWorld]:
    made = ConvergenceWorld(kubernetes)
    yield made
    made.end()


def created(world: ConvergenceWorld, namespace: str, manifest: dict[str, Any]) -> Any:
    """Made by a person, with no apply."""
    return world.plane.call("POST", f"{_NAMESPACES}/{namespace}/configmaps?fieldManager=kubectl-create", manifest)


def test_a_row_that_somebody_wrote_into_the_inventory_deletes_nothing(world: ConvergenceWorld) -> None:
    place, victims = world.plane.namespace("victim"), world.plane.namespace("rows")
    manifests = [config_map(f"c{number}", place) for number in range(4)]
    world.declare(*manifests)
    world.settle()
    precious = created(world, place, config_map("precious", place, text="theirs"))
    room = world.plane.call("GET", f"{_NAMESPACES}/{victims}")
    rows = [
        ["v1", "ConfigMap", place, "precious", precious["metadata"]["uid"], 0],
        ["v1", "Namespace", "", victims, room["metadata"]["uid"], 0],
    ]
    name = "inventory-repository-0"
    before = world.get("ConfigMap", world.home, name)["data"]["objects"]
    text = "\n".join([before, *(json.dumps(row) for row in rows)])
    world.patch("ConfigMap", world.home, name, {"data": {"objects": text}})
    world.restart()
    world.declare(*manifests)
    world.settle()
    assert world.get("ConfigMap", place, "precious")["data"] == {"text": "theirs"}
    assert "deletionTimestamp" not in world.plane.call("GET", f"{_NAMESPACES}/{victims}")["metadata"]
    said = {ref.name: reason for made in world.rounds for ref, reason in made.released}
    assert said == dict.fromkeys(("precious", victims), "all of its fields are others'")


def test_an_inventory_that_is_given_to_another_source_stops_it(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("given")
    mine = [config_map(f"mine{number}", place) for number in range(4)]
    world.declare(*mine)
    world.settle()
    other = ConvergenceWorld(world.plane, "another")
    try:
        other.convergence.inventory.namespace = world.home
        other.declare(config_map("theirs", place))
        other.settle()
    finally:
        other.end()
    edit = {"metadata": {"annotations": {"customhouse.dev/inventory": "repository"}}}
    world.patch("ConfigMap", world.home, "inventory-another-0", edit)
    with pytest.raises(StateError, match="part 0 of the inventory of 'repository'"):
        world.restart()
    assert "theirs" in world.versions("ConfigMap", place)


def test_what_the_state_knows_of_another_cluster_says_nothing_of_this_one(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("elsewhere")
    world.declare(config_map("one", place), config_map("two", place))
    world.settle()
    (known,) = world.state.keys("tracked-in/")
    world.state.put({known: "the uid of another cluster's kube-system"})
    name = "inventory-repository-0"
    world.delete("ConfigMap", world.home, name)
    world.restart()
    assert not world.convergence.inventory.entries
    world.declare(config_map("one", place))
    world.settle()
    assert "two" in world.versions("ConfigMap", place)
    assert not [item for made in world.rounds for item in (*made.drift, *made.removed, *made.released)]
    world.restart()
    assert [entry.ref.name for entry in world.convergence.inventory.entries.values()] == ["one"]


def test_observing_again_writes_no_inventory(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("observed")
    world.declare(config_map("one", place), config_map("two", place))
    world.settle()
    before = world.versions("ConfigMap", world.home)
    world.conduct = Conduct(writes=False)
    world.restart()
    world.declare(config_map("one", place, {"customhouse.dev/prune": "disabled"}))
    world.convergence.step()
    assert world.versions("ConfigMap", world.home) == before


def test_what_is_declared_is_no_addition_of_who_made_it_before(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("adopted")
    created(world, place, config_map("one", place, text="same"))
    world.declare(config_map("one", place, text="same"))
    world.settle()
    edit = {"metadata": {"labels": {"mine": "too"}, "annotations": {"note": "by hand"}}}
    world.patch("ConfigMap", place, "one", edit)
    world.until(lambda: world.convergence.drifting)
    (told,) = world.convergence.drifting.values()
    assert {one.diff.pointer for one in told.fields} == {"/metadata/labels/mine", "/metadata/annotations/note"}


def test_what_anybody_adds_to_what_runs_is_told_under_whatever_name(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("sidecar")
    world.declare(deployment("model", place))
    world.settle()
    side = {"name": "side", "image": "example/evil:1"}
    manifest = deployment("model", place)
    manifest["spec"] = {"template": {"spec": {"containers": [side]}}}
    path = f"/apis/apps/v1/namespaces/{place}/deployments/model"
    world.plane.apply(path, manifest, manager="some-controller")
    world.until(lambda: world.convergence.drifting)
    (told,) = world.convergence.drifting.values()
    assert {one.manager for one in told.fields} == {"some-controller"}
    assert "/spec/template/spec/containers/1/image" in {one.diff.pointer for one in told.fields}


def test_an_inventory_belongs_to_the_repository_that_it_names_until_that_is_edited(world: ConvergenceWorld) -> None:
    place, name = world.plane.namespace("copied"), "inventory-repository-0"
    mine = [config_map(f"mine{number}", place) for number in range(4)]
    world.declare(*mine)
    world.settle()
    assert OWNER not in world.get("ConfigMap", world.home, name)["metadata"]["annotations"]
    world.repository = "main@1"
    world.restart()
    world.declare(*mine)
    world.settle()
    live = world.get("ConfigMap", world.home, name)
    assert live["metadata"]["annotations"][OWNER] == "main@1"
    assert [made.applied for made in world.rounds[-1:] if made.applied] == []

    other = ConvergenceWorld(world.plane)
    other.state, other.home, other.repository = type(world.state)(), world.home, "main@2"
    try:
        with pytest.raises(ForeignInventoryError, match="another repository, 'main@1'"):
            other.restart()
        inventory = other.convergence.inventory
        inventory.namespace = world.home  # as if there had been none yet when it began
        inventory.put(Tracked(ResourceRef("v1", "ConfigMap", place, "mine0")))
        with pytest.raises(ForeignInventoryError):
            inventory.save()
        assert not other.state.keys("tracked/")
        assert world.get("ConfigMap", world.home, name)["data"] == live["data"]
        assert "theirs" not in world.versions("ConfigMap", place)

        world.patch("ConfigMap", world.home, name, {"metadata": {"annotations": {OWNER: "main@2"}}})
        with pytest.raises(ForeignInventoryError, match="'main@2'"):
            world.convergence.inventory.restore()
        other.restart()
        other.declare(*mine[:3])
        other.settle()
        assert "mine3" not in other.versions("ConfigMap", place)
    finally:
        other.end()
