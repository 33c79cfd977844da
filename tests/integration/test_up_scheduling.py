"""`up` runs the extender and proposes node pools where customhouse.yaml asks for it, on a real API server."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_repository import git
from extender_world import ON_DEMAND_CPU, ExtenderWorld
from test_up_kubernetes import ClusterWorld

from customhouse._kit.clock import SystemClock, to_rfc3339
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")
PATIENCE_S = 180
TIERS = """\
scheduling:
  extender: {listen: "127.0.0.1:0"}
  pools: {path: pools, afterSeconds: 1}
tiers:
  namespaces: {"*": [up-gold]}
  definitions: {up-gold: {gpuClasses: [L4], spot: forbidden}}
"""


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane) -> Iterator[ClusterWorld]:
    made = ClusterWorld(tmp_path, kubernetes, "observe")
    yield made
    made.close()


def extender(world: ClusterWorld) -> dict[str, Any]:
    found: dict[str, Any] = world.overview().get("scheduling", {}).get("extender", {})
    return found


def pools(world: ClusterWorld) -> list[dict[str, Any]]:
    rows = world.overview().get("scheduling", {}).get("pools", ())
    return [row for row in rows if row["tier"] == "up-gold"]


def processes(world: ClusterWorld) -> list[int]:
    """Of the extender that this `up` started."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                line = (place / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"--with-parent" in line and str(world.state).encode() in line:
                found.append(int(place.name))
    return found


def stuck_pod(world: ClusterWorld) -> str:
    """A pod of the tier that no scheduler will ever look at, as one that the scheduler has given up on."""
    place = f"/api/v1/namespaces/{world.namespace}/pods"
    requests = {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"}
    container = {"name": "main", "image": "pause", "resources": {"requests": requests, "limits": requests}}
    spec = {"schedulerName": "nobody", "containers": [container]}
    metadata = {"name": "stuck", "labels": {"customhouse.dev/tier": "up-gold"}}
    world.plane.call("POST", place, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available",
        "lastTransitionTime": to_rfc3339(SystemClock().now())[:19] + "Z",
    }
    body = {"status": {"conditions": [condition]}}
    world.plane.call("PATCH", f"{place}/stuck/status", body, content="application/merge-patch+json")
    return f"{place}/stuck"


def test_up_runs_the_extender_and_proposes_pools(world: ClusterWorld) -> None:
    nodes = ExtenderWorld(world.plane, world.root, Path("unused"))
    nodes.add_node(f"{nodes.name}-cpu", *ON_DEMAND_CPU)
    try:
        rules = world.rules.replace("autonomy: observe", "autonomy: recommend") + TIERS
        head = world.push({"customhouse.yaml": rules}, "Scheduling")
        world.start()
        world.deployed(head, PATIENCE_S)
        found = world.until(lambda: extender(world).get("nodes") and extender(world), PATIENCE_S)
        assert (found["problem"], found["revision"]) == ("", head)
        # 1. What ends is begun again, and that is told meanwhile.
        (before,) = processes(world)
        os.kill(before, signal.SIGKILL)
        world.until(lambda: [one for one in processes(world) if one != before], PATIENCE_S)
        world.until(lambda: extender(world).get("nodes"), PATIENCE_S)
        # 2. A pod that stays pending: shown as far as `recommend` goes, and a branch with `propose`.
        pod = stuck_pod(world)
        (row,) = world.until(lambda: pools(world), PATIENCE_S)
        assert (row["state"], row["machines"]) == ("recommended", "1 × g6.xlarge")
        assert git(world.remote, "for-each-ref", "refs/heads/customhouse") == ""
        by_hand = world.cli("schedule", "pools", "--propose", "--repo", str(world.remote), "-o", "json")
        assert "up-gold-g6-xlarge-on-demand" in by_hand.stdout, by_hand.stderr
        branch = "customhouse/nodepool/up-gold-g6-xlarge-on-demand"
        before_up = git(world.remote, "rev-parse", branch)
        head = world.push({"customhouse.yaml": rules.replace("recommend", "propose")}, "Propose")
        world.until(lambda: [row for row in pools(world) if row["state"] == "proposed"], PATIENCE_S)
        assert git(world.remote, "rev-parse", branch) == before_up, "what a person had written already"
        shown = git(world.remote, "show", f"{branch}:pools/up-gold-g6-xlarge-on-demand.yaml")
        assert "kind: NodePool" in shown
        text = world.cli("status").stdout
        assert "node pool up-gold-g6-xlarge-on-demand (1 × g6.xlarge) for 1 pod" in text
        assert f"proposed on {branch}" in text
        assert "extender: " in text
        checks = {row["name"]: row for row in json.loads(world.cli("doctor", "-o", "json").stdout)["checks"]}
        assert "cluster: known" in checks["scheduler's extender"]["detail"]
        names = ("scheduler's extender", "certificate of the extender", "certificate of the scheduler")
        assert {checks[name]["state"] for name in names if name in checks} == {"ok"}
        # 3. The need goes, and the branch with it.
        world.plane.call("DELETE", f"{pod}?gracePeriodSeconds=0")
        # Other tests' pods may wait in this cluster too: what is looked at is this one's.
        gone = f"{branch} is withdrawn"
        world.until(lambda: any(item.body["text"].startswith(gone) for item in world.entries("proposal")), PATIENCE_S)
        assert branch not in git(world.remote, "for-each-ref", "refs/heads")
        assert world.end() == 0
        assert processes(world) == [], "it ends with `up`"
    finally:
        nodes.stop()
