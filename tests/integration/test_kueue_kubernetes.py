"""Kueue's real controller on a real control plane: its queues, and a control plane that does not work against them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from convergence_world import ConvergenceWorld

from customhouse.app.admission_queued import queued
from customhouse.core.podsets import pod_sets
from customhouse.core.queues import Landing, queues
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.execution.health import health
from customhouse.policy.projection import project
from kubernetes_plane import ControlPlane
from kueue_controller import LABEL, QUEUES, kueue_on

pytestmark = [pytest.mark.part("kubernetes"), pytest.mark.part("kueue")]
PATIENCE_S = 120
V1BETA1 = "kueue.x-k8s.io/v1beta1"


@pytest.fixture(scope="module")
def kueue(
    kubernetes: ControlPlane, find_part: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """The control plane with Kueue. No node has the labels of its flavors: what is let in waits for the scheduler."""
    with kueue_on(kubernetes, find_part("kueue"), tmp_path_factory.mktemp("kueue")) as plane:
        yield plane


def thing(kind: str, name: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": V1BETA1, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def quotas(**amounts: str) -> list[dict[str, str]]:
    names = {"gpu": "nvidia.com/gpu"}
    return [{"name": names.get(name, name), "nominalQuota": amount} for name, amount in amounts.items()]


def shop(room: str, queue: str = "train") -> list[dict[str, Any]]:
    """Two flavors, a queue with quota of both that may take from what is worth less, and a way to it."""
    flavors = [
        {"name": f"{room}-l4", "resources": quotas(cpu="8", memory="32Gi", gpu="2")},
        {"name": f"{room}-h100", "resources": quotas(cpu="16", memory="64Gi", gpu="4")},
    ]
    groups = [{"coveredResources": ["cpu", "memory", "nvidia.com/gpu"], "flavors": flavors}]
    preemption = {"withinClusterQueue": "LowerPriority"}
    labels = {"pool": "kueue", "nvidia.com/gpu.product": "NVIDIA-L4"}
    dear = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    taint = {"key": "dear", "value": "yes", "effect": "NoSchedule"}
    spec = {"namespaceSelector": {}, "resourceGroups": groups, "preemption": preemption}
    return [
        thing("ResourceFlavor", f"{room}-l4", {"nodeLabels": labels}),
        thing("ResourceFlavor", f"{room}-h100", {"nodeLabels": dear, "nodeTaints": [taint]}),
        thing("ClusterQueue", f"{room}-{queue}", spec),
        thing("LocalQueue", queue, {"clusterQueue": f"{room}-{queue}"}, namespace=room),
    ]


def job(
    room: str, name: str, gpus: int = 1, pods: int = 1, *, suspend: bool | None = None, **pod: Any
) -> dict[str, Any]:
    resources = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"nvidia.com/gpu": str(gpus)} if gpus else {}}
    container = {"name": "c", "image": "example/train", "resources": {**resources, **pod.pop("resources", {})}}
    labels = {"kueue.x-k8s.io/queue-name": "train", **pod.pop("labels", {})}
    spec: dict[str, Any] = {"parallelism": pods, "completions": pods} | (
        {} if suspend is None else {"suspend": suspend}
    )
    template = {
        "spec": {"restartPolicy": "Never", "containers": [container], **pod},
    }
    metadata = {"name": name, "namespace": room, "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {**spec, "template": template}}


def workload(plane: ControlPlane, room: str, name: str) -> dict[str, Any]:
    """What Kueue made of a Job."""
    found = plane.call("GET", f"{QUEUES}/namespaces/{room}/workloads")["items"]
    mine = [item for item in found if item["metadata"]["ownerReferences"][0]["name"] == name]
    return mine[0] if mine else {}


def condition(item: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((one for one in item.get("status", {}).get("conditions", ()) if one["type"] == kind), {})


def admitted(plane: ControlPlane, room: str, name: str) -> bool:
    return condition(workload(plane, room, name), "Admitted").get("status") == "True"


def generations(world: ConvergenceWorld, room: str) -> list[int]:
    """How often the specs were altered; statuses go on being written."""
    return [world.get("Job", room, name)["metadata"]["generation"] for name in ("first", "second")]


def test_the_control_plane_leaves_the_queue_to_kueue(kueue: ControlPlane) -> None:
    room = kueue.namespace("queued", {LABEL: "yes"})
    world = ConvergenceWorld(kueue)
    low, high = f"{room}-low", f"{room}-high"
    classes = [
        {"apiVersion": V1BETA1, "kind": "WorkloadPriorityClass", "metadata": {"name": name}, "value": value}
        for name, value in ((low, 1), (high, 100))
    ]
    of_class = lambda name: {"kueue.x-k8s.io/priority-class": name}  # noqa: E731 - a label, said twice
    # The first asks for `suspend` as Kueue's own examples do, the second says the contrary.
    first = job(room, "first", 2, suspend=True, labels=of_class(low))
    second = job(room, "second", 2, suspend=False, labels=of_class(low))
    declared = [*shop(room), *classes, first]
    try:
        world.declare(*declared)
        world.until(lambda: admitted(kueue, room, "first"), PATIENCE_S)
        world.until(lambda: world.get("Job", room, "first")["status"].get("active") == 1, PATIENCE_S)
        world.declare(*declared, second)
        world.until(lambda: condition(workload(kueue, room, "second"), "QuotaReserved"), PATIENCE_S)
        # 1. One is let in, one waits; nobody is put back, however often the control plane looks.
        before = generations(world, room)
        world.settle()
        world.restart()
        world.declare(*declared, second)
        world.settle()
        assert generations(world, room) == before
        assert [kind for one in world.rounds for kind in one.drift] == []
        waiting, running = world.get("Job", room, "second"), world.get("Job", room, "first")
        assert (waiting["spec"]["suspend"], running["spec"]["suspend"]) == (True, False)
        assert running["spec"]["template"]["spec"]["nodeSelector"]["pool"] == "kueue"
        # To admission and audit both are what Git declares, as Kueue makes it.
        known = queues((ResourceRef.of(one), one) for one in declared)
        for git, live in ((second, waiting), (first, running)):
            ref = ResourceRef.of(git)
            made = [project(one, ref) for one in queued(Declaration(ref, git, Location("git")), known)]
            assert project(live, ref) in made
        assert health(waiting).status.value == "Suspended"
        pending = health(workload(kueue, room, "second"))
        assert pending.status.value == "Progressing"
        assert "insufficient unused quota" in pending.message
        assert health(workload(kueue, room, "first")).status.value == "Healthy"
        # 2. What is worth more takes the place of what runs; that is left too.
        urgent = job(room, "urgent", 2, labels=of_class(high))
        world.declare(*declared, second, urgent)
        world.until(lambda: admitted(kueue, room, "urgent"), PATIENCE_S)
        world.until(lambda: world.get("Job", room, "first")["spec"]["suspend"], PATIENCE_S)
        evicted = workload(kueue, room, "first")
        assert condition(evicted, "Evicted")["reason"] == "Preempted"
        assert health(evicted).status.value == "Progressing"
        world.until(lambda: world.get("Job", room, "urgent")["spec"]["suspend"] is False, PATIENCE_S)
        world.settle()
        assert world.get("Job", room, "first")["spec"]["suspend"] is True
        assert world.get("Job", room, "urgent")["spec"]["suspend"] is False
        assert [item for one in world.rounds for item in one.drift] == []
    finally:
        world.end()


def _landing(declared: list[dict[str, Any]], item: dict[str, Any]) -> Landing:
    found = queues((ResourceRef.of(one), one) for one in declared)
    ref = ResourceRef.of(item)
    made = found.landing(item, ref, pod_sets(item, ref.api_version, ref.kind))
    assert made is not None
    return made


def test_what_fits_and_what_never_will_is_what_kueue_says(kueue: ControlPlane) -> None:
    room = kueue.namespace("fits", {LABEL: "yes"})
    stands = {"tolerations": [{"key": "dear", "operator": "Exists"}]}
    l4 = {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}
    nowhere = {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-A10"}}
    unread = {"nodeSelector": {"disk": "ssd"}}
    term = {"matchExpressions": [{"key": "nvidia.com/gpu.product", "operator": "NotIn", "values": ["NVIDIA-L4"]}]}
    within = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    jobs = {
        "small": job(room, "small", 1),
        "whole": job(room, "whole", 1, 2),
        "wide": job(room, "wide", 1, 3),
        "stands": job(room, "stands", 1, 4, **stands),
        "over": job(room, "over", 1, 5, **stands),
        "l4": job(room, "l4", 2, **l4),
        "l4-over": job(room, "l4-over", 3, **stands, **l4),
        "nowhere": job(room, "nowhere", 1, **nowhere),
        "unread": job(room, "unread", 1, **unread),
        "other": job(room, "other", 1, affinity=within),
        "other-stands": job(room, "other-stands", 1, affinity=within, **stands),
        "memory": job(room, "memory", 0, resources={"requests": {"cpu": "1", "memory": "33Gi"}}),
        "strange": job(room, "strange", 0, resources={"limits": {"amd.com/gpu": "1"}}),
    }  # fmt: skip
    shops: dict[str, list[dict[str, Any]]] = {}
    for name, item in jobs.items():  # a queue each, so that none waits for another
        item["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = name
        shops[name] = shop(room, name)
        for one in shops[name]:
            place = f"/namespaces/{room}" if "namespace" in one["metadata"] else ""
            kueue.apply(f"{QUEUES}{place}/{one['kind'].lower()}s/{one['metadata']['name']}", one)
        kueue.apply(f"/apis/batch/v1/namespaces/{room}/jobs/{name}", item)
    for name, item in jobs.items():

        def said(name: str = name) -> dict[str, Any]:
            return condition(workload(kueue, room, name), "QuotaReserved")

        # Until the queue is active Kueue says that it is not there, or inactive.
        found = kueue.until(
            lambda said=said: not re.search("exist|inactive|^$", said().get("message", "")) and said(), PATIENCE_S
        )
        told = _landing(shops[name], item)
        fits = found["status"] == "True"
        assert fits == (not told.lacks), (name, found["message"], told.lacks)
        if fits:
            flavors = workload(kueue, room, name)["status"]["admission"]["podSetAssignments"][0]["flavors"]
            assert set(flavors.values()) == {told.places[0][0].flavors[0]}, (name, flavors)
