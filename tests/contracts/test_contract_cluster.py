"""The Cluster port, one body over a real API and the fake that random histories run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.core.cluster import Cluster
from customhouse.core.errors import TargetError
from customhouse.core.plan import Action, ActionKind
from customhouse.core.ports import Target
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from customhouse.execution.adapters.kubernetes.target import KubernetesTarget
from customhouse.testing.cluster_contracts import ClusterContract
from customhouse.testing.fake_cluster import FakeCluster
from customhouse.testing.target_contracts import TargetContract
from kubernetes_plane import ControlPlane


class TestFakeCluster(ClusterContract):
    @pytest.fixture
    def cluster(self) -> Cluster:
        return FakeCluster()

    @pytest.fixture
    def namespace(self) -> str:
        return "default"

    @pytest.fixture
    def other(self, cluster: FakeCluster) -> Callable[[dict[str, Any]], None]:
        return lambda manifest: cluster.put(manifest, "other")


@pytest.mark.part("kubernetes")
class TestRealCluster(ClusterContract):
    @pytest.fixture
    def cluster(self, kubernetes: ControlPlane) -> Iterator[Cluster]:
        with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as made:
            yield made

    @pytest.fixture
    def namespace(self, kubernetes: ControlPlane) -> str:
        return kubernetes.namespace("contract")

    @pytest.fixture
    def other(self, kubernetes: ControlPlane, namespace: str) -> Callable[[dict[str, Any]], None]:
        path = f"/api/v1/namespaces/{namespace}/configmaps/"
        return lambda item: kubernetes.apply(path + item["metadata"]["name"], item, manager="other")


@pytest.mark.part("kubernetes")
class TestKubernetesTarget(TargetContract):
    @pytest.fixture
    def target(self, kubernetes: ControlPlane) -> Iterator[Target]:
        with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
            made = KubernetesTarget(cluster, SystemClock())
            yield made
            made.stop()

    @pytest.fixture
    def manifest(self, kubernetes: ControlPlane) -> Any:
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "one", "namespace": kubernetes.namespace("target")},
            "spec": {"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress"]},
        }

    @pytest.fixture
    def altered(self, manifest: Any) -> Any:
        spec = {"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Ingress"]}
        return {**manifest, "spec": spec}

    @pytest.fixture
    def refused(self, manifest: Any) -> Any:
        metadata = {**manifest["metadata"], "name": "two"}
        return {**manifest, "metadata": metadata, "spec": {"podSelector": {}, "policyTypes": ["Sideways"]}}

    def test_an_object_goes_where_it_is_for_and_a_sealed_one_nowhere(self, target: Target, manifest: Any) -> None:
        ref = ResourceRef.of(manifest)
        bare = {**manifest, "metadata": {"name": ref.name}}
        (made,) = target.apply([Action(ActionKind.CREATE, ref, bare)])
        assert made.ok
        assert ref in target.read([ref])
        sealed = {**manifest, "sops": {"mac": "x"}}
        with pytest.raises(TargetError, match="encrypted by SOPS"):
            target.apply([Action(ActionKind.PATCH, ref, sealed)])
