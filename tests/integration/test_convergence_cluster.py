"""Convergence against a real API server: applied once, healed, pruned by the inventory alone, and told truly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from convergence_world import ConvergenceWorld, autoscaler, config_map, deployment

from customhouse.control.convergence import Conduct
from customhouse.control.rounds import Found
from customhouse.core.resource import ResourceRef
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")


@pytest.fixture
def world(kubernetes: ControlPlane) -> Iterator[ConvergenceWorld]:
    made = ConvergenceWorld(kubernetes)
    yield made
    made.end()


def namespaced(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def test_what_is_declared_is_applied_in_order_and_a_second_run_writes_nothing(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("apply") + "-new"
    everything = [
        deployment("model", place),
        autoscaler("model", place),
        config_map("settings", place, text="a"),
        namespaced(place),
    ]
    world.declare(*everything)
    rounds = world.settle()
    assert {str(ref) for made in rounds for ref in made.applied} == {
        f"Deployment {place}/model",
        f"HorizontalPodAutoscaler {place}/model",
        f"ConfigMap {place}/settings",
        f"Namespace {place}",
    }
    world.plane.until(lambda: "kube-root-ca.crt" in world.versions("ConfigMap", place))  # a controller makes it
    world.plane.until(lambda: "kube-root-ca.crt" in world.versions("ConfigMap", world.home))
    before = world.versions("ConfigMap", place) | world.versions("ConfigMap", world.home)
    world.restart()
    world.declare(*everything)
    again = world.settle()
    assert [made.applied for made in again if made.applied or made.drift] == []
    assert world.versions("ConfigMap", place) | world.versions("ConfigMap", world.home) == before


def test_an_edit_is_told_by_field_with_who_made_it_and_put_right(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("heal")
    world.declare(deployment("model", place, image="registry.example/app:1"), config_map("settings", place, text="a"))
    world.settle()
    world.patch("ConfigMap", place, "settings", {"data": {"text": "b"}})
    world.until(lambda: world.get("ConfigMap", place, "settings")["data"] == {"text": "a"})
    (drift,) = [found for made in world.rounds for found in made.drift]
    assert drift.found is Found.ALTERED
    assert drift.corrected
    (field,) = drift.fields
    assert (field.diff.pointer, field.diff.declared, field.diff.live) == ("/data/text", "a", "b")
    assert field.manager == "kubectl-edit"
    assert field.at is not None


def test_what_was_deleted_is_made_again(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("again")
    world.declare(config_map("settings", place, text="a"))
    world.settle()
    world.delete("ConfigMap", place, "settings")
    world.until(lambda: "settings" in world.versions("ConfigMap", place))
    assert [found.found for made in world.rounds for found in made.drift] == [Found.MISSING]


def test_a_report_only_object_is_told_of_and_left(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("report")
    world.declare(config_map("settings", place, {"customhouse.dev/drift": "report"}, text="a"))
    world.settle()
    world.patch("ConfigMap", place, "settings", {"data": {"text": "b"}})
    world.until(lambda: world.convergence.drifting)
    for _ in range(5):
        world.convergence.step()
    assert world.get("ConfigMap", place, "settings")["data"] == {"text": "b"}
    assert len([found for made in world.rounds for found in made.drift]) == 1
    world.patch("ConfigMap", place, "settings", {"data": {"text": "a"}})
    world.until(lambda: not world.convergence.drifting)


def test_replicas_that_an_autoscaler_set_are_left_alone(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("scaled")
    world.declare(deployment("model", place, replicas=2), autoscaler("model", place))
    world.settle()
    scale = f"/apis/apps/v1/namespaces/{place}/deployments/model/scale?fieldManager=kube-controller-manager"
    world.plane.call("PATCH", scale, {"spec": {"replicas": 5}}, content="application/merge-patch+json")
    world.settle()
    world.declare(deployment("model", place, replicas=2, image="registry.example/app:2"), autoscaler("model", place))
    world.settle()
    live = world.get("Deployment", place, "model")["spec"]
    assert live["replicas"] == 5
    assert live["template"]["spec"]["containers"][0]["image"] == "registry.example/app:2"
    assert [found for made in world.rounds for found in made.drift] == []


def test_what_leaves_the_declarations_goes_and_nothing_else(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("prune")
    world.plane.apply(f"/api/v1/namespaces/{place}/configmaps/stranger", config_map("stranger", place))
    kept = config_map("kept", place, {"customhouse.dev/prune": "disabled"})
    world.declare(*(config_map(name, place) for name in ("one", "two", "three")), kept)
    world.settle()
    world.declare(*(config_map(name, place) for name in ("two", "three")))
    world.settle()
    assert set(world.versions("ConfigMap", place)) == {"kube-root-ca.crt", "stranger", "two", "three", "kept"}
    assert [str(ref) for made in world.rounds for ref in made.removed] == [f"ConfigMap {place}/one"]
    assert [ref.name for ref in world.convergence.kept] == ["kept"]


def test_an_object_that_somebody_made_anew_is_not_deleted(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("anew")
    world.declare(config_map("one", place), config_map("two", place), config_map("three", place))
    world.settle()
    world.end()
    world.delete("ConfigMap", place, "one")
    world.plane.call("POST", f"/api/v1/namespaces/{place}/configmaps", config_map("one", place, text="mine"))
    world.begin()
    world.declare(config_map("two", place), config_map("three", place))
    world.settle()
    assert "one" in world.versions("ConfigMap", place)
    ((ref, reason),) = [item for made in world.rounds for item in made.released]
    assert ref == ResourceRef("v1", "ConfigMap", place, "one")
    assert "made another one" in reason


def test_an_empty_render_and_one_over_the_budget_delete_nothing(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("budget")
    world.declare(*(config_map(f"c{number}", place) for number in range(4)))
    world.settle()
    world.declare()
    world.until(lambda: "declares nothing" in world.convergence.blocked)
    world.declare(config_map("c0", place))
    world.until(lambda: "3 of 4 objects" in world.convergence.blocked)
    assert len(world.versions("ConfigMap", place)) == 5


def test_a_lost_state_is_made_up_for_by_the_cluster(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("lost")
    world.declare(config_map("one", place), config_map("two", place))
    world.settle()
    world.state.put(dict.fromkeys(world.state.keys("")))
    world.restart()
    world.declare(config_map("two", place))
    world.settle()
    assert set(world.versions("ConfigMap", place)) == {"kube-root-ca.crt", "two"}


def test_two_sources_do_not_take_objects_from_each_other(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("shared")
    world.declare(config_map("one", place, text="first"), config_map("two", place))
    world.settle()
    other = ConvergenceWorld(world.plane, "another")
    try:
        other.convergence.inventory.namespace = world.home
        other.declare(config_map("one", place, text="second"), config_map("three", place))
        other.until(lambda: other.convergence.problems)
        assert "'repository'" in next(iter(other.convergence.problems.values()))
    finally:
        other.end()
    assert world.get("ConfigMap", place, "one")["data"] == {"text": "first"}


def test_a_deletion_that_is_held_up_is_told_and_ends_when_it_may(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("held")
    held = config_map("one", place)
    held["metadata"]["finalizers"] = ["example.com/wait"]
    world.declare(held, config_map("two", place))
    world.settle()
    world.declare(config_map("two", place))
    world.until(lambda: any("example.com/wait" in text for text in world.convergence.problems.values()))
    world.patch("ConfigMap", place, "one", {"metadata": {"finalizers": []}})
    world.settle()
    assert "one" not in world.versions("ConfigMap", place)
    assert world.convergence.problems == {}


def test_a_namespace_stays_while_something_of_others_is_in_it(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("room") + "-ours"
    world.declare(namespaced(place), config_map("one", place), *(config_map(n, world.home) for n in "abc"))
    world.settle()
    world.plane.apply(f"/api/v1/namespaces/{place}/configmaps/stranger", config_map("stranger", place))
    world.declare(*(config_map(n, world.home) for n in "abc"))
    world.until(lambda: any("ConfigMap stranger" in text for text in world.convergence.problems.values()))
    assert set(world.versions("ConfigMap", place)) == {"kube-root-ca.crt", "stranger"}


def test_a_definition_and_its_objects_arrive_in_one_push(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("defined")
    group = f"{place}.example.com"
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                        }
                    },
                }
            ],
        },
    }
    widget = {
        "apiVersion": f"{group}/v1",
        "kind": "Widget",
        "metadata": {"name": "one", "namespace": place},
        "spec": {"size": 1},
    }
    world.declare(widget, definition)
    world.settle()
    live = world.plane.call("GET", f"/apis/{group}/v1/namespaces/{place}/widgets/one")
    assert live["spec"] == {"size": 1}


def test_in_observe_mode_nothing_is_written(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("observe")
    world.conduct = Conduct(writes=False)
    world.restart()
    world.declare(config_map("one", place))
    for _ in range(3):
        world.convergence.step()
    assert set(world.versions("ConfigMap", place)) == {"kube-root-ca.crt"}
    assert world.versions("ConfigMap", world.home).keys() == {"kube-root-ca.crt"}


def test_what_somebody_puts_into_a_declared_namespace_is_told(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("rogue") + "-ours"
    world.declare(namespaced(place), config_map("one", place), deployment("model", place))
    world.settle()
    assert [str(item.ref) for item in world.sight.look_again({place})] == []
    world.plane.apply(f"/api/v1/namespaces/{place}/configmaps/rogue", config_map("rogue", place))
    assert [str(item.ref) for item in world.sight.look_again({place})] == [f"ConfigMap {place}/rogue"]


def test_what_a_hand_adds_to_an_object_is_told(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("added")
    world.declare(config_map("one", place, text="a"))
    world.settle()
    world.patch("ConfigMap", place, "one", {"data": {"more": "b"}})
    world.until(lambda: world.convergence.drifting)
    (drift,) = world.convergence.drifting.values()
    assert drift.found is Found.ADDED
    assert [(field.diff.pointer, field.manager) for field in drift.fields] == [("/data/more", "kubectl-edit")]
    world.patch("ConfigMap", place, "one", {"data": {"more": None}})
    world.until(lambda: not world.convergence.drifting)


def test_values_of_a_secret_are_in_no_drift(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("secret")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "one", "namespace": place},
        "stringData": {"password": "canary-value-1"},
    }
    world.declare(secret)
    world.settle()
    world.patch("Secret", place, "one", {"data": {"password": "Y2FuYXJ5LXZhbHVlLTI="}})
    world.until(lambda: any(made.drift for made in world.rounds))
    world.settle()
    kept = repr([world.state.get(key) for key in world.state.keys("")])
    told = repr([made.drift for made in world.rounds]) + kept
    assert "canary" not in told
    assert "Y2FuYXJ5" not in told
    assert "/data/password" in told


def test_rules_that_the_cluster_aggregates_are_no_drift(world: ConvergenceWorld) -> None:
    name = world.plane.namespace("roles")
    mark = {f"example.com/{name}": "true"}
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    part = {
        **kind,
        "metadata": {"name": f"{name}-part", "labels": mark},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    whole = {
        **kind,
        "metadata": {"name": name},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": mark}]},
        "rules": [],
    }
    world.declare(part, whole)
    world.settle()
    path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}"
    world.until(lambda: world.plane.call("GET", path)["rules"])
    world.settle()
    assert [made.drift for made in world.rounds if made.drift] == []
    assert world.plane.call("GET", path)["rules"] == part["rules"]


def test_an_object_of_a_kind_without_namespaces_that_is_defined_later(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("later")
    group = f"{place}.example.com"
    names = {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"gadgets.{group}"},
        "spec": {"group": group, "scope": "Cluster", "names": names, "versions": [version]},
    }
    gadget = {"apiVersion": f"{group}/v1", "kind": "Gadget", "metadata": {"name": place}, "spec": {"size": 1}}
    world.declare(gadget, config_map("one", place))
    world.until(lambda: any("Gadget" in str(ref) for ref in world.convergence.problems))
    world.plane.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.{group}", definition)
    world.settle()
    path = f"/apis/{group}/v1/gadgets/{place}"
    version_now = world.plane.call("GET", path)["metadata"]["resourceVersion"]
    for _ in range(5):
        world.convergence.step()
    assert world.plane.call("GET", path)["metadata"]["resourceVersion"] == version_now
    assert [made.drift for made in world.rounds if made.drift] == []
    world.restart()
    world.declare(config_map("one", place))
    world.settle()
    assert world.plane.call("GET", f"/apis/{group}/v1/gadgets")["items"] == []
