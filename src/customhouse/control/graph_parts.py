"""Which declared services an InferenceGraph calls: it is made when they are well, and goes before they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from customhouse.core.resource import Declaration, ResourceRef

_GROUP = "serving.kserve.io"


def with_parts(
    makers: Mapping[ResourceRef, tuple[ResourceRef, ...]], declared: Sequence[Declaration]
) -> Mapping[ResourceRef, tuple[ResourceRef, ...]]:
    """`makers`, and for each graph the services of its namespace that its steps name and that are declared too."""
    graphs = [item for item in declared if item.ref.kind == "InferenceGraph" and _is_kserve(item.ref)]
    if not graphs:
        return makers
    services = {
        (item.ref.scene, item.ref.namespace, item.ref.name): item.ref
        for item in declared
        if item.ref.kind == "InferenceService" and _is_kserve(item.ref)
    }
    found = dict(makers)
    for graph in graphs:
        named = sorted(set(_services(graph.manifest)))
        keys = [(graph.ref.scene, graph.ref.namespace, name) for name in named]
        parts = tuple(services[key] for key in keys if key in services)
        if parts:
            found[graph.ref] = (*found.get(graph.ref, ()), *parts)
    return found


def _is_kserve(ref: ResourceRef) -> bool:
    return ref.api_version.partition("/")[0] == _GROUP


def _services(manifest: Mapping[str, Any]) -> Iterator[str]:
    spec = manifest.get("spec")
    nodes = spec.get("nodes") if isinstance(spec, Mapping) else None
    for node in nodes.values() if isinstance(nodes, Mapping) else ():
        steps = node.get("steps") if isinstance(node, Mapping) else None
        for step in steps if isinstance(steps, list) else ():
            name = step.get("serviceName") if isinstance(step, Mapping) else None
            if isinstance(name, str) and name:
                yield name
