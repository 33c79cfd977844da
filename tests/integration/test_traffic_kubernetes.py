"""Traffic that is steered on a real API server: what its controllers make of the objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from customhouse.execution.kserve import weighted_inference
from customhouse.execution.traffic import (
    deployment_status,
    pinned_service,
    replica_split,
    route_status,
    second_deployment,
    stepped_rollout,
    template_hash,
    weighted_route,
)
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")


class Place:
    """A namespace with a node of its own."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane, self.name = plane, plane.namespace("traffic")
        capacity = {"cpu": "32", "memory": "256Gi", "pods": "500"}
        metadata = {"name": f"node-{self.name}", "labels": {"type": "kwok", "only": self.name}}
        status = {"capacity": capacity, "allocatable": capacity}
        plane.call("POST", "/api/v1/nodes", {"kind": "Node", "metadata": metadata, "status": status})

    def apply(self, api: str, plural: str, manifest: Any) -> Any:
        return self.plane.apply(f"{api}/namespaces/{self.name}/{plural}/{manifest['metadata']['name']}", manifest)

    def get(self, api: str, plural: str, name: str = "") -> Any:
        return self.plane.call("GET", f"{api}/namespaces/{self.name}/{plural}{'/' if name else ''}{name}")

    def images(self) -> set[str]:
        """The images of the pods that the Service routes to now."""
        pods = {item["metadata"]["name"]: item for item in self.get("/api/v1", "pods")["items"]}
        found = set()
        for piece in self.get("/apis/discovery.k8s.io/v1", "endpointslices")["items"]:
            for endpoint in piece.get("endpoints") or ():
                if endpoint["conditions"].get("ready"):
                    pod = pods.get(endpoint["targetRef"]["name"])
                    found.add(pod["spec"]["containers"][0]["image"] if pod else "gone")
        return found


@pytest.fixture
def place(kubernetes: ControlPlane) -> Iterator[Place]:
    found = Place(kubernetes)
    yield found
    kubernetes.call("DELETE", f"/api/v1/namespaces/{found.name}")


def deployment(place: Place, image: str, *, fits: bool = True) -> dict[str, Any]:
    pod = {"containers": [{"name": "c", "image": image}], "nodeSelector": {"only": place.name if fits else "nowhere"}}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": pod}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec}


APPS = "/apis/apps/v1"


def test_blue_green_of_plain_deployments_switches_only_to_what_serves_whole(place: Place) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}
    service["spec"] = {"selector": {"app": "x"}, "ports": [{"port": 80}]}
    place.apply(APPS, "deployments", deployment(place, "r/x:1"))

    def template(name: str) -> str:
        sets = place.get(APPS, "replicasets")["items"]
        return template_hash(place.get(APPS, "deployments", name), sets)

    stable = place.plane.until(lambda: template("x"))
    place.apply("/api/v1", "services", pinned_service(service, stable))
    place.plane.until(lambda: place.images() == {"r/x:1"})

    place.apply(APPS, "deployments", second_deployment(deployment(place, "r/x:2", fits=False), 2))
    place.plane.until(lambda: len(place.get("/api/v1", "pods")["items"]) == 4)
    assert template("x-candidate") == "", "it does not come up: there is nothing to switch to"
    place.apply(APPS, "deployments", second_deployment(deployment(place, "r/x:2"), 2))
    candidate = place.plane.until(lambda: template("x-candidate"))
    assert candidate != stable
    assert place.images() == {"r/x:1"}, "ready, and not asked before the switch"
    place.apply("/api/v1", "services", pinned_service(service, candidate))
    place.plane.until(lambda: place.images() == {"r/x:2"})
    place.apply("/api/v1", "services", pinned_service(service, stable))
    place.plane.until(lambda: place.images() == {"r/x:1"})


def test_a_canary_of_plain_deployments_is_a_share_of_the_endpoints(place: Place) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}
    service["spec"] = {"selector": {"app": "x"}, "ports": [{"port": 80}]}
    place.apply("/api/v1", "services", service)
    stable, candidate = replica_split(2, 33)
    place.apply(APPS, "deployments", deployment(place, "r/x:1"))
    place.apply(APPS, "deployments", second_deployment(deployment(place, "r/x:2"), candidate))
    place.plane.until(lambda: place.images() == {"r/x:1", "r/x:2"})
    place.plane.until(lambda: deployment_status(place.get(APPS, "deployments", "x-candidate")).ready)
    counts = {name: place.get(APPS, "deployments", name)["status"]["replicas"] for name in ("x", "x-candidate")}
    assert counts == {"x": stable, "x-candidate": candidate} == {"x": 2, "x-candidate": 1}


def test_weights_are_fields_that_the_real_kinds_have(place: Place) -> None:
    place.plane.install_crds("kserve", "gateway-api", "argo-rollouts")
    strict = "?fieldManager=tests&force=true&fieldValidation=Strict"

    def applied(path: str, manifest: Any) -> Any:
        whole = f"{path.format(place.name)}/{manifest['metadata']['name']}{strict}"
        return place.plane.call("PATCH", whole, manifest, content="application/apply-patch+yaml")

    model = {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/a"}
    kserve = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "x"}}
    kserve["spec"] = {"predictor": {"model": model}}
    at = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices"
    assert applied(at, weighted_inference(kserve, 20))["spec"]["predictor"]["canaryTrafficPercent"] == 20
    assert "canaryTrafficPercent" not in applied(at, weighted_inference(kserve, None))["spec"]["predictor"]

    backends = [{"name": "old", "port": 80}, {"name": "new", "port": 80}]
    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "x"}}
    route["spec"] = {"parentRefs": [{"name": "g"}], "rules": [{"backendRefs": backends}]}
    at = "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes"
    said = route_status(applied(at, weighted_route(route, "old", "new", 30)), "old", "new")
    assert (said.weights, said.ready) == ({"old": 70, "new": 30}, False), "no Gateway has accepted it"

    template = deployment(place, "r/x:1")["spec"]["template"]
    walked = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "x"}}
    walked["spec"] = {"selector": {"matchLabels": {"app": "x"}}, "template": template, "strategy": {"canary": {}}}
    at = "/apis/argoproj.io/v1alpha1/namespaces/{}/rollouts"
    steps = applied(at, stepped_rollout(walked, 20))["spec"]["strategy"]["canary"]["steps"]
    assert steps == [{"setWeight": 20}, {"pause": {}}]
    # No list at all would be Argo's own walk, and an empty one its controller takes away again.
    decided = applied(at, stepped_rollout(walked, None))["spec"]["strategy"]["canary"]["steps"]
    assert decided == [{"setWeight": 100}]
