"""What the extender has decided so far, for people: by tier, by reason, and the pods that no node was left for."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse._kit.clock import Clock, to_rfc3339
from customhouse.core.resource import Manifest
from customhouse.execution.extender import Filtered

_MOST_REASONS = 500
"""Reasons hold labels of nodes and names of tiers: who writes these chooses how many there are."""
_MOST_TIERS = 200
_SHOWN = 20
_PODS = 20


@dataclass(slots=True)
class OfTier:
    """Filter calls for pods of a tier, those that left no node, and the nodes that were taken away in all of them."""

    asked: int = 0
    emptied: int = 0
    refused: int = 0


@dataclass(slots=True)
class Tally:
    """Belongs to the thread that answers."""

    clock: Clock
    tiers: dict[str, OfTier] = field(default_factory=dict)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    without: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=_PODS))
    """Pods that no node was left for, the newest last."""

    def note(self, pod: Manifest, tier: str, found: Filtered) -> None:
        """Count one answer to a filter call."""
        row = self.tiers.get(tier)
        if row is None:
            if len(self.tiers) >= _MOST_TIERS:
                self.tiers.clear()
            row = self.tiers[tier] = OfTier()
        row.asked += 1
        row.refused += len(found.forbidden)
        counted = Counter(found.forbidden.values())
        for reason, nodes in counted.items():
            self.reasons[tier, reason] += nodes
        if len(self.reasons) > _MOST_REASONS:
            self.reasons = Counter(dict(self.reasons.most_common(_MOST_REASONS // 2)))
        if not found.left:
            row.emptied += 1
            self._without(pod, tier, counted + Counter(found.unknown.values()))

    def _without(self, pod: Manifest, tier: str, counted: Counter[str]) -> None:
        metadata = pod["metadata"]
        name = f"{metadata.get('namespace') or 'default'}/{metadata.get('name') or ''}"
        said = [{"reason": reason, "nodes": nodes} for reason, nodes in counted.most_common(5)]
        for known in self.without:
            if known["pod"] == name:
                self.without.remove(known)
                break
        self.without.append({"pod": name, "tier": tier, "at": to_rfc3339(self.clock.now()), "reasons": said})

    def to_json(self) -> dict[str, Any]:
        """`tiers`, the commonest `refused` reasons, and the pods `without` a node, the newest first."""
        return {
            "tiers": [
                {"tier": name, "asked": row.asked, "emptied": row.emptied, "refused": row.refused}
                for name, row in sorted(self.tiers.items())
            ],
            "refused": [
                {"tier": tier, "reason": reason, "nodes": nodes}
                for (tier, reason), nodes in self.reasons.most_common(_SHOWN)
            ],
            "without": list(reversed(self.without)),
        }
