"""Kueue's real controller, with its webhooks for queues and Jobs, on a control plane of a test.

Jobs alone are queued, and only in namespaces with the label `LABEL`: no other test meets Kueue.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kserve_controller import _certificate
from kubernetes_plane import ControlPlane, KubernetesError
from prometheus_server import free_port

LABEL = "kueue-test"
HOME = "kueue-system"
QUEUES = "/apis/kueue.x-k8s.io/v1beta1"
_HOOKS = "/apis/admissionregistration.k8s.io/v1"
_SECRET = "kueue-webhook-server-cert"


@contextmanager
def kueue_on(plane: ControlPlane, program: Path, folder: Path) -> Iterator[ControlPlane]:
    """The control plane with Kueue's controller until the end of the block."""
    plane.install_crds("kueue")
    for plural in ("workloads", "localqueues", "clusterqueues", "resourceflavors", "workloadpriorityclasses"):
        # A definition is established before its storage can be asked.
        plane.until(lambda plural=plural: plane.call("GET", f"{QUEUES}/{plural}"))
    plane.apply(f"/api/v1/namespaces/{HOME}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}})
    # Its own certificates need a Secret and are mounted by a kubelet; here the files are there, and the Secret unused.
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _SECRET, "namespace": HOME}}
    plane.apply(f"/api/v1/namespaces/{HOME}/secrets/{_SECRET}", secret)
    certificates = folder / "certificates"
    authority = _certificate(certificates)
    port = free_port()
    configuration = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta1",
        "kind": "Configuration",
        "namespace": HOME,
        "health": {"healthProbeBindAddress": "0"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"port": port, "host": "127.0.0.1", "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "integrations": {"frameworks": ["batch/job"]},
        "featureGates": {"VisibilityOnDemand": False},
    }
    (folder / "kueue.json").write_text(json.dumps(configuration))
    hooks = _webhooks(port, authority)
    with (folder / "kueue.log").open("wb") as log:
        child = subprocess.Popen(
            [program, f"--config={folder / 'kueue.json'}", f"--kubeconfig={plane.kubeconfig}", "--zap-log-level=error"],
            stdout=log,
            stderr=log,
            env={**os.environ, "GOMAXPROCS": "2"},
        )
    try:
        plane.until(lambda: child.poll() is not None or _listens(port), seconds=180)
        assert child.poll() is None, (folder / "kueue.log").read_text()[-4000:]
        for place, document in hooks.items():
            plane.apply(place, document)
        yield plane
    finally:
        child.kill()
        child.wait()
        for place in hooks:
            plane.call("DELETE", place)
        _release(plane)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _release(plane: ControlPlane) -> None:
    """Without the controller nobody takes its finalizers off, and namespaces with Workloads would not go."""
    body = {"metadata": {"finalizers": None}}
    for plural in ("workloads", "localqueues", "clusterqueues", "resourceflavors"):
        for item in plane.call("GET", f"{QUEUES}/{plural}")["items"]:
            metadata = item["metadata"]
            room = f"namespaces/{metadata['namespace']}/" if metadata.get("namespace") else ""
            path = f"{QUEUES}/{room}{plural}/{metadata['name']}"
            try:
                plane.call("PATCH", path, body, content="application/merge-patch+json")
                plane.call("DELETE", path)
            except KubernetesError as error:
                if error.status != 404:
                    raise


def _webhooks(port: int, authority: bytes) -> dict[str, Any]:
    """What Kueue's own config/components/webhook registers for queues, flavors, Workloads and Jobs."""
    found: dict[str, Any] = {}
    queues = "kueue.x-k8s.io"
    for way, operations, kinds in (
        ("mutating", ["CREATE"], ((queues, "clusterqueue"), (queues, "resourceflavor"), ("batch", "job"))),
        ("validating", ["CREATE", "UPDATE"], ((queues, "clusterqueue"), (queues, "resourceflavor"), ("batch", "job"))),
    ):
        hooks = []
        for group, kind in kinds:
            version = "v1" if group == "batch" else "v1beta1"
            verb = "mutate" if way == "mutating" else "validate"
            path = f"{verb}-{group.replace('.', '-')}-{version}-{kind}"
            hooks.append(
                {
                    "name": f"{way[0]}{kind}.kb.io",
                    "clientConfig": {
                        "url": f"https://127.0.0.1:{port}/{path}",
                        "caBundle": base64.b64encode(authority).decode(),
                    },
                    "rules": [
                        {
                            "apiGroups": [group],
                            "apiVersions": [version],
                            "operations": operations,
                            "resources": [kind + "s"],
                        }
                    ],
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "failurePolicy": "Fail",
                    **({"namespaceSelector": {"matchLabels": {LABEL: "yes"}}} if group == "batch" else {}),
                }
            )
        kind = f"{way.capitalize()}WebhookConfiguration"
        document = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind}
        name = f"kueue-test-{way}"
        found[f"{_HOOKS}/{way}webhookconfigurations/{name}"] = {
            **document,
            "metadata": {"name": name},
            "webhooks": hooks,
        }
    return found
