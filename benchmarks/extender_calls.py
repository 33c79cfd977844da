"""Processor time of the extender's answers about a thousand nodes: what does not depend on who else uses the machine.

    python benchmarks/extender_calls.py [--nodes 1000] [--pods 1500]

Pods of three tiers are filtered, scored and put on the node with the highest score, one after the other; once with
three sizes, once with a size of its own for each, which is the worst case for what is remembered.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "integration"))

from extender_world import CONFIGURATION, SORTS

from customhouse._kit.clock import SystemClock
from customhouse.app.extender import Extending
from customhouse.app.settings import Settings
from customhouse.core.cluster import ClusterEvent, EventKind
from customhouse.execution.extender_nodes import NODES, PODS

SIZES = (
    {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"},
    {"cpu": "2", "memory": "8Gi"},
    {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"},
)
TIERS = ("batch", "standard", "critical-inference")


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=1500)
    given = parser.parse_args()
    for varied in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({"sizes": "each its own" if varied else 3, **measure(Path(folder), given, varied=varied)}))


def measure(folder: Path, given: argparse.Namespace, *, varied: bool) -> dict[str, Any]:
    """CPU milliseconds a call."""
    (folder / "customhouse.yaml").write_text(CONFIGURATION)
    settings = Settings(state=folder / "state", config=folder / "customhouse.yaml")
    extending = Extending(settings, None, SystemClock(), lambda *_: None)
    names = [f"node-{number}" for number in range(given.nodes)]
    told = [ClusterEvent(EventKind.ADDED, NODES, node(name, number)) for number, name in enumerate(names)]
    extending.occupancy.nodes_sink([*told, ClusterEvent(EventKind.SYNCED, NODES)])
    draw = random.Random(1)
    times: dict[str, list[float]] = {"filter": [], "prioritize": []}
    for number in range(given.pods):
        requests = dict(SIZES[number // 3 % 3]) | ({"cpu": f"{draw.randint(1, 4000)}m"} if varied else {})
        pod: dict[str, Any] = {
            "metadata": {"uid": str(number), "namespace": "x", "labels": {"customhouse.dev/tier": TIERS[number % 3]}},
            "spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]},
            "status": {},
        }
        body = json.dumps({"Pod": pod, "Nodes": None, "NodeNames": names}).encode()
        began = time.thread_time()
        answer = extending.filter(body)[0]
        times["filter"].append(time.thread_time() - began)
        left = json.loads(answer)["NodeNames"]
        body = json.dumps({"Pod": pod, "Nodes": None, "NodeNames": left}).encode()
        began = time.thread_time()
        answer = extending.prioritise(body)
        times["prioritize"].append(time.thread_time() - began)
        best = max(json.loads(answer), key=lambda item: int(item["Score"]))["Host"]
        pod["spec"]["nodeName"] = best
        extending.occupancy.pods_sink([ClusterEvent(EventKind.ADDED, PODS, pod)])
    return {verb: percentiles(each) for verb, each in times.items()}


def node(name: str, number: int) -> dict[str, Any]:
    """A node of one of the sorts."""
    machine, labels, devices = SORTS[number % len(SORTS)]
    named = {"node.kubernetes.io/instance-type": machine, "topology.kubernetes.io/region": "us-east-1", **labels}
    amounts = {"cpu": str(16 * (devices or 1)), "memory": f"{64 * (devices or 1)}Gi"}
    amounts |= {"nvidia.com/gpu": str(devices)} if devices else {}
    spec = {"providerID": f"aws:///us-east-1a/{name}"}
    return {"metadata": {"name": name, "labels": named}, "spec": spec, "status": {"allocatable": amounts}}


def percentiles(times: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(times)
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        name: round(1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))], 2) for name, part in at.items()
    }


if __name__ == "__main__":
    main()
