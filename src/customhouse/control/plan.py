"""Planning: the ordered actions that bring a target to a revision. A plan that must not be carried out is a value."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from customhouse._kit.digest import json_digest
from customhouse.control.diff import field_diff
from customhouse.control.inventory import Inventory, InventoryEntry
from customhouse.control.objectsync import object_sync
from customhouse.control.render import identity
from customhouse.core.errors import DeclarationError
from customhouse.core.plan import Action, ActionKind, HealthStatus, LiveObject, Plan
from customhouse.core.resource import PREFIX, Declaration, Manifest, ResourceRef

WAVE = PREFIX + "wave"
"""Annotation: a whole number; a wave starts when every object of the waves before it is Healthy."""
PRUNE = PREFIX + "prune"
"""Annotation: `disabled` keeps the object in the target when its declaration goes."""

# What others need comes first: a namespace before what lives in it, a definition before its objects, configuration
# before what mounts it, workloads before what routes to them. Every other kind stands between the last two.
_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "StorageClass",
    "RuntimeClass",
    "ResourceQuota",
    "LimitRange",
    "NetworkPolicy",
    "ServiceAccount",
    "ClusterRole",
    "Role",
    "ClusterRoleBinding",
    "RoleBinding",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterServingRuntime",
    "ServingRuntime",
    "Service",
    "Job",
    "CronJob",
    "Pod",
    "ReplicaSet",
    "DaemonSet",
    "Deployment",
    "StatefulSet",
    "InferenceService",
)
_LAST = (
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
)
_RANK: Mapping[str, int] = {
    **{kind: index for index, kind in enumerate(_ORDER)},
    **{kind: len(_ORDER) + 1 + index for index, kind in enumerate(_LAST)},
}
_READY = (HealthStatus.HEALTHY, HealthStatus.SUSPENDED)


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """A plan, and why it must not be carried out (`blocked`; then its actions are empty).

    `pruned` would be or are deleted; `kept` left the declarations but carry `customhouse.dev/prune: disabled`.
    """

    plan: Plan
    blocked: str | None = None
    pruned: tuple[ResourceRef, ...] = ()
    kept: tuple[ResourceRef, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    declaration: Declaration
    wave: int
    action: Action | None
    ready: bool
    sort_key: tuple[int, int, ResourceRef] = field(repr=False)


def plan(
    target: str,
    revision: str,
    desired: Sequence[Declaration],
    live: Mapping[ResourceRef, LiveObject],
    inventory: Inventory,
    *,
    prune_budget_percent: int = 50,
    hold: Collection[ResourceRef] = (),
) -> PlanOutcome:
    """What `target` needs to be as declared: empty when it already is.

    1. Objects are created or patched in order of wave, then of kind; a WAIT stands for each object of a wave that
       must be Healthy before the next wave, when a later wave has something to do.
    2. An object is patched when a declared field differs, or when its manifest is not the one last applied (a field
       that is no longer declared leaves no difference in the declared ones).
    3. What is in `inventory` and no longer declared is deleted last, in reverse order; nothing else ever is.
    4. Blocked: nothing declared while the inventory is not empty; more than `prune_budget_percent` of the inventory
       to delete; an object with generateName; a wave that is not a number.

    Objects in `hold` (a rollout walks them) are declared, so they are not pruned, and otherwise left alone.
    """
    for declaration in desired:
        reason = _unfit(declaration)
        if reason is not None:
            return _blocked(target, revision, reason)
    present = {identity(ref): item for ref, item in live.items()}
    recorded = inventory.by_identity()
    held = {identity(ref) for ref in hold}
    free = [(identity(item.ref), item) for item in desired if identity(item.ref) not in held]
    wanted = sorted(
        (_want(item, present.get(key), recorded.get(key)) for key, item in free), key=lambda item: item.sort_key
    )
    pruned, kept = _prunable(desired, present, inventory)
    reason = _prune_reason(desired, pruned, inventory, prune_budget_percent)
    if reason is not None:
        return _blocked(target, revision, reason, pruned, kept)
    deletes = [Action(ActionKind.DELETE, ref) for ref in sorted(pruned, key=_delete_key, reverse=True)]
    actions = (*_in_waves(wanted), *deletes)
    return PlanOutcome(Plan(target, revision, actions), None, pruned, kept)


def wave_of(declaration: Declaration) -> int:
    """The wave of a declaration (ours, else Argo CD's), 0 by default. Raises ValueError when it is no whole number."""
    if declaration.care is not None:
        return declaration.care.wave
    try:
        return object_sync(declaration.manifest).wave
    except DeclarationError as error:
        raise ValueError(error.message) from error


def keeps(manifest: Manifest) -> bool:
    """Whether a manifest asks to be kept when it is no longer declared, in our words or Argo CD's, Flux's or Helm's."""
    try:
        found = object_sync(manifest)
    except DeclarationError:
        return True  # what cannot be read deletes nothing
    return not found.prune or found.confirm_prune


def _unfit(declaration: Declaration) -> str | None:
    metadata = declaration.manifest.get("metadata") or {}
    if metadata.get("name") is None:
        return (
            f"{declaration.location}: {declaration.ref.kind} has generateName and no name; every apply would make "
            "another one, so give it a name"
        )
    try:
        wave_of(declaration)
    except ValueError:
        return f"{declaration.locate('/metadata/annotations')}: {WAVE} is not a whole number"
    return None


def _blocked(
    target: str,
    revision: str,
    reason: str,
    pruned: tuple[ResourceRef, ...] = (),
    kept: tuple[ResourceRef, ...] = (),
) -> PlanOutcome:
    return PlanOutcome(Plan(target, revision, ()), reason, pruned, kept)


def _want(declaration: Declaration, live: LiveObject | None, entry: InventoryEntry | None) -> _Wanted:
    ref, wave = declaration.ref, wave_of(declaration)
    action: Action | None = None
    if live is None:
        action = Action(ActionKind.CREATE, ref, declaration.manifest, wave=wave)
    else:
        diff = field_diff(declaration.manifest, live.manifest)
        if diff or entry is None or entry.digest != json_digest(declaration.manifest):
            action = Action(ActionKind.PATCH, ref, declaration.manifest, diff, wave)
    ready = action is None and live is not None and live.health.status in _READY
    return _Wanted(declaration, wave, action, ready, (wave, _rank(ref), ref))


def _in_waves(wanted: Sequence[_Wanted]) -> list[Action]:
    actions: list[Action] = []
    waiting: list[Action] = []
    for wave, members in groupby(wanted, key=lambda item: item.wave):
        group = list(members)
        writes = [item.action for item in group if item.action is not None]
        if writes:
            # Only now is there something that the waves before must be ready for.
            actions.extend(waiting)
            waiting = []
        actions.extend(writes)
        waiting.extend(Action(ActionKind.WAIT, item.declaration.ref, wave=wave) for item in group if not item.ready)
    return actions


def _prunable(
    desired: Sequence[Declaration],
    present: Mapping[tuple[str, str, str, str], LiveObject],
    inventory: Inventory,
) -> tuple[tuple[ResourceRef, ...], tuple[ResourceRef, ...]]:
    declared = {identity(item.ref) for item in desired}
    pruned: list[ResourceRef] = []
    kept: list[ResourceRef] = []
    for entry in inventory.entries:
        live = present.get(identity(entry.ref))
        if identity(entry.ref) in declared or live is None:
            continue
        (kept if entry.keep or keeps(live.manifest) else pruned).append(entry.ref)
    return tuple(pruned), tuple(kept)


def _prune_reason(
    desired: Sequence[Declaration], pruned: Sequence[ResourceRef], inventory: Inventory, budget_percent: int
) -> str | None:
    if not pruned:
        return None
    if not desired:
        return (
            f"the revision declares nothing, and {len(pruned)} objects would be deleted; "
            "a render that comes out empty is taken for a mistake"
        )
    if len(pruned) * 100 > budget_percent * len(inventory.entries):
        shown = ", ".join(str(ref) for ref in pruned[:5]) + (", …" if len(pruned) > 5 else "")
        return (
            f"{len(pruned)} of {len(inventory.entries)} objects would be deleted ({shown}); at most "
            f"{budget_percent} % may be at once, so delete in smaller commits or raise the prune budget"
        )
    return None


def _rank(ref: ResourceRef) -> int:
    return _RANK.get(ref.kind, len(_ORDER))


def _delete_key(ref: ResourceRef) -> tuple[int, ResourceRef]:
    return _rank(ref), ref
