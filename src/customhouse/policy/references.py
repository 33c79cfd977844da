"""What a declared object sends its requests to, by name: a deletion of that would leave it with nothing behind it.

InferenceGraphs (KServe) name InferenceServices; the routes of the Gateway API and Ingresses name Services, also those
that KServe makes of an InferenceService. Addresses, Istio's hosts and what nobody declares are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from customhouse.core.resource import ResourceRef

Named = tuple[str, str, str, str]
"""(group, kind, namespace, name)."""
_ROUTES = frozenset({"GRPCRoute", "HTTPRoute", "TCPRoute", "TLSRoute", "UDPRoute"})
_SERVING = "serving.kserve.io"
_OF_SERVING = ("", "-predictor", "-transformer", "-explainer")
"""How KServe calls the Services of an InferenceService, after its name."""


class References:
    """Who names whom, over all Declarations."""

    def __init__(self) -> None:
        self._by: dict[Named, set[str]] = {}
        self._services: set[tuple[str, str]] = set()

    def add(self, ref: ResourceRef, manifest: Mapping[str, Any]) -> None:
        """Take one Declaration in."""
        if (ref.kind, ref.api_version) == ("Service", "v1"):
            self._services.add((_space(ref), ref.name))
        for named in _named(ref, manifest):
            self._by.setdefault(named, set()).add(f"{ref.kind} {_space(ref)}/{ref.name}")

    def of(self, ref: ResourceRef) -> list[str]:
        """Those that send requests to an object, sorted."""
        group, space = _group(ref), _space(ref)
        found = set(self._by.get((group, ref.kind, space, ref.name), ()))
        if (group, ref.kind) == (_SERVING, "InferenceService"):
            for suffix in _OF_SERVING:
                name = f"{ref.name}{suffix}"
                if (space, name) not in self._services:  # one that is declared by itself stays when this goes
                    found |= self._by.get(("", "Service", space, name), set())
        return sorted(found)


def _named(ref: ResourceRef, manifest: Mapping[str, Any]) -> Iterator[Named]:
    group, space = _group(ref), _space(ref)
    if (group, ref.kind) == (_SERVING, "InferenceGraph"):
        nodes = _map(_map(manifest.get("spec")).get("nodes"))
        for node in nodes.values():
            for step in _maps(_map(node).get("steps")):
                if name := _text(step.get("serviceName")):
                    yield (_SERVING, "InferenceService", space, name)
    elif group == "gateway.networking.k8s.io" and ref.kind in _ROUTES:
        for rule in _maps(_map(manifest.get("spec")).get("rules")):
            for backend in _maps(rule.get("backendRefs")):
                if name := _text(backend.get("name")):
                    kind, where = _text(backend.get("kind")) or "Service", _text(backend.get("namespace")) or space
                    yield (_text(backend.get("group")), kind, where, name)
    elif (group, ref.kind) == ("networking.k8s.io", "Ingress"):
        for backend in _backends(_map(manifest.get("spec"))):
            if name := _text(_map(_map(backend).get("service")).get("name")):
                yield ("", "Service", space, name)


def _backends(spec: Mapping[str, Any]) -> Iterator[Any]:
    yield spec.get("defaultBackend")
    for rule in _maps(spec.get("rules")):
        yield from (path.get("backend") for path in _maps(_map(rule.get("http")).get("paths")))


def _group(ref: ResourceRef) -> str:
    group, slash, _ = ref.api_version.rpartition("/")
    return group if slash else ""


def _space(ref: ResourceRef) -> str:
    return ref.namespace or "default"


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _maps(value: Any) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else ()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
