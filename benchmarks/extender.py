"""The extender on the real kube-scheduler: how long a call takes, which pods keep their tier, and what its death does.

    python benchmarks/extender.py [--nodes 1000] [--pods 500] [--without]

A control plane of its own (`make parts`); KWOK nodes with the labels of three clouds in seven sorts; a second
kube-scheduler with the configuration that `schedule serve --print-configuration` prints. What the scheduler waits for
is measured twice: the extender's own histogram has every call of the scheduler, from its last byte to the answer; and a
client of ours asks the same over TLS meanwhile, from its first byte to the answer's last. Run as root, both go
before the other processes of the machine.

1. `--pods` pods of three tiers, in turn with an accelerator, with none and with several. Each one's node is held
   against the tier's rules, written down here once more and not asked of the program.
2. As many pods again; when half of them have a node, the extender is killed (SIGKILL). All have to get one.
3. As many again, as the webhook makes them (`scheduling.nodeAffinity`), while it is dead: no tier may be broken.
4. `--without`: the same first pods with no extender, for the time that it costs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import re
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "integration"))

from extender_world import SORTS, ExtenderWorld
from kubernetes_floor import control_plane

from conftest import locate_part
from customhouse.app.governance import Governance

ALLOWED = {
    "batch": ({"T4", "L4", "A10G"}, {True}),
    "standard": ({"T4", "L4", "A10G"}, {True, False}),
    "critical-inference": ({"T4", "L4", "A10G", "H100"}, {False}),
}
"""Tier → the classes that it may use (of those in this cluster), and whether its nodes may be spot."""
_CLASSES = {"Tesla-T4": "T4", "NVIDIA-A10G": "A10G", "NVIDIA-H100-80GB-HBM3": "H100"}
_SPOT = {"karpenter.sh/capacity-type", "eks.amazonaws.com/capacityType", "kubernetes.azure.com/scalesetpriority"}


def main() -> int:
    """Run it; 1 when a pod stands on a node that its tier forbids, or on none."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=500)
    parser.add_argument("--without", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, control_plane() as plane:
        world = ExtenderWorld(plane, Path(folder), locate_part("kube-scheduler"))
        try:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda start: world.add_nodes(SORTS, given.nodes, start, 8), range(8)))
            return measure(world, given.pods, without=given.without)
        finally:
            world.stop(nodes=False)


def measure(world: ExtenderWorld, pods: int, *, without: bool) -> int:
    """Parts 1 to 4."""
    plane = world.plane
    if without:
        world.start_scheduler(extended=False)
        seconds = run(world, plane.namespace("without"), pods)
        print(json.dumps({"part": "without", "pods": pods, "seconds": round(seconds, 1)}))
        return 0
    child = world.start_extender()
    first(child.pid)
    world.start_scheduler()
    room = plane.namespace("placed")
    probe = Probe(world)
    seconds = run(world, room, pods)
    for verb, times in probe.end().items():
        print(json.dumps({"asked": verb, **percentiles(times)}))
    for verb, times in histograms(world.get("/metrics")[1]).items():
        print(json.dumps({"scheduler's calls": verb, **times}))
    print(json.dumps({"cpu_seconds": cpu_seconds(child.pid)}))
    wrong = wrong_tiers(world, room)
    report = {"part": "placed", "pods": len(world.where(room)), "wrong": len(wrong), "seconds": round(seconds, 1)}
    print(json.dumps({**report, "sorts": sorts(world, room)}))
    again = plane.namespace("killed")
    threading.Thread(target=create, args=(world, again, pods)).start()
    plane.until(lambda: sum(map(bool, world.where(again).values())) >= pods // 2, 600)
    child.kill()
    before = sum(map(bool, world.where(again).values()))
    plane.until(lambda: len(world.where(again)) == pods, 600)
    found = world.placed(again, 600)
    after = len(wrong_tiers(world, again))
    print(json.dumps({"part": "killed", "placed": len(found), "when_killed": before, "tier_not_kept_after": after}))
    for used in (room, again):  # the cluster is not made for a third as many
        plane.call("DELETE", f"/api/v1/namespaces/{used}/pods?gracePeriodSeconds=0")
        plane.until(lambda used=used: not world.where(used), 600)
    held = plane.namespace("held")
    seconds = run(world, held, pods, world.held())
    lost = wrong_tiers(world, held)
    print(
        json.dumps({"part": "held", "placed": len(world.where(held)), "wrong": len(lost), "seconds": round(seconds, 1)})
    )
    return int(bool(wrong) or bool(lost) or len(found) < pods)


class Probe:
    """A process that asks the extender what the scheduler asks, over TLS, about all nodes, until it is ended."""

    def __init__(self, world: ExtenderWorld) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=probe, args=(other, world.folder, world.url, list(world.nodes)))
        self._process.start()

    def end(self) -> Mapping[str, Sequence[float]]:
        """The seconds of each call, by verb."""
        self._pipe.send("end")
        found: Mapping[str, Sequence[float]] = self._pipe.recv()
        self._process.join()
        return found


def probe(pipe: Connection, place: Path, url: str, names: Sequence[str]) -> None:
    """What the process does; it sends its times when it is told to end."""
    first()
    folder = place / "state" / "extender"
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "client.crt", folder / "client.key")
    connection = http.client.HTTPSConnection(url.removeprefix("https://"), context=context, timeout=30)
    requests = {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"}
    pod = {
        "metadata": {"name": "probe", "namespace": "probe", "labels": {"customhouse.dev/tier": "standard"}},
        "spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]},
    }
    body = json.dumps({"Pod": pod, "Nodes": None, "NodeNames": names}).encode()
    times: dict[str, list[float]] = {"filter": [], "prioritize": []}
    while not pipe.poll(0.1):
        for verb, each in times.items():
            began = time.perf_counter()
            connection.request("POST", f"/{verb}", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            each.append(time.perf_counter() - began)
            if answer.status != 200:
                raise AssertionError(answer.status)
    pipe.send(times)


def first(pid: int = 0) -> None:
    """Others use this machine: what is measured is the extender and not its neighbours."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, -15)


def histograms(metrics: str) -> dict[str, dict[str, float]]:
    """Which part of the calls was answered within so many seconds, by verb and of all together."""
    found: dict[str, dict[str, int]] = {"all": {}}
    for verb, bound, count in re.findall(
        r'customhouse_extender_seconds_bucket\{path="/(filter|prioritize|preempt)",le="([^"]+)"\} (\d+)', metrics
    ):
        found.setdefault(verb, {})[bound] = int(count)
        found["all"][bound] = found["all"].get(bound, 0) + int(count)
    return {
        verb: {"calls": counts["+Inf"]}
        | {f"<= {bound} s": round(count / counts["+Inf"], 4) for bound, count in counts.items() if bound != "+Inf"}
        for verb, counts in found.items()
        if counts
    }


def cpu_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def create(world: ExtenderWorld, room: str, pods: int, held: Governance | None = None) -> None:
    """Pods of three tiers and three sizes in turn; `held`: as the webhook would have them under these rules."""
    sizes: Sequence[Mapping[str, str]] = (
        {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"},
        {"cpu": "2", "memory": "8Gi"},
        {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"},
    )
    tiers = list(ALLOWED)

    def one(number: int) -> None:
        world.pod(room, f"pod-{number:04d}", tiers[number % 3], sizes[number // 3 % 3], held=held)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(pods)))


def run(world: ExtenderWorld, room: str, pods: int, held: Governance | None = None) -> float:
    """Create pods and wait until all have a node; the seconds."""
    began = time.monotonic()
    create(world, room, pods, held)
    world.placed(room, 600)
    return time.monotonic() - began


def wrong_tiers(world: ExtenderWorld, room: str) -> list[str]:
    """The pods on nodes that their tier forbids, by the rules above."""
    wrong = []
    for item in world.plane.call("GET", f"/api/v1/namespaces/{room}/pods")["items"]:
        classes, spots = ALLOWED[item["metadata"]["labels"]["customhouse.dev/tier"]]
        labels = world.nodes[item["spec"]["nodeName"]]["metadata"]["labels"]
        asks = "nvidia.com/gpu" in item["spec"]["containers"][0]["resources"]["requests"]
        if is_spot(labels) not in spots or (asks and _CLASSES[labels["nvidia.com/gpu.product"]] not in classes):
            wrong.append(item["metadata"]["name"])
    return wrong


def is_spot(labels: Mapping[str, str]) -> bool:
    """Whether a node of this world is spot."""
    named = any(labels.get(key, "").lower() == "spot" for key in _SPOT)
    return named or labels.get("cloud.google.com/gke-spot") == "true"


def sorts(world: ExtenderWorld, room: str) -> dict[str, int]:
    """How many pods went to which sort of node."""
    found: Counter[str] = Counter()
    for name in world.where(room).values():
        labels = world.nodes[name]["metadata"]["labels"]
        found[f"{labels['node.kubernetes.io/instance-type']}{' spot' if is_spot(labels) else ''}"] += 1
    return dict(sorted(found.items()))


def percentiles(times: Sequence[float]) -> dict[str, Any]:
    """Milliseconds."""
    ordered = sorted(times)
    if not ordered:
        return {"calls": 0}
    at = {
        name: ordered[min(len(ordered) - 1, int(part * len(ordered)))] for name, part in (("p50", 0.5), ("p99", 0.99))
    }
    return {
        "calls": len(ordered),
        **{name: round(1000 * value, 2) for name, value in {**at, "max": ordered[-1]}.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
