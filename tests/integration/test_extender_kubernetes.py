"""The extender beside a real kube-scheduler: tiers are kept, money is asked, and nothing waits for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deploy_rendering import account_file, applied, objects
from extender_world import ON_DEMAND_CPU, ON_DEMAND_H100, ON_DEMAND_T4, SORTS, SPOT_CPU, SPOT_T4, ExtenderWorld

if TYPE_CHECKING:
    from kubernetes_plane import ControlPlane

pytestmark = [pytest.mark.part("kubernetes"), pytest.mark.part("kube-scheduler")]
GPU = {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"}
PLAIN = {"cpu": "2", "memory": "8Gi"}


@pytest.fixture
def world(kubernetes: ControlPlane, find_part: Callable[[str], Path], tmp_path: Path) -> Iterator[ExtenderWorld]:
    made = ExtenderWorld(kubernetes, tmp_path, find_part("kube-scheduler"))
    yield made
    made.stop()


def labels(world: ExtenderWorld, node: str) -> Mapping[str, str]:
    found: Mapping[str, str] = world.nodes[node]["metadata"]["labels"]
    return found


def is_spot(found: Mapping[str, str]) -> bool:
    return "spot" in {value.lower() for value in found.values()} or found.get("cloud.google.com/gke-spot") == "true"


def kept(tier: str, found: Mapping[str, str]) -> bool:
    """Whether a tier's pods may be on a node of this world, as far as spot goes."""
    return is_spot(found) if tier == "batch" else not is_spot(found) if tier == "critical-inference" else True


def add_parts(world: ExtenderWorld) -> None:
    """Two of each: an H100 in MIG slices, and a T4 in time slices."""
    for number in range(2):
        for name, sort, more in (("mig", ON_DEMAND_H100, "mig-1g.10gb"), ("part", ON_DEMAND_T4, "gpu.shared")):
            machine, found, _ = sort
            marked = {**found, "nvidia.com/gpu.product": "Tesla-T4-SHARED"} if name == "part" else found
            world.add_node(f"{world.name}-{name}-{number}", machine, marked, 0, {f"nvidia.com/{more}": "7"})


def parts_are_filled_one_after_the_other(world: ExtenderWorld, room: str) -> None:
    """What is begun is filled, also in parts: one device of two carries all of them."""
    for number in range(5):
        for name, part in (("mig", "mig-1g.10gb"), ("part", "gpu.shared")):
            requests = {"cpu": "100m", "memory": "64Mi", f"nvidia.com/{part}": "1"}
            world.pod(room, f"{name}-{number}", "critical-inference", requests)
    where = world.placed(room)
    for name in ("mig", "part"):
        assert len({where[f"{name}-{number}"] for number in range(5)}) == 1, name


def add_held(world: ExtenderWorld, room: str) -> None:
    """Pods as the webhook would have them: what it put there holds all the same (`scheduling.nodeAffinity`)."""
    rules = world.held()
    for number in range(6):
        for tier in ("batch", "standard", "critical-inference"):
            requests = {**(GPU if number % 2 else PLAIN), "cpu": "50m", "memory": "64Mi"}
            world.pod(room, f"{tier}-held-{number}", tier, requests, held=rules)


def held_are_where_they_may(world: ExtenderWorld, where: Mapping[str, str]) -> None:
    for name, node in where.items():
        tier, mark, _ = (*name.rsplit("-", 2), "", "")[:3]
        if mark == "held":
            found = labels(world, node)
            assert kept(tier, found), name
            assert tier == "critical-inference" or "H100" not in found.get("nvidia.com/gpu.product", ""), name


def test_pods_go_where_their_tier_may_and_where_it_is_cheap(world: ExtenderWorld, repository_root: Path) -> None:
    world.add_nodes(SORTS, 28)
    add_parts(world)
    # With the rights that are shipped, and no others.
    deploy = repository_root / "deploy" / "kustomize"
    files = (deploy / "base/namespace.yaml", deploy / "components/extender/extender.yaml")
    shipped = [item for file in files for item in objects(file.read_text())]
    applied(world.plane, [item for item in shipped if item["kind"] not in ("Deployment", "PodDisruptionBudget")])
    world.account = account_file(world.plane, "customhouse-extender", world.folder / "account")
    child = world.start_extender()
    world.start_scheduler()
    room = world.plane.namespace("extended")
    # 1. A tier's rules hold, and the cheapest of what is left is taken.
    for number in range(4):
        for tier in ("batch", "standard", "critical-inference"):
            world.pod(room, f"{tier}-gpu-{number}", tier, GPU)
            world.pod(room, f"{tier}-cpu-{number}", tier, PLAIN)
    for name, node in world.placed(room).items():
        found = labels(world, node)
        tier = name.rsplit("-", 2)[0]
        assert kept(tier, found), name
        if "-cpu-" in name:  # there is room on machines without accelerators
            assert "nvidia.com/gpu.product" not in found, name
        elif tier != "critical-inference":
            assert "H100" not in found["nvidia.com/gpu.product"], name
    parts_are_filled_one_after_the_other(world, room)
    # 2. What no node is left for waits, and its events say which rule that is.
    world.pod(room, "spotless", "batch", {**GPU, "cpu": "1"}, nodeSelector={"karpenter.sh/capacity-type": "on-demand"})
    world.until(lambda: "tier batch runs on spot capacity alone" in world.said(room, "spotless"))
    # A GPU that the cluster has not got leads to a node pool, which its API takes.
    world.pod(room, "elsewhere", "critical-inference", GPU, nodeSelector={"nvidia.com/gpu.product": "NVIDIA-L4"})
    world.until(lambda: world.said(room, "elsewhere"))
    world.plane.install_crds("karpenter")
    pools = {item["metadata"]["name"]: item for item in objects(world.pools())}
    pool = pools["critical-inference-g6-xlarge-on-demand"]
    assert pool["spec"]["limits"] == {"nvidia.com/gpu": "1"}
    made = f"/apis/karpenter.sh/v1/nodepools/{pool['metadata']['name']}"
    assert world.plane.apply(made, pool, dry_run=True)["spec"]["template"]["spec"]["requirements"]
    asked = world.plane.asked("customhouse-extender")
    assert {(item["verb"], item["objectRef"]["resource"]) for item in asked} <= {
        (verb, resource) for verb in ("get", "list", "watch") for resource in ("nodes", "pods")
    }
    # 3. Killed in the middle: every pod still gets a node.
    for number in range(20):
        world.pod(room, f"late-{number}", "standard", {"cpu": "100m", "memory": "64Mi"})
        if number == 10:
            child.kill()
    add_held(world, room)
    for name in ("spotless", "elsewhere"):
        world.plane.call("DELETE", f"/api/v1/namespaces/{room}/pods/{name}?gracePeriodSeconds=0")
    held_are_where_they_may(world, world.placed(room))


def test_nobody_is_evicted_from_a_node_that_the_pod_may_not_use(world: ExtenderWorld) -> None:
    """Without the preempt verb the scheduler would evict what runs on the spot node, and then not use it."""
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    for name, value in (("spot", 10), ("own", 20), ("serve", 1000)):
        body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": value}
        world.plane.apply(f"{classes}/{world.name}-{name}", {**body, "metadata": {"name": f"{world.name}-{name}"}})
    for name, sort in (("own", ON_DEMAND_T4), ("spot", SPOT_T4)):
        world.add_node(f"{world.name}-{name}", *sort)
    world.start_extender()
    world.start_scheduler()
    room = world.plane.namespace("evicting")
    # Training fills both nodes; what runs on the spot node is worth less, so it would be evicted first.
    for name in ("own", "spot"):
        spec = {"priorityClassName": f"{world.name}-{name}", "terminationGracePeriodSeconds": 0}
        world.pod(room, name, "standard", GPU, nodeName=f"{world.name}-{name}", **spec)
    world.pod(room, "serve", "critical-inference", GPU, priorityClassName=f"{world.name}-serve")
    world.until(lambda: world.where(room).get("serve"))
    assert world.where(room) == {"serve": f"{world.name}-own", "spot": f"{world.name}-spot"}


def test_only_the_scheduler_is_answered_and_nonsense_ends_nothing(world: ExtenderWorld) -> None:
    for name, sort in (("own", ON_DEMAND_CPU), ("spot", SPOT_CPU), ("h100", ON_DEMAND_H100)):
        world.add_node(f"{world.name}-{name}", *sort)
    world.start_extender()
    names = [*world.nodes, "nobody-has-seen-this"]
    pod: dict[str, Any] = {"metadata": {"namespace": "x", "name": "p"}, "spec": {"containers": []}}
    body = json.dumps({"Pod": pod, "NodeNames": names}).encode()
    assert world.ask("/filter", body, known=False)[0] == 403
    for nonsense in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"Pod":{}}',
        b'{"Pod":{"metadata":{},"spec":{}},"NodeNames":[1]}',
        b"[" * 99999,
    ):
        status, text = world.ask("/filter", nonsense)
        assert status == 400, nonsense[:80]
        assert text
    assert world.ask("/preempt", body)[0] == 400
    assert world.ask("/elsewhere", body)[0] == 404
    # A pod that cannot be read goes nowhere.
    broken = {**pod, "spec": {"containers": [{"resources": {"requests": {"cpu": "many"}}}]}}
    status, text = world.ask("/filter", json.dumps({"pod": broken, "nodenames": names}).encode())
    found = json.loads(text)
    assert (status, found["NodeNames"]) == (200, [])
    assert all("cannot be read" in reason for reason in found["FailedAndUnresolvableNodes"].values())
    # A label alone grants no tier: this namespace may ask for it, a tier that nobody defined is judged as `standard`.
    for asked, left in (("no-such-tier", 2), ("critical-inference", 2), ("batch", 1)):
        pod["metadata"]["labels"] = {"customhouse.dev/tier": asked}
        pod["spec"] = {"containers": [{"resources": {"requests": {"cpu": "1"}}}]}
        answer = json.loads(world.ask("/filter", json.dumps({"Pod": pod, "NodeNames": names}).encode())[1])
        assert len(answer["NodeNames"]) == left + (asked == "no-such-tier"), asked
        assert set(answer["FailedNodes"]) == {"nobody-has-seen-this"}
    assert world.get("/readyz")[0] == 200
    assert 'path="/filter",status="403"} 1' in world.get("/metrics")[1]
