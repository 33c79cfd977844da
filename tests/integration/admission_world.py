"""A webhook process, the configuration that sends it the reviews of a test's own namespaces, and people to ask as."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes_plane import ControlPlane, KubernetesError

LABELS = {f"customhouse.dev/{name}": "a" for name in ("owner", "team", "project", "cost-centre")}
GOOD = "apexlogic.com/team/app@sha256:" + "ab" * 32
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def pod_spec(image: str = GOOD, **more: Any) -> dict[str, Any]:
    """A pod that no rule about pods has anything to say to."""
    return {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "main",
                "image": image,
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"cpu": "200m", "memory": "128Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
            }
        ],
        **more,
    }


def pod(
    name: str, namespace: str, image: str = GOOD, labels: Mapping[str, str] = LABELS, **spec: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": pod_spec(image, **spec),
    }


def deployment(name: str, namespace: str, image: str = GOOD, replicas: int = 2) -> dict[str, Any]:
    labels = {"app": name, **LABELS}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(image)},
        },
    }


def review(obj: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """An AdmissionReview as the API server sends it."""
    group, _, version = obj["apiVersion"].rpartition("/")
    request = {
        "uid": "test",
        "kind": {"group": group, "version": version, "kind": obj["kind"]},
        "resource": {"group": group, "version": version, "resource": obj["kind"].lower() + "s"},
        "operation": "CREATE",
        "namespace": obj["metadata"].get("namespace", ""),
        "name": obj["metadata"]["name"],
        "userInfo": {"username": "ada"},
        "object": obj,
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@dataclass
class Webhook:
    """A running `customhouse webhook`."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int

    @property
    def state(self) -> Path:
        return self.folder / ".customhouse"

    @property
    def authority(self) -> Path:
        return self.state / "webhook" / "ca.crt"

    @property
    def log(self) -> str:
        return (self.folder / "webhook.log").read_text()

    def ask(self, path: str, body: bytes | None = None, content: str = "application/json") -> tuple[int, bytes]:
        """One request over TLS, the certificate verified; (status, body)."""
        context = ssl.create_default_context(cafile=str(self.authority))
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", body)
        request.add_header("Content-Type", content)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def judge(self, obj: Mapping[str, Any], path: str = "/validate", **more: Any) -> dict[str, Any]:
        """The response to a review."""
        status, body = self.ask(path, json.dumps(review(obj, **more)).encode())
        assert status == 200, body
        response: dict[str, Any] = json.loads(body)["response"]
        return response

    def metric(self, name: str) -> float:
        text = self.ask("/metrics")[1].decode()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    def until_ready(self, text: str, seconds: float = 60.0) -> None:
        """Have everything read anew until `/readyz` says this."""
        end = time.monotonic() + seconds
        while text not in (said := self.ask("/readyz")[1].decode()):
            assert time.monotonic() < end, said
            self.process.send_signal(signal.SIGHUP)
            time.sleep(0.2)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def start_webhook(folder: Path, *arguments: str, port: int = 0) -> Webhook:
    """Start it in a folder with a customhouse.yaml, and wait until it says that it listens."""
    program = Path(sys.executable).with_name("customhouse")
    log = folder / "webhook.log"
    chosen = arguments or ("--config", "customhouse.yaml")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [program, "webhook", "--host", "127.0.0.1", "--port", str(port), *chosen],
            cwd=folder,
            stdout=stream,
            stderr=stream,
            env={**os.environ, "TRUSTED_REGISTRY_PREFIX": "apexlogic.com/"},
        )
    while process.poll() is None:
        if found := re.search(r"webhook on https://127\.0\.0\.1:(\d+);", log.read_text()):
            return Webhook(folder, process, int(found[1]))
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text())


def register(plane: ControlPlane, webhook: Webhook, name: str, namespaces: Sequence[str]) -> list[str]:
    """Apply what `--print-configuration` prints, for these namespaces only; the paths of the objects."""
    program = Path(sys.executable).with_name("customhouse")
    url = f"https://127.0.0.1:{webhook.port}"
    printed = subprocess.run(
        [program, "webhook", "--config", "customhouse.yaml", "--print-configuration", "--url", url],
        cwd=webhook.folder,
        capture_output=True,
        check=True,
    ).stdout.decode()
    paths = []
    for document in printed.split("\n---\n"):
        found = json.loads(document)
        found["metadata"]["name"] = name
        for hook in found["webhooks"]:
            hook["namespaceSelector"]["matchExpressions"].append(
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
            )
            for rule in hook["rules"]:
                rule["scope"] = "Namespaced"
        path = f"{ADMISSION}/{found['kind'].lower()}s/{name}"
        plane.apply(path, found)
        paths.append(path)
    return paths


def bundle_of(webhook: Webhook) -> str:
    return base64.b64encode(webhook.authority.read_bytes()).decode()


def as_user(plane: ControlPlane, user: str, method: str, path: str, body: Any = None, content: str = "") -> Any:
    """One request of a person: the administrator impersonates, so that `userInfo` is that person's."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{plane.server}{path}", data, method=method)
    request.add_header("Authorization", f"Bearer {plane.token}")
    request.add_header("Content-Type", content or "application/json")
    request.add_header("Impersonate-User", user)
    request.add_header("Impersonate-Group", "system:masters")
    context = ssl.create_default_context(cafile=str(plane.authority))
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            result = json.loads(answer.read())
            result["_warnings"] = answer.headers.get_all("Warning") or []
            return result
    except urllib.error.HTTPError as error:
        text = error.read()
        try:
            raise KubernetesError(error.code, json.loads(text)) from error
        except ValueError:  # a path that is not served (yet) is answered in plain text
            raise KubernetesError(error.code, text.decode(errors="replace")) from error
