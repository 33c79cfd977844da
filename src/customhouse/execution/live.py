"""What exists in a cluster now, in memory: filled by lists or kept by watches. Pure; any thread may ask.

Two limits hold it: objects, and bytes of their JSON. Beyond them it says so (`problem`), and what is in it must not be
taken for all there is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from customhouse.core.cluster import ApiKind, ClusterEvent, EventKind, Listed, cluster_identity
from customhouse.core.resource import Manifest

MAX_OBJECTS = 500_000
MAX_BYTES = 1024 * 1024 * 1024
_MAX_ANCESTORS = 16

# By group and kind, and why: what says nothing of what runs, changes all the time, or would need rights that nobody
# should give.
PASSED_OVER: Mapping[tuple[str, str], str] = {
    ("", "Binding"): "not an object",
    ("", "ComponentStatus"): "not an object",
    ("", "Endpoints"): "derived from Services",
    ("", "Event"): "history",
    ("", "Node"): "a machine, not a declaration",
    ("", "Secret"): "its values are nobody's business, and Git holds references to them",
    ("apps", "ControllerRevision"): "history of what is judged itself",
    ("coordination.k8s.io", "Lease"): "elections",
    ("discovery.k8s.io", "EndpointSlice"): "derived from Services",
    ("events.k8s.io", "Event"): "history",
    ("networking.k8s.io", "IPAddress"): "derived from Services",
    ("resource.k8s.io", "ResourceSlice"): "state of nodes",
    ("storage.k8s.io", "CSINode"): "state of nodes",
    ("storage.k8s.io", "CSIStorageCapacity"): "state of nodes",
    ("storage.k8s.io", "VolumeAttachment"): "state of nodes",
    ("wgpolicyk8s.io", "ClusterPolicyReport"): "what audits say",
    ("wgpolicyk8s.io", "PolicyReport"): "what audits say",
}
_GROUPS_PASSED_OVER = ("metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io")
"""Measurements that look like objects."""


def passed_over(group: str, kind: str) -> bool:
    """Whether objects of a kind are not looked at, by its name."""
    return (group, kind) in PASSED_OVER or group in _GROUPS_PASSED_OVER


def worth_listing(kinds: Iterable[ApiKind]) -> tuple[ApiKind, ...]:
    """The kinds that can be listed and are not passed over."""
    return tuple(kind for kind in kinds if "list" in kind.verbs and not passed_over(kind.group, kind.kind))


@dataclass(frozen=True, slots=True)
class Picture:
    """What existed at a moment, by kind and name; `problems` are the kinds that are not (wholly) known."""

    objects: tuple[Manifest, ...]
    problems: Mapping[str, str]


@dataclass(slots=True)
class _Shelf:
    """The objects of one kind, with their sizes; `problem` until it is known to be complete."""

    objects: dict[tuple[str, str], tuple[Manifest, int]] = field(default_factory=dict)
    problem: str = "not listed yet"
    failed: str = ""
    """Why it is not followed now: what is here may be old."""
    size: int = 0


class LiveIndex:
    """The objects of the kinds that it is told of."""

    def __init__(self, *, max_objects: int = MAX_OBJECTS, max_bytes: int = MAX_BYTES) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self._lock = threading.Condition()
        self._max_objects, self._max_bytes = max_objects, max_bytes
        self._objects = self._bytes = 0

    def expect(self, kinds: Iterable[ApiKind]) -> None:
        """Kinds that belong to the picture: until they are told of they are a problem of it."""
        with self._lock:
            for kind in kinds:
                self._shelves.setdefault(kind.resource, _Shelf())

    def forget(self, kind: ApiKind) -> None:
        """A kind that the API serves no more."""
        with self._lock:
            self._emptied(kind.resource)
            self._shelves.pop(kind.resource, None)

    def put(self, listed: Listed) -> None:
        """One whole kind."""
        with self._lock:
            shelf = self._emptied(listed.kind.resource)
            shelf.problem = listed.problem
            for manifest in listed.objects:
                self._add(shelf, manifest)
            self._lock.notify_all()

    def take(self, events: Sequence[ClusterEvent]) -> None:
        """What a watch tells; the sink of `Cluster.watch`."""
        with self._lock:
            for event in events:
                self._take(event)
            self._lock.notify_all()

    def _take(self, event: ClusterEvent) -> None:
        name = event.kind.resource
        shelf = self._shelves.setdefault(name, _Shelf())
        if event.event is EventKind.RESTARTED:
            self._emptied(name).problem = "being listed"
        elif event.event is EventKind.SYNCED:
            shelf.problem = "" if shelf.problem == "being listed" else shelf.problem
            shelf.failed = ""
        elif event.event is EventKind.FAILED:
            shelf.failed = event.problem or "it cannot be watched"
        elif event.manifest is not None:
            self._remove(shelf, event.manifest)
            if event.event is EventKind.ADDED:
                self._add(shelf, event.manifest)

    def wait(self, seconds: float) -> bool:
        """Wait until every kind is known or failed; whether that came to be."""

        def settled() -> bool:
            waiting = ("not listed yet", "being listed")
            return not any(shelf.problem in waiting and not shelf.failed for shelf in self._shelves.values())

        with self._lock:
            return self._lock.wait_for(settled, seconds)

    def picture(self) -> Picture:
        """Everything now, in an order that is always the same."""
        with self._lock:
            shelves = sorted(self._shelves.items())
            objects = [item for _, shelf in shelves for _, (item, _) in sorted(shelf.objects.items())]
            problems = {name: shelf.failed or shelf.problem for name, shelf in shelves if shelf.failed or shelf.problem}
        return Picture(tuple(objects), problems)

    def _emptied(self, name: str) -> _Shelf:
        old = self._shelves.get(name)
        if old is not None:
            self._objects -= len(old.objects)
            self._bytes -= old.size
        self._shelves[name] = shelf = _Shelf()
        return shelf

    def _remove(self, shelf: _Shelf, manifest: Manifest) -> None:
        found = shelf.objects.pop(_name(manifest), None)
        if found is not None:
            self._objects -= 1
            self._bytes -= found[1]
            shelf.size -= found[1]

    def _add(self, shelf: _Shelf, manifest: Manifest) -> None:
        size = len(orjson.dumps(manifest))
        if self._objects >= self._max_objects or self._bytes + size > self._max_bytes:
            shelf.problem = f"there are more than {self._max_objects} objects or {self._max_bytes} bytes to hold"
            return
        shelf.objects[_name(manifest)] = (manifest, size)
        self._objects += 1
        self._bytes += size
        shelf.size += size


def _name(manifest: Manifest) -> tuple[str, str]:
    metadata = manifest["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


class Ancestry:
    """Who controls whom, by uid among objects that exist. A label or a name proves nothing; a uid that does, does."""

    def __init__(self, objects: Iterable[Manifest]) -> None:
        self._by_uid = {uid: item for item in objects if (uid := cluster_identity(item))}

    def controller(self, manifest: Manifest) -> Manifest | None:
        """The live object that controls this one; None when there is none, or what is claimed does not fit it."""
        metadata = manifest["metadata"]
        references = metadata.get("ownerReferences")
        for reference in references if isinstance(references, list) else ():
            if not isinstance(reference, Mapping) or reference.get("controller") is not True:
                continue
            owner = self._by_uid.get(str(reference.get("uid") or ""))
            return owner if owner is not None and _fits(reference, owner, metadata) else None
        return None

    def ancestors(self, manifest: Manifest) -> tuple[Manifest, ...]:
        """The controllers upwards, nearest first; a circle ends where it closes."""
        found: list[Manifest] = []
        seen = {cluster_identity(manifest)}
        owner = self.controller(manifest)
        while owner is not None and cluster_identity(owner) not in seen and len(found) < _MAX_ANCESTORS:
            seen.add(cluster_identity(owner))
            found.append(owner)
            owner = self.controller(owner)
        return tuple(found)


def _fits(reference: Mapping[str, Any], owner: Manifest, metadata: Mapping[str, Any]) -> bool:
    """The kind, the name, the group, and the namespace (an owner is in the same one, or in none)."""
    where = owner["metadata"].get("namespace")
    return (
        reference.get("kind") == owner["kind"]
        and reference.get("name") == owner["metadata"].get("name")
        and _group(reference.get("apiVersion")) == _group(owner["apiVersion"])
        and (not where or where == metadata.get("namespace"))
    )


def _group(api_version: Any) -> str:
    group, slash, _ = str(api_version).rpartition("/")
    return group if slash else ""
