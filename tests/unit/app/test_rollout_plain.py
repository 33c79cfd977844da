"""Plain Deployments: what routes to them, what is laid out for them, and what they are given at which look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from customhouse.app.rollout_plain import Lane, PlainCourse, lay_out, looked_at
from customhouse.app.rollout_scene import scenes_of
from customhouse.control.rollout import RolloutState, begin, plan_of
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.release import TRACK
from customhouse.core.resource import Declaration, Location, Manifest, ResourceRef
from customhouse.execution.plain_traffic import RELEASE, deployment_release

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CANARY, BLUE_GREEN = "canary", "blue-green"


def declared(kind: str, name: str, spec: dict[str, Any], *, api: str = "v1", way: str = "") -> Declaration:
    annotations = {"customhouse.dev/rollout": way} if way else {}
    metadata = {"name": name, "namespace": "n", "annotations": annotations}
    manifest = {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}
    return Declaration(ResourceRef.of(manifest), manifest, Location("a.yaml", 1))


def deployment(name: str = "x", image: str = "r/x:2", *, way: str = CANARY, **labels: str) -> Declaration:
    template = {
        "metadata": {"labels": {"app": name, **labels}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }
    spec = {"replicas": 4, "selector": {"matchLabels": {"app": name}}, "template": template}
    return declared("Deployment", name, spec, api="apps/v1", way=way)


def service(name: str = "x", **selector: str) -> Declaration:
    return declared("Service", name, {"selector": selector or {"app": "x"}, "ports": [{"port": 80}]})


def route(*services: str) -> Declaration:
    rules = [{"backendRefs": [{"name": name, "port": 80} for name in services]}]
    return declared("HTTPRoute", "r", {"rules": rules}, api="gateway.networking.k8s.io/v1")


def problem(*items: Declaration) -> str:
    return scenes_of(items[:1], items)[items[0].ref].problem


def test_what_routes_to_a_deployment_is_found_in_its_namespace() -> None:
    first = deployment()
    elsewhere = replace(service("far"), ref=replace(service("far").ref, namespace="m"))
    items = (first, service(), service("inner"), service("other", app="y"), elsewhere, route("x", "other"))
    scene = scenes_of([first], items)[first.ref]
    assert [item.ref.name for item in scene.services] == ["x", "inner"]
    assert (scene.asked, len(scene.routes), scene.weighted, scene.problem) == (frozenset({"x"}), 1, True, "")
    alone = scenes_of([first], (first, service()))[first.ref]
    assert (alone.weighted, alone.routes) == (False, ())


def test_of_several_clusters_only_what_stands_beside_it_counts() -> None:
    def at(item: Declaration, scene: str, *, apart: bool) -> Declaration:
        return replace(item, scene=scene, ref=replace(item.ref, scene=scene if apart else ""))

    first, green = (at(deployment(way=BLUE_GREEN), scene, apart=True) for scene in ("east", "west"))
    items = (first, green, at(service(), "east", apart=False), at(service("all"), "west", apart=True))
    scenes = scenes_of([first, green], items)
    assert [[item.ref.name for item in scenes[one.ref].services] for one in (first, green)] == [["x"], ["all"]]


def test_what_cannot_be_rolled_out_as_it_is_declared_is_said() -> None:
    first, green = deployment(team="t"), deployment(team="t", way=BLUE_GREEN)
    second, shared = deployment("y", team="t"), service("all", team="t")
    assert "Deployment x-candidate is declared already" in problem(first, deployment("x-candidate"))
    assert "Service x-candidate is declared already" in problem(
        first, service(), service("x-candidate", app="z"), route("x")
    )
    assert "new versions of two" in problem(deployment("x" * 60), deployment("x" * 61))
    assert "Service all selects pods of other workloads too" in problem(green, service(), shared, second)
    assert problem(first, service(), shared, second) == "", "by replicas everybody is asked"
    assert "no Service declared here selects its pods" in problem(green)


class Look:
    """One Deployment on its way from r/x:1 to r/x:2, and what is in its cluster."""

    def __init__(self, *beside: Declaration, way: str = CANARY) -> None:
        self.declared, self.beside = deployment(way=way), beside
        self.stable = deployment(image="r/x:1", way=way).manifest
        plan = plan_of(self.declared.manifest)
        assert plan is not None
        names = {"stable": deployment_release(self.stable), "candidate": deployment_release(self.declared.manifest)}
        self.walk: RolloutState = begin(plan, self.declared.ref, now=NOW, **names)
        self.lane = Lane(self.declared.ref)
        self.live: dict[ResourceRef, LiveObject] = {}
        self.services: list[Manifest] = []

    def course(self) -> PlainCourse:
        scene = scenes_of([self.declared], (self.declared, *self.beside))[self.declared.ref]
        return PlainCourse(self.declared, self.stable, self.declared.manifest, self.walk.weight, scene)

    def placed(self) -> dict[str, Manifest]:
        found = {item.ref: item for item in (self.declared, *self.beside)}
        lay_out(self.course(), self.lane, found)
        return {f"{ref.kind} {ref.name}": item.manifest for ref, item in found.items()}

    def look(self, seconds: float = 0) -> Lane:
        def read(refs: Sequence[ResourceRef]) -> Mapping[ResourceRef, LiveObject]:
            return {ref: self.live[ref] for ref in refs if ref in self.live}

        at = NOW + timedelta(seconds=seconds)
        self.lane = looked_at(self.lane, self.course(), read, lambda _: self.services, self.walk, at)
        assert Lane.from_json(self.lane.to_json()) == self.lane
        return self.lane

    def runs(self, name: str, ready: int | None = None) -> None:
        """What is laid out for a Deployment is there, with so many of its replicas."""
        manifest = self.placed()[f"Deployment {name}"]
        count = manifest["spec"]["replicas"]
        status = {"observedGeneration": 1, "replicas": count, "updatedReplicas": count}
        status["availableReplicas"] = count if ready is None else ready
        self._there(manifest, status)

    def route_taken_in(self, *, generation: int = 1) -> None:
        condition = {"type": "Accepted", "status": "True", "observedGeneration": generation}
        self._there(self.placed()["HTTPRoute r"], {"parents": [{"conditions": [condition]}]})

    def _there(self, manifest: Manifest, status: Mapping[str, Any]) -> None:
        found = {**manifest, "metadata": {**manifest["metadata"], "generation": 1}}
        ref = ResourceRef.of(manifest)
        self.live[ref] = LiveObject(ref, found, Health(HealthStatus.HEALTHY, ""), status)


def test_a_share_by_weights_waits_for_labels_and_pods_and_its_next_step_for_the_gateway() -> None:
    one = Look(service(), service("inner"), route("x"))
    assert "Deployment x-candidate" not in one.placed(), "nobody can tell the two apart yet"
    assert one.placed()["Deployment x"]["spec"]["template"]["metadata"]["labels"][TRACK] == "stable"
    assert "not applied from here" in one.look().why
    one.runs("x", ready=3)
    assert "a label first" in one.look().why
    assert not one.lane.apart
    one.runs("x")
    assert one.look().clear == one.walk.candidate

    laid = one.placed()
    assert laid["Deployment x"]["spec"]["replicas"] == 4
    assert laid["Deployment x-candidate"]["spec"]["replicas"] == 1
    assert laid["Deployment x-candidate"]["metadata"]["annotations"] == {RELEASE: one.walk.candidate}
    for name, track in (("x", "stable"), ("inner", "stable"), ("x-candidate", "candidate")):
        assert laid[f"Service {name}"]["spec"]["selector"] == {"app": "x", TRACK: track}
    assert "Service inner-candidate" not in laid
    assert laid["HTTPRoute r"] == route("x").manifest, "what is not ready has no share"

    one.runs("x-candidate", ready=0)
    assert (one.look().share, one.lane.why) == (0, "the new release is not ready yet")
    one.runs("x-candidate")
    assert (one.look(1).share, one.lane.why) == (0, "its endpoints are on their way to who routes")
    assert one.look(3).share == 10
    weights = {item["name"]: item["weight"] for item in one.placed()["HTTPRoute r"]["spec"]["rules"][0]["backendRefs"]}
    assert weights == {"x": 90, "x-candidate": 10}
    one.route_taken_in(generation=0)
    assert "not taken it in" in one.look().why
    one.route_taken_in()
    assert one.look().why == ""

    one.runs("x-candidate", ready=0)
    assert one.look().share == 0, "its last ready replica is gone"


def test_blue_green_switches_every_service_when_all_of_it_is_ready() -> None:
    one = Look(service(), service("inner"), way=BLUE_GREEN)
    one.runs("x")
    one.look()
    assert one.placed()["Deployment x-candidate"]["spec"]["replicas"] == 4
    one.runs("x-candidate", ready=3)
    one.walk = replace(one.walk, step=1)
    assert one.look().share == 0
    one.runs("x-candidate")
    assert one.look().share == 100
    tracks = {name: one.placed()[f"Service {name}"]["spec"]["selector"][TRACK] for name in ("x", "inner")}
    assert tracks == {"x": "candidate", "inner": "candidate"}
    one.lane = one.lane.aborted(one.declared.manifest, 10, NOW)
    assert one.placed()["Service x"]["spec"]["selector"][TRACK] == "stable"


def test_by_replicas_the_services_stay_as_they_are_declared() -> None:
    one = Look(service())
    one.runs("x")
    one.look()
    laid = one.placed()
    assert laid["Service x"] == service().manifest
    assert TRACK not in laid["Deployment x"]["spec"]["template"]["metadata"]["labels"]
    assert laid["Deployment x-candidate"]["spec"]["replicas"] == 1
    assert "1 beside 4: 20 %" in one.course().told()
    one.lane = one.lane.aborted(one.declared.manifest, 10, NOW)
    assert one.placed()["Deployment x-candidate"]["spec"]["replicas"] == 0
    assert one.look(9).leaving is not None
    assert one.look(10).leaving is None


@pytest.mark.parametrize("name", ["stranger", "x-other"])
def test_a_service_that_is_not_declared_keeps_the_second_one_away(name: str) -> None:
    one = Look(service(), route("x"))
    one.runs("x")
    one.services = [{"metadata": {"name": name}, "spec": {"selector": {"app": "x"}}}]
    assert f"Service {name} of the same namespace" in one.look().why
    assert one.lane.clear == ""
    one.services = []
    assert one.look().clear == one.walk.candidate


def test_what_is_not_applied_from_here_is_left_to_whoever_applies_it() -> None:
    one = Look(service())
    one._there(one.stable, {})
    assert (one.look().ours, one.lane.clear, one.lane.why) == (
        False,
        "",
        "what is declared is not applied from here yet",
    )
    one.runs("x")
    assert (one.look().ours, one.lane.clear) == (True, one.walk.candidate)


def test_what_somebody_else_calls_so_is_not_taken_over() -> None:
    one = Look(service())
    one.runs("x")
    theirs = deployment("x-candidate", way="").manifest
    one._there(theirs, {})
    assert "it is not of a rollout" in one.look().why
    assert one.lane.clear == ""


def test_a_cluster_that_does_not_answer_takes_no_share_away() -> None:
    one = Look(service())
    one.runs("x")
    one.look()
    one.runs("x-candidate")
    assert one.look().share == 10
    ref = replace(one.declared.ref, name="x-candidate")
    one.live[ref] = LiveObject(ref, {}, Health(HealthStatus.UNKNOWN, "east: it does not answer"))
    assert (one.look().share, one.lane.why) == (10, "its cluster does not answer")


def test_a_service_of_somebody_else_under_the_name_of_the_second_one_is_left_alone() -> None:
    one = Look(service(), route("x"))
    one.runs("x")
    one.services = [service().manifest, service("x-candidate", app="search").manifest]
    assert "Service x-candidate is there already" in one.look().why
    assert {"Deployment x-candidate", "Service x-candidate"}.isdisjoint(one.placed())
