"""kill -9 of `customhouse up` at any write to a real cluster: the next start goes on, nothing is lost or deleted.

Each life ends at a write that is drawn from a seed, before the API has it or after; so it does not depend on how fast
anything is. `test_up_killed.py` does the same on this machine as the target, at the durable steps of the state.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from execution_world import eventually
from test_up_faults import FaultyClusterWorld
from test_up_kubernetes import settings_of

from faulty_proxy import Fault, Seen
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")

LIVES = 10
WRITES = 14
"""A life writes the Lease, the inventory before, five objects, the inventory after, a deletion and what was noted."""


class Reaper:
    """Kills the process at one of its writes."""

    def __init__(self, world: FaultyClusterWorld, at: int, *, before: bool) -> None:
        self.world, self.left = world, at
        self.seen = ""
        world.proxy.fault(Fault(self, times=10_000, reset="before" if before else "after"))

    def __call__(self, seen: Seen) -> bool:
        if seen.method == "GET" or self.left == 0 or self.world.process is None:
            return False
        self.left -= 1
        if self.left == 0:
            self.seen = f"{seen.method} {seen.target}"
            os.kill(self.world.process.pid, signal.SIGKILL)
            return True
        return False


def test_ten_lives_that_end_at_any_write_leave_exactly_what_is_declared(
    tmp_path: Path, kubernetes: ControlPlane
) -> None:
    world, draw = FaultyClusterWorld(tmp_path, kubernetes), random.Random(7)
    try:
        ten_lives(world, draw)
    finally:
        world.close()
        world.proxy.stop()


def ten_lives(world: FaultyClusterWorld, draw: random.Random) -> None:
    stranger = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stranger"}, "data": {"text": "theirs"}}
    world.plane.call("POST", f"/api/v1/namespaces/{world.namespace}/configmaps", stranger)
    rules = world.rules.replace(str(world.plane.kubeconfig), str(world.kubeconfig))
    declared = {f"c{number}": "first" for number in range(5)}
    files = {f"{name}.yaml": settings_of(name, world.namespace, text) for name, text in declared.items()}
    world.push({"customhouse.yaml": rules, **files}, "five objects")
    deaths = []
    for life in range(LIVES):
        reaper = Reaper(world, draw.randint(1, WRITES), before=draw.random() < 0.5)
        deaths.append(one_life(world, reaper, {"stranger": "theirs", **declared}))
        left = draw.choice(sorted(declared))
        del declared[left]
        declared |= {draw.choice(sorted(declared)): f"life {life}", f"n{life}": "new"}
        changed = {f"{name}.yaml": settings_of(name, world.namespace, text) for name, text in declared.items()}
        head = world.push({f"{left}.yaml": None, **changed}, f"life {life}")
    world.start()
    world.until(lambda: settled(world, {"stranger": "theirs", **declared}), 120)
    assert world.overview()["deployed"] == head
    world.until(lambda: inventory(world) == set(declared), 120)
    assert max(Counter(entry.key for entry in world.entries()).values()) == 1
    assert sum(bool(seen) for seen in deaths) >= LIVES // 2, deaths
    assert world.end() == 0


def one_life(world: FaultyClusterWorld, reaper: Reaper, wanted: dict[str, str]) -> str:
    """Start it, and let it run until it is killed or has nothing left to write; the write at which it was killed."""
    process = world.start()
    eventually(lambda: process.poll() is not None or settled(world, wanted), 120, world.said)
    reaper.left = 0
    process.kill()
    process.wait(60)
    return reaper.seen


def settled(world: FaultyClusterWorld, wanted: dict[str, str]) -> bool:
    """Whether the head is deployed, without a problem, and the namespace is as wanted."""
    seen = world.overview()
    return bool(seen) and seen.get("deployed") == world.head and not seen["problem"] and world.texts() == wanted


def inventory(world: FaultyClusterWorld) -> set[str]:
    """The names that the inventory in the cluster has."""
    source = world.overview()["cluster"]["source"]
    listed = world.plane.call("GET", "/api/v1/namespaces/customhouse-system/configmaps")["items"]
    own = [item for item in listed if item["metadata"]["name"].startswith(f"inventory-{source}-")]
    rows = [json.loads(line) for item in own for line in item["data"].get("objects", "").splitlines()]
    return {row[3] for row in rows}
