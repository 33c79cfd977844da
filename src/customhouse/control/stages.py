"""In which order objects are applied to a cluster and taken away from it, and which of their fields are others'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from customhouse._kit.digest import json_digest
from customhouse.control.diff import field_diff
from customhouse.control.drift import MANAGER, MOST, FieldDrift, hidden, is_ours, owns, who_wrote, without
from customhouse.control.plan import keeps, wave_of
from customhouse.control.queued import joined, queue_leeway
from customhouse.control.sealed import is_sealed
from customhouse.core.cluster import Cluster, managers_of
from customhouse.core.errors import TargetError
from customhouse.core.resource import PREFIX, Care, Declaration, Leeway, Manifest, ResourceRef
from customhouse.core.sight import Key, key_of

DRIFT = PREFIX + "drift"
"""Annotation: `report` leaves an altered object as it is and tells of it, `correct` applies its declaration again."""
IGNORE = PREFIX + "ignore-differences"
"""Annotation: JSON pointers of fields that are left to whoever else has set them, with commas between."""


_PLAIN = Care()


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
        "InferenceGraph",
        "Ingress",
        "MutatingWebhookConfiguration",
        "PodDisruptionBudget",
        "ScaledObject",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VerticalPodAutoscaler",
    }
)
_ITSELF = ("/apiVersion", "/kind", "/metadata/name", "/metadata/namespace", "/metadata/annotations/customhouse.dev")
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
    ignored: tuple[str, ...] = ()
    """JSON pointers, into the declaration, of fields that are others' once they have set them."""
    tries: int = 0
    due: float = 0.0
    problem: str = ""
    awaits: str = ""
    """What has to come before it."""
    reported: str = ""
    """The state whose drift was told and is left."""
    heals: int = 0
    """How often it was put right in a row, each time soon after the time before: somebody works against it."""
    healed_at: float = float("-inf")
    since: datetime | None = None
    """When it was applied last before it was altered; what others added since then is drift, not a state met before."""

    @property
    def key(self) -> Key:
        """What names it."""
        return key_of(self.ref)

    @property
    def care(self) -> Care:
        """How what has it applied wants it kept."""
        return self.declaration.care or _PLAIN

    @property
    def dormant(self) -> bool:
        """Whether it is applied only when something fails."""
        return self.care.hook is not None and self.care.hook.on_failure

    def spared(self, *, look: bool) -> Leeway | None:
        """Which fields are sent as they are in the cluster: when it is looked at, and if so said when it is applied."""
        leeway = self.care.leeway
        own = leeway if leeway is not None and (look or leeway.respect) else None
        return joined(own, queue_leeway(self.declaration))

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
        declaration.digest if care is None or care.hook is None else json_digest([declaration.digest, care.hook.run]),
        wave,
        stage_of(ref),
        keeps(declaration.manifest) or (care is not None and care.keep),
        correct and (care is None or care.heal) if said is None else said == "correct",
        "" if care is None else care.hold,
        () if care is None else care.after,
        ignored_fields(declaration),
    )


def ignored_fields(declaration: Declaration) -> tuple[str, ...]:
    """The pointers of IGNORE. Raises TargetError for what is none, and for what makes an object what it is."""
    found = tuple(part.strip() for part in (declaration.annotation(IGNORE) or "").split(",") if part.strip())
    for pointer in found:
        if not pointer.startswith("/") or pointer in ("/", "/metadata", "/spec") or pointer.startswith(_ITSELF):
            raise TargetError(
                f"{IGNORE} names {pointer[:80]!r}",
                where=str(declaration.locate("/metadata/annotations")),
                hint="write JSON pointers of single fields, such as /spec/replicas, with commas between",
            )
    return found


def as_before(before: Wanted, item: Declaration) -> bool:
    """Whether an object is declared as it was; a revision that is read anew has other values of the same text."""
    known = before.declaration
    digest = before.digest if before.care.hook is None else known.digest
    return known.care == item.care and (known.manifest is item.manifest or digest == item.digest)


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


def without_ignored(manifest: Manifest, live: Manifest | None, pointers: tuple[str, ...]) -> Manifest:
    """The manifest without the fields that are to be ignored and that somebody else has set, or taken away.

    A field that nobody but us has is sent: an apply that leaves it out would take it away.
    """
    if live is None or not pointers:
        return manifest
    managers = managers_of(live)
    mine = [item for item in managers if is_ours(item)]
    others = [item for item in managers if not is_ours(item)]
    for pointer in pointers:
        parts = pointer.split("/")[1:]
        if any(owns(item.fields, parts, live) for item in others) or not any(
            owns(item.fields, parts, live) for item in mine
        ):
            manifest = without(manifest, parts)
    return manifest


def refused_fields(cluster: Cluster, item: Wanted) -> tuple[FieldDrift, ...]:
    """What is otherwise than declared on an object of which the API refuses even a dry run.

    Values of an encrypted one are hidden.
    """
    (live,) = cluster.get([item.ref])
    if live is None:
        return ()
    declared = item.declaration.manifest
    found = field_diff(declared, live)[:MOST]
    return who_wrote(hidden(found) if is_sealed(declared) else found, live, managers_of(live))
