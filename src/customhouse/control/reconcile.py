"""Reconciling: one step from what is live towards what is declared, safe to be killed anywhere and run again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from customhouse._kit.digest import json_digest
from customhouse.control import inventory as inventories
from customhouse.control.inventory import Inventory, InventoryEntry
from customhouse.control.plan import PlanOutcome, keeps, plan
from customhouse.control.render import identity
from customhouse.core.plan import Action, ActionKind, ActionResult, FieldDiff, Health, HealthStatus, LiveObject, Plan
from customhouse.core.ports import StateStore, Target
from customhouse.core.resource import Declaration, ResourceRef


class DriftKind(StrEnum):
    """How a live object left what was applied."""

    MISSING = "missing"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class Drift:
    """An object that somebody changed or removed in the target although its declaration stayed the same."""

    kind: DriftKind
    ref: ResourceRef
    diff: tuple[FieldDiff, ...] = ()


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What one reconciliation found and did.

    `results` has one element per action carried out; `waiting` are the objects that must be Healthy before the rest
    of `plan` goes on, in a later call; `drift` is what was found before it was healed; `health` is that of every
    declared object as it was read; `blocked` says why nothing was done at all.
    """

    plan: Plan
    results: tuple[ActionResult, ...]
    drift: tuple[Drift, ...]
    blocked: str | None
    waiting: tuple[ResourceRef, ...] = ()
    kept: tuple[ResourceRef, ...] = ()
    health: Mapping[ResourceRef, Health] | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing was blocked and no action failed."""
        return self.blocked is None and all(result.ok for result in self.results)

    @property
    def settled(self) -> bool:
        """Whether there was nothing to do and nothing to wait for."""
        return self.blocked is None and not self.plan.actions

    @property
    def status(self) -> HealthStatus:
        """The worst health of the declared objects."""
        found = {health.status for health in (self.health or {}).values()}
        return next((status for status in _WORST_FIRST if status in found), HealthStatus.HEALTHY)


_WORST_FIRST = (
    HealthStatus.DEGRADED,
    HealthStatus.MISSING,
    HealthStatus.UNKNOWN,
    HealthStatus.PROGRESSING,
    HealthStatus.SUSPENDED,
    HealthStatus.HEALTHY,
)


def reconcile(
    target: Target,
    store: StateStore,
    source: str,
    revision: str,
    desired: Sequence[Declaration],
    *,
    prune_budget_percent: int = 50,
    hold: Collection[ResourceRef] = (),
) -> ReconcileReport:
    """Bring `target` one step towards `desired`; a call that finds nothing to do writes nothing, not even state.

    1. Load the inventory of (target, source); read every declared and every recorded object.
    2. Plan; blocked (also: an object that another source put there) ends here.
    3. Save the inventory with every object that is about to exist, so that a kill between here and 5 loses none.
    4. Apply up to the first wait.
    5. Save what came of it: the digest of what was applied, without what is known to be gone.

    Objects in `hold` are recorded as ours and left alone: a rollout walks them.
    Raises TargetError and StateError; then nothing is known to be lost and the same call may be made again.
    """
    # 1
    before = inventories.load(store, target.name, source)
    refs = list(dict.fromkeys([item.ref for item in desired] + [entry.ref for entry in before.entries]))
    live = target.read(refs) if refs else {}
    # 2
    outcome = plan(target.name, revision, desired, live, before, prune_budget_percent=prune_budget_percent, hold=hold)
    reason = outcome.blocked or _foreign(store, target.name, source, desired, before)
    health = _health(desired, live)
    if reason is not None:
        empty = Plan(target.name, revision, ())
        return ReconcileReport(empty, (), (), reason, kept=outcome.kept, health=health)
    drift = _drift(outcome, before)
    actions, waiting = _until_wait(outcome.plan.actions)
    # 3
    started = _started(before, desired, actions, hold)
    if started != before:
        inventories.save(store, started)
    # 4
    results = tuple(target.apply(actions)) if actions else ()
    # 5
    deleted = [result.action.ref for result in results if result.action.kind is ActionKind.DELETE]
    gone = {identity(ref) for ref in deleted} - {identity(ref) for ref in (target.read(deleted) if deleted else ())}
    gone |= {identity(ref) for ref in refs if ref not in live}
    complete = not waiting and all(result.ok for result in results)
    after = _finished(started, desired, gone, results, revision if complete else "")
    if after != started:
        inventories.save(store, after)
    return ReconcileReport(outcome.plan, results, drift, None, waiting, outcome.kept, health)


def _foreign(
    store: StateStore, target: str, source: str, desired: Sequence[Declaration], before: Inventory
) -> str | None:
    """Two sources that declare one object would undo each other for ever."""
    recorded = before.by_identity()
    new = [item for item in desired if identity(item.ref) not in recorded]
    if not new:
        return None
    others = inventories.owners(store, target, source)
    for item in new:
        other = others.get(identity(item.ref))
        if other is not None:
            return f"{item.location}: {item.ref} belongs to the source {other!r}; delete it there first"
    return None


def _health(desired: Sequence[Declaration], live: Mapping[ResourceRef, LiveObject]) -> dict[ResourceRef, Health]:
    missing = Health(HealthStatus.MISSING, "not in the target")
    return {item.ref: live[item.ref].health if item.ref in live else missing for item in desired}


def _drift(outcome: PlanOutcome, before: Inventory) -> tuple[Drift, ...]:
    recorded = before.by_identity()
    found = []
    for action in outcome.plan.actions:
        entry = recorded.get(identity(action.ref))
        if entry is None or action.desired is None or entry.digest != json_digest(action.desired):
            continue
        kind = DriftKind.MISSING if action.kind is ActionKind.CREATE else DriftKind.ALTERED
        found.append(Drift(kind, action.ref, action.diff))
    return tuple(found)


def _until_wait(actions: Sequence[Action]) -> tuple[tuple[Action, ...], tuple[ResourceRef, ...]]:
    first = next((index for index, action in enumerate(actions) if action.kind is ActionKind.WAIT), len(actions))
    waiting = []
    for action in actions[first:]:
        if action.kind is not ActionKind.WAIT:
            break
        waiting.append(action.ref)
    return tuple(actions[:first]), tuple(waiting)


def _started(
    before: Inventory, desired: Sequence[Declaration], actions: Sequence[Action], hold: Collection[ResourceRef]
) -> Inventory:
    entries = before.by_identity()
    declared = {identity(item.ref): item for item in desired}
    for ref in hold:
        key = identity(ref)
        if key in declared:
            entries.setdefault(key, InventoryEntry(ref, "", keeps(declared[key].manifest)))
    for action in actions:
        if action.kind is ActionKind.DELETE:
            continue
        key = identity(action.ref)
        # The digest stays empty until the target has said yes: a restart then applies again instead of trusting.
        entries[key] = InventoryEntry(action.ref, "", keeps(declared[key].manifest))
    return before.replace(entries.values(), before.revision)


def _finished(
    started: Inventory,
    desired: Sequence[Declaration],
    gone: Collection[tuple[str, str, str, str]],
    results: Sequence[ActionResult],
    revision: str,
) -> Inventory:
    entries = started.by_identity()
    for result in results:
        action = result.action
        if result.ok and action.desired is not None:
            entries[identity(action.ref)] = InventoryEntry(
                action.ref, json_digest(action.desired), keeps(action.desired)
            )
    # A delete that was accepted may still fail: the object is forgotten only when it is seen to be gone.
    declared = {identity(item.ref) for item in desired}
    left = [entry for key, entry in entries.items() if key in declared or key not in gone]
    return started.replace(left, revision or started.revision)
