"""Pruning: deleting what left the declarations, and nothing else.

Above all: an object that is not ours is never deleted. So each deletion passes these, in this order:

    1. It is in this source's inventory and in no other source's.
    2. It is not declared any more, and nothing declared is still to be applied.
    3. Not everything left at once (a render that came out empty), and no more of it than the budget allows.
    4. Neither its last declaration nor the live object asks to be kept.
    5. The live object is the very one that was applied (uid), Customhouse still has a part in it (managedFields), and
       no other object controls it.
    6. A namespace or a definition goes only when nothing is in it that is not ours.
    7. The deletion names the uid and the state that was looked at.

An object is forgotten only when it is seen to be gone, or found not to be ours any more; that is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from customhouse._kit.clock import Clock
from customhouse.control.drift import applied_by_us
from customhouse.control.plan import keeps
from customhouse.control.rollout_plan import ROLLOUT
from customhouse.control.rounds import Round
from customhouse.control.stages import Stage, Wanted, stage_of
from customhouse.control.tracked import Inventories, Tracked
from customhouse.core.cluster import ApiKind, Cluster, Delete, Manager, Refusal, Scope, Written, managers_of
from customhouse.core.release import TRACK, candidate_name
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.sight import Key, Sight, key_of, live_key

_AT_ONCE = 200
_RETRY_S, _RETRY_MOST_S = 1.0, 60.0
_ITS_NAME = "f:kubernetes.io/metadata.name"
# What every namespace has without anybody's doing, and what is derived from what is in it.
_MADE_BY_ITSELF = frozenset(
    {
        ("", "ConfigMap", "kube-root-ca.crt"),
        ("", "ConfigMap", "openshift-service-ca.crt"),
        ("", "ConfigMap", "istio-ca-root-cert"),
        ("", "ServiceAccount", "default"),
    }
)
_DERIVED = frozenset(
    {
        ("", "Endpoints"),
        ("", "Event"),
        ("events.k8s.io", "Event"),
        ("discovery.k8s.io", "EndpointSlice"),
        ("metrics.k8s.io", "PodMetrics"),
    }
)


class Pruning:
    """The part of a `Convergence` that deletes."""

    def __init__(self, cluster: Cluster, sight: Sight, inventory: Inventories, clock: Clock) -> None:
        self.problems: dict[ResourceRef, str] = {}
        """Why an object that should go is still there."""
        self.blocked = ""
        self.kept: tuple[ResourceRef, ...] = ()
        self._cluster = cluster
        self._sight = sight
        self._inventory = inventory
        self._clock = clock
        self._orphans: dict[Key, ResourceRef] = {}
        self._asked: set[Key] = set()
        """What was asked to go and has not been seen to be gone."""
        self._due: dict[Key, tuple[float, float]] = {}
        self._stirred = True
        self._told: list[Key] = []

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be deleted but what is kept."""
        return not (self._orphans.keys() - {key_of(ref) for ref in self.kept})

    def start(self, orphans: Iterable[ResourceRef]) -> None:
        """These are in the inventory and not declared."""
        self._orphans = {key_of(ref): ref for ref in orphans}
        self._asked &= self._orphans.keys()
        self._due = {key: due for key, due in self._due.items() if key in self._orphans}
        self.problems = {ref: text for ref, text in self.problems.items() if key_of(ref) in self._orphans}
        self.kept, self.blocked, self._stirred = (), "", True

    def heard(self, news: Collection[Key]) -> None:
        """Something happened to these."""
        if not self._orphans.keys().isdisjoint(news):
            self._stirred = True

    def step(self, wanted: Mapping[Key, Wanted], allowed: bool, budget_percent: int, made: Round) -> None:
        """Delete what may be deleted now. Raises TargetError when the inventories cannot be read."""
        now = self._clock.monotonic()
        due = [key for key, (at, _) in self._due.items() if at <= now]
        if not self._orphans or not (self._stirred or due):
            return
        # 2
        entries = self._inventory.entries
        kept_up = ((key, item) for key, item in wanted.items() if not (item.hold or item.dormant))
        if any(key not in entries or entries[key].digest != item.digest for key, item in kept_up):
            return
        self._forget_gone(made)
        if allowed:
            self._step(wanted, budget_percent, now, made)
        else:
            self.kept = tuple(self._orphans.values())
        self._stirred = False  # only now: when the API goes away in the middle, all of it is looked at again

    def _step(self, wanted: Mapping[Key, Wanted], budget_percent: int, now: float, made: Round) -> None:
        if not self._orphans:
            return
        entries = self._inventory.entries
        # 1
        others = self._inventory.others()
        for key in [key for key in self._orphans if key in others]:
            self._release(key, f"the source {others[key][0]!r} has it now", made)
        # 4, by the last declaration
        self.kept = tuple(ref for key, ref in self._orphans.items() if entries[key].keep)
        leaving = [key for key in self._orphans if not entries[key].keep]
        # 3
        self.blocked = self._too_many(leaving, wanted, budget_percent)
        if self.blocked:
            return
        ready = [key for key in leaving if self._due.get(key, (0.0, 0.0))[0] <= now]
        ready.sort(key=lambda key: stage_of(self._orphans[key]), reverse=True)
        for stage, group in groupby(ready, key=lambda key: stage_of(self._orphans[key])):
            keys = list(group)
            if stage <= Stage.DEFINITIONS and any(
                key in self._orphans and stage_of(self._orphans[key]) > stage for key in leaving
            ):
                break  # what is in it goes first
            for start in range(0, len(keys), _AT_ONCE):
                self._delete(keys[start : start + _AT_ONCE], made)

    def _forget_gone(self, made: Round) -> None:
        for key, ref in list(self._orphans.items()):
            entry = self._inventory.entries[key]
            seen = self._sight.seen(key)
            if seen is not None and entry.uid and seen.uid != entry.uid:
                self._release(key, "somebody deleted it and made another one", made)
            elif seen is None and self._sight.absent(key, surely=True):
                self._drop(key)
                made.removed.append(ref)

    def _drop(self, key: Key) -> None:
        self._inventory.drop(key)
        ref = self._orphans.pop(key)
        self._asked.discard(key)
        self._due.pop(key, None)
        self.problems.pop(ref, None)

    def _release(self, key: Key, reason: str, made: Round) -> None:
        ref = self._orphans.pop(key)
        made.released.append((ref, reason))
        self._asked.discard(key)
        self._due.pop(key, None)
        self.problems.pop(ref, None)
        self._told.append(key)

    def forget_told(self) -> None:
        """Forget what was released in the step before: its caller has it in writing by now."""
        for key in self._told:
            self._inventory.drop(key)
        self._told = []

    def _too_many(self, leaving: Sequence[Key], wanted: Mapping[Key, Wanted], budget_percent: int) -> str:
        if not leaving:
            return ""
        # What was asked to go already was within the budget then; finishing it is no new decision.
        fresh = [key for key in leaving if key not in self._asked]
        if not fresh:
            return ""
        # What a rollout put beside a declared object leaves with it, by no commit that could be a mistake.
        beside = {
            (item.ref.kind, item.ref.namespace, candidate_name(item.ref.name))
            for item in wanted.values()
            if _walks(item.declaration.manifest)
        }
        refs = [ref for key in leaving if not _is_beside(ref := self._orphans[key], beside)]
        return too_many(refs, bool(wanted), len(self._inventory.entries), budget_percent)

    def _delete(self, keys: Sequence[Key], made: Round) -> None:
        asked: list[tuple[Key, Delete]] = []
        for key, live in zip(keys, self._cluster.get([self._orphans[key] for key in keys]), strict=True):
            ref, entry = self._orphans[key], self._inventory.entries[key]
            if live is None:
                self._again(key, "")  # gone, or its kind is: the watch says which
                continue
            not_ours = foreign(live, entry)
            if not_ours:
                self._release(key, not_ours, made)
                continue
            metadata = live["metadata"]
            if keeps(live):
                self.kept = (*self.kept, ref)
                self._inventory.put(replace(entry, keep=True))
                continue
            if metadata.get("deletionTimestamp"):
                held = ", ".join(str(name) for name in metadata.get("finalizers") or ()) or "its grace period"
                self._asked.add(key)
                self._again(key, f"it is being deleted since {metadata['deletionTimestamp']}, held by {held}")
                continue
            inside = self._inside(ref, live)
            if inside:
                self._again(key, inside)
                continue
            asked.append((key, Delete(ref, uid=str(metadata["uid"]), version=str(metadata["resourceVersion"]))))
        if asked:
            answers = self._cluster.write([change for _, change in asked])
            for (key, _), answer in zip(asked, answers, strict=True):
                self._asked_to_go(key, answer)

    def _asked_to_go(self, key: Key, answer: Written) -> None:
        if answer.ok:
            self._asked.add(key)
            self._again(key, "")
        elif answer.refusal is Refusal.CONFLICT:
            self._again(key, "", soon=True)  # it changed since it was looked at: look again
        else:
            by = f" ({answer.denied_by})" if answer.denied_by else ""
            self._again(key, f"it cannot be deleted: {answer.problem}{by}")

    def _again(self, key: Key, problem: str, *, soon: bool = False) -> None:
        pause = 0.05 if soon else min(max(_RETRY_S, 2 * self._due.get(key, (0.0, 0.0))[1]), _RETRY_MOST_S)
        self._due[key] = (self._clock.monotonic() + pause, pause)
        if problem:
            self.problems[self._orphans[key]] = problem
        else:
            self.problems.pop(self._orphans[key], None)

    # 6
    def _inside(self, ref: ResourceRef, live: Manifest) -> str:
        """What of others a deletion would take along; empty when nothing."""
        stage = stage_of(ref)
        if stage is Stage.NAMESPACES:
            return self._in_namespace(ref.name)
        if ref.kind == "CustomResourceDefinition":
            spec = live.get("spec")
            names = spec.get("names") if isinstance(spec, Mapping) else None
            if isinstance(spec, Mapping) and isinstance(names, Mapping):
                return self._of_kind(str(spec.get("group")), str(names.get("kind")))
            return "its definition cannot be read"
        return ""

    def _in_namespace(self, name: str) -> str:
        discovered = self._cluster.discover()
        if discovered.problems:
            return f"what is in it is not known: {next(iter(discovered.problems))} does not answer"
        kinds = [kind for kind in discovered.kinds if kind.namespaced and "list" in kind.verbs]
        kinds = [kind for kind in kinds if (kind.group, kind.kind) not in _DERIVED]
        return self._strangers(kinds, Scope(name))

    def _of_kind(self, group: str, name: str) -> str:
        discovered = self._cluster.discover()
        kinds = [kind for kind in discovered.kinds if (kind.group, kind.kind) == (group, name)]
        if not kinds and any(problem.startswith(group) for problem in discovered.problems):
            return f"whether there are objects of it is not known: {group} does not answer"
        return self._strangers(kinds, Scope())

    def _strangers(self, kinds: Sequence[ApiKind], scope: Scope) -> str:
        objects: list[Manifest] = []
        for listed in self._cluster.list(kinds, scope):
            if listed.problem:
                return f"what goes with it is not known: {listed.kind}: {listed.problem}"
            objects.extend(listed.objects)
        uids = {str(item["metadata"].get("uid")) for item in objects}
        found = []
        for item in objects:
            key = live_key(item)
            # Only what is derived from something that is looked at itself; an owner elsewhere may be anybody's.
            derived = any(owner in uids for owner in _owners(item))
            if (key[0], key[1], key[3]) not in _MADE_BY_ITSELF and not derived and not self._is_ours(key, item):
                found.append(f"{item['kind']} {item['metadata']['name']}")
        if not found:
            return ""
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        return f"{shown} would go with it and {'is' if len(found) == 1 else 'are'} not ours; delete or move them first"

    def _is_ours(self, key: Key, item: Manifest) -> bool:
        entry = self._inventory.entries.get(key)
        return entry is not None and entry.uid == item["metadata"].get("uid") and not entry.keep


def _walks(manifest: Manifest) -> bool:
    """Whether a rollout has to do with it: only then is what is called NAME-candidate of its making."""
    annotations = manifest["metadata"].get("annotations") or {}
    return ROLLOUT in annotations or TRACK in ((manifest.get("spec") or {}).get("selector") or {})


def _is_beside(ref: ResourceRef, beside: Collection[tuple[str, str, str]]) -> bool:
    return ref.kind in ("Deployment", "Service") and (ref.kind, ref.namespace, ref.name) in beside


# 3
def too_many(leaving: Sequence[ResourceRef], declared: bool, count: int, budget_percent: int) -> str:
    """Why so many of `count` objects may not be deleted at once; empty where they may."""
    if not leaving:
        return ""
    if not declared:
        return (
            f"the revision declares nothing, and {len(leaving)} objects would be deleted; "
            "a render that comes out empty is taken for a mistake"
        )
    if len(leaving) * 100 <= budget_percent * count:
        return ""
    shown = ", ".join(str(ref) for ref in leaving[:5]) + (", …" if len(leaving) > 5 else "")
    return (
        f"{len(leaving)} of {count} objects would be deleted ({shown}); at most {budget_percent} % may be at "
        "once, so delete in smaller commits or raise target.pruneBudgetPercent"
    )


# 5
def foreign(live: Manifest, entry: Tracked) -> str:
    """Why a live object is not ours, whatever the inventory says; empty for one that is."""
    metadata = live["metadata"]
    if entry.uid and metadata.get("uid") != entry.uid:
        return "somebody deleted it and made another one"
    managers = managers_of(live)
    # An object without a field to own (a bare namespace) names no manager; then its uid says that we made it.
    if not applied_by_us(managers) and not entry.uid:
        return "nothing says that it was applied from here"
    if not applied_by_us(managers) and any(map(_made, managers)):
        return "all of its fields are others'"
    owners = metadata.get("ownerReferences")
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, Mapping) and owner.get("controller") is True:
            return f"{owner.get('kind')} {owner.get('name')} controls it now"
    return ""


def _made(manager: Manager) -> bool:
    """Whether a writer has more of an object than what is added to one that was made bare.

    A row of an inventory that somebody edited names whatever they like; what others made is theirs all the same.
    """
    if manager.operation == "Apply":
        return True
    if manager.subresource:
        return False
    metadata = manager.fields.get("f:metadata")
    labels = metadata.get("f:labels") if isinstance(metadata, Mapping) else None
    # The API sets this label of a namespace; it belongs to who created it by anything but an apply.
    return bool(manager.fields.keys() - {"f:metadata"}) or (isinstance(labels, Mapping) and _ITS_NAME in labels)


def _owners(item: Manifest) -> Iterable[str]:
    owners = item["metadata"].get("ownerReferences")
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, Mapping):
            yield str(owner.get("uid"))
