"""What a target is asked about its rollouts: one cluster, several, or this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from customhouse.app.clusterkeeping import ClusterTarget
from customhouse.app.metrics_spec import MetricsSpec
from customhouse.app.rollout_signals import Signals, asked_signals
from customhouse.app.rollouts import Rollouts, Walk
from customhouse.app.several_targets import SeveralTargets
from customhouse.core.cluster import Scope
from customhouse.core.errors import TargetError
from customhouse.core.observation import Observation
from customhouse.core.plan import HealthStatus, LiveObject
from customhouse.core.resource import Manifest, ResourceRef


class Observed(Protocol):
    """A target that may measure what it runs."""

    def observe(self) -> Sequence[Observation]:
        """See `Observation`."""


def signals_of(
    target: Observed,
    live: Mapping[ResourceRef, LiveObject],
    walks: Mapping[ResourceRef, Walk],
    spec: MetricsSpec,
    now: datetime,
) -> Signals:
    """Look at every rollout once. Raises TargetError when a single cluster does not answer."""
    if isinstance(target, SeveralTargets):
        return target.signals(walks, spec, now)
    if isinstance(target, ClusterTarget):
        return asked_signals(target.cluster, walks, spec, now)
    return Signals(tuple(target.observe()), live)


def services_beside(target: object, ref: ResourceRef) -> Sequence[Manifest]:
    """All Services in the namespace of an object, in its cluster. Raises TargetError."""
    if isinstance(target, SeveralTargets):
        target = target.members.get(target.placing.of(ref))
    if not isinstance(target, ClusterTarget):
        return ()
    kinds = [kind for kind in target.cluster.discover().kinds if (kind.group, kind.kind) == ("", "Service")]
    found: list[Manifest] = []
    for listed in target.cluster.list(kinds, Scope(ref.namespace)):
        if listed.problem:
            raise TargetError(f"which Services route to {ref} is not known: {listed.problem}")
        found.extend(listed.objects)
    return found


def degraded(live: Mapping[ResourceRef, LiveObject], rollouts: Rollouts) -> list[str]:
    """What does not come up, or fails again and again, and is not undone by a canary."""
    handled = {*rollouts.walks(), *rollouts.held()}
    return [
        f"{ref} is degraded: {found.health.message}"
        for ref, found in live.items()
        if found.health.status is HealthStatus.DEGRADED and ref not in handled
    ]
