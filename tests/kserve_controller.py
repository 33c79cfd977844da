"""KServe's real controller on a control plane of a test, and Knative as far as KServe asks for it.

KServe's webhooks, its controller, its status are the real ones. Knative Serving is played, after its v1.20: a Service
makes a revision of each template (a Deployment, whose pods KWOK runs), and `latestRevision` in a Route is the newest
revision that is *ready*.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kubernetes_plane import ControlPlane, KubernetesError
from prometheus_server import free_port

LABEL = "kserve-test"
"""Of the namespaces that KServe's webhooks look at, so that no other test meets them."""
SERVING = "/apis/serving.kserve.io"
_HOOKS = "/apis/admissionregistration.k8s.io/v1"
_ALL = [{"latestRevision": True, "percent": 100}]
_SMALL = {"cpuRequest": "10m", "cpuLimit": "1", "memoryRequest": "16Mi", "memoryLimit": "1Gi"}
_CONFIG = {
    "ingress": {
        "enableGatewayApi": True,
        "kserveIngressGateway": "kserve/gateway",
        "ingressGateway": "knative-serving/knative-ingress-gateway",
        "ingressDomain": "example.com",
        "disableIstioVirtualHost": True,
    },
    "deploy": {"defaultDeploymentMode": "Knative"},
    "inferenceService": {},
    "storageInitializer": {
        "image": "registry.example/storage@sha256:" + "5" * 64,
        "cpuModelcar": "10m",
        "memoryModelcar": "16Mi",
        **_SMALL,
    },
    "router": {"image": "registry.example/router@sha256:" + "6" * 64, **_SMALL},
}
_RUNTIME = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ClusterServingRuntime",
    "metadata": {"name": "onnx"},
    "spec": {
        "supportedModelFormats": [{"name": "onnx", "version": "1", "autoSelect": True}],
        "protocolVersions": ["v2"],
        "containers": [{"name": "kserve-container", "image": "registry.example/onnx@sha256:" + "4" * 64}],
    },
}


@contextmanager
def kserve_on(plane: ControlPlane, program: Path, folder: Path) -> Iterator[ControlPlane]:
    """The control plane with KServe's controller until the end of the block."""
    plane.install_crds("kserve", "gateway-api", "knative-serving")
    for name in ("kserve", "knative-serving"):
        plane.apply(f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    config = {key: json.dumps(value) for key, value in _CONFIG.items()}
    _config_map(plane, "kserve", "inferenceservice-config", config)
    _config_map(plane, "knative-serving", "config-autoscaler", {"allow-zero-initial-scale": "false"})
    plane.apply(f"{SERVING}/v1alpha1/clusterservingruntimes/onnx", _RUNTIME)
    capacity = {"cpu": "64", "memory": "256Gi", "pods": "500"}
    metadata = {"name": "kserve", "labels": {"type": "kwok"}, "annotations": {"kwok.x-k8s.io/node": "fake"}}
    node = {"kind": "Node", "metadata": metadata, "status": {"capacity": capacity, "allocatable": capacity}}
    plane.call("POST", "/api/v1/nodes", node)
    port = free_port()
    hooks = _webhooks(port, _certificate(folder / "k8s-webhook-server" / "serving-certs"))
    for place, document in hooks.items():
        plane.apply(place, document)
    with (folder / "kserve-manager.log").open("wb") as log:
        quiet = ("--metrics-addr=0", "--health-probe-addr=0", "--zap-log-level=error")
        child = subprocess.Popen(
            [program, f"--kubeconfig={plane.kubeconfig}", f"--webhook-port={port}", *quiet],
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": str(folder), "GOMAXPROCS": "2"},
        )
    try:
        yield plane
    finally:
        child.kill()
        child.wait()
        for place in hooks:
            plane.call("DELETE", place)


def _config_map(plane: ControlPlane, namespace: str, name: str, data: Mapping[str, str]) -> None:
    metadata = {"name": name, "namespace": namespace}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}
    plane.apply(f"/api/v1/namespaces/{namespace}/configmaps/{name}", manifest)


def _webhooks(port: int, authority: bytes) -> dict[str, Any]:
    """What KServe's own config/webhook registers for services and graphs; the pods' one is left out: none runs."""
    found: dict[str, Any] = {}
    for kind, path, group, plural in (
        ("Mutating", "mutate-serving-kserve-io-v1beta1-inferenceservice", "v1beta1", "inferenceservices"),
        ("Validating", "validate-serving-kserve-io-v1beta1-inferenceservice", "v1beta1", "inferenceservices"),
        ("Validating", "validate-serving-kserve-io-v1alpha1-inferencegraph", "v1alpha1", "inferencegraphs"),
    ):
        name = f"{plural}.kserve-test"
        hook = {
            "name": f"{plural}.kserve-webhook-server.{kind.lower()}",
            "clientConfig": {
                "url": f"https://127.0.0.1:{port}/{path}",
                "caBundle": base64.b64encode(authority).decode(),
            },
            "rules": [
                {
                    "apiGroups": ["serving.kserve.io"],
                    "apiVersions": [group],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": [plural],
                }
            ],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "namespaceSelector": {"matchLabels": {LABEL: "yes"}},
        }
        document = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": f"{kind}WebhookConfiguration"}
        found[f"{_HOOKS}/{kind.lower()}webhookconfigurations/{name}"] = {
            **document,
            "metadata": {"name": name},
            "webhooks": [hook],
        }
    return found


def _certificate(folder: Path) -> bytes:
    """A certificate for 127.0.0.1 that signs itself, where controller-runtime looks for it."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kserve")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True)
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(private)
    (folder / "tls.crt").write_bytes(made.public_bytes(encoding))
    return made.public_bytes(encoding)


class Knative:
    """Knative's controllers for one namespace, played in a thread until `close`."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        self.broken: Callable[[str], bool] = lambda model: False
        """Whether a revision of a model never comes up; its model is the last part of its storageUri."""
        self.shares: list[dict[str, int]] = []
        """Every split of the traffic that there was, by model, in its order."""
        self.split: dict[str, int] = {}
        """The present one, by revision."""
        self.models: dict[str, str] = {}
        self._templates: dict[str, list[str]] = {}
        self._up: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        place = f"/apis/serving.knative.dev/v1/namespaces/{self.namespace}/services"
        while not self._ended.wait(0.2):
            try:
                for service in self.plane.call("GET", place)["items"]:
                    self._reconcile(f"{place}/{service['metadata']['name']}", service)
            except (KubernetesError, OSError):
                continue  # deleted, changed, or an API that is busy: the next round sees it

    def _reconcile(self, place: str, service: Any) -> None:
        name, template = service["metadata"]["name"], service["spec"]["template"]
        digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()
        made = self._templates.setdefault(name, [])
        if not made or made[-1] != digest:
            self._revision(service, f"{name}-{len(made) + 1:05d}")
            made.append(digest)
        status = service.get("status", {})
        created, ready = f"{name}-{len(made):05d}", status.get("latestReadyRevisionName", "")
        reason = self._problem(created)
        ready = created if not reason else ready
        entries = [self._entry(item, ready) for item in service["spec"].get("traffic") or _ALL] if ready else []
        state = {"": "True", "RevisionFailed": "False"}.get(reason, "Unknown")
        kinds = {"ConfigurationsReady": state, "RoutesReady": "True" if ready else "Unknown", "Ready": state}
        host = f"{name}.{self.namespace}.example.com"
        wanted = {
            "observedGeneration": service["metadata"]["generation"],
            "latestCreatedRevisionName": created,
            "conditions": [
                {"type": kind, "status": value, **({"reason": reason, "message": reason} if value != "True" else {})}
                for kind, value in kinds.items()
            ],
            **({"latestReadyRevisionName": ready, "traffic": entries} if ready else {}),
            **({"url": f"http://{host}", "address": {"url": f"http://{host}"}} if ready else {}),
        }
        if status != wanted:
            self.plane.call("PUT", f"{place}/status", {**service, "status": wanted})
            self._note(entries)

    def _note(self, entries: list[dict[str, Any]]) -> None:
        revisions: dict[str, int] = {}
        models: dict[str, int] = {}
        for item in entries:
            name, share = item["revisionName"], item["percent"]
            revisions[name] = revisions.get(name, 0) + share
            models[self.models[name]] = models.get(self.models[name], 0) + share
        self.split = revisions
        if models and (not self.shares or models != self.shares[-1]):
            self.shares.append(models)

    @staticmethod
    def _entry(item: Mapping[str, Any], ready: str) -> dict[str, Any]:
        name = ready if item.get("latestRevision") else item["revisionName"]
        return {**item, "revisionName": name}

    def _revision(self, service: Any, revision: str) -> None:
        template = service["spec"]["template"]
        annotations = template["metadata"].get("annotations") or {}
        uri = annotations.get("internal.serving.kserve.io/storage-initializer-sourceuri", revision)
        self.models[revision] = uri.rpartition("/")[2]
        labels = {"serving.knative.dev/revision": revision}
        owner = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": service["metadata"]["name"]}
        metadata = {
            "name": f"{revision}-deployment",
            "ownerReferences": [{**owner, "uid": service["metadata"]["uid"], "controller": True}],
        }
        # A graph's router has no name, and its Service no traffic: Knative's own webhook fills both in.
        pod = {"containers": [{**item, "name": item["name"] or "user"} for item in template["spec"]["containers"]]}
        spec = {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        }
        manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
        place = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"
        self.plane.apply(f"{place}/{metadata['name']}", manifest)  # the same again after an answer that was lost

    def _problem(self, revision: str) -> str:
        """Why the revision is not ready; empty when it is."""
        if self.broken(self.models[revision]):
            return "RevisionFailed"
        if revision not in self._up:
            place = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{revision}-deployment"
            if not self.plane.call("GET", place).get("status", {}).get("availableReplicas"):
                return "Deploying"
            self._up.add(revision)
        return ""
