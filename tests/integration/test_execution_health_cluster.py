"""Health of what a real control plane makes of objects: schedulers, controllers and KWOK write the statuses."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from customhouse.app.healthcheck import health_of
from customhouse.core.plan import HealthStatus
from customhouse.execution.health import health
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")

IMAGE = {"name": "c", "image": "example/web"}


def _pods(namespace: str, app: str, **spec: Any) -> dict[str, Any]:
    """The template of pods that only the node of this test takes."""
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"nodeSelector": {"only": namespace}, "containers": [IMAGE], **spec},
    }


def _objects(namespace: str) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Collection, spec and the status that each object ends in, by its name."""

    def workload(app: str, template: Any = None, **more: Any) -> dict[str, Any]:
        return {"selector": {"matchLabels": {"app": app}}, "template": template or _pods(namespace, app), **more}

    nowhere = _pods(namespace, "stuck") | {"spec": {"nodeSelector": {"only": "nobody"}, "containers": [IMAGE]}}
    job = _pods(namespace, "work", restartPolicy="Never")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    ports, selected = [{"port": 80}], {"matchLabels": {"app": "web"}}
    return {
        "web": ("apps/v1/deployments", workload("web", replicas=2), "Healthy"),
        "stuck": ("apps/v1/deployments", workload("stuck", nowhere, progressDeadlineSeconds=1), "Degraded"),
        "halted": ("apps/v1/deployments", workload("halted", paused=True), "Suspended"),
        "none": ("apps/v1/deployments", workload("none", replicas=0), "Healthy"),
        "store": ("apps/v1/statefulsets", workload("store", serviceName="store"), "Healthy"),
        "agent": ("apps/v1/daemonsets", workload("agent"), "Healthy"),
        "later": ("batch/v1/jobs", {"suspend": True, "template": job}, "Suspended"),
        "limit": ("policy/v1/poddisruptionbudgets", {"minAvailable": 1, "selector": selected}, "Healthy"),
        "inside": ("v1/services", {"ports": ports}, "Healthy"),
        "outside": ("v1/services", {"ports": ports, "type": "LoadBalancer"}, "Progressing"),
        "disk": ("v1/persistentvolumeclaims", claim, "Progressing"),
    }  # fmt: skip


def _collection(namespace: str, collection: str) -> str:
    version, _, plural = collection.rpartition("/")
    return f"/{'api' if version == 'v1' else 'apis'}/{version}/namespaces/{namespace}/{plural}"


def test_objects_of_a_real_control_plane_come_to_the_health_that_they_have(kubernetes: ControlPlane) -> None:
    namespace = kubernetes.namespace("health")
    capacity = {"cpu": "8", "memory": "32Gi", "pods": "20"}
    node = {"metadata": {"name": f"node-{namespace}", "labels": {"type": "kwok", "only": namespace}}}
    kubernetes.call("POST", "/api/v1/nodes", {**node, "status": {"capacity": capacity}})
    objects = _objects(namespace)
    for name, (collection, spec, _) in objects.items():
        made = kubernetes.call("POST", _collection(namespace, collection), {"metadata": {"name": name}, "spec": spec})
        # No controller can have written a status yet; what counts replicas must not take that for none wanted.
        if collection.startswith("apps/") and not spec.get("paused"):
            assert health(made).status is HealthStatus.PROGRESSING, name

    def found(name: str, wanted: str) -> dict[str, Any] | None:
        item: dict[str, Any] = kubernetes.call("GET", f"{_collection(namespace, objects[name][0])}/{name}")
        return item if health(item).status.value == wanted else None

    ended = [kubernetes.until(lambda n=name, w=wanted: found(n, w)) for name, (_, _, wanted) in objects.items()]
    dump = json.dumps({"apiVersion": "v1", "kind": "List", "items": ended}).encode()
    rows = health_of(["-"], io.BytesIO(dump))
    assert {row["resource"]["name"]: row["status"] for row in rows} == {
        n: wanted for n, (_, _, wanted) in objects.items()
    }
    messages = {row["resource"]["name"]: row["message"] for row in rows}
    assert messages["stuck"] == "it exceeded its progress deadline"
    assert messages["web"] == "2 replicas are available"


def test_what_the_control_plane_has_of_its_own_is_healthy(kubernetes: ControlPlane) -> None:
    """Of each kind the one that every control plane has: others may come from tests that run beside this one."""
    own = {
        "/api/v1/namespaces/default": "Namespace",
        "/api/v1/namespaces/default/services/kubernetes": "Service",
        "/api/v1/namespaces/kube-system/configmaps/kube-root-ca.crt": "ConfigMap",
        "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps": "APIService",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin": "ClusterRole",
    }
    for path, kind in own.items():
        item = kubernetes.until(lambda one=path: kubernetes.call("GET", one))
        assert item["kind"] == kind
        assert health(item).status is HealthStatus.HEALTHY, (path, health(item).message)


def test_an_object_that_is_held_by_a_finalizer_says_so(kubernetes: ControlPlane) -> None:
    namespace = kubernetes.namespace("health")
    place = f"/api/v1/namespaces/{namespace}/configmaps"
    kubernetes.call("POST", place, {"metadata": {"name": "held", "finalizers": ["example.io/hold"]}})
    kubernetes.call("DELETE", f"{place}/held")
    held = kubernetes.call("GET", f"{place}/held")
    found = health({**held, "apiVersion": "v1", "kind": "ConfigMap"})
    kubernetes.call(
        "PATCH", f"{place}/held", {"metadata": {"finalizers": None}}, content="application/merge-patch+json"
    )
    assert found.status is HealthStatus.PROGRESSING
    assert found.message == "it is being deleted; it waits for example.io/hold"
