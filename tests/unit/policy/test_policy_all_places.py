"""However many devices and flavors there are to be told of, one of another class is told."""

from __future__ import annotations

from typing import Any

from customhouse.core.resource import Declaration, Location, Manifest, ResourceRef
from customhouse.policy.claiming import ClaimIndex
from customhouse.policy.queueing import QueueIndex

PRODUCT = 'device.attributes["gpu.nvidia.com"].productName == '


def declared(manifest: Manifest) -> Declaration:
    return Declaration(ResourceRef.of(manifest), manifest, Location("a.yaml"))


def wanted(product: str, count: int) -> dict[str, Any]:
    selectors = [{"cel": {"expression": f'{PRODUCT}"{product}"'}}]
    return {"deviceClassName": "gpu.nvidia.com", "count": count, "selectors": selectors}


def test_the_last_of_many_devices_of_a_claim_is_told() -> None:
    many = [{"name": f"r{n}", "firstAvailable": [wanted("Tesla T4", 1)] * 8} for n in range(31)]
    requests = [*many, {"name": "big", "exactly": wanted("NVIDIA H100 80GB HBM3", 8)}]
    spec = {"spec": {"devices": {"requests": requests}}}
    metadata = {"name": "c", "namespace": "x"}
    claim = declared(
        {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": metadata, "spec": spec}
    )
    index = ClaimIndex()
    index.add(claim)
    rows = index.about(claim)["claimed"]
    assert sum(row["count"] for row in rows if row["preferred"]) == 31 + 8
    assert {row["accelerator"]: row["count"] for row in rows if row["accelerator"] == "H100"} == {"H100": 8}


def test_the_last_of_many_flavors_of_a_queue_is_told() -> None:
    def kueue(kind: str, name: str, spec: dict[str, Any], namespace: str | None = None) -> Declaration:
        metadata = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
        return declared({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": metadata, "spec": spec})

    def group(resource: str, names: list[str]) -> dict[str, Any]:
        quota = [{"name": resource, "nominalQuota": 8}]
        return {"coveredResources": [resource], "flavors": [{"name": name, "resources": quota} for name in names]}

    products = {f"gpu-{n:02d}": "Tesla-T4" for n in range(15)} | {"gpu-15": "NVIDIA-H100-80GB-HBM3"}
    index = QueueIndex()
    for name, product in products.items():
        index.add(kueue("ResourceFlavor", name, {"nodeLabels": {"nvidia.com/gpu.product": product}}))
    cpus = [f"cpu-{n:02d}" for n in range(16)]
    for name in cpus:
        index.add(kueue("ResourceFlavor", name, {}))
    groups = [group("nvidia.com/gpu", list(products)), group("cpu", cpus)]
    index.add(kueue("ClusterQueue", "all", {"namespaceSelector": {}, "resourceGroups": groups}))
    index.add(kueue("LocalQueue", "mine", {"clusterQueue": "all"}, "x"))
    requests = {"requests": {"cpu": "1", "nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}
    pod = {"spec": {"containers": [{"name": "a", "resources": requests}]}}
    labels = {"kueue.x-k8s.io/queue-name": "mine"}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "x", "labels": labels}}
    found = index.about(declared({**job, "spec": {"template": pod}}))["queue"]
    assert found["lacks"] == []
    assert {name for place in found["places"] for name in place["accelerator_classes"]} == {"T4", "H100"}
    assert len(found["places"]) < 30
