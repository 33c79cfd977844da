"""Whose a pod is on a node that goes, whatever somebody writes into a pod; and what is kept on the disk meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse.app.interruption_cases import MARK, _marked
from customhouse.app.interruption_log import InterruptionLog, Record
from customhouse.app.interruptions import Ownership
from customhouse.core.cluster import ApiKind, cluster_identity
from customhouse.core.resource import ResourceRef
from customhouse.core.sight import key_of
from customhouse.execution.interruption_drain import Occupant, occupant_of
from customhouse.testing.fake_cluster import KINDS, FakeCluster

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
VERBS = ("create", "delete", "get", "list", "patch", "watch")
APPS = tuple(
    ApiKind("apps", "v1", kind, f"{kind.lower()}s", namespaced=True, verbs=VERBS)
    for kind in ("Deployment", "ReplicaSet")
)
WEB = ResourceRef("apps/v1", "Deployment", "shop", "web")


def make(cluster: FakeCluster, kind: str, name: str, owner: tuple[str, str, str] | None = None) -> str:
    ref = ResourceRef("apps/v1", kind, "shop", name)
    metadata: dict[str, Any] = {"name": name, "namespace": "shop", "ownerReferences": owners(owner)}
    cluster.put({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": {"replicas": 1}})
    (found,) = cluster.get([ref])
    assert found is not None
    return cluster_identity(found)


def owners(owner: tuple[str, str, str] | None) -> list[dict[str, Any]]:
    if owner is None:
        return []
    kind, name, uid = owner
    return [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": True}]


def pod(name: str, owner: tuple[str, str, str], namespace: str = "shop") -> Occupant:
    metadata = {"name": name, "namespace": namespace, "uid": name, "ownerReferences": owners(owner)}
    return occupant_of({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})


@pytest.fixture
def shop() -> tuple[FakeCluster, Ownership, str, str]:
    """Ours (a ReplicaSet of the declared Deployment) and somebody's ReplicaSet, by uid."""
    cluster = FakeCluster((*KINDS, *APPS))
    web = make(cluster, "Deployment", "web")
    ours = make(cluster, "ReplicaSet", "web-1", ("Deployment", "web", web))
    theirs = make(cluster, "ReplicaSet", "theirs")
    ownership = Ownership(cluster)
    ownership.declared = frozenset({key_of(WEB)})
    return cluster, ownership, ours, theirs


def test_a_pod_that_names_our_deployment_with_another_s_uid_makes_nobody_s_pods_ours(
    shop: tuple[FakeCluster, Ownership, str, str],
) -> None:
    _, ownership, _, theirs = shop
    assert "is not the one" in ownership.why_not(pod("forged", ("Deployment", "web", theirs)))
    assert ownership.why_not(pod("their-pod", ("ReplicaSet", "theirs", theirs))) == "Git does not declare it"


def test_a_pod_of_another_namespace_that_names_the_uid_of_ours_keeps_none_of_ours_on_the_node(
    shop: tuple[FakeCluster, Ownership, str, str],
) -> None:
    _, ownership, ours, _ = shop
    assert ownership.why_not(pod("poison", ("ReplicaSet", "web-1", ours), "elsewhere"))
    assert ownership.why_not(pod("poison", ("ReplicaSet", "nothing", ours)))
    assert ownership.why_not(pod("our-pod", ("ReplicaSet", "web-1", ours))) == ""


def test_a_budget_that_refuses_each_second_fills_no_disk(tmp_path: Path) -> None:
    log = InterruptionLog(tmp_path)
    for _ in range(100):
        log.write([Record("left:a:b", NOW, "pod x/y was evicted", asked=True)])
        log.unasked("left:a:b")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == 0
    log.write([Record("left:a:b", NOW, "pod x/y was evicted")])
    assert [item.key for item in InterruptionLog(tmp_path).waiting()] == ["left:a:b"]


@pytest.mark.parametrize(
    "text", ["[" * 999, '{"since": 5, "sign": 1}', "[]", '{"since": "soon", "sign": "a"}', None, 5]
)
def test_what_anybody_wrote_on_a_node_stops_no_round(text: Any) -> None:
    assert _marked({"metadata": {"annotations": {MARK: text}}}) == (None, "")
