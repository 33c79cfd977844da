"""The real API server's defaults: a manifest as it is written and as the server returns it have one projection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
