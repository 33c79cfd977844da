"""The audit of many Deployments on a real API server: time and memory of listing, of judging, and of the whole.

    python benchmarks/audit_cluster.py --kubeconfig FILE [--count 1000]

The peer in the same run is a plain client: every kind that the audit lists, listed in the same chunks with the same
credentials and read as JSON, without a policy. What the audit takes beyond that is judging.
"""

from __future__ import annotations

import argparse
import json
import resource
import ssl
import time
import urllib.request
from pathlib import Path
from typing import Any

from customhouse._kit.clock import SystemClock
from customhouse.app import wiring
from customhouse.app.admission_context import load_context
from customhouse.app.audit import Auditor
from customhouse.app.audit_scene import scene_of_cluster
from customhouse.app.clearance import Clearance
from customhouse.app.settings import read_settings
from customhouse.core.cluster import Apply, Cluster
from customhouse.execution.live import worth_listing
from customhouse.policy.adapters.guarded import GuardedEngine

NAMESPACE = "audit-benchmark"


def main() -> None:
    """Make what is missing, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    settings = read_settings(state="/nonexistent", engine="embedded")
    with wiring.cluster(settings, options.kubeconfig) as cluster:
        made = _make(cluster, options.count)
        access = cluster.access
        began = time.perf_counter()
        plain = _plain(cluster, access.server, access.token or "", access.authority)
        plain_s = time.perf_counter() - began
        before = _memory()
        began = time.perf_counter()
        scene = scene_of_cluster(cluster, "benchmark")
        listed_s = time.perf_counter() - began
        engine = wiring.engine(settings)
        auditor = Auditor(load_context(settings, None), engine, SystemClock(), Clearance(engine, SystemClock(), Path()))
        began, cpu = time.perf_counter(), _cpu()
        report = auditor.audit(scene)
        judged_s, judged_cpu = time.perf_counter() - began, _cpu() - cpu
        if isinstance(engine, GuardedEngine):
            engine.close()
    count = len(report.audited)
    print(f"{made} Deployments; {plain} objects listed by the plain client, {len(scene.declarations)} by the audit")
    print(f"plain list {plain_s:.2f} s; audit list {listed_s:.2f} s, ratio {listed_s / plain_s:.2f}")
    print(f"judged {count} objects in {judged_s:.2f} s, {1000 * judged_s / max(count, 1):.2f} ms an object")
    engine_cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    both = judged_cpu + engine_cpu.ru_utime + engine_cpu.ru_stime
    print(f"CPU of judging {both:.2f} s, {1000 * both / max(count, 1):.2f} ms an object, with the engine's process")
    print(f"undecided {len(report.undecided)}, problems {len(report.problems)}")
    print(f"most memory {_memory()} MiB, {before} MiB before the audit")


def _make(cluster: Cluster, count: int) -> int:
    cluster.write([Apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})])
    done = cluster.write([Apply(_deployment(index)) for index in range(count)])
    return sum(item.ok for item in done)


def _deployment(index: int) -> dict[str, Any]:
    name = f"model-{index:04}"
    container = {
        "name": "server",
        "image": f"registry.example/model-{index % 7}:1.{index}",
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
        "env": [{"name": f"SETTING_{item}", "value": str(item)} for item in range(10)],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"customhouse.dev/team": f"team-{index % 5}"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    }


def _plain(cluster: Cluster, server: str, token: str, authority: bytes | None) -> int:
    context = ssl.create_default_context(cadata=None if authority is None else authority.decode())
    if authority is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    count = 0
    for kind in worth_listing(cluster.discover().kinds):
        root = f"/apis/{kind.group}/{kind.version}" if kind.group else "/api/v1"
        more = ""
        while True:
            url = f"{server}{root}/{kind.plural}?limit=500" + (f"&continue={more}" if more else "")
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, context=context) as answer:
                page = json.load(answer)
            count += len(page["items"])
            more = page["metadata"].get("continue") or ""
            if not more:
                break
    return count


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
