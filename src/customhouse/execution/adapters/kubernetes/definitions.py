"""Tells when an API begins or ceases to serve kinds: a definition was applied or removed, another API server joined."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from customhouse._kit.clock import Clock
from customhouse.core.cluster import ApiKind, Cluster, ClusterEvent, Discovered, EventKind
from customhouse.core.errors import TargetError
from customhouse.execution.adapters.kubernetes.retries import Backoff

DEFINITIONS = ApiKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False)
SERVICES = ApiKind("apiregistration.k8s.io", "v1", "APIService", "apiservices", False)
POLL_S = 60.0
"""How often the kinds are asked for when their definitions cannot be watched."""
SETTLING_S = 60.0
"""How long a definition may be established and not be served yet, or be gone and still be served."""

Served = tuple[str, str]
"""(apiVersion, kind)."""
Told = Callable[[Discovered, frozenset[ApiKind], frozenset[ApiKind]], None]
"""Takes what is served now, the kinds that appeared and those that went; from a thread of its own."""


class Definitions:
    """Follows the definitions of one API until `close`. What is served when it begins is told as well, as appeared."""

    def __init__(self, cluster: Cluster, told: Told, clock: Clock) -> None:
        self._cluster = cluster
        self._told = told
        self._clock = clock
        self._known: frozenset[ApiKind] = frozenset()
        self._defined: dict[str, frozenset[Served]] = {}
        self._gone: frozenset[Served] = frozenset()
        self._services: dict[str, str] = {}
        self._failed: set[str] = set()
        self._changed = threading.Condition()
        self._dirty = True
        self._closed = False
        self._stop = cluster.watch([DEFINITIONS, SERVICES], self._take)
        self._thread = threading.Thread(target=self._run, name="kubernetes-kinds", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watches; nothing is told any more when this has returned."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._stop()
        self._thread.join()

    def _take(self, events: Sequence[ClusterEvent]) -> None:
        with self._changed:
            for event in events:
                self._take_one(event)
            self._changed.notify_all()

    def _take_one(self, event: ClusterEvent) -> None:
        if event.event is EventKind.FAILED:
            self._failed.add(event.kind.kind)
        elif event.event is EventKind.SYNCED:
            self._failed.discard(event.kind.kind)
            self._dirty = True  # what went while nobody looked is not told one by one
        elif event.manifest is not None:
            name = str(event.manifest["metadata"].get("name"))
            gone = event.event is EventKind.DELETED
            if event.kind == DEFINITIONS:
                self._defines(name, frozenset() if gone else _defined(event.manifest))
            else:
                self._serves(name, "" if gone else _available(event.manifest))

    def _defines(self, name: str, now: frozenset[Served]) -> None:
        before = self._defined.get(name, frozenset())
        self._defined[name] = now
        if now != before:
            self._gone = (self._gone - now) | (before - now)
            self._dirty = True

    def _serves(self, name: str, now: str) -> None:
        if self._services.get(name, "") != now:
            self._services[name] = now
            self._dirty = True

    def _run(self) -> None:
        backoff = Backoff(0.1, 10.0)
        settling: float | None = None
        while True:
            with self._changed:
                if not self._dirty and not self._closed:
                    self._changed.wait(POLL_S if self._failed else None)
                if self._closed:
                    return
                self._dirty = False
            settled = self._look()
            now = self._clock.monotonic()
            settling = None if settled else (now if settling is None else settling)
            if settling is None or now - settling > SETTLING_S:
                settling = None
                backoff.succeeded()
                continue
            with self._changed:
                self._dirty = True
                if not self._closed:
                    self._changed.wait(backoff.pause())

    def _look(self) -> bool:
        """Ask what is served and tell what is new. False when it is not yet what the definitions say."""
        try:
            discovered = self._cluster.discover()
        except TargetError:
            return False
        kinds = frozenset(discovered.served)
        # A group whose own server does not answer has not lost its kinds.
        lost = frozenset(kind for kind in self._known - kinds if kind.api_version not in discovered.problems)
        appeared = kinds - self._known
        self._known = (self._known | kinds) - lost
        if appeared or lost:
            self._told(discovered, appeared, lost)
        served = {(kind.api_version, kind.kind) for kind in kinds}
        with self._changed:
            wanted = frozenset().union(*self._defined.values())
            self._gone -= wanted
            settled = wanted <= served and not self._gone & served
            if settled:
                self._gone = frozenset()
        return settled


def _defined(manifest: Mapping[str, Any]) -> frozenset[Served]:
    """What a definition makes the API serve: nothing before it is established."""
    spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
    conditions = {item.get("type"): item.get("status") for item in status.get("conditions") or ()}
    if conditions.get("Established") != "True" or manifest["metadata"].get("deletionTimestamp"):
        return frozenset()
    kind = str((status.get("acceptedNames") or {}).get("kind") or "")
    versions = [str(item.get("name")) for item in spec.get("versions") or () if item.get("served") is True]
    return frozenset((f"{spec.get('group')}/{version}", kind) for version in versions)


def _available(manifest: Mapping[str, Any]) -> str:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return next((str(item.get("status")) for item in conditions if item.get("type") == "Available"), "Unknown")
