"""An InferenceGraph comes after the services that it names, and goes before them."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.control.graph_parts import with_parts
from customhouse.control.stages import stage_of
from customhouse.core.resource import Declaration, Location, ResourceRef


def declared(kind: str, name: str, namespace: str = "n", **spec: Any) -> Declaration:
    version = "serving.kserve.io/v1alpha1" if kind == "InferenceGraph" else "serving.kserve.io/v1beta1"
    manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    return Declaration(ResourceRef.of(manifest), manifest, Location("x.yaml"))


A, B, ELSEWHERE = (
    declared("InferenceService", "a"),
    declared("InferenceService", "b"),
    declared("InferenceService", "b", "m"),
)
NODES = {
    "root": {
        "routerType": "Switch",
        "steps": [{"serviceName": "b", "condition": "[@this].#(x)"}, {"nodeName": "more"}],
    },
    "more": {"routerType": "Ensemble", "steps": [{"serviceName": "a"}, {"serviceName": "b"}, {"serviceName": "gone"}]},
}


def test_a_graph_comes_after_the_services_of_its_namespace_that_are_declared() -> None:
    graph = declared("InferenceGraph", "g", nodes=NODES)
    assert with_parts({}, [ELSEWHERE, B, graph, A]) == {graph.ref: (A.ref, B.ref)}
    assert stage_of(graph.ref) > stage_of(A.ref), "and goes before them, since deletion goes the other way"


def test_what_else_is_waited_for_stays() -> None:
    secret = declared("InferenceService", "secret").ref
    graph = declared("InferenceGraph", "g", nodes=NODES)
    assert with_parts({A.ref: (secret,), graph.ref: (secret,)}, [A, graph]) == {
        A.ref: (secret,),
        graph.ref: (secret, A.ref),
    }


@pytest.mark.parametrize("nodes", [None, [], {"root": None}, {"root": {"steps": {}}}, {"root": {"steps": [7, {}]}}])
def test_what_is_no_graph_waits_for_nothing(nodes: Any) -> None:
    assert with_parts({}, [A, declared("InferenceGraph", "g", nodes=nodes)]) == {}
