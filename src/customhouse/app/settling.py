"""Settling: which of the releases on their way have come up. Asked with every step, and a fleet has thousands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.app.memory import ref_of
from customhouse.core.plan import HealthStatus, LiveObject
from customhouse.core.resource import ResourceRef


class Settling:
    """Belongs to the control plane's thread."""

    def __init__(self) -> None:
        self._refs: dict[str, tuple[Any, ResourceRef]] = {}
        """Key → the document that was read, and what it is about."""

    def healthy(
        self, waiting: Mapping[str, Any], live: Mapping[ResourceRef, LiveObject]
    ) -> Iterator[tuple[str, Any, ResourceRef, LiveObject]]:
        """Those that wait (documents under PENDING, by key) and are Healthy: key, document, object, what is live."""
        before, self._refs = self._refs, {}
        for key, value in waiting.items():
            known = before.get(key)
            if known is None or known[0] is not value:
                known = (value, ref_of(value["resource"]))
            self._refs[key] = known
            found = live.get(known[1])
            if found is not None and found.health.status is HealthStatus.HEALTHY:
                yield key, value, known[1], found
