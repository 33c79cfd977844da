"""Plain Deployments on a real API server: canaries by HTTPRoute and by replicas, blue-green; requests all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from control_repository import git
from rollout_traffic import Traffic
from rollout_world import RULES, declared, template
from up_world import UpWorld

from kubernetes_plane import ControlPlane, KubernetesError
from prometheus_server import prometheus_of

pytestmark = [pytest.mark.part("kubernetes"), pytest.mark.part("prometheus")]

ANALYSIS = "min-requests=100, drain=1s, min-labelled=0, latency-ratio=3, latency-increase=20ms, error-increase=2%"
CANARY = {
    "customhouse.dev/rollout": "canary",
    "customhouse.dev/rollout-steps": "25,50",
    "customhouse.dev/rollout-analysis": ANALYSIS,
}
BLUE_GREEN = {"customhouse.dev/rollout": "blue-green", "customhouse.dev/rollout-analysis": ANALYSIS}
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"


def route(namespace: str) -> str:
    """An HTTPRoute to the Service."""
    spec = {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": [{"name": "score", "port": 80}]}]}
    return declared("gateway.networking.k8s.io/v1", "HTTPRoute", namespace, spec, {})


class Shop(UpWorld):
    """The repository, a namespace of the cluster, and the requests."""

    def __init__(self, root: Path, plane: ControlPlane, prometheus: str, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        rules = RULES.replace("KUBECONFIG", str(plane.kubeconfig)).replace("PROMETHEUS", prometheus)
        super().__init__(root, rules)

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


@pytest.fixture
def shop(
    kubernetes: ControlPlane, find_part: Callable[[str], Path], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Shop, Traffic]]:
    routed = getattr(request, "param", "") == "routed"
    kubernetes.install_crds("gateway-api")
    namespace = kubernetes.namespace("plain")
    capacity = {"cpu": "32", "memory": "256Gi", "pods": "500"}
    metadata = {"name": f"node-{namespace}", "labels": {"type": "kwok", "only": namespace}}
    status = {"capacity": capacity, "allocatable": capacity}
    kubernetes.call("POST", "/api/v1/nodes", {"kind": "Node", "metadata": metadata, "status": status})
    traffic = Traffic(kubernetes, namespace, routed=routed)
    (tmp_path / "prometheus").mkdir()
    with prometheus_of(find_part("prometheus"), tmp_path / "prometheus", traffic.text) as address:
        world = Shop(tmp_path, kubernetes, address, namespace)
        yield world, traffic
        traffic.end()
        world.close()
    kubernetes.call("DELETE", f"/api/v1/namespaces/{namespace}")


@pytest.mark.parametrize("shop", ["routed"], indirect=True)
def test_a_canary_by_the_weights_of_an_http_route(shop: tuple[Shop, Traffic]) -> None:
    world, traffic = shop
    world.push({"route.yaml": route(world.namespace)}, "Route")
    world.deploy(1, CANARY)
    world.start()
    world.until(lambda: world.settled(1), 120)
    traffic.begin()

    world.deploy(2, CANARY)
    world.until(lambda: traffic.answered[2], 120)
    world.until(lambda: world.settled(2), 120)
    phases = [str(entry.body) for entry in world.entries("rollout")]
    assert any("canary-50" in text for text in phases), phases
    assert not traffic.failed

    traffic.slow = {3}
    bad = world.deploy(3, CANARY)
    world.until(lambda: world.head != bad, 240)
    world.until(lambda: world.settled(2), 120)
    assert traffic.routes() == {"score": 1}
    message = world.message()
    assert f"This reverts commit {bad}" in message
    assert "p95" in message
    assert "of stable at the same time" in message
    assert "at 25 %" in message
    asked = traffic.answered[3]
    assert asked > 0
    world.until(lambda: world.overview().get("deployed") == world.head)
    assert traffic.answered[3] == asked, "what was found to be worse is not asked again"
    assert not traffic.failed
    assert world.end() == 0


def test_a_canary_by_replicas_where_nothing_shares_requests_by_weight(shop: tuple[Shop, Traffic]) -> None:
    world, traffic = shop
    world.deploy(1, CANARY)
    world.start()
    world.until(lambda: world.settled(1), 120)
    traffic.begin()

    world.deploy(2, CANARY)
    world.until(lambda: traffic.answered[2], 120)
    world.until(lambda: world.settled(2), 120)
    phases = [str(entry.body) for entry in world.entries("rollout")]
    assert any("by replicas, 1 beside 4: 20 %" in text for text in phases), phases

    traffic.slow = {3}
    bad = world.deploy(3, CANARY)
    world.until(lambda: world.head != bad, 240)
    world.until(lambda: world.settled(2), 120)
    message = world.message()
    assert f"This reverts commit {bad}" in message
    assert "by replicas, 1 beside 4: 20 %" in message
    assert traffic.answered[3]
    assert not traffic.failed
    assert world.end() == 0


def test_blue_green_switches_to_what_is_whole_and_back(shop: tuple[Shop, Traffic]) -> None:
    world, traffic = shop
    world.deploy(1, BLUE_GREEN)
    world.start()
    world.until(lambda: world.settled(1), 120)
    traffic.begin()

    world.deploy(2, BLUE_GREEN)
    world.until(lambda: traffic.answered[2], 120)
    world.until(lambda: world.settled(2), 120)

    traffic.slow = {3}
    bad = world.deploy(3, BLUE_GREEN)
    world.until(lambda: world.head != bad, 240)
    world.until(lambda: world.settled(2), 120)
    assert traffic.answered[3]
    assert "at 100 %" in world.message()
    assert not traffic.failed
    assert world.end() == 0
