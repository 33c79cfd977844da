"""Queues of Kueue and Jobs that name them, as manifests."""

from __future__ import annotations

from typing import Any

L4, H100 = {"nvidia.com/gpu.product": "NVIDIA-L4"}, {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
QUEUED = {"kueue.x-k8s.io/queue-name": "train"}


def thing(kind: str, name: str, spec: Any, api: str = "kueue.x-k8s.io/v1beta1", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "ml", **metadata}, "spec": spec}


def flavor(name: str, labels: dict[str, str], **more: Any) -> dict[str, Any]:
    return thing("ResourceFlavor", name, {"nodeLabels": labels, **more})


def quota(name: str, nominal: str, **more: str) -> dict[str, Any]:
    return {"name": name, "nominalQuota": nominal, **more}


def queue(name: str, *shares: tuple[str, list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    flavors = [{"name": one, "resources": quotas} for one, quotas in shares]
    group = {"coveredResources": [item["name"] for item in shares[0][1]], "flavors": flavors}
    return thing("ClusterQueue", name, {"namespaceSelector": {}, "resourceGroups": [group], **more})


def local(name: str = "train", cluster: str = "gpus", **more: Any) -> dict[str, Any]:
    return thing("LocalQueue", name, {"clusterQueue": cluster, **more})


def job(pods: int = 1, gpus: int = 1, selector: dict[str, str] | None = None, **pod: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"nvidia.com/gpu": str(gpus)}}
    template = {"containers": [{"name": "c", "resources": resources}], "nodeSelector": selector or {}, **pod}
    spec = {"parallelism": pods, "template": {"spec": template}}
    return thing("Job", "tune", spec, "batch/v1", labels=QUEUED)


def of(gpus: str, cpu: str = "64", memory: str = "256Gi", **more: str) -> list[dict[str, Any]]:
    return [quota("cpu", cpu), quota("memory", memory), quota("nvidia.com/gpu", gpus, **more)]
