"""In which order objects are applied to a cluster and taken away from it, and which of their fields are others'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from customhouse.control.drift import MANAGER
from customhouse.control.plan import keeps, wave_of
from customhouse.core.cluster import managers_of
from customhouse.core.errors import TargetError
from customhouse.core.resource import PREFIX, Declaration, Manifest, ResourceRef
from customhouse.core.sight import Key, key_of

DRIFT = PREFIX + "drift"
"""Annotation: `report` leaves an altered object as it is and tells of it, `correct` applies its declaration again."""


class Stage(IntEnum):
    """What is applied before what, within a wave. Deletion goes the other way."""

    NAMESPACES = 0
    DEFINITIONS = 1
    CONFIGURATION = 2
    WORKLOADS = 3
    REST = 4


_DEFINITIONS = frozenset({"CustomResourceDefinition", "PriorityClass", "StorageClass", "RuntimeClass", "IngressClass"})
_CONFIGURATION = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterServingRuntime",
        "ConfigMap",
        "LimitRange",
        "NetworkPolicy",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "ResourceQuota",
        "Role",
        "RoleBinding",
        "Secret",
        "Service",
        "ServiceAccount",
        "ServingRuntime",
    }
)
_REST = frozenset(
    {
        "APIService",
        "HorizontalPodAutoscaler",
        "Ingress",
        "MutatingWebhookConfiguration",
        "PodDisruptionBudget",
        "ScaledObject",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VerticalPodAutoscaler",
    }
)
_SCALERS = frozenset({("autoscaling", "HorizontalPodAutoscaler"), ("keda.sh", "ScaledObject")})


def stage_of(ref: ResourceRef) -> Stage:
    """The stage of an object, by its kind; what is nowhere listed is a workload."""
    if ref.kind == "Namespace" and ref.api_version == "v1":
        return Stage.NAMESPACES
    if ref.kind in _DEFINITIONS:
        return Stage.DEFINITIONS
    if ref.kind in _CONFIGURATION:
        return Stage.CONFIGURATION
    return Stage.REST if ref.kind in _REST else Stage.WORKLOADS


@dataclass(slots=True)
class Wanted:
    """One declared object, and what is under way with it. `ref` is as the API has it, `due` monotonic seconds."""

    ref: ResourceRef
    declaration: Declaration
    digest: str
    wave: int
    stage: Stage
    keep: bool
    correct: bool
    hold: str = ""
    """Why it is neither applied nor deleted (what has it applied is suspended); empty: it is kept."""
    after: tuple[ResourceRef, ...] = ()
    tries: int = 0
    due: float = 0.0
    problem: str = ""
    reported: str = ""
    """The state whose drift was told and is left."""
    heals: int = 0
    """How often it was put right in a row, each time soon after the time before: somebody works against it."""
    healed_at: float = float("-inf")

    @property
    def key(self) -> Key:
        """What names it."""
        return key_of(self.ref)

    @property
    def order(self) -> tuple[int, int]:
        """When its turn is."""
        return self.wave, int(self.stage)


def wanted(declaration: Declaration, ref: ResourceRef, *, correct: bool) -> Wanted:
    """How a declaration is to be kept. Raises TargetError for one that cannot be."""
    metadata = declaration.manifest.get("metadata") or {}
    if metadata.get("name") is None:
        raise TargetError(
            f"{declaration.ref.kind} has generateName and no name; every apply would make another one",
            where=str(declaration.location),
            hint="give it a name",
        )
    try:
        wave = wave_of(declaration)
    except ValueError as error:
        place = str(declaration.locate("/metadata/annotations"))
        raise TargetError(f"{PREFIX}wave is not a whole number", where=place, hint="write for example '1'") from error
    said, care = declaration.annotation(DRIFT), declaration.care
    if said not in (None, "report", "correct"):
        place = str(declaration.locate("/metadata/annotations"))
        raise TargetError(f"{DRIFT} is {said!r}", where=place, hint="one of: report, correct")
    return Wanted(
        ref,
        declaration,
        declaration.digest,
        wave,
        stage_of(ref),
        keeps(declaration.manifest) or (care is not None and care.keep),
        correct and (care is None or care.heal) if said is None else said == "correct",
        "" if care is None else care.hold,
        () if care is None else care.after,
    )


def scaled(declarations: Iterable[Declaration]) -> frozenset[Key]:
    """The objects whose number of replicas an autoscaler of the same declarations sets."""
    found = set()
    for item in declarations:
        group, slash, _ = item.ref.api_version.rpartition("/")
        if ((group if slash else ""), item.ref.kind) not in _SCALERS:
            continue
        spec = item.manifest.get("spec")
        target = spec.get("scaleTargetRef") if isinstance(spec, Mapping) else None
        if isinstance(target, Mapping) and isinstance(target.get("name"), str):
            # KEDA's default is a Deployment.
            version = str(target.get("apiVersion") or "apps/v1")
            kind = str(target.get("kind") or "Deployment")
            found.add(key_of(ResourceRef(version, kind, item.ref.namespace, target["name"])))
    return frozenset(found)


def in_place(manifest: Manifest, ref: ResourceRef) -> Manifest:
    """The manifest with the namespace that it is for: a file may leave that to its Application, chart or overlay."""
    metadata = manifest.get("metadata")
    if not ref.namespace or not isinstance(metadata, Mapping) or metadata.get("namespace"):
        return manifest
    return {**manifest, "metadata": {**metadata, "namespace": ref.namespace}}


def with_replicas(manifest: Manifest, replicas: Any) -> Manifest:
    """The manifest with another number of replicas; None takes the field out."""
    spec = manifest.get("spec")
    if not isinstance(spec, Mapping):
        return manifest
    kept = {name: value for name, value in spec.items() if name != "replicas"}
    return {**manifest, "spec": kept if replicas is None else {**kept, "replicas": replicas}}


def without_aggregated(manifest: Manifest) -> Manifest:
    """A ClusterRole without rules that the cluster makes of others' (`aggregationRule`): its controller has them."""
    aggregated = manifest.get("kind") == "ClusterRole" and manifest.get("aggregationRule") and "rules" in manifest
    return {name: value for name, value in manifest.items() if name != "rules"} if aggregated else manifest


def without_others(manifest: Manifest, live: Manifest | None) -> Manifest:
    """The manifest without what others set: rules that the cluster aggregates, replicas that an autoscaler has."""
    manifest = without_aggregated(manifest)
    if live is None:
        return manifest
    for manager in managers_of(live):
        spec = manager.fields.get("f:spec")
        if manager.name != MANAGER and isinstance(spec, Mapping) and "f:replicas" in spec:
            return with_replicas(manifest, None)
    return manifest
