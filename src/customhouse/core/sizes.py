"""Sizes: between which requests a VerticalPodAutoscaler keeps the containers of its target.

Source: autoscaling.k8s.io/v1 and the recommender's defaults (kubernetes/autoscaler, vertical-pod-autoscaler): a
container has the policy of its name, else that of `*`, else none; mode `Off`, of one or of all, changes nothing;
without `minAllowed` a pod is not taken below 25 millicores and 250 MiB, shared by its containers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from customhouse._kit.quantity import parse_bytes, parse_milli
from customhouse.core.containers import Container
from customhouse.core.errors import DeclarationError
from customhouse.core.fields import amount, items, mapping, text
from customhouse.core.podsets import PodSet
from customhouse.core.resource import Manifest, ResourceRef

_LEAST_CPU = 25
_LEAST_MEMORY = 250 * 2**20
_RESOURCES = ("cpu", "memory")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one resource of a container: the least and the most that it may be given; None: nothing says so."""

    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a VerticalPodAutoscaler may do to the containers of its target; `source` names it."""

    containers: tuple[tuple[str, tuple[tuple[str, Bounds], ...]], ...]
    """(name of a container or `*`, (`cpu` or `memory`, its bounds) …); one that is left alone has no resources."""
    source: str

    def bounds(self, container: str, resource: str) -> Bounds | None:
        """The bounds of one resource of a container; None where it is left alone."""
        named = dict(self.containers)
        policy = named.get(container, named.get("*"))
        return Bounds() if policy is None else dict(policy).get(resource)


def target_sizes(manifest: Manifest, ref: ResourceRef) -> tuple[tuple[str, str], Sizes] | None:
    """((kind, name) of the target, sizes) of a VerticalPodAutoscaler that acts; None for anything else."""
    if ref.kind != "VerticalPodAutoscaler" or not ref.api_version.startswith("autoscaling.k8s.io/"):
        return None
    spec = mapping(manifest, "spec", "")
    if text(mapping(spec, "updatePolicy", "/spec"), "updateMode", "/spec/updatePolicy") == "Off":
        return None
    target = mapping(spec, "targetRef", "/spec")
    key = (text(target, "kind", "/spec/targetRef"), text(target, "name", "/spec/targetRef"))
    policy, place = mapping(spec, "resourcePolicy", "/spec"), "/spec/resourcePolicy"
    found = [
        _policy(item, f"{place}/containerPolicies/{index}")
        for index, item in enumerate(items(policy, "containerPolicies", place))
    ]
    return key, Sizes(tuple(found), str(ref))


def _policy(item: Any, place: str) -> tuple[str, tuple[tuple[str, Bounds], ...]]:
    if not isinstance(item, Mapping):
        raise DeclarationError("a container policy is not a mapping", where=place)
    name = text(item, "containerName", place) or "*"
    if text(item, "mode", place) == "Off":
        return name, ()
    low, high = mapping(item, "minAllowed", place), mapping(item, "maxAllowed", place)
    controlled = items(item, "controlledResources", place) or _RESOURCES
    found = []
    for resource, parse in (("cpu", parse_milli), ("memory", parse_bytes)):
        if resource in controlled:
            least = _stated(parse, low, resource, f"{place}/minAllowed")
            found.append((resource, Bounds(least, _stated(parse, high, resource, f"{place}/maxAllowed"))))
    return name, tuple(found)


def _stated(parse: Callable[[Any], int], values: Mapping[str, Any], key: str, place: str) -> int | None:
    return None if values.get(key) is None else amount(parse, values, key, place)


def smallest(one: PodSet, sizes: Sizes) -> PodSet:
    """The set when each container is given the least: never more than it declares itself."""
    running = max(1, sum(not item.init for item in one.containers))

    def least(item: Container, resource: str, declared: int) -> int:
        bounds = sizes.bounds(item.name, resource)
        floor = (_LEAST_CPU if resource == "cpu" else _LEAST_MEMORY) // running
        return declared if bounds is None else min(declared, floor if bounds.low is None else bounds.low)

    return _resized(one, least)


def largest(one: PodSet, sizes: Sizes) -> PodSet:
    """The set when each container is given the most: never less than it declares; what has no bound stays as it is."""

    def most(item: Container, resource: str, declared: int) -> int:
        bounds = sizes.bounds(item.name, resource)
        if bounds is None:
            return declared
        return max([declared, *(value for value in (bounds.low, bounds.high) if value is not None)])

    return _resized(one, most)


def unbounded(one: PodSet, sizes: Sizes) -> Iterator[str]:
    """What may grow without an end, in words."""
    for item in one.containers:
        for resource in _RESOURCES:
            bounds = None if item.init else sizes.bounds(item.name, resource)
            if bounds is not None and bounds.high is None:
                yield f"{resource} of container {item.name}: {sizes.source} may give it any amount (no maxAllowed)"


def _resized(one: PodSet, sized: Callable[[Container, str, int], int]) -> PodSet:
    containers = tuple(
        item
        if item.init  # they run before anything was measured
        else replace(
            item,
            cpu_request=sized(item, "cpu", item.cpu_request),
            memory_request=sized(item, "memory", item.memory_request),
        )
        for item in one.containers
    )
    return replace(one, containers=containers)
