"""The part `target` of customhouse.yaml that names a cluster, from a document that the schema has checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OBSERVE, MANAGE = "observe", "manage"


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """A Kubernetes API as the target. `kubeconfig` and `context` empty: as the environment says."""

    kubeconfig: str = ""
    context: str = ""
    mode: str = OBSERVE
    """`observe` writes nothing into the cluster; `customhouse adopt` makes it `manage`, by a commit."""
    drift: str = "correct"
    prune: bool = True
    prune_budget_percent: int = 50
    full_pass_minutes: int = 10
    source: str = ""
    """The name of this repository's inventory in the cluster; empty: made from its address and its first commit."""

    @classmethod
    def parse(cls, target: Mapping[str, Any]) -> ClusterSpec | None:
        """From a checked document; None where the target is this machine."""
        if target.get("kind") != "kubernetes":
            return None
        default = cls()
        return cls(
            kubeconfig=target.get("kubeconfig") or "",
            context=target.get("context") or "",
            mode=target.get("mode", default.mode),
            drift=target.get("drift", default.drift),
            prune=target.get("prune", default.prune),
            prune_budget_percent=target.get("pruneBudgetPercent", default.prune_budget_percent),
            full_pass_minutes=target.get("fullPassMinutes", default.full_pass_minutes),
            source=target.get("source") or "",
        )

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        value = {
            "kubeconfig": self.kubeconfig,
            "context": self.context,
            "mode": self.mode,
            "drift": self.drift,
            "prune": self.prune,
            "pruneBudgetPercent": self.prune_budget_percent,
            "fullPassMinutes": self.full_pass_minutes,
            "source": self.source,
        }
        return {"kind": "kubernetes", **{name: item for name, item in value.items() if item != ""}}


def place_of(spec: ClusterSpec | None) -> tuple[str, ...]:
    """Which target a configuration names, and which inventory in it; empty for this machine."""
    return () if spec is None else ("kubernetes", spec.kubeconfig, spec.context, spec.source)
