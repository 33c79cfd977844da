"""Turns: what has to be applied, or ready, before an object may be.

Waves count within a group: the objects of one Application, or those of the repository itself. One group's failure holds
up no other, but those that need it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from customhouse._kit.clock import Clock
from customhouse.control import hooks
from customhouse.control.stages import Wanted
from customhouse.control.tracked import Tracked
from customhouse.core.plan import HealthStatus
from customhouse.core.resource import Declaration, Need, ResourceRef
from customhouse.core.sight import Key, Sight, key_of

READY = (HealthStatus.HEALTHY, HealthStatus.SUSPENDED)


class Turns:
    """Of one set of wanted objects. What it finds out is remembered until `begin`."""

    def __init__(self, wanted: Iterable[Wanted], sight: Sight, entries: Mapping[Key, Tracked], clock: Clock) -> None:
        self._sight, self._entries, self._clock = sight, entries, clock
        self._groups: dict[str, list[Wanted]] = defaultdict(list)
        for item in wanted:
            self._groups[item.care.group].append(item)
        self._several = {name for name, items in self._groups.items() if len({item.wave for item in items}) > 1}
        self._dormant = [item for items in self._groups.values() for item in items if item.dormant]
        self._first: dict[str, Wanted | None] = {}
        self._needed: dict[Need, str] = {}
        self._since: dict[Need, float] = {}

    def begin(self) -> None:
        """Something was applied, or happened: look again."""
        self._first, self._needed = {}, {}

    def told(self, items: Iterable[Wanted]) -> tuple[list[Wanted], list[Wanted]]:
        """Those whose turn it is, and those that wait (`awaits` says for what), as things stand now."""
        self.begin()
        members = list(items)
        for item in members:
            item.awaits = "" if item.dormant else self.waits(item)
        return [item for item in members if not item.awaits], [item for item in members if item.awaits]

    def waits(self, item: Wanted) -> str:
        """What has to come before it; empty when it is its turn."""
        group = item.care.group
        if group in self._several:
            if group not in self._first:
                late = (one for one in self._groups[group] if not one.hold and not self.ready(one))
                self._first[group] = min(late, key=lambda one: one.wave, default=None)
            first = self._first[group]
            if first is not None and first.wave < item.wave:
                entry = self._entries.get(first.key)
                failed = entry is not None and hooks.failed(first, entry)
                return f"{first.ref} has failed" if failed else f"waiting for {first.ref}, which comes before it"
        for need in item.care.needs:
            if need not in self._needed:
                self._needed[need] = self._need(need)
            if self._needed[need]:
                return self._needed[need]
        return ""

    def lacks(self, item: Wanted) -> str:
        """What has to make a Secret first that the object refers to; empty when nothing has to."""
        for ref in item.after:
            seen = self._sight.seen(key_of(ref))
            if seen is None or seen.health.status not in READY:
                return f"waiting for {ref}: {'it is not there yet' if seen is None else seen.health.message}"
        return ""

    def ready(self, item: Wanted) -> bool:
        """Whether what comes after it may begin."""
        entry = self._entries.get(item.key)
        if item.care.hook is not None:
            return item.dormant or (entry is not None and hooks.succeeded(item, entry))
        if not self._applied(item, entry):
            return False
        seen = self._sight.seen(item.key)
        if seen is None:  # a Job that ran to its end, and was tidied up
            return entry is not None and entry.done
        return seen.health.status in READY

    def awakened(self) -> set[Key]:
        """Hooks for failures whose turn has come."""
        return {
            item.key
            for item in self._dormant
            if self.failing(item.care.group) and not self._applied(item, self._entries.get(item.key))
        }

    def failing(self, group: str) -> bool:
        """Whether a hook of a group has failed in its present run."""
        return any(
            (entry := self._entries.get(item.key)) is not None and hooks.failed(item, entry)
            for item in self._groups[group]
            if item.care.hook is not None and not item.dormant
        )

    def _applied(self, item: Wanted, entry: Tracked | None) -> bool:
        return entry is not None and entry.digest == item.digest

    def _need(self, need: Need) -> str:
        said = self._lacks(need)
        if not said:
            self._since.pop(need, None)
            return ""
        began = self._since.setdefault(need, self._clock.monotonic())
        late = need.timeout_s and self._clock.monotonic() - began > need.timeout_s
        return f"{said}, for more than its timeout of {need.timeout_s} s" if late else said

    def _lacks(self, need: Need) -> str:
        for item in self._groups.get(need.group, ()):
            if item.hold or item.dormant:
                continue
            if not self._applied(item, self._entries.get(item.key)):
                return f"waiting for {item.ref} of {need.group}"
            if need.ready and not self.ready(item):
                return f"waiting for {item.ref} of {need.group} to be ready"
        checked = (f"waiting for {ref}, which {need.group} checks" for ref in need.checks if not self._well(ref))
        return next(checked, "")

    def _well(self, ref: ResourceRef) -> bool:
        seen = self._sight.seen(key_of(ref))
        return seen is not None and seen.health.status in READY


def checked_by(declarations: Iterable[Declaration]) -> tuple[ResourceRef, ...]:
    """Objects that are nobody's declarations, it may be, and that something waits for."""
    cares = (item.care for item in declarations if item.care is not None)
    return tuple(dict.fromkeys(ref for care in cares for need in care.needs for ref in need.checks))
