"""Convergence while its cluster fails: told in words, nothing deleted by mistake, and all of it applied in the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from convergence_world import ConvergenceWorld, config_map

from customhouse._kit.clock import SystemClock
from customhouse.control.convergence import Convergence
from customhouse.control.tracked import Inventories
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from customhouse.execution.health import health
from customhouse.execution.sightings import Sightings
from faulty_proxy import Fault, FaultyProxy, Seen, status_answer
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")


class FaultyWorld(ConvergenceWorld):
    """The same, with a proxy before the API that breaks what it is told to."""

    def __init__(self, plane: ControlPlane) -> None:
        self.proxy = FaultyProxy(plane)
        super().__init__(plane)

    def begin(self) -> None:
        access = replace(read_access([self.plane.kubeconfig]), server=self.proxy.address)
        self.cluster = KubernetesCluster(access, {}, SystemClock())
        self.sight = Sightings(self.cluster, health, SystemClock())
        inventory = Inventories(self.cluster, self.state, "test", self.source, self.home)
        self.convergence = Convergence(self.cluster, self.sight, inventory, SystemClock(), self.conduct)
        self.convergence.load()


@pytest.fixture
def world(kubernetes: ControlPlane) -> Iterator[ConvergenceWorld]:
    made = ConvergenceWorld(kubernetes)
    yield made
    made.end()


@pytest.fixture
def faulty(kubernetes: ControlPlane) -> Iterator[FaultyWorld]:
    made = FaultyWorld(kubernetes)
    yield made
    made.end()
    made.proxy.stop()


def problems(world: ConvergenceWorld) -> str:
    return "; ".join(world.convergence.problems.values())


def test_what_a_quota_refuses_is_told_by_its_name_and_applied_when_there_is_room(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("quota")
    world.plane.until(lambda: "kube-root-ca.crt" in world.versions("ConfigMap", place))
    quota: dict[str, Any] = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    path = f"/api/v1/namespaces/{place}/resourcequotas/few"
    world.plane.apply(path, {**quota, "spec": {"hard": {"configmaps": "2"}}})
    world.plane.until(lambda: world.plane.call("GET", path).get("status", {}).get("used"))
    world.declare(config_map("one", place), config_map("two", place))
    world.until(lambda: "(few)" in problems(world))
    assert len(world.versions("ConfigMap", place)) == 2
    world.plane.apply(path, {**quota, "spec": {"hard": {"configmaps": "9"}}})
    world.settle()
    assert set(world.versions("ConfigMap", place)) == {"kube-root-ca.crt", "one", "two"}
    assert world.convergence.problems == {}


def test_what_admission_denies_is_told_with_the_policy_and_holds_up_every_deletion(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("denied")
    root = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"]}
    policy = {
        **kind,
        "metadata": {"name": place},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "object.data.text != 'bad'", "message": "no bad text"}],
        },
    }
    only = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place}}}
    binding = {
        "apiVersion": kind["apiVersion"],
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": place},
        "spec": {"policyName": place, "validationActions": ["Deny"], "matchResources": only},
    }
    world.declare(config_map("one", place, text="a"), config_map("goes", place), config_map("stays", place))
    world.settle()
    world.plane.apply(f"{root}/{place}", policy)
    world.plane.apply(f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/{place}", binding)
    probe = config_map("probe", place, text="a")
    world.plane.apply(f"/api/v1/namespaces/{place}/configmaps/probe", probe)
    world.plane.until(lambda: _denies(world, place))
    world.declare(config_map("one", place, text="bad"), config_map("stays", place))
    world.until(lambda: f"({place})" in problems(world) and "no bad text" in problems(world))
    for _ in range(3):
        world.convergence.step()
    assert {"one", "goes", "stays"} <= set(world.versions("ConfigMap", place))
    world.declare(config_map("one", place, text="good"), config_map("stays", place))
    world.settle()
    assert world.get("ConfigMap", place, "one")["data"] == {"text": "good"}
    assert "goes" not in world.versions("ConfigMap", place)


def _denies(world: ConvergenceWorld, place: str) -> bool:
    from kubernetes_plane import KubernetesError

    try:
        world.patch("ConfigMap", place, "probe", {"data": {"text": "bad"}})
    except KubernetesError as error:
        return "no bad text" in str(error)
    world.patch("ConfigMap", place, "probe", {"data": {"text": "a"}})
    return False


def patches(seen: Seen) -> bool:
    return seen.method == "PATCH"


def deletes(seen: Seen) -> bool:
    return seen.method == "DELETE"


def test_an_api_that_fails_in_all_ways_while_a_commit_is_applied_loses_nothing(faulty: FaultyWorld) -> None:
    place = faulty.plane.namespace("failing")
    faulty.plane.apply(f"/api/v1/namespaces/{place}/configmaps/stranger", config_map("stranger", place))
    before = [config_map(f"c{number:02}", place, text="1") for number in range(30)]
    faulty.declare(*before)
    faulty.settle()
    for fault in (
        Fault(patches, times=5, answer=status_answer(429, "TooManyRequests", {"Retry-After": "1"})),
        Fault(patches, times=5, answer=status_answer(503, "ServiceUnavailable")),
        Fault(patches, times=2, answer=status_answer(500, "InternalError")),
        Fault(patches, times=5, answer=status_answer(409, "Conflict")),
        Fault(patches, times=5, reset="after"),
        Fault(patches, times=5, reset="before"),
        Fault(deletes, times=2, reset="after"),
        Fault(deletes, times=2, answer=status_answer(409, "Conflict")),
        Fault(lambda seen: seen.watches, times=3, answer=status_answer(410, "Expired")),
    ):
        faulty.proxy.fault(fault)
    faulty.declare(*(config_map(f"c{number:02}", place, text="2") for number in range(20)))
    faulty.proxy.down()  # and a restart, so that the watches begin anew
    faulty.proxy.up()
    faulty.until(lambda: faulty.convergence.settled and not faulty.convergence.waiting(), 180)
    found = faulty.plane.call("GET", f"/api/v1/namespaces/{place}/configmaps")["items"]
    texts = {item["metadata"]["name"]: (item.get("data") or {}).get("text") for item in found}
    texts.pop("kube-root-ca.crt", None)
    assert texts == {"stranger": None} | {f"c{number:02}": "2" for number in range(20)}
    versions = faulty.versions("ConfigMap", place)
    faulty.restart()
    faulty.declare(*(config_map(f"c{number:02}", place, text="2") for number in range(20)))
    faulty.settle()
    assert faulty.versions("ConfigMap", place) == versions
    assert faulty.convergence.problems == {}
