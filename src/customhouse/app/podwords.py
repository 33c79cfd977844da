"""What the pods of a workload say, put behind what the workload says of itself: no room, no image, ended again."""

from __future__ import annotations

from dataclasses import replace

from customhouse._kit.clock import Clock
from customhouse.core.cluster import Cluster, Scope
from customhouse.core.errors import CustomhouseError
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import ResourceRef
from customhouse.core.sight import Sight, key_of
from customhouse.execution.extender_nodes import PODS
from customhouse.execution.waiting import pods_of, why_waiting

_PAUSE_S = 5.0
"""Between two looks; a look asks about the workloads that were not asked about for longest."""
_AT_ONCE = 4
"""Workloads a look asks about: the loop waits for the answers."""
_REFUSED_S = 300.0
"""Without the right to list pods nothing is asked for this long."""
_NOT_UP = frozenset({HealthStatus.PROGRESSING, HealthStatus.DEGRADED})


class PodWords:
    """Belongs to the control plane's thread. It adds words, and never alters what a health comes to."""

    def __init__(self, cluster: Cluster, sight: Sight, clock: Clock) -> None:
        self._cluster, self._sight, self._clock = cluster, sight, clock
        self._said: dict[ResourceRef, tuple[float, str]] = {}
        """When each was asked about last, and what its pods said."""
        self._next = 0.0

    def with_words(self, ref: ResourceRef, health: Health) -> Health:
        """The same health, with what the object's pods said last."""
        _, words = self._said.get(ref, (0.0, ""))
        if not words or health.status not in _NOT_UP:
            return health
        return replace(health, message=f"{health.message}; {words}" if health.message else words)

    def look(self, live: dict[ResourceRef, LiveObject]) -> bool:
        """Ask about some that are not up, and put what is said into `live`; whether anything is otherwise now.

        A list that is refused, or fails, says nothing.
        """
        now = self._clock.monotonic()
        if now < self._next:
            return False
        self._next = now + _PAUSE_S
        waiting = [ref for ref, item in live.items() if item.health.status in _NOT_UP]
        for ref in self._said.keys() - waiting:
            del self._said[ref]
        changed = False
        for ref in sorted(waiting, key=lambda ref: self._said.get(ref, (0.0, ""))[0])[:_AT_ONCE]:
            words = self._asked(ref)
            if words is None:
                self._next = now + _REFUSED_S
                break
            self._said[ref] = (now, words)
            seen = self._sight.seen(key_of(ref))
            health = live[ref].health if seen is None else self.with_words(ref, seen.health)
            if health != live[ref].health:
                live[ref] = replace(live[ref], health=health)
                changed = True
        return changed

    def _asked(self, ref: ResourceRef) -> str | None:
        found = self._sight.live(key_of(ref))
        selector = "" if found is None else pods_of(found.manifest)
        if not selector:
            return ""
        try:
            listed = list(self._cluster.list([PODS], Scope(ref.namespace, selector)))
        except CustomhouseError:
            return ""
        if any(item.problem for item in listed):
            return None
        return why_waiting(pod for item in listed for pod in item.objects)
