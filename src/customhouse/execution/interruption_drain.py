"""Who leaves a node that goes, when, and with how much time: pure, over what the watches have told.

1. What is not ours, what has ended, and what belongs to the node itself (DaemonSets, static pods) stays.
2. What is leaving already is not asked again.
3. Batch work that saves its state goes at once: the time that there is, is its own to save in.
4. Batch work that saves nothing runs on for as long as there is time, since it may end; it is asked in the last moment
   so that it leaves by an eviction (`DisruptionTarget`), which a Job need not count as a failure.
5. Of what serves, one pod of each owner goes at a time, and the next when as many are ready as before: in order of
   priority. When the time runs out all of them are asked.
6. No pod gets longer to end than there is time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customhouse.core.resource import PREFIX, Manifest

CHECKPOINT = PREFIX + "checkpoint"
"""Annotation of a pod: the path at which it saves its state on SIGTERM and from which it goes on."""
DEFAULT_GRACE_S = 30
MARGIN_S = 5.0
"""What is kept back of the time: for the way to the kubelet, and clocks that differ."""
PATIENCE_S = 300.0
"""How long one pod of an owner waits for the one before it where nobody says when the node goes."""
_BATCH_OWNERS = frozenset({"Job", "PyTorchJob", "TFJob", "MPIJob", "JobSet", "RayJob", "Workflow", "TrainJob"})
_NODE_OWNERS = frozenset({"DaemonSet", "Node"})
_MIRROR = "kubernetes.io/config.mirror"


@dataclass(frozen=True, slots=True)
class Owner:
    """The controller of a pod, as its `ownerReferences` name it."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Occupant:
    """One pod, as far as its leaving goes."""

    namespace: str
    name: str
    uid: str
    node: str
    owner: Owner | None
    grace_s: int = DEFAULT_GRACE_S
    priority: int = 0
    ended: bool = False
    leaving: bool = False
    ready: bool = False
    running: bool = False
    of_node: bool = False
    checkpoint: str = ""
    tier: str | None = None
    evicted: bool = False
    """Whether it leaves by an eviction (condition DisruptionTarget)."""

    @property
    def batch(self) -> bool:
        """Whether it is work that ends, by who owns it."""
        return self.owner is not None and self.owner.kind in _BATCH_OWNERS

    @property
    def group(self) -> str:
        """What it is one of: its owner's uid; itself without an owner."""
        return self.uid if self.owner is None else self.owner.uid


def occupant_of(manifest: Manifest) -> Occupant:
    """Read a Pod. What it says wrongly counts as not said."""
    metadata, spec, status = (_mapping(manifest.get(key)) for key in ("metadata", "spec", "status"))
    annotations, labels = _mapping(metadata.get("annotations")), _mapping(metadata.get("labels"))
    owner = controller_of(manifest)
    conditions = {
        str(item.get("type")): item for item in _items(status.get("conditions")) if item.get("status") == "True"
    }
    tier = labels.get(PREFIX + "tier")
    return Occupant(
        namespace=str(metadata.get("namespace") or ""),
        name=str(metadata.get("name") or ""),
        uid=str(metadata.get("uid") or ""),
        node=str(spec.get("nodeName") or ""),
        owner=owner,
        grace_s=_count(spec.get("terminationGracePeriodSeconds"), DEFAULT_GRACE_S),
        priority=_count(spec.get("priority"), 0),
        ended=status.get("phase") in ("Succeeded", "Failed"),
        leaving=bool(metadata.get("deletionTimestamp")),
        ready="Ready" in conditions,
        running=status.get("phase") == "Running",
        of_node=_MIRROR in annotations or (owner is not None and owner.kind in _NODE_OWNERS),
        checkpoint=str(annotations.get(CHECKPOINT) or ""),
        tier=None if tier is None else str(tier),
        evicted=_mapping(conditions.get("DisruptionTarget")).get("reason") == "EvictionByEvictionAPI",
    )


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done with one pod now: asked to leave within `grace_s` (None: its own time), or not (`why`)."""

    pod: Occupant
    evict: bool
    grace_s: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Around:
    """What is known beside the node. `ready` by group now, `before` when the notice was first seen."""

    ready: Mapping[str, int]
    before: Mapping[str, int]
    asked: frozenset[str] = frozenset()
    """Pods by uid that were asked already, and whose end is not seen yet."""
    busy: frozenset[str] = frozenset()
    """Groups of which a pod is leaving elsewhere."""
    last: Mapping[str, datetime] = field(default_factory=dict)
    """When the last one of a group was asked."""


def drain(pods: Iterable[Occupant], around: Around, now: datetime, first: datetime, end: datetime | None) -> list[Step]:
    """The steps for the pods of one node, of those that are ours. `end`: when it goes; None: nobody says."""
    left = None if end is None else (end - now).total_seconds() - MARGIN_S
    found: list[Step] = []
    busy, last = set(around.busy), dict(around.last)
    for pod in sorted(pods, key=_first):
        if pod.ended or pod.of_node:
            continue
        if pod.leaving or pod.uid in around.asked:
            busy.add(pod.group)
            found.append(Step(pod, evict=False, why="is leaving"))
            continue
        waited = (now - max(first, last.get(pod.group, first))).total_seconds()
        step = _batch(pod, left) if pod.batch else _serving(pod, around, busy, left, waited)
        if step.evict:
            busy.add(pod.group)
            last[pod.group] = now
        found.append(step)
    return found


def grace(pod: Occupant, left: float | None) -> int | None:
    """Seconds that a pod gets to end; None: its own.

    What is left where that is less, so that the kubelet ends it while there is one. When the time is over and the node
    still there, nobody knows how much there is: then it gets its own, to save in.
    """
    return None if left is None or left <= 0 or pod.grace_s <= left else max(1, int(left))


def _batch(pod: Occupant, left: float | None) -> Step:
    if pod.checkpoint or left is None or left <= pod.grace_s:
        return Step(pod, evict=True, grace_s=grace(pod, left))
    return Step(pod, evict=False, why="saves nothing, and runs on as long as there is time")


def _serving(pod: Occupant, around: Around, busy: set[str], left: float | None, waited: float) -> Step:
    urgent = left is not None and left <= 2 * pod.grace_s
    tired = left is None and waited > PATIENCE_S
    if not urgent and not tired:
        if pod.group in busy:
            return Step(pod, evict=False, why="waits: another replica is leaving")
        ready, before = around.ready.get(pod.group, 0), around.before.get(pod.group, 0)
        if ready < before:
            return Step(pod, evict=False, why=f"waits: {ready} of {before} replicas are ready")
    return Step(pod, evict=True, grace_s=grace(pod, left))


def _first(pod: Occupant) -> tuple[bool, bool, int, str, str]:
    return not pod.batch, not pod.checkpoint, -pod.priority, pod.namespace, pod.name


def controller_of(manifest: Manifest) -> Owner | None:
    """Who an object says controls it; None without one."""
    for item in _items(_mapping(manifest.get("metadata")).get("ownerReferences")):
        if item.get("controller") is True:
            return Owner(*(str(item.get(key) or "") for key in ("apiVersion", "kind", "name", "uid")))
    return None


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _count(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
