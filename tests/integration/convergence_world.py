"""A source, its state and a real API server: what the tests of convergence share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from execution_world import eventually

from customhouse._kit.clock import SystemClock
from customhouse.control.convergence import Conduct, Convergence
from customhouse.control.render import render
from customhouse.control.rounds import Round
from customhouse.control.tracked import Inventories
from customhouse.core.resource import Declaration
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from customhouse.execution.health import health
from customhouse.execution.sightings import Sightings
from customhouse.testing.memory import MemoryStateStore
from kubernetes_plane import ControlPlane


def config_map(name: str, namespace: str, annotations: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def deployment(name: str, namespace: str, *, replicas: int = 1, image: str = "example/app:1") -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": image, "env": [{"name": "A", "value": "1"}]}]},
            },
        },
    }


def autoscaler(name: str, namespace: str) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 9},
    }


def declared(*manifests: dict[str, Any]) -> tuple[Declaration, ...]:
    text = "\n---\n".join(json.dumps(item) for item in manifests)
    return tuple(render({"all.yaml": text.encode()}))


class ConvergenceWorld:
    """One controller of a source; `restart` makes another on the same state."""

    def __init__(self, plane: ControlPlane, source: str = "repository") -> None:
        self.plane, self.source = plane, source
        self.repository = ""
        self.home = plane.namespace("inventories")
        self.state = MemoryStateStore()
        self.conduct = Conduct()
        self.rounds: list[Round] = []
        self.begin()

    def begin(self) -> None:
        self.cluster = KubernetesCluster(read_access([self.plane.kubeconfig]), {}, SystemClock())
        self.sight = Sightings(self.cluster, health, SystemClock())
        inventory = Inventories(self.cluster, self.state, "test", self.source, self.home, repository=self.repository)
        self.convergence = Convergence(self.cluster, self.sight, inventory, SystemClock(), self.conduct)
        self.convergence.load()

    def end(self) -> None:
        self.sight.close()
        self.cluster.close()

    def restart(self) -> None:
        self.end()
        self.begin()

    def declare(self, *manifests: dict[str, Any]) -> None:
        self.convergence.declare(declared(*manifests))

    def until(self, holds: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Step until something holds."""

        def look() -> Any:
            self.rounds.append(self.convergence.step())
            return holds()

        found = self.convergence
        return eventually(look, seconds, lambda: (found.problems, found.blocked, found.unfit, self.rounds[-2:]))

    def settle(self) -> list[Round]:
        """Step until nothing is left to do; the rounds that it took."""
        first = len(self.rounds)
        self.until(lambda: self.convergence.settled and not self.convergence.waiting())
        return self.rounds[first:]

    def versions(self, kind: str, namespace: str) -> dict[str, str]:
        """Name → resourceVersion of what is there."""
        listed = self.plane.call("GET", f"{_PATHS[kind].format(namespace)}")
        return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed["items"]}

    def get(self, kind: str, namespace: str, name: str) -> Any:
        return self.plane.call("GET", f"{_PATHS[kind].format(namespace)}/{name}")

    def delete(self, kind: str, namespace: str, name: str) -> Any:
        return self.plane.call("DELETE", f"{_PATHS[kind].format(namespace)}/{name}")

    def patch(self, kind: str, namespace: str, name: str, body: Any, *, manager: str = "kubectl-edit") -> Any:
        path = f"{_PATHS[kind].format(namespace)}/{name}?fieldManager={manager}"
        return self.plane.call("PATCH", path, body, content="application/merge-patch+json")


_PATHS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
}
