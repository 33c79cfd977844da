"""The control plane that other tests rely on: real, verified by its certificate, and alive to its last controller."""

from __future__ import annotations

import pytest

from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")


def test_a_pod_is_scheduled_to_a_node_and_runs(kubernetes: ControlPlane) -> None:
    namespace = kubernetes.namespace()
    node = f"node-{namespace}"
    capacity = {"cpu": "8", "memory": "32Gi", "pods": "10"}
    # Pods of other tests that wait for any node would take its ten places.
    spec = {"taints": [{"key": "only", "value": namespace, "effect": "NoSchedule"}]}
    metadata = {"name": node, "labels": {"type": "kwok", "only": namespace}}
    body = {"metadata": metadata, "spec": spec, "status": {"capacity": capacity}}
    kubernetes.call("POST", "/api/v1/nodes", body)
    deployment = {
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "nodeSelector": {"only": namespace},
                    "tolerations": [{"key": "only", "operator": "Exists"}],
                    "containers": [{"name": "web", "image": "example/web"}],
                },
            },
        },
    }
    kubernetes.call("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment)

    def running() -> bool:
        pods = kubernetes.call("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        return any(pod["status"].get("phase") == "Running" and pod["spec"]["nodeName"] == node for pod in pods)

    assert kubernetes.until(running)


def test_who_has_no_token_is_refused(kubernetes: ControlPlane) -> None:
    with pytest.raises(KubernetesError) as refused:
        kubernetes.call("GET", "/api/v1/namespaces", token="nobody")
    assert refused.value.status == 401
