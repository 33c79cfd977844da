"""A repository that Flux or Argo CD reconciles itself, with `customhouse up` beside it: what those tests share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from deploy_rendering import controller_file
from rollout_world import RULES, declared, template
from up_world import UpWorld

from git_http import GitHttp
from kubernetes_plane import ControlPlane, KubernetesError

RULES_BESIDE = RULES.replace("metrics:\n  prometheus: PROMETHEUS\n", "")
ACCOUNT = "customhouse-controller"
DEPLOYMENT = "/apis/apps/v1/namespaces/{}/deployments/score"


class BesideWorld(UpWorld):
    """The repository, also served over HTTP to those who reconcile, and a namespace with a node for its pods.

    `up` has the rights that `deploy/` gives its controller, and the API server's log tells what it asked for.
    """

    def __init__(self, root: Path, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.http = GitHttp(root)
        self.url = f"{self.http.address}/remote.git"
        ours = controller_file(plane, Path(__file__).resolve().parents[2], root / "kubeconfig")
        rules = RULES_BESIDE.replace("KUBECONFIG", str(ours)) + f"sources:\n  repositories: [{self.url}]\n"
        super().__init__(root, rules)
        self.rules = rules
        self.namespace = namespace
        capacity = {"cpu": "32", "memory": "256Gi", "pods": "500"}
        metadata = {"name": f"node-{self.namespace}", "labels": {"type": "kwok", "only": self.namespace}}
        status = {"capacity": capacity, "allocatable": capacity}
        plane.call("POST", "/api/v1/nodes", {"kind": "Node", "metadata": metadata, "status": status})

    def score(self, version: int, *, privileged: bool = False, replicas: int = 2) -> str:
        """A Deployment for this namespace's node; privileged pods are against the rules."""
        pods = template(version)
        pods["spec"]["nodeSelector"] = {"only": self.namespace}
        if privileged:
            pods["spec"]["containers"][0]["securityContext"] = {"privileged": True}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "score"}}, "template": pods}
        return declared("apps/v1", "Deployment", self.namespace, spec, {})

    def version(self) -> int:
        """Which one the live Deployment has; 0 while there is none."""
        found = self.object(DEPLOYMENT.format(self.namespace))
        image = found["spec"]["template"]["spec"]["containers"][0]["image"] if found else "0"
        return int(image.rpartition(":")[2], 16)

    def object(self, place: str) -> Any:
        """A live object; empty where there is none."""
        try:
            return self.plane.call("GET", place)
        except KubernetesError:
            return {}

    def application(self, name: str) -> dict[str, Any]:
        """What the control plane tells of one: who reconciles it, and what that one says."""
        rows = self.overview().get("cluster", {}).get("applications", [])
        return next((row for row in rows if row["resource"]["name"] == name), {})

    def releases_of(self, name: str) -> list[dict[str, Any]]:
        done = self.cli("history", name, "-o", "json")
        found = json.loads(done.stdout or "[]")
        return found if isinstance(found, list) else found.get("releases", [])

    def writes(self, since: int) -> list[str]:
        """What Customhouse's own account asked to be written or deleted, after that many requests.

        Its inventory and its Lease, in a namespace of its own, are none of them.
        """
        asked = [item for item in self.plane.asked(ACCOUNT)[since:] if item["verb"] not in ("get", "list", "watch")]
        home = "/namespaces/customhouse-system/"
        return [f"{item['verb']} {item['requestURI']}" for item in asked if home not in item["requestURI"]]

    def close(self) -> None:
        super().close()
        self.http.stop()
        self.plane.call("DELETE", f"/api/v1/nodes/node-{self.namespace}")


def document(manifest: dict[str, Any]) -> str:
    return yaml.safe_dump(manifest, sort_keys=False)
