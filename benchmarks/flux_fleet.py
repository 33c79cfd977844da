"""Flux's kustomize-controller on the fleet of `kubernetes_floor.py`: one Kustomization an application of four objects.

    python benchmarks/flux_fleet.py [--apps 1000]

The program and its definition are the parts that `make parts` builds (--controller and --definition name others). It
starts a control plane of its own. The artifact is what source-controller would serve: a tar of all
folders, over HTTP on loopback, named by a GitRepository whose status says so. Measured: from the first Kustomization
written until the last one is Ready; CPU seconds and the most memory are the controller's own.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kubernetes_floor import application, control_plane, parts_folder

from kubernetes_plane import ControlPlane

SOURCES = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux/gitrepositories"
KUSTOMIZATIONS = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux/kustomizations"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ANY = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}


def source_definition() -> dict[str, Any]:
    """GitRepository as far as the controller reads it."""
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": ANY}
    spec = {
        "group": "source.toolkit.fluxcd.io",
        "names": {"kind": "GitRepository", "plural": "gitrepositories"},
        "scope": "Namespaced",
        "versions": [version],
    }
    name = "gitrepositories.source.toolkit.fluxcd.io"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": spec,
    }


def others() -> list[dict[str, Any]]:
    """The other kinds of source, which the controller watches too."""
    found = []
    for kind, plural in (
        ("Bucket", "buckets"),
        ("OCIRepository", "ocirepositories"),
        ("ExternalArtifact", "externalartifacts"),
    ):
        one = source_definition()
        one["metadata"] = {"name": f"{plural}.source.toolkit.fluxcd.io"}
        one["spec"]["names"] = {"kind": kind, "plural": plural}
        found.append(one)
    return found


def artifact(folder: Path, apps: int) -> dict[str, Any]:
    """The tar of all applications, and what a GitRepository's status says of it (without its address)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for index in range(apps):
            text = "---\n".join(yaml.safe_dump(item) for item in application(index, "fleet")).encode()
            entry = tarfile.TarInfo(f"apps/{index:05}/all.yaml")
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text))
    data = packed.getvalue()
    (folder / "fleet.tar.gz").write_bytes(data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    revision = f"main@sha1:{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"
    return {"path": "fleet.tar.gz", "digest": digest, "revision": revision, "size": len(data)}


def prepare(plane: ControlPlane, definition: Path, said: dict[str, Any], port: int) -> None:
    """Definitions, namespaces, and the source."""
    (own,) = yaml.load_all(definition.read_text(), yaml.CSafeLoader)
    for one in (own, source_definition(), *others()):
        plane.apply(f"{DEFINITIONS}/{one['metadata']['name']}", one)
    for name in ("flux", "fleet"):
        plane.apply(f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    source = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": "fleet", "namespace": "flux"},
        "spec": {"url": "https://git.example.com/fleet", "interval": "1h"},
    }
    plane.until(lambda: plane.call("POST", SOURCES, source))
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    found = {**said, "url": f"http://127.0.0.1:{port}/fleet.tar.gz", "lastUpdateTime": now}
    ready = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": now}
    status = {"status": {"artifact": found, "observedGeneration": 1, "conditions": [ready]}}
    plane.call("PATCH", f"{SOURCES}/fleet/status", status, content="application/merge-patch+json")


def spent(pid: int) -> tuple[float, float]:
    """CPU seconds and the most memory, in MiB, of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return seconds, int(peak[1]) / 1024 if peak else 0.0


def ready(plane: ControlPlane) -> int:
    """How many Kustomizations are."""
    items = plane.call("GET", KUSTOMIZATIONS)["items"]
    conditions = ([*(item.get("status") or {}).get("conditions", ())] for item in items)
    return sum(any(one["type"] == "Ready" and one["status"] == "True" for one in found) for found in conditions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parts_folder()
    definition = parts / "kubernetes/crds/flux-kustomize/kustomize.toolkit.fluxcd.io_kustomizations.yaml"
    parser.add_argument("--controller", type=Path, default=parts / "bin/kustomize-controller")
    parser.add_argument("--definition", type=Path, default=definition)
    parser.add_argument("--apps", type=int, default=1000)
    parser.add_argument("--longest", type=float, default=1800.0, help="seconds until it is given up")
    given = parser.parse_args()
    for file in (given.controller, given.definition):
        if not file.is_file():
            raise SystemExit(f"{file} is not there: run `make parts`")
    with TemporaryDirectory() as folder, control_plane() as plane:
        said = artifact(Path(folder), given.apps)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        prepare(plane, given.definition, said, server.server_port)
        environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig), "RUNTIME_NAMESPACE": "flux"}
        options = ("--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--concurrent=20")
        command = [given.controller, *options, "--kube-api-qps=500", "--kube-api-burst=1000"]
        with (Path(folder) / "log").open("wb") as log:
            child = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        began = time.monotonic()
        for index in range(given.apps):
            spec = {
                "path": f"./apps/{index:05}",
                "prune": True,
                "interval": "1h",
                "sourceRef": {"kind": "GitRepository", "name": "fleet"},
            }
            metadata = {"name": f"app-{index:05}", "namespace": "flux"}
            kind = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization"}
            plane.call("POST", KUSTOMIZATIONS, {**kind, "metadata": metadata, "spec": spec})
        while (count := ready(plane)) < given.apps:
            if time.monotonic() - began > given.longest:
                told = (Path(folder) / "log").read_text()[-2000:]
                child.kill()
                raise SystemExit(f"{count} of {given.apps} are Ready after {given.longest:.0f} s: {told}")
            time.sleep(2.0)
        seconds = time.monotonic() - began
        cpu, peak = spent(child.pid)
        child.kill()
        child.wait()
        found = {
            "apps": given.apps,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "mebibytes": round(peak),
        }
        print(json.dumps(found))
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


if __name__ == "__main__":
    main()
