"""A shop whose plain Deployment is rolled out by `customhouse up` on a real API server, under requests all the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from control_repository import git
from deploy_rendering import controller_file
from rollout_traffic import Traffic
from rollout_world import RULES, declared, template
from up_world import UpWorld

from kubernetes_plane import ControlPlane, KubernetesError
from prometheus_server import prometheus_of

ANALYSIS = "min-requests=60, drain=1s, min-labelled=0, latency-ratio=3, latency-increase=20ms, error-increase=2%"
CANARY = {
    "customhouse.dev/rollout": "canary",
    "customhouse.dev/rollout-steps": "25,50",
    "customhouse.dev/rollout-analysis": ANALYSIS,
}
PATIENT = {**CANARY, "customhouse.dev/rollout-analysis": "min-requests=100000000, min-labelled=0, drain=1s"}
BLUE_GREEN = {"customhouse.dev/rollout": "blue-green", "customhouse.dev/rollout-analysis": ANALYSIS}
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"


def route(namespace: str) -> str:
    """An HTTPRoute to the Service."""
    spec = {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": [{"name": "score", "port": 80}]}]}
    return declared("gateway.networking.k8s.io/v1", "HTTPRoute", namespace, spec, {})


class Shop(UpWorld):
    """The repository and a namespace of the cluster; `up` has the rights that `deploy/` gives its controller."""

    def __init__(self, root: Path, plane: ControlPlane, prometheus: str, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        ours = controller_file(plane, Path(__file__).resolve().parents[2], root / "kubeconfig")
        rules = RULES.replace("KUBECONFIG", str(ours)).replace("PROMETHEUS", prometheus)
        super().__init__(root, rules)

    @property
    def head(self) -> str:
        """The commit of the branch, without a process to ask for it."""
        place = self.remote / "refs" / "heads" / "main"
        return place.read_text().strip() if place.exists() else super().head

    def until(self, look: Callable[[], Any], seconds: float = 60.0) -> Any:
        """As any world's, at a pace that leaves the machine to what is waited for."""

        def slowly() -> Any:
            found = look()
            if not found:
                time.sleep(0.1)
            return found

        return super().until(slowly, seconds)

    def deploy(self, version: int, annotations: dict[str, str], *, fits: bool = True, **more: Any) -> str:
        """Push the Deployment and its Service at a version."""
        pods = template(version)
        pods["spec"]["nodeSelector"] = {"only": self.namespace if fits else "nowhere"}
        spec = {"replicas": 4, "selector": {"matchLabels": {"app": "score"}}, "template": pods, **more}
        service = {"selector": {"app": "score"}, "ports": [{"port": 80, "targetPort": 8080}]}
        files: dict[str, str | None] = {
            "score.yaml": declared("apps/v1", "Deployment", self.namespace, spec, annotations),
            "service.yaml": declared("v1", "Service", self.namespace, service, {}),
        }
        return self.push(files, f"Serve {version}")

    def deployment(self, name: str = "score") -> Any:
        """The live one; empty while there is none."""
        try:
            return self.plane.call("GET", f"{DEPLOYMENTS.format(self.namespace)}/{name}")
        except KubernetesError:
            return {}

    def settled(self, version: int) -> bool:
        """Whether one version has all of the replicas, and nothing of another is left."""
        found = self.deployment()
        if not found or self.deployment("score-candidate"):
            return False
        status, image = found.get("status", {}), found["spec"]["template"]["spec"]["containers"][0]["image"]
        seen = found["metadata"]["generation"] == status.get("observedGeneration")
        whole = {status.get(name) for name in ("replicas", "updatedReplicas", "availableReplicas")} == {4}
        return seen and whole and int(image.rpartition(":")[2], 16) == version

    def message(self) -> str:
        return git(self.remote, "log", "-1", "--format=%B", "main")


@contextmanager
def open_shop(
    plane: ControlPlane, prometheus: Path, folder: Path, *, routed: bool = False
) -> Iterator[tuple[Shop, Traffic]]:
    """A namespace with a node, a Prometheus that counts its requests, and a repository; `routed`: an HTTPRoute too."""
    plane.install_crds("gateway-api")
    namespace = plane.namespace("plain")
    capacity = {"cpu": "32", "memory": "256Gi", "pods": "500"}
    metadata = {"name": f"node-{namespace}", "labels": {"type": "kwok", "only": namespace}}
    status = {"capacity": capacity, "allocatable": capacity}
    plane.call("POST", "/api/v1/nodes", {"kind": "Node", "metadata": metadata, "status": status})
    traffic = Traffic(plane, namespace, routed=routed)
    (folder / "prometheus").mkdir()
    with prometheus_of(prometheus, folder / "prometheus", traffic.text) as address:
        world = Shop(folder, plane, address, namespace)
        if routed:
            world.push({"route.yaml": route(namespace)}, "Route")
        try:
            yield world, traffic
        finally:
            traffic.end()
            world.close()
    plane.call("DELETE", f"/api/v1/namespaces/{namespace}")
