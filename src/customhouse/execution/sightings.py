"""What is known of the live objects that somebody reconciles: filled by watches of their kinds, read by key.

Objects of the watched kinds that are nobody's here are remembered by their uid alone, so that a large cluster costs
little. A kind is watched in the version that is declared: the API defaults the same object otherwise in another one.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from customhouse._kit.clock import Clock
from customhouse.core.cluster import ApiKind, Cluster, ClusterEvent, Discovered, EventKind, Scope
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.sight import Key, Seen, fingerprint, key_of, live_key

HealthRule = Callable[[Manifest], Health]
_IN_EVERY_NAMESPACE = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})
_KEPT_SECRETS = ("kubernetes.io/service-account-token", "helm.sh/release.v1")
Sort = tuple[str, str]
"""(apiVersion, kind): what is watched."""
_ASKED_AGAIN_S = 2.0
_ASKED_MOST_S = 30.0
"""How soon, and at the latest how seldom, the API is asked whether it serves a kind by now."""
_GONE_S = 60.0
"""How long a kind must not be served to be taken for gone: an API that starts lists the kinds of definitions late."""
_JOB = ("Job", "batch/v1")
_ENDED = (HealthStatus.HEALTHY, HealthStatus.DEGRADED)


@dataclass(frozen=True, slots=True)
class Stranger:
    """An object that somebody put beside what is declared."""

    ref: ResourceRef
    uid: str


@dataclass(slots=True)
class _Shelf:
    """One watched kind. `others` are the uids of objects that nobody here is interested in."""

    kind: ApiKind
    stop: Callable[[], None] = lambda: None
    synced: bool = False
    problem: str = ""
    others: dict[Key, str] = field(default_factory=dict)
    retold: set[Key] | None = None
    """While a watch begins anew: what it has told again."""


class Sightings:
    """The port `core.sight.Sight` over a Cluster; `close` ends its watches."""

    def __init__(self, cluster: Cluster, health: HealthRule, clock: Clock, scope: Scope | None = None) -> None:
        self._cluster = cluster
        self._health = health
        self._clock = clock
        self._scope = scope
        self._lock = threading.RLock()
        self._interest: dict[Key, ResourceRef] = {}
        self._found: dict[Key, tuple[Seen, bytes]] = {}
        self._shelves: dict[Sort, _Shelf] = {}
        self._raw: dict[Key, Manifest] = {}
        """What was told and not looked at yet: the latest state alone counts."""
        self._dirty: set[Key] = set()
        self._unserved: dict[Sort, float] = {}
        """Kinds that the API does not serve, and since when (monotonic)."""
        self._doubtful: frozenset[str] = frozenset()
        self._scopes: dict[tuple[str, str], bool] = {}
        self._asked_at, self._pause = 0.0, _ASKED_AGAIN_S
        self.on_news: Callable[[], None] = lambda: None
        """Called by the watch's thread when something came in."""

    def close(self) -> None:
        """End all watches."""
        with self._lock:
            shelves, self._shelves = list(self._shelves.values()), {}
        for shelf in shelves:
            shelf.stop()

    def judge_by(self, health: HealthRule) -> None:
        """Judge by another rule from now on; what was told before is judged again, and is news."""
        with self._lock:
            self._health = health
            for key, (known, packed) in list(self._found.items()):
                judged = health(json.loads(zlib.decompress(packed)))
                if judged != known.health:
                    finished = (known.ref.kind, known.ref.api_version) == _JOB and judged.status in _ENDED
                    self._found[key] = (replace(known, health=judged, finished=finished), packed)
                    self._dirty.add(key)

    # what is of interest
    def follow(self, refs: Sequence[ResourceRef]) -> Sequence[ResourceRef]:
        """See the port."""
        with self._lock:
            asked = bool(self._scopes)
        if not asked:
            self._begin(())
        placed = [self._place(ref) for ref in refs]
        wanted = {key_of(ref): ref for ref in placed}
        with self._lock:
            before = self._interest
            self._interest = wanted
            for key in before.keys() - wanted.keys():
                found = self._found.pop(key, None)
                self._raw.pop(key, None)
                self._dirty.discard(key)
                shelf = self._shelves.get((before[key].api_version, before[key].kind))
                if found is not None and shelf is not None:
                    shelf.others[key] = found[0].uid
            new = [key for key, ref in wanted.items() if before.get(key) != ref]
            self._dirty.update(new)
            unknown = {(ref.api_version, ref.kind) for ref in wanted.values()} - self._shelves.keys()
            known = [key for key in new if self._is_other(key)]
        if unknown:
            self._begin(unknown)
        if known:
            self._ask(known)
        return placed

    def _place(self, ref: ResourceRef) -> ResourceRef:
        group, slash, _ = ref.api_version.rpartition("/")
        cluster_wide = self._scopes.get((group if slash else "", ref.kind))
        return replace(ref, namespace="") if cluster_wide and ref.namespace else ref

    def _is_other(self, key: Key) -> bool:
        ref = self._interest[key]
        shelf = self._shelves.get((ref.api_version, ref.kind))
        return shelf is not None and key in shelf.others

    def _ask(self, keys: Sequence[Key]) -> None:
        """Objects that were there before anybody was interested in them."""
        refs = [self._interest[key] for key in keys]
        for manifest in self._cluster.get(refs):
            if manifest is not None:
                self.told(manifest)

    def _begin(self, sorts: Iterable[Sort]) -> None:
        discovered = self._cluster.discover()
        now = self._clock.monotonic()
        with self._lock:
            self._asked_at = now
            self._doubtful = frozenset(discovered.problems)
            self._scopes = {(kind.group, kind.kind): not kind.namespaced for kind in discovered.kinds}
            starting = []
            for sort in sorts:
                kind = _served(discovered, sort)
                if kind is None:
                    self._unserved.setdefault(sort, now)
                    continue
                self._unserved.pop(sort, None)
                if sort not in self._shelves:
                    self._shelves[sort] = _Shelf(kind)
                    starting.append(sort)
        for sort in starting:
            shelf = self._shelves[sort]
            scopes = () if self._scope is None or not shelf.kind.namespaced else (self._scope,)
            shelf.stop = self._cluster.watch([shelf.kind], self._sink(sort), *scopes)

    # what is told
    def _sink(self, sort: Sort) -> Callable[[Sequence[ClusterEvent]], None]:
        def take(events: Sequence[ClusterEvent]) -> None:
            with self._lock:
                shelf = self._shelves.get(sort)
                if shelf is None:
                    return
                for event in events:
                    self._take(shelf, sort, event)
            self.on_news()

        return take

    def _take(self, shelf: _Shelf, sort: Sort, event: ClusterEvent) -> None:
        if event.event is EventKind.RESTARTED:
            shelf.synced, shelf.retold = False, set()
            shelf.others.clear()
        elif event.event is EventKind.SYNCED:
            self._synced(shelf, sort)
        elif event.event is EventKind.FAILED:
            shelf.problem = event.problem or "it cannot be watched"
            self._dirty.update(key for key in self._interest if self._sort(key) == sort)
        elif event.manifest is not None:
            shelf.problem = ""
            self._take_object(shelf, sort, event.manifest, gone=event.event is EventKind.DELETED)

    def _synced(self, shelf: _Shelf, sort: Sort) -> None:
        shelf.synced, shelf.problem = True, ""
        retold, shelf.retold = shelf.retold, None
        for key in self._interest:
            if self._sort(key) != sort:
                continue
            if retold is not None and key not in retold:  # it went while nobody looked
                self._found.pop(key, None)
                self._raw.pop(key, None)
            if key not in self._found and key not in self._raw:
                self._dirty.add(key)

    def _sort(self, key: Key) -> Sort:
        ref = self._interest[key]
        return (ref.api_version, ref.kind)

    def _take_object(self, shelf: _Shelf, sort: Sort, manifest: Manifest, *, gone: bool) -> None:
        key = live_key(manifest)
        if shelf.retold is not None:
            shelf.retold.add(key)
        if key not in self._interest or self._sort(key) != sort:
            if gone:
                shelf.others.pop(key, None)
            else:
                shelf.others[key] = _uid(manifest)
            return
        shelf.others.pop(key, None)
        known = self._found.get(key)
        version = _version(manifest)
        waiting = self._raw.get(key)
        newest = max(0 if known is None else known[0].version, 0 if waiting is None else _version(waiting))
        if version < newest:
            return  # what a write answered is newer than what the watch has come to
        if gone:
            self._raw.pop(key, None)
            self._found.pop(key, None)
        else:
            if known is not None and waiting is None and version == known[0].version:
                return
            if shelf.synced:
                self._raw[key] = manifest
            else:  # the first state is told once: unpacked it would be most of what this process holds
                self._found[key] = self._look(self._interest[key], manifest)
        self._dirty.add(key)

    def told(self, manifest: Manifest) -> Seen:
        """See the port."""
        key, version = live_key(manifest), _version(manifest)
        with self._lock:
            ref = self._interest.get(key) or _ref(manifest)
            seen, packed = self._look(ref, manifest)
            if ref.kind == "CustomResourceDefinition":  # what it defines may be served from now on
                self._pause, self._asked_at = _ASKED_AGAIN_S, float("-inf")
            known, waiting = self._found.get(key), self._raw.get(key)
            if waiting is not None and _version(waiting) > version:
                return seen
            if known is None or known[0].version <= version:
                self._raw.pop(key, None)
                self._found[key] = (seen, packed)
            return seen

    def _look(self, ref: ResourceRef, manifest: Manifest) -> tuple[Seen, bytes]:
        health = self._health(manifest)
        leaving = bool(manifest["metadata"].get("deletionTimestamp"))
        finished = (ref.kind, ref.api_version) == _JOB and health.status in _ENDED
        seen = Seen(ref, _uid(manifest), _version(manifest), fingerprint(manifest), health, leaving, finished)
        return seen, zlib.compress(json.dumps(manifest, separators=(",", ":")).encode("utf-8", "surrogatepass"), 1)

    # what is asked
    def news(self) -> set[Key]:
        """See the port."""
        self._ask_for_kinds()
        self._end_useless()
        with self._lock:
            dirty, self._dirty = self._dirty, set()
        return dirty

    def _ask_for_kinds(self) -> None:
        now = self._clock.monotonic()
        if not self._unserved or now - self._asked_at < self._pause:
            return
        before = set(self._unserved)
        self._pause = min(2 * self._pause, _ASKED_MOST_S)
        self._begin(before)
        with self._lock:
            come = before - self._unserved.keys()
            if come:
                self._pause = _ASKED_AGAIN_S
                self._dirty.update(key for key in self._interest if self._sort(key) in come)

    def _end_useless(self) -> None:
        """End the watches that fail, of kinds in which nobody is interested any more: their definitions may be gone."""
        with self._lock:
            failing = [sort for sort, shelf in self._shelves.items() if shelf.problem]
            wanted = {self._sort(key) for key in self._interest} if failing else set()
            ended = [self._shelves.pop(sort) for sort in failing if sort not in wanted]
        for shelf in ended:
            shelf.stop()

    def seen(self, key: Key) -> Seen | None:
        """See the port."""
        with self._lock:
            raw = self._raw.pop(key, None)
            if raw is not None:
                self._found[key] = self._look(self._interest.get(key) or _ref(raw), raw)
            found = self._found.get(key)
            return None if found is None else found[0]

    def absent(self, key: Key, *, surely: bool = False) -> bool:
        """See the port."""
        with self._lock:
            ref = self._interest.get(key)
            if ref is None or key in self._found or key in self._raw:
                return False
            shelf = self._shelves.get((ref.api_version, ref.kind))
            if shelf is not None:
                return shelf.synced and key not in shelf.others
            since = self._unserved.get((ref.api_version, ref.kind))
            if since is None or ref.api_version in self._doubtful:
                return False
            return not surely or self._clock.monotonic() - since > _GONE_S

    def look_again(self, rooms: Collection[str] = ()) -> tuple[Stranger, ...]:
        """The full pass: list all watched kinds, and take what a watch may have missed. Raises TargetError.

        Gives the objects of those kinds in the namespaces `rooms` that are of no interest here and that nothing else
        derives: somebody put them there.
        """
        with self._lock:
            shelves = dict(self._shelves)
        strangers: list[Stranger] = []
        for sort, shelf in shelves.items():
            scopes = () if self._scope is None or not shelf.kind.namespaced else (self._scope,)
            for listed in self._cluster.list([shelf.kind], *scopes):
                with self._lock:
                    if listed.problem:
                        shelf.problem = listed.problem
                        continue
                    for manifest in listed.objects:
                        self._take_object(shelf, sort, manifest, gone=False)
                        key = live_key(manifest)
                        if key[2] in rooms and key not in self._interest and not _by_itself(key, manifest):
                            strangers.append(Stranger(_ref(manifest), _uid(manifest)))
        return tuple(strangers)

    def problems(self) -> Mapping[str, str]:
        """The kinds that cannot be watched now, and why."""
        with self._lock:
            return {str(shelf.kind): shelf.problem for shelf in self._shelves.values() if shelf.problem}

    def live(self, key: Key) -> LiveObject | None:
        """An object of interest whole, as it was last told."""
        seen = self.seen(key)
        with self._lock:
            found = self._found.get(key)
        if seen is None or found is None:
            return None
        manifest = json.loads(zlib.decompress(found[1]))
        status = manifest.get("status")
        return LiveObject(seen.ref, manifest, seen.health, status if isinstance(status, dict) else {})


def _served(discovered: Discovered, sort: Sort) -> ApiKind | None:
    """The kind in the declared version: the API lists each kind in the one that it prefers."""
    group, slash, version = sort[0].rpartition("/")
    for kind in discovered.kinds:
        if (kind.group, kind.kind) == (group if slash else "", sort[1]):
            return kind if kind.version == version else replace(kind, version=version)
    return None


def _by_itself(key: Key, manifest: Manifest) -> bool:
    """Whether Kubernetes or an owner made it: what every namespace has, tokens, releases of Helm, what is derived."""
    if manifest["metadata"].get("ownerReferences") or (key[1], key[3]) in _IN_EVERY_NAMESPACE:
        return True
    return key[:2] == ("", "Secret") and manifest.get("type") in _KEPT_SECRETS


def _version(manifest: Manifest) -> int:
    """Resource versions of one kind grow (KEP-5504: clients may compare them); what is no number is older than all."""
    text = str(manifest["metadata"].get("resourceVersion") or "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _uid(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("uid") or "")


def _ref(manifest: Manifest) -> ResourceRef:
    _, kind, namespace, name = live_key(manifest)
    return ResourceRef(str(manifest["apiVersion"]), kind, namespace, name)
