"""Kinds that a real API server begins and ceases to serve while a client is connected."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.core.cluster import Apply, Delete, EventKind, Refusal
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")


class Gadgets:
    """A kind of its own, which is defined and removed."""

    def __init__(self, plane: ControlPlane, cluster: KubernetesCluster) -> None:
        self.plane = plane
        self.cluster = cluster
        self.group = f"g{secrets.token_hex(4)}.example.com"
        self.namespace = plane.namespace("kinds")

    def definition(self, *versions: str) -> dict[str, Any]:
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        listed = [{"name": v, "served": True, "storage": v == "v1", "schema": schema} for v in versions]
        spec = {
            "group": self.group,
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": listed,
        }
        metadata = {"name": f"gadgets.{self.group}"}
        api = "apiextensions.k8s.io/v1"
        return {"apiVersion": api, "kind": "CustomResourceDefinition", "metadata": metadata, "spec": spec}

    def gadget(self, name: str = "a") -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": f"{self.group}/v1", "kind": "Gadget", "metadata": metadata, "spec": {}}

    def define(self, *versions: str) -> None:
        (done,) = self.cluster.write([Apply(self.definition(*(versions or ("v1",))))])
        assert done.ok, done.problem

    def remove(self) -> None:
        ref = ResourceRef.of(self.definition("v1"), "")
        (done,) = self.cluster.write([Delete(ref)])
        assert done.ok, done.problem
        # Its finalizer holds it for a moment: what is applied to it by then goes with it.
        self.plane.until(lambda: self.cluster.get([ref]) == [None])


@pytest.fixture
def gadgets(kubernetes: ControlPlane) -> Iterator[Gadgets]:
    with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
        made = Gadgets(kubernetes, cluster)
        yield made
        made.remove()


def test_objects_of_a_kind_are_refused_before_it_is_served_and_after_and_taken_in_between(gadgets: Gadgets) -> None:
    cluster, change = gadgets.cluster, Apply(gadgets.gadget())
    (early,) = cluster.write([change])
    assert (early.ok, early.refusal) == (False, Refusal.NO_KIND)
    assert f"{gadgets.group}/v1" in early.problem
    ref = ResourceRef.of(gadgets.gadget())
    assert cluster.get([ref]) == [None]
    gadgets.define()
    gadgets.plane.until(lambda: cluster.write([change])[0].ok)
    assert cluster.get([ref]) != [None]
    gadgets.remove()
    gadgets.plane.until(lambda: cluster.write([change])[0].refusal is Refusal.NO_KIND)
    # Whether it is gone with its kind, or the kind is away for a moment, is not known.
    assert cluster.write([Delete(ref, uid="u")])[0].refusal is Refusal.NO_KIND


def test_a_watch_of_a_kind_that_is_removed_and_comes_back_begins_anew(gadgets: Gadgets) -> None:
    gadgets.define()
    gadgets.plane.until(lambda: gadgets.cluster.write([Apply(gadgets.gadget("first"))])[0].ok)
    kind = next(item for item in gadgets.cluster.discover().kinds if item.group == gadgets.group)
    told: list[tuple[EventKind, str]] = []
    changed = threading.Condition()

    def take(events: Any) -> None:
        with changed:
            told.extend((e.event, e.manifest["metadata"]["name"] if e.manifest else "") for e in events)
            changed.notify_all()

    def until(*wanted: tuple[EventKind, str]) -> None:
        with changed:
            assert changed.wait_for(lambda: all(item in told for item in wanted), 90), told

    stop = gadgets.cluster.watch([kind], take)
    until((EventKind.ADDED, "first"), (EventKind.SYNCED, ""))
    gadgets.remove()
    until((EventKind.DELETED, "first"), (EventKind.FAILED, ""))
    del told[:]
    gadgets.define()
    gadgets.plane.until(lambda: gadgets.cluster.write([Apply(gadgets.gadget("second"))])[0].ok)
    until((EventKind.RESTARTED, ""), (EventKind.ADDED, "second"))
    stop()
