"""What `deploy/` renders to, by the real kustomize and helm, and its controller's account on a real API server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from customhouse._kit.clock import SystemClock
from customhouse.core.cluster import Apply
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from kubernetes_plane import ControlPlane

ACCOUNT = "customhouse-controller"


def objects(text: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(text) if item]


def kustomized(kustomize: Path, folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run([kustomize, "build", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return objects(done.stdout)


def example(kustomize: Path, root: Path) -> list[dict[str, Any]]:
    """The example of an installation."""
    return kustomized(kustomize, root / "deploy" / "kustomize" / "example")


def helmed(helm: Path, root: Path, **values: str) -> subprocess.CompletedProcess[str]:
    """The chart with values (`image__digest` is image.digest), in the namespace that it belongs to."""
    given = {"release": "customhouse-system", **values}
    space = given.pop("release")
    command: list[str | Path] = [
        helm,
        "template",
        "customhouse",
        root / "deploy/helm/customhouse",
        "--namespace",
        space,
    ]
    for name, value in given.items():
        command += ["--set", f"{name.replace('__', '.')}={value}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def applied(plane: ControlPlane, documents: list[dict[str, Any]]) -> None:
    """Apply objects as administrator, namespaces first."""
    with KubernetesCluster(read_access([plane.kubeconfig]), {}, SystemClock()) as cluster:
        for first in (True, False):
            batch = [item for item in documents if (item["kind"] == "Namespace") is first]
            for item, done in zip(batch, cluster.write([Apply(one, force=True) for one in batch]), strict=True):
                assert done.ok, (item["kind"], item["metadata"]["name"], done.problem)


def account_file(plane: ControlPlane, account: str, file: Path) -> Path:
    """A kubeconfig with a token of one of our service accounts."""
    path = f"/api/v1/namespaces/customhouse-system/serviceaccounts/{account}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = plane.call("POST", path, asked)["status"]["token"]
    document = json.loads(plane.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    file.write_text(json.dumps(document))
    return file


def controller_file(plane: ControlPlane, root: Path, file: Path) -> Path:
    """A kubeconfig with the controller's rights as they are shipped, and no others."""
    base = root / "deploy" / "kustomize" / "base"
    names = ("namespace", "rbac", "rbac-manage")
    applied(plane, [item for name in names for item in objects((base / f"{name}.yaml").read_text())])
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/customhouse-"
    for kind in ("read", "manage"):  # the cluster gathers their rules
        plane.until(lambda kind=kind: plane.call("GET", role + kind).get("rules"))
    return account_file(plane, ACCOUNT, file)
