"""Argo CD's Lua dialect: scripts of our own in its ConfigMap and in a folder, over the given objects of their kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse.app.healthrules import customizations_at
from customhouse.app.wiring_health import health_rules
from customhouse.execution.adapters.lua import LuaHealth

HERE = Path(__file__).parent / "lua"
IN_MAP = (
    "external-secrets.io/ExternalSecret",
    "cert-manager.io/ClusterIssuer",
    "keda.sh/ScaledJob",
    "kubernetes-client.io/ExternalSecret",
    "bitnami.com/SealedSecret",
    *(f"rabbitmq.com/{kind}" for kind in ("Binding", "Permission", "Policy", "Queue", "Shovel", "Vhost")),
)
IN_FOLDER = (
    "elasticsearch.k8s.elastic.co/Elasticsearch",
    "kafka.strimzi.io/KafkaUser",
    "_.services.k8s.aws/_",
    "karpenter.sh/NodePool",
    "objectbucket.io/ObjectBucketClaim",
)


@pytest.fixture(scope="module")
def in_map() -> Iterator[LuaHealth]:
    judge = LuaHealth(customizations_at(str(HERE / "argocd-cm.yaml")))
    yield judge
    judge.close()


@pytest.fixture(scope="module")
def in_folder() -> Iterator[LuaHealth]:
    judge = LuaHealth(customizations_at(str(HERE / "folder")))
    yield judge
    judge.close()


def _given(shared_data: Path, kind: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    folder = shared_data / "health" / kind
    for case in yaml.safe_load((folder / "health_test.yaml").read_text())["tests"]:
        place = folder / case["inputPath"]
        yield case["inputPath"], yaml.safe_load(place.read_text()), case["healthStatus"]["status"]


@pytest.mark.parametrize("kind", IN_MAP)
def test_scripts_of_the_config_map_judge_the_given_objects(shared_data: Path, in_map: LuaHealth, kind: str) -> None:
    for name, manifest, status in _given(shared_data, kind):
        found = in_map(manifest)
        assert found is not None, name
        assert found.status.value == status, (name, found.message)


@pytest.mark.parametrize("kind", IN_FOLDER)
def test_scripts_of_a_folder_judge_the_given_objects(shared_data: Path, in_folder: LuaHealth, kind: str) -> None:
    for name, manifest, status in _given(shared_data, kind):
        found = in_folder(manifest)
        assert found is not None, name
        assert found.status.value == status, (name, found.message)


def test_a_script_comes_before_our_rule_and_a_kind_without_one_keeps_ours() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Succeeded"}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": "Bound"}}
    with health_rules(str(HERE / "argocd-cm.yaml")) as rules:
        assert rules(pod).status.value == "Suspended"
        assert rules(pod).message == "p is asked after by its kind alone"
        assert rules(claim).status.value == "Healthy"
        # What is being deleted is no matter of opinion.
        assert rules({**pod, "metadata": {"name": "p", "deletionTimestamp": "x"}}).status.value == "Progressing"


def test_a_script_that_returns_nil_leaves_the_object_to_our_rule() -> None:
    ready = [{"type": "AllReplicasReady", "status": "True"}, {"type": "ClusterAvailable", "status": "True"}]
    cluster = {
        "apiVersion": "rabbitmq.com/v1beta1",
        "kind": "RabbitmqCluster",
        "status": {"conditions": [*ready, {"type": "ReconcileSuccess", "status": "True"}]},
    }
    with health_rules(str(HERE / "argocd-cm.yaml")) as rules:
        assert rules(cluster).status.value == "Healthy"
