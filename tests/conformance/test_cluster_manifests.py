"""The given manifests on a real API server: a second dry run differs in nothing, and in something after any edit.

All of them, with the definitions of the ecosystem and with more edits: `benchmarks/cluster_diffs.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_edits import Edit, Schemas, edits, plain
from cluster_manifests import Told, given, hold, layers, read

from customhouse._kit.clock import SystemClock
from customhouse.control.preview import Planned, preview
from customhouse.control.stages import Wanted
from customhouse.control.tracked import Tracked
from customhouse.core.cluster import Apply
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")
_KINDS = (
    "ConfigMap", "CronJob", "DaemonSet", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy",
    "PersistentVolumeClaim", "PodDisruptionBudget", "ResourceQuota", "Role", "RoleBinding", "Secret", "Service",
    "ServiceAccount", "StatefulSet",
)  # fmt: skip
"""What every API server serves and what runs nothing beside it (a webhook of theirs would answer for other tests)."""


_OF_A_SORT = 3
"""Edits of one sort that are tried on one object; the first ones may be refused."""


@pytest.fixture
def cluster(kubernetes: ControlPlane) -> Iterator[KubernetesCluster]:
    with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as made:
        yield made


def _moved(manifest: Any, place: str) -> bytes:
    spec = {key: value for key, value in manifest.items() if key != "status"}
    return json.dumps({**spec, "metadata": {**manifest["metadata"], "namespace": place}}).encode()


def test_a_second_dry_run_of_the_given_manifests_differs_in_nothing(
    kubernetes: ControlPlane, cluster: KubernetesCluster, shared_data: Path
) -> None:
    place = kubernetes.namespace("given")
    small = ((name, data) for name, data in given(shared_data / "manifests") if len(data) < 100_000)  # no definitions
    found = [item.manifest for item in read(small) if item.ref.kind in _KINDS]
    declared = read((f"{index}.json", _moved(item, place)) for index, item in enumerate(found))
    told = Told()
    for layer in layers(cluster, declared):
        hold(cluster, layer, told)
    assert told.unequal == []
    assert told.rewritten == []
    assert told.accepted >= 115
    # Patches for kustomize, a field that there is none of, data that is no base64: no objects by themselves.
    assert len(told.refused) <= 40, Counter(answer.problem[:80] for _, answer in told.refused)


def _rich(place: str) -> list[dict[str, Any]]:
    """Objects with a field of every sort that Kubernetes merges in a way of its own."""
    metadata = {"namespace": place, "labels": {"app": "rich"}, "annotations": {"note": '{"a": [1, 2]}'}}
    container = {
        "name": "app",
        "image": "example/app:1",
        "args": ["one", "two"],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "more", "containerPort": 8081}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": '{"a": 1}'}],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["ALL", "NET_RAW"]}},
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 7},
    }
    pod = {
        "containers": [container],
        "nodeSelector": {"type": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    template = {"metadata": {"labels": {"app": "rich"}}, "spec": pod}
    deployment = {"replicas": 0, "selector": {"matchLabels": {"app": "rich"}}, "template": template}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "30%", "maxUnavailable": 1}}
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    ingress = [{"from": [{"podSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"port": 8080}]}]
    policy = {"podSelector": {"matchLabels": {"app": "rich"}}, "policyTypes": ["Ingress"], "ingress": ingress}
    rules = [{"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"]}]
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("apps/v1", "Deployment", {"spec": {**deployment, "strategy": rolling}}),
        ("v1", "Service", {"spec": {"selector": {"app": "rich"}, "ports": ports}}),
        ("v1", "ConfigMap", {"data": {"a": "1", "b.json": '{"a": 1}'}, "binaryData": {"c": "eA=="}}),
        ("v1", "Secret", {"data": {"a": "eA=="}, "stringData": {"b": "text"}}),
        ("networking.k8s.io/v1", "NetworkPolicy", {"spec": policy}),
        ("rbac.authorization.k8s.io/v1", "Role", {"rules": rules}),
        ("v1", "ResourceQuota", {"spec": {"hard": {"pods": "4", "requests.cpu": "500m"}}}),
    ]
    return [
        {"apiVersion": version, "kind": kind, "metadata": {**metadata, "name": "rich"}, **body}
        for version, kind, body in bodies
    ]


def _chosen(live: Any, schemas: Schemas) -> Iterator[Edit]:
    """Edits of what is there; what programs and people add beside it has tests of its own."""
    left = ("labels add", "annotations add", "finalizers add", "ownerReferences add", "undeclared field add")
    seen: Counter[str] = Counter()
    for edit in edits(live, schemas):
        if edit.sort not in left and "said otherwise" not in edit.sort and seen[edit.sort] < _OF_A_SORT:
            seen[edit.sort] += 1
            yield edit


def test_after_any_edit_of_what_is_there_a_dry_run_differs(
    kubernetes: ControlPlane, cluster: KubernetesCluster
) -> None:
    place = kubernetes.namespace("edits")
    declared = read((f"{index}.json", json.dumps(item).encode()) for index, item in enumerate(_rich(place)))
    (layer,) = layers(cluster, declared)
    assert all(answer.ok for answer in cluster.write([Apply(item.declaration.manifest, force=True) for item in layer]))
    schemas, seen, missed = Schemas(kubernetes), Counter[str](), list[str]()
    for item in layer:
        for edit, planned in _edited(kubernetes, cluster, item, schemas):
            seen[edit.sort] += 1
            if not planned:
                missed.append(f"{item.ref.kind} {edit.pointer}: {edit.sort}")
    assert missed == []
    assert len(seen) >= 35, seen
    assert sum(seen.values()) >= 150, seen


def _edited(
    plane: ControlPlane, cluster: KubernetesCluster, item: Wanted, schemas: Schemas
) -> Iterator[tuple[Edit, list[Planned]]]:
    """Each edit that the API takes and that changes something, and what would be done about it."""
    plural = {"NetworkPolicy": "networkpolicies"}.get(item.ref.kind, f"{item.ref.kind.lower()}s")
    root = "/api/v1" if item.ref.api_version == "v1" else f"/apis/{item.ref.api_version}"
    path = f"{root}/namespaces/{item.ref.namespace}/{plural}/{item.ref.name}"
    entries = {item.key: Tracked(item.ref, "known", digest=item.digest)}
    before = plane.call("GET", path)
    for edit in _chosen(before, schemas):
        edit.manifest["metadata"].pop("resourceVersion", None)
        try:
            after = plane.call("PUT", f"{path}?fieldManager=kubectl-edit", edit.manifest)
        except KubernetesError:
            continue  # immutable, or no such value
        if plain(after) == plain(before):
            continue
        yield edit, list(preview(cluster, [item], entries))
        whole = {**before, "metadata": {k: v for k, v in before["metadata"].items() if k != "resourceVersion"}}
        plane.call("PUT", f"{path}?fieldManager=kube-controller-manager", whole)
