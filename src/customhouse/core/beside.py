"""Beside: what other objects of the same state say about a workload: its replica range, its devices, its disks.

An autoscaler gives the range of its target, a claim template the devices of the pods that name it, a StorageClass the
disk behind a claim, a machine template the machine of a MachineDeployment. Prices need all of it; rules see each
object by itself, so that an object has one projection wherever it is judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from customhouse.core.claims import DeviceNeed, Said, device_class, device_needs
from customhouse.core.errors import DeclarationError
from customhouse.core.fields import count, look, mapping, text
from customhouse.core.queues import GROUP, Queues, queues
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.core.serverless import paused_at
from customhouse.core.sizes import Sizes, target_sizes

_SCALERS = frozenset({("autoscaling", "HorizontalPodAutoscaler"), ("keda.sh", "ScaledObject")})
_KEDA_MOST = 100
"""KEDA: `maxReplicaCount` defaults to 100, `minReplicaCount` to 0."""


@dataclass(frozen=True, slots=True)
class ReplicaRange:
    """How many replicas an autoscaler keeps; `source` names it."""

    low: int
    high: int
    source: str


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known of the other objects; empty when an object is looked at alone."""

    ranges: Mapping[tuple[str, str, str], ReplicaRange] = field(default_factory=dict)
    """(namespace, kind, name) of the target → its range."""
    claims: Mapping[tuple[str, str, str], tuple[DeviceNeed, ...]] = field(default_factory=dict)
    """(kind, namespace, name) of a ResourceClaim or ResourceClaimTemplate → what it asks for."""
    disks: Mapping[str, str] = field(default_factory=dict)
    """StorageClass → the disk type that its parameters name."""
    machines: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    """(kind, namespace, name) of a machine template → instance type."""
    sizes: Mapping[tuple[str, str, str], Sizes] = field(default_factory=dict)
    """(namespace, kind, name) of the target → what a VerticalPodAutoscaler may make of its requests."""
    queues: Queues = field(default_factory=Queues)
    """Kueue's queues, with their quota."""

    def range_of(self, ref: ResourceRef) -> ReplicaRange | None:
        """The range of a workload; None without an autoscaler."""
        return self.ranges.get((ref.namespace, ref.kind, ref.name))

    def sizes_of(self, ref: ResourceRef) -> Sizes | None:
        """Between which sizes its containers are kept; None without a VerticalPodAutoscaler that acts."""
        return self.sizes.get((ref.namespace, ref.kind, ref.name))


NOTHING = Beside()


def beside(declarations: Iterable[Declaration]) -> Beside:
    """What a state says. What cannot be read is left out: it is refused where it is judged itself."""
    ranges: dict[tuple[str, str, str], ReplicaRange] = {}
    claims: dict[tuple[str, str, str], tuple[DeviceNeed, ...]] = {}
    disks: dict[str, str] = {}
    machines: dict[tuple[str, str, str], str] = {}
    sizes: dict[tuple[str, str, str], Sizes] = {}
    queued: list[tuple[ResourceRef, Manifest]] = []
    asked: list[tuple[ResourceRef, Manifest]] = []
    kinds: dict[str, Said] = {}
    for declaration in declarations:
        ref, manifest = declaration.ref, declaration.manifest
        if ref.api_version.startswith(f"{GROUP}/"):
            queued.append((ref, manifest))
            continue
        try:
            scaled = target_range(manifest, ref)
            if scaled is not None:
                target, found = scaled
                key = (ref.namespace, *target)
                known = ranges.get(key)
                ranges[key] = found if known is None else _wider(known, found)
            elif (sized := target_sizes(manifest, ref)) is not None:
                sizes[ref.namespace, *sized[0]] = sized[1]
            elif ref.kind in ("ResourceClaim", "ResourceClaimTemplate"):
                asked.append((ref, manifest))
            elif ref.kind == "DeviceClass" and ref.api_version.startswith("resource.k8s.io/"):
                kinds[ref.name] = device_class(manifest)
            elif ref.kind == "StorageClass":
                disks[ref.name] = text(mapping(manifest, "parameters", ""), "type", "/parameters")
            elif ref.kind.endswith(("MachineTemplate", "MachinePool")):
                machines[ref.kind, ref.namespace, ref.name] = _instance_type(manifest)
        except DeclarationError:
            continue
    for ref, manifest in asked:  # a class may stand after what names it
        with suppress(DeclarationError):
            claims[ref.kind, ref.namespace, ref.name] = device_needs(manifest, kinds)
    return Beside(ranges, claims, disks, machines, sizes, queues(queued))


def target_range(manifest: Manifest, ref: ResourceRef) -> tuple[tuple[str, str], ReplicaRange] | None:
    """((kind, name) of the target, range) of a HorizontalPodAutoscaler or a ScaledObject; None for other kinds."""
    group = ref.api_version.partition("/")[0]
    if (group, ref.kind) not in _SCALERS:  # of a fleet, which is asked object by object, most
        return None
    spec = mapping(manifest, "spec", "")
    target = mapping(spec, "scaleTargetRef", "/spec")
    name = text(target, "name", "/spec/scaleTargetRef")
    if ref.kind == "HorizontalPodAutoscaler":
        kind = text(target, "kind", "/spec/scaleTargetRef")
        low = count(_or(spec.get("minReplicas"), 1), "minReplicas", "/spec/minReplicas")
        high = count(_or(spec.get("maxReplicas"), 1), "maxReplicas", "/spec/maxReplicas")
    else:
        kind = text(target, "kind", "/spec/scaleTargetRef") or "Deployment"
        least = _or(spec.get("idleReplicaCount"), _or(spec.get("minReplicaCount"), 0))
        low = count(least, "minReplicaCount", "/spec/minReplicaCount")
        high = count(_or(spec.get("maxReplicaCount"), _KEDA_MOST), "maxReplicaCount", "/spec/maxReplicaCount")
        paused = paused_at(manifest)
        if paused is not None:
            low, high = paused, max(high, paused)
    return (kind, name), ReplicaRange(low, max(low, high), str(ref))


def _instance_type(manifest: Manifest) -> str:
    """The machine that an infrastructure template of Cluster API names (AWS, Azure, Google)."""
    spec = look(manifest, "/spec/template/spec")
    for values in (
        spec,
        look(manifest, "/spec/awsLaunchTemplate"),
        look(manifest, "/spec/template"),
        manifest.get("spec"),
    ):
        for key in ("instanceType", "vmSize", "sku", "machineType"):
            if isinstance(values, Mapping) and isinstance(values.get(key), str):
                return str(values[key])
    return ""


def _wider(one: ReplicaRange, other: ReplicaRange) -> ReplicaRange:
    return ReplicaRange(min(one.low, other.low), max(one.high, other.high), f"{one.source} and {other.source}")


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
