"""Plain concurrent server-side apply of many model applications on a real API server: the floor, and our client on it.

    python benchmarks/kubernetes_floor.py [--apps 1000] [--rounds 1]

It starts a control plane of its own (`make parts`). An application is a ConfigMap, a Service, a Deployment without
replicas and a HorizontalPodAutoscaler. The floor sends requests that were written beforehand over 16 connections and
reads no answer but its status; ours is `Cluster.write` with objects in and objects out. Each runs in a process of its
own and in a namespace of its own, in turns, then once more with the same objects (nothing changes), and as a dry run.
All of it shares the machine's cores with the API server, so the ratio of the times says how much ours takes away.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from customhouse._kit.clock import SystemClock
from customhouse.core.cluster import Apply
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from kubernetes_plane import ControlPlane, start_control_plane

CONNECTIONS = 16
QUERY = "?fieldManager=customhouse&fieldValidation=Strict&force=true"
PLACES = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps/{}",
    "Service": "/api/v1/namespaces/{}/services/{}",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments/{}",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/{}",
}


@dataclass(frozen=True)
class Measured:
    """One pass: seconds, CPU seconds of the client, its most memory, and what was not applied."""

    seconds: float
    cpu: float
    mebibytes: int
    refused: int


def application(index: int, namespace: str, revision: str = "1") -> Iterator[dict[str, Any]]:
    """The four objects of a model application."""
    name = f"model-{index:05}"
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name, "customhouse.dev/team": f"t{index % 7}"}}
    container = {
        "name": "server",
        "image": f"registry.example/model@sha256:{index:064x}",
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
        "env": [{"name": f"SETTING_{item}", "value": str(item)} for item in range(5)],
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"model": name, "rev": revision}}
    ports = [{"port": 80, "targetPort": 8080}]
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": {"app": name}, "ports": ports},
    }
    spec: dict[str, Any] = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
    yield {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    target = {"type": "Utilization", "averageUtilization": 70}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": 1,
        "maxReplicas": 3,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    yield {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec}


def applications(count: int, namespace: str) -> list[dict[str, Any]]:
    """The objects of so many, as a repository would hold them."""
    return [item for index in range(count) for item in application(index, namespace)]


async def plain(plane: tuple[str, str, str], objects: Sequence[dict[str, Any]], *, dry_run: bool = False) -> int:
    """Apply them with as little as can be done; how many were refused. `plane` is server, token, authority file."""
    server, token, authority = plane
    address = urlsplit(server)
    context = ssl.create_default_context(cafile=authority)
    requests = iter([_request(item, address.netloc, token, dry_run) for item in objects])
    refused = 0

    async def send() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context, limit=1 << 20)
        for request in requests:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            refused += head[9:12] not in (b"200", b"201")
            await _skip(reader, head)
        writer.close()

    await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
    return refused


def _request(item: dict[str, Any], host: str, token: str, dry_run: bool) -> bytes:
    metadata = item["metadata"]
    path = PLACES[item["kind"]].format(metadata["namespace"], metadata["name"]) + QUERY
    body = json.dumps(item, separators=(",", ":")).encode()
    lines = [
        f"PATCH {path}{'&dryRun=All' if dry_run else ''} HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {token}",
        "Content-Type: application/apply-patch+yaml",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _skip(reader: asyncio.StreamReader, head: bytes) -> None:
    at = head.find(b"Content-Length: ")
    if at >= 0:
        await reader.readexactly(int(head[at + 16 : head.index(b"\r", at)]))
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


def ours(kubeconfig: Path, objects: Sequence[dict[str, Any]], *, dry_run: bool = False) -> int:
    """Apply them with the client; how many were refused."""
    with KubernetesCluster(read_access([kubeconfig]), {}, SystemClock()) as cluster:
        done = cluster.write([Apply(item, force=True, dry_run=dry_run) for item in objects])
        return sum(not item.ok for item in done)


def parts_folder() -> Path:
    """What `make parts` fills."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("CUSTOMHOUSE_PARTS") or cache / "customhouse" / "parts")


@contextlib.contextmanager
def control_plane() -> Iterator[ControlPlane]:
    """A control plane that is thrown away."""
    parts = parts_folder()
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
    with tempfile.TemporaryDirectory() as folder:
        plane = start_control_plane(Path(folder), {name: parts / "bin" / name for name in names}, parts / "kubernetes")
        try:
            yield plane
        finally:
            plane.stop()


def main() -> None:
    """Start a control plane and measure on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(*options.child, count=options.apps)
        return
    with control_plane() as plane:
        for number in range(options.rounds):
            made = {}
            for who in ("plain", "ours") if number % 2 == 0 else ("ours", "plain"):
                namespace = plane.namespace(f"floor-{who}")
                for how in ("dry", "made", "same"):
                    made[who, how] = _measure(plane, who, namespace, how, options.apps)
            for how, title in (("made", "applied"), ("same", "applied again, nothing changed"), ("dry", "dry run")):
                _tell(title, 4 * options.apps, *made["plain", how], *made["ours", how])


def _measure(plane: ControlPlane, who: str, namespace: str, how: str, count: int) -> tuple[Measured, float]:
    """In a process of its own; with the CPU seconds of the API server and etcd."""
    before = _server_cpu(plane)
    command = [sys.executable, __file__, "--apps", str(count), "--child", who, plane.server, plane.token]
    command += [str(plane.authority), namespace, how]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
    )
    return Measured(**json.loads(done.stdout)), _server_cpu(plane) - before


def _child(who: str, server: str, token: str, authority: str, namespace: str, how: str, *, count: int) -> None:
    objects = applications(count, namespace)
    began, cpu = time.perf_counter(), time.process_time()
    if who == "plain":
        refused = asyncio.run(plain((server, token, authority), objects, dry_run=how == "dry"))
    else:
        refused = ours(Path(os.environ["KUBECONFIG"]), objects, dry_run=how == "dry")
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(asdict(Measured(seconds, cpu, memory, refused))))


def _server_cpu(plane: ControlPlane) -> float:
    ticks = 0
    for child in plane._children[:2]:  # noqa: SLF001 - etcd and the API server
        fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _tell(title: str, count: int, floor: Measured, floor_server: float, own: Measured, own_server: float) -> None:
    print(f"{count} objects {title}: ratio of the times {own.seconds / floor.seconds:.2f}")
    for name, item, server in (("plain", floor, floor_server), ("ours ", own, own_server)):
        print(
            f"  {name} {item.seconds:6.2f} s, {count / item.seconds:5.0f} objects/s, client {item.cpu:5.2f} CPU-s"
            f" ({1e3 * item.cpu / count:.2f} ms an object), etcd and API server {server:6.2f} CPU-s,"
            f" {item.mebibytes} MiB, {item.refused} refused"
        )


if __name__ == "__main__":
    main()
