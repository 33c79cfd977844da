"""The real API server's defaults: a manifest as it is written and as the server returns it have one projection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse._kit.clock import SystemClock
from customhouse.control.render import render_noted
from customhouse.core.cluster import Apply
from customhouse.core.errors import CustomhouseError
from customhouse.core.resource import Declaration
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from customhouse.policy.projection import project
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")

LARGEST = 200_000
# Kinds without a projection of their own: the digest of what is written is not that of what is returned, since the
# server (or the schema of the definition) fills in fields. An object of them counts as edited after it was judged.
DIFFERS = {"StorageClass"}


def declared(folder: Path) -> Iterator[Declaration]:
    for path in sorted(folder.rglob("*.yaml")):
        if path.stat().st_size <= LARGEST:
            try:
                yield from render_noted({path.name: path.read_bytes()}).declarations
            except CustomhouseError:
                continue  # templates, patches: other tests hold what is said of them


def test_the_given_manifests_have_one_projection_before_and_after_the_real_api_server(
    kubernetes: ControlPlane, shared_data: Path
) -> None:
    namespace = kubernetes.namespace("defaults")
    differing: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
        kinds = {(kind.api_version, kind.kind) for kind in cluster.discover().kinds}
        done: set[str] = set()
        for declaration in declared(shared_data / "manifests"):
            ref = declaration.ref
            own = "." not in ref.api_version.partition("/")[0] or ".k8s.io/" in ref.api_version
            if (ref.api_version, ref.kind) not in kinds or not own or ref.kind == "CustomResourceDefinition":
                continue
            if declaration.digest in done:
                continue
            done.add(declaration.digest)
            metadata = {**declaration.manifest["metadata"], "name": ref.name.rstrip("-")}
            metadata.pop("generateName", None)
            if ref.namespace:
                metadata["namespace"] = namespace
            manifest = {**declaration.manifest, "metadata": metadata}
            (written,) = cluster.write([Apply(manifest, force=True, dry_run=True)])
            if not written.ok or written.manifest is None:
                continue  # the server refuses it as well
            seen[ref.kind] += 1
            if project(manifest) != project(written.manifest):
                differing[ref.kind] = (project(manifest), project(written.manifest))
    assert set(differing) <= DIFFERS, differing
    assert sum(seen.values()) >= 200, seen
    assert {"Deployment", "Service", "ConfigMap", "ClusterRole", "ServiceAccount"} <= set(seen)


# What the given manifests do not write, and the server fills in or copies.
SPARSE = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: old-account}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {serviceAccount: builder, containers: [{name: c, image: nginx, securityContext: {}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ports}
spec: {podSelector: {}, ingress: [{ports: [{port: 80}], from: [{podSelector: {}}]}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: no-metrics}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}, maxReplicas: 3}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: device}
spec: {spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu.nvidia.com}}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: host}
spec:
  template:
    spec:
      restartPolicy: Never
      hostNetwork: true
      initContainers: [{name: i, image: x, restartPolicy: Always}]
      containers: [{name: c, image: "nginx:1", ports: [{containerPort: 80}], livenessProbe: {httpGet: {port: 80}}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: disks}
spec:
  selector: {matchLabels: {a: b}}
  volumeClaimTemplates:
    - {metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1.5Gi}}}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
        - {name: c, image: nginx, resources: {limits: {cpu: "0.5", memory: 100M, nvidia.com/gpu: 1}}}
      volumes: [{name: h, hostPath: {path: /y}}, {name: p, projected: {sources: [{serviceAccountToken: {path: t}}]}}]
"""


@pytest.mark.parametrize("manifest", list(yaml.safe_load_all(SPARSE)), ids=lambda item: item["metadata"]["name"])
def test_what_the_server_fills_in_is_known(kubernetes: ControlPlane, manifest: dict[str, Any]) -> None:
    metadata = {**manifest["metadata"], "namespace": "default"}
    written = {**manifest, "metadata": metadata}
    with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
        (answer,) = cluster.write([Apply(written, force=True, dry_run=True)])
    assert answer.manifest is not None, answer.problem
    assert project(written) == project(answer.manifest)
