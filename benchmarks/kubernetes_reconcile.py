"""Reconciling many model applications on a real API server, beside the floor of plain concurrent apply in the same run.

    python benchmarks/kubernetes_reconcile.py [--apps 1000]

It starts a control plane of its own (`make parts`). An application is a ConfigMap, a Service, a Deployment without
replicas and a HorizontalPodAutoscaler. The controller runs in a process of its own: what is measured is from the moment
that it has the declarations until all of them are applied and in the inventory; then steps without any news, a restart,
one application changed at a time, and one object edited behind its back at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kubernetes_floor import PLACES, _measure, _server_cpu, application, control_plane

SAMPLES = 50


def main() -> None:
    """Start a control plane and measure on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=1000)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_child(*options.child, count=options.apps)))
        return
    with control_plane() as plane:
        floor, server = _measure(plane, "plain", plane.namespace("floor"), "made", options.apps)
        namespace, before = plane.namespace("reconcile"), _server_cpu(plane)
        command = [sys.executable, __file__, "--apps", str(options.apps), "--child", str(plane.kubeconfig)]
        done = subprocess.run(
            [*command, namespace, plane.server], check=True, capture_output=True, text=True, env=dict(os.environ)
        )
        found = json.loads(done.stdout)
        spent = _server_cpu(plane) - before
    count = 4 * options.apps
    print(f"{count} objects: ratio of the times {found['applied_s'] / floor.seconds:.2f}")
    print(f"  plain      {floor.seconds:7.2f} s, {floor.cpu:6.2f} CPU-s, API server and etcd {server:.1f} CPU-s")
    print(
        f"  reconciled {found['applied_s']:7.2f} s, {found['applied_cpu']:6.2f} CPU-s, {found['mebibytes']} MiB at most"
    )
    print(f"             API server and etcd {spent:.1f} CPU-s in all that follows too")
    for name in ("idle", "restart"):
        share = 100 * found[f"{name}_cpu"] / found["applied_cpu"]
        print(
            f"  {name:10} {found[f'{name}_s']:7.2f} s, {found[f'{name}_cpu']:6.2f} CPU-s ({share:.1f} %), "
            f"{found[f'{name}_writes']} writes"
        )
    for name in ("change", "heal"):
        times = sorted(found[name])
        worst = times[min(len(times) - 1, int(0.99 * len(times)))]
        print(
            f"  one {name:6} p50 {1e3 * statistics.median(times):6.1f} ms, p99 {1e3 * worst:6.1f} ms, "
            f"{1e3 * found[f'{name}_cpu'] / len(times):.1f} CPU-ms each"
        )


class _Run:
    """One controller on one API."""

    def __init__(self, kubeconfig: str, namespace: str, count: int) -> None:
        from customhouse._kit.clock import SystemClock
        from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
        from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
        from customhouse.testing.memory import MemoryStateStore

        self.namespace, self.count = namespace, count
        self.state = MemoryStateStore()
        self.cluster = KubernetesCluster(read_access([Path(kubeconfig)]), {}, SystemClock())
        self.revisions = ["1"] * count
        self.made: dict[int, list[Any]] = {}
        self.begin()

    def begin(self) -> None:
        from customhouse._kit.clock import SystemClock
        from customhouse.control.convergence import Convergence
        from customhouse.control.tracked import Inventories
        from customhouse.execution.health import health
        from customhouse.execution.sightings import Sightings

        self.sight = Sightings(self.cluster, health, SystemClock())
        inventory = Inventories(self.cluster, self.state, "bench", "bench", self.namespace)
        self.controller = Convergence(self.cluster, self.sight, inventory, SystemClock())
        self.controller.load()

    def declare(self, only: int | None = None) -> None:
        from customhouse.core.resource import Declaration, Location, ResourceRef

        for index in range(self.count) if only is None else [only]:
            objects = application(index, self.namespace, self.revisions[index])
            self.made[index] = [
                Declaration(ResourceRef.of(item), item, Location(f"apps/{index}.yaml")) for item in objects
            ]
        self.controller.declare([item for index in range(self.count) for item in self.made[index]])

    def until(self, holds: Callable[[], bool]) -> int:
        """Step until it holds; how many objects were written."""
        written = 0
        while True:
            made = self.controller.step()
            written += len(made.applied)
            if holds():
                return written
            time.sleep(0.002)

    def settled(self) -> bool:
        return self.controller.settled and not self.controller.waiting()


def _child(kubeconfig: str, namespace: str, server: str, *, count: int) -> dict[str, Any]:
    run = _Run(kubeconfig, namespace, count)
    found: dict[str, Any] = {}

    def measure(name: str, work: Callable[[], int]) -> None:
        began, cpu = time.perf_counter(), time.process_time()
        found[f"{name}_writes"] = work()
        found[f"{name}_s"], found[f"{name}_cpu"] = time.perf_counter() - began, time.process_time() - cpu

    def apply() -> int:
        run.declare()
        return run.until(run.settled)

    def idle() -> int:
        return sum(len(run.controller.step().applied) for _ in range(20))

    def restart() -> int:
        run.sight.close()
        run.begin()
        run.declare()
        return run.until(
            lambda: run.settled() and all(run.sight.seen(item) for item in run.controller.inventory.entries)
        )

    measure("applied", apply)
    end = time.monotonic() + 5  # what controllers write after the apply (status, revisions) is looked at as well
    while time.monotonic() < end:
        run.controller.step()
        time.sleep(0.05)
    measure("idle", idle)
    measure("restart", restart)
    cpu = time.process_time()
    found["change"] = [_changed(run, index * 7 % count, index) for index in range(SAMPLES)]
    found["change_cpu"] = time.process_time() - cpu
    cpu = time.process_time()
    found["heal"] = [_healed(run, kubeconfig, server, index * 11 % count) for index in range(SAMPLES)]
    found["heal_cpu"] = time.process_time() - cpu
    found["mebibytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def _changed(run: _Run, index: int, number: int) -> float:
    run.revisions[index] = str(number + 2)
    began = time.perf_counter()
    run.declare(index)
    assert run.until(run.settled) == 1
    return time.perf_counter() - began


def _healed(run: _Run, kubeconfig: str, server: str, index: int) -> float:
    """From the answer to the edit on until it is put right."""
    import ssl

    document = json.loads(Path(kubeconfig).read_text())
    context = ssl.create_default_context(cafile=document["clusters"][0]["cluster"]["certificate-authority"])
    path = PLACES["ConfigMap"].format(run.namespace, f"model-{index:05}")
    request = urllib.request.Request(
        f"{server}{path}?fieldManager=kubectl-edit", b'{"data":{"rev":"mine"}}', method="PATCH"
    )
    request.add_header("Authorization", f"Bearer {document['users'][0]['user']['token']}")
    request.add_header("Content-Type", "application/merge-patch+json")
    with urllib.request.urlopen(request, context=context) as answer:
        answer.read()
    began = time.perf_counter()
    healed: list[Any] = []
    while not healed:
        healed = run.controller.step().applied
        time.sleep(0.001)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
