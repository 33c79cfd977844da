"""A Kubernetes API in memory: `core.cluster.Cluster` with server-side apply, finalizers, watches, denials and faults.

It obeys the rules that reconciling rests on (field ownership, uids, resource versions, preconditions, namespaces that
must exist); the contract suite of `cluster_contracts` holds it against a real API. Lists are atomic here, and a kind
has one version. Nothing happens by itself: watches are told what happened when `deliver` is called.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customhouse.core.cluster import (
    EVERYWHERE,
    ApiKind,
    Apply,
    ClusterChange,
    ClusterEvent,
    Delete,
    Discovered,
    EventKind,
    Evict,
    Listed,
    Refusal,
    Remove,
    Scope,
    Sink,
    Written,
)
from customhouse.core.errors import TargetError
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.sight import Key, key_of, live_key

Path = tuple[str, ...]
_VERBS = ("create", "delete", "get", "list", "patch", "watch")
KINDS = (
    ApiKind("", "v1", "Namespace", "namespaces", namespaced=False, verbs=_VERBS),
    ApiKind("", "v1", "ConfigMap", "configmaps", namespaced=True, verbs=_VERBS),
    ApiKind("", "v1", "Secret", "secrets", namespaced=True, verbs=_VERBS),
)
_TIME = "2026-01-01T00:00:00Z"


def _nothing(what: str, about: Any) -> None:
    """What is called where a test has nothing to say."""


@dataclass
class Stored:
    """One object: what it is, and which manager owns which leaf (`(manager, operation)` → paths)."""

    manifest: dict[str, Any]
    owners: dict[tuple[str, str], set[Path]] = field(default_factory=dict)


@dataclass
class Watcher:
    """One watch, and what it was not told yet."""

    kind: ApiKind
    sink: Sink
    scope: Scope
    waiting: list[ClusterEvent] = field(default_factory=list)


class FakeCluster:
    """`manager` is who applies through the port. The other methods are what other people do."""

    def __init__(self, kinds: Sequence[ApiKind] = KINDS, manager: str = "customhouse") -> None:
        self.kinds = list(kinds)
        self.manager = manager
        self.objects: dict[Key, Stored] = {}
        self.down = False
        self.undeletable: set[Key] = set()
        """Deletions that admission denies."""
        self.guarded: set[Key] = set()
        """Pods that a PodDisruptionBudget keeps."""
        self.refused: set[Key] = set()
        """Applies that admission denies."""
        self.before: Callable[[str, Any], None] = _nothing
        """Called before each call (`get`, `list`, `write`) and each change of it; it may raise."""
        self.after: Callable[[str, Any], None] = _nothing
        self.writes = 0
        """Changes that changed something."""
        self._watchers: list[Watcher] = []
        self._version = 0
        self._uids = 0
        self._tell(self._made("v1", "Namespace", "", "default", {}))

    # the port
    def discover(self) -> Discovered:
        """See the port."""
        self._up()
        return Discovered(tuple(self.kinds), {})

    def get(self, refs: Sequence[ResourceRef]) -> Sequence[Manifest | None]:
        """See the port."""
        self._up()
        self.before("get", refs)
        found = (self.objects.get(key_of(ref)) for ref in refs)
        return [None if item is None else self._whole(item) for item in found]

    def list(self, kinds: Iterable[ApiKind], scope: Scope = EVERYWHERE) -> Iterator[Listed]:
        """See the port."""
        self._up()
        self.before("list", scope)
        for kind in kinds:
            objects = tuple(copy.deepcopy(item.manifest) for item in self._of(kind, scope))
            yield Listed(kind, objects, str(self._version))

    def _of(self, kind: ApiKind, scope: Scope) -> Iterator[Stored]:
        for key, item in sorted(self.objects.items()):
            labels = item.manifest["metadata"].get("labels") or {}
            if key[:2] != (kind.group, kind.kind) or (scope.namespace and key[2] != scope.namespace):
                continue
            if not scope.labels or scope.labels in labels:
                yield item

    def watch(self, kinds: Iterable[ApiKind], sink: Sink, scope: Scope = EVERYWHERE) -> Callable[[], None]:
        """See the port; nothing is told before `deliver`."""
        self._up()
        mine = [Watcher(kind, sink, scope) for kind in kinds]
        for watcher in mine:
            self._retell(watcher)
        self._watchers += mine

        def stop() -> None:
            self._watchers = [item for item in self._watchers if item not in mine]

        return stop

    def write(self, changes: Sequence[ClusterChange]) -> Sequence[Written]:
        """See the port."""
        self._up()
        self.before("write", changes)
        answers = []
        for change in changes:
            self.before("change", change)
            answers.append(self._change(change))
            self.after("change", change)
        return answers

    def _up(self) -> None:
        if self.down:
            raise TargetError("no answer")

    # what others do
    def deliver(self) -> None:
        """Tell the watches what happened since the last call."""
        for watcher in list(self._watchers):
            events, watcher.waiting = watcher.waiting, []
            if events:
                watcher.sink(events)

    def break_watches(self) -> None:
        """The watches lost their place: what was not told yet is never told, and everything is told anew."""
        for watcher in self._watchers:
            watcher.waiting = []
            self._retell(watcher)

    def put(self, manifest: Manifest, manager: str = "kubectl-create") -> None:
        """Somebody makes an object or replaces what there is, keeping its uid."""
        key = live_key(manifest)
        stored = self.objects.get(key)
        if stored is None:
            stored = self._made(key[0] or "v1", key[1], key[2], key[3], {})
            stored.manifest["apiVersion"] = manifest["apiVersion"]
        for path, value in _leaves(manifest):
            _set(stored.manifest, path, value)
            self._own(stored, (manager, "Update"), path)
        self._tell(stored)

    def edit(self, key: Key, path: Path, value: Any, manager: str = "kubectl-edit") -> None:
        """Somebody sets a field (None: takes it away)."""
        stored = self.objects[key]
        if value is None:
            _remove(stored.manifest, path)
            for owned in stored.owners.values():
                owned.discard(path)
        else:
            _set(stored.manifest, path, value)
            self._own(stored, (manager, "Update"), path)
        self._tell(stored)
        self._finish(key)

    def take_away(self, key: Key) -> None:
        """Somebody deletes an object."""
        self._delete(Delete(ResourceRef("v1" if not key[0] else key[0], *key[1:])))

    def _own(self, stored: Stored, who: tuple[str, str], path: Path) -> None:
        for name, owned in stored.owners.items():
            if name != who:
                owned.discard(path)
        stored.owners.setdefault(who, set()).add(path)

    # apply and delete
    def _apply(self, change: Apply) -> Written:
        manifest = change.manifest
        kind = next(
            (k for k in self.kinds if (k.api_version, k.kind) == (manifest["apiVersion"], manifest["kind"])), None
        )
        if kind is None:
            return Written(False, reason="NotFound", problem="no such kind", refusal=Refusal.NO_KIND)
        metadata = manifest["metadata"]
        namespace = (metadata.get("namespace") or "default") if kind.namespaced else ""
        key = (kind.group, kind.kind, namespace, str(metadata["name"]))
        if key in self.refused:
            return Written(False, reason="Forbidden", problem="denied", refusal=Refusal.DENIED, denied_by="a webhook")
        room = self.objects.get(("", "Namespace", "", namespace)) if kind.namespaced else None
        if kind.namespaced and room is None:
            problem = f'namespaces "{namespace}" not found'
            return Written(False, reason="NotFound", problem=problem, refusal=Refusal.NO_NAMESPACE)
        before = self.objects.get(key)
        uid = metadata.get("uid")
        if uid is not None and (before is None or before.manifest["metadata"]["uid"] != uid):
            return Written(False, reason="Conflict", problem="it is another one", refusal=Refusal.CONFLICT)
        if before is None and room is not None and "deletionTimestamp" in room.manifest["metadata"]:
            return Written(False, reason="Forbidden", problem="it is being terminated", refusal=Refusal.LEAVING)
        if before is None:
            after = self._made(kind.api_version, kind.kind, namespace, key[3], {}, keep=not change.dry_run)
        else:
            after = copy.deepcopy(before)
        refusal = self._merge(after, dict(_leaves(manifest)), change)
        if refusal is not None:
            if before is None:
                self.objects.pop(key, None)
            return refusal
        changed = before is None or before.manifest != after.manifest or _owned(before) != _owned(after)
        if not change.dry_run:
            if changed:
                self.writes += 1
                self._tell(after)
                self._finish(key)
            return Written(True, self._answer(after, managers=change.managers))
        return Written(True, self._answer(after, managers=change.managers))

    def _merge(self, after: Stored, wanted: Mapping[Path, Any], change: Apply) -> Written | None:
        who = (change.manager or self.manager, "Apply")
        for path, value in wanted.items():
            if _get(after.manifest, path) == value:
                continue
            taken = [name for name, owned in after.owners.items() if name != who and path in owned]
            if taken and not change.force:
                return Written(False, reason="Conflict", problem="conflict", refusal=Refusal.CONFLICT)
            for name in taken:
                after.owners[name].discard(path)
            _set(after.manifest, path, value)
        for path in after.owners.get(who, set()) - wanted.keys():
            if not any(path in owned for name, owned in after.owners.items() if name != who):
                _remove(after.manifest, path)
        after.owners[who] = set(wanted)
        return None

    def _change(self, change: ClusterChange) -> Written:
        if isinstance(change, Delete):
            return self._delete(change)
        if isinstance(change, Evict):
            return self._evict(change)
        return self._take(change) if isinstance(change, Remove) else self._apply(change)

    def _evict(self, change: Evict) -> Written:
        key = key_of(change.ref)
        if key in self.guarded:
            return Written(False, reason="TooManyRequests", problem="a budget", refusal=Refusal.BUDGET)
        if change.dry_run:
            return Written(True)
        return self._delete(Delete(change.ref, uid=change.uid))

    def _take(self, change: Remove) -> Written:
        stored = self.objects.get(key_of(change.ref))
        if stored is None:
            return Written(False, reason="NotFound", problem="it is not there", refusal=Refusal.NOT_FOUND)
        metadata = stored.manifest["metadata"]
        if (change.uid, change.version) != (metadata["uid"], metadata["resourceVersion"]):
            return Written(False, reason="Conflict", problem="it is another one", refusal=Refusal.CONFLICT)
        if change.dry_run:
            return Written(True, self._answer(stored, managers=False))
        for pointer in change.pointers:
            path = tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
            _remove(stored.manifest, path)
            for owned in stored.owners.values():
                owned -= {one for one in owned if one[: len(path)] == path}
        self.writes += 1
        self._tell(stored)
        return Written(True, self._answer(stored, managers=False))

    def _delete(self, change: Delete) -> Written:
        key = key_of(change.ref)
        stored = self.objects.get(key)
        if stored is None:
            return Written(True)
        metadata = stored.manifest["metadata"]
        named = (change.uid or metadata["uid"], change.version or metadata["resourceVersion"])
        if named != (metadata["uid"], metadata["resourceVersion"]):
            return Written(False, reason="Conflict", problem="it is another one", refusal=Refusal.CONFLICT)
        if key in self.undeletable:
            return Written(False, reason="Forbidden", problem="denied", refusal=Refusal.DENIED, denied_by="a webhook")
        self.writes += 1
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = _TIME
            if key[1] == "Namespace":
                for inner in [inner for inner in self.objects if inner[2] == key[3]]:
                    self._delete(Delete(ResourceRef(self.objects[inner].manifest["apiVersion"], *inner[1:])))
            held = self._finish(key)
            if held is not None:
                self._tell(stored)
        return Written(True, self._finish(key))

    def _finish(self, key: Key) -> Manifest | None:
        """An object that is being deleted goes when nothing holds it; it, while something does."""
        stored = self.objects.get(key)
        if stored is None:
            return None
        metadata = stored.manifest["metadata"]
        held = metadata.get("finalizers") or any(inner[2] == key[3] for inner in self.objects if key[1] == "Namespace")
        if "deletionTimestamp" not in metadata or held:
            return self._answer(stored, managers=False)
        del self.objects[key]
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        self._event(EventKind.DELETED, stored)
        room = ("", "Namespace", "", key[2])
        if key[2] and room in self.objects:
            self._finish(room)
        return None

    # how it is kept and told
    def _made(
        self, api_version: str, kind: str, namespace: str, name: str, labels: Mapping[str, str], *, keep: bool = True
    ) -> Stored:
        self._uids += 1
        metadata: dict[str, Any] = {"name": name, "uid": f"uid-{self._uids}", "creationTimestamp": _TIME}
        if namespace:
            metadata["namespace"] = namespace
        if labels:
            metadata["labels"] = dict(labels)
        stored = Stored({"apiVersion": api_version, "kind": kind, "metadata": metadata})
        if keep:
            group, slash, _ = api_version.rpartition("/")
            self.objects[(group if slash else "", kind, namespace, name)] = stored
        return stored

    def _tell(self, stored: Stored) -> None:
        self._version += 1
        stored.manifest["metadata"]["resourceVersion"] = str(self._version)
        self.objects[live_key(stored.manifest)] = stored
        self._event(EventKind.ADDED, stored)

    def _event(self, event: EventKind, stored: Stored) -> None:
        key = live_key(stored.manifest)
        for watcher in self._watchers:
            if (watcher.kind.group, watcher.kind.kind) == key[:2] and watcher.scope.namespace in ("", key[2]):
                watcher.waiting.append(ClusterEvent(event, watcher.kind, copy.deepcopy(stored.manifest)))

    def _retell(self, watcher: Watcher) -> None:
        there = [copy.deepcopy(item.manifest) for item in self._of(watcher.kind, watcher.scope)]
        told = [ClusterEvent(EventKind.ADDED, watcher.kind, manifest) for manifest in there]
        start, synced = (ClusterEvent(item, watcher.kind) for item in (EventKind.RESTARTED, EventKind.SYNCED))
        watcher.waiting += [start, *told, synced]

    def _answer(self, stored: Stored, *, managers: bool) -> Manifest:
        return self._whole(stored) if managers else copy.deepcopy(stored.manifest)

    def _whole(self, stored: Stored) -> Manifest:
        manifest = copy.deepcopy(stored.manifest)
        manifest["metadata"]["managedFields"] = [
            {"manager": name, "operation": operation, "time": _TIME, "apiVersion": "v1", "fieldsV1": _fields(owned)}
            for (name, operation), owned in sorted(stored.owners.items())
            if owned
        ]
        return manifest


def _owned(stored: Stored) -> dict[tuple[str, str], set[Path]]:
    return {who: paths for who, paths in stored.owners.items() if paths}


def _leaves(manifest: Manifest) -> Iterator[tuple[Path, Any]]:
    for name, value in manifest.items():
        if name not in ("apiVersion", "kind", "status"):
            yield from _below((name,), value)


def _below(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if path in (("metadata", "name"), ("metadata", "namespace"), ("metadata", "uid")):
        return
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _below((*path, str(name)), item)
    elif not isinstance(value, Mapping):
        yield path, json.loads(json.dumps(value))


def _get(manifest: Any, path: Path) -> Any:
    for name in path:
        manifest = manifest.get(name) if isinstance(manifest, Mapping) else None
    return manifest


def _set(manifest: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        manifest = manifest.setdefault(name, {})
    manifest[path[-1]] = value


def _remove(manifest: dict[str, Any], path: Path) -> None:
    way = [manifest]
    for name in path[:-1]:
        inner = way[-1].get(name)
        if not isinstance(inner, dict):
            return
        way.append(inner)
    way[-1].pop(path[-1], None)
    for outer, name in zip(reversed(way[:-1]), reversed(path[:-1]), strict=True):
        if not outer[name]:
            del outer[name]


def _fields(paths: Iterable[Path]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path in paths:
        node = root
        for name in path:
            node = node.setdefault(f"f:{name}", {})
    return root
