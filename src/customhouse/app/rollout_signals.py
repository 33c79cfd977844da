"""What is known of the rollouts of a cluster: live objects from its API, counters from Prometheus.

What is not known is said and never guessed: a rollout whose numbers are out of reach waits where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from customhouse.app import wiring_metrics
from customhouse.app.metrics_spec import MetricsSpec
from customhouse.app.rollout_argo import Sight, argo_sight
from customhouse.app.rollout_kinds import seen_in_cluster, traffic_of
from customhouse.app.rollout_plain import plain_sight, second_of
from customhouse.app.rollouts import Walk
from customhouse.core.cluster import Cluster
from customhouse.core.errors import TargetError
from customhouse.core.observation import Observation
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import Manifest, ResourceRef

SOURCE = "prometheus"
_METRICS = {
    "requests": "customhouse_requests_total",
    "errors": "customhouse_request_errors_total",
    "latency": "customhouse_request_duration_seconds_bucket",
    "seconds": "customhouse_request_duration_seconds_sum",
    "answered": "customhouse_request_duration_seconds_count",
    "labelled": "customhouse_predictions_labelled_total",
    "logLoss": "customhouse_prediction_log_loss_sum",
    "logLossSquares": "customhouse_prediction_log_loss_squares_sum",
    "outcomes": "customhouse_prediction_outcomes_total",
    "scores": "customhouse_prediction_scores_total",
}
_LABELS = ("le", "outcome", "bin")
_TOLD_AFTER_S = 10.0


class Value(Protocol):
    """One series of an answer."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What tells it from the others."""

    @property
    def value(self) -> float:
        """A finite number."""


Ask = Callable[[str, datetime], Sequence[Value]]
"""A query as of a moment. Raises TargetError."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What a look at the rollouts of a cluster goes by; `unknown` says of which nothing can be said, and why."""

    observations: tuple[Observation, ...] = ()
    live: Mapping[ResourceRef, LiveObject] = field(default_factory=dict)
    unknown: Mapping[ResourceRef, str] = field(default_factory=dict)
    promoted: Mapping[ResourceRef, str] = field(default_factory=dict)
    """What somebody else has given all of the traffic, and how that is told."""

    def without(self, unapplied: Iterable[ResourceRef]) -> Signals:
        """Where something else is applied still, what is seen and counted is said of that, and nothing is known."""
        gone = dict.fromkeys(unapplied, "what is declared is not applied yet")
        if not gone:
            return self
        waiting = {
            ref: replace(live, health=Health(HealthStatus.PROGRESSING, gone[ref])) if ref in gone else live
            for ref, live in self.live.items()
        }
        kept = tuple(item for item in self.observations if item.resource not in gone)
        promoted = {ref: text for ref, text in self.promoted.items() if ref not in gone}
        return Signals(kept, waiting, {**self.unknown, **gone}, promoted)


def worth_telling(unknown: Mapping[ResourceRef, str], walks: Mapping[ResourceRef, Walk], now: datetime) -> list[str]:
    """Why rollouts wait, in words; a step that has begun a moment ago has nothing to tell yet."""
    return [
        f"{ref} waits: {why}"
        for ref, why in unknown.items()
        if (now - walks[ref].state.step_at).total_seconds() >= _TOLD_AFTER_S
    ]


def asked_signals(cluster: Cluster, walks: Mapping[ResourceRef, Walk], spec: MetricsSpec, now: datetime) -> Signals:
    """`cluster_signals` by the Prometheus that customhouse.yaml names."""
    ask = wiring_metrics.prometheus(spec.prometheus).query if spec.prometheus else None
    return cluster_signals(cluster, walks, spec, ask, now)


def cluster_signals(
    cluster: Cluster, walks: Mapping[ResourceRef, Walk], spec: MetricsSpec, ask: Ask | None, now: datetime
) -> Signals:
    """Look at every rollout once. Raises TargetError when the cluster does not answer."""
    refs = tuple(walks)
    asked = (*refs, *(second_of(ref) for ref in refs if ref.kind == "Deployment"))
    found = dict(zip(asked, cluster.get(asked), strict=True))
    live: dict[ResourceRef, LiveObject] = {}
    observations: list[Observation] = []
    unknown: dict[ResourceRef, str] = {}
    promoted: dict[ResourceRef, str] = {}
    for ref, walk in walks.items():
        manifest = found[ref]
        if manifest is None:
            unknown[ref] = "it is not in the cluster"
            continue
        if ref.kind == "Deployment":
            sight = plain_sight(ref, found[second_of(ref)], walk.state)
        else:
            sight = _sight(ref, walk, manifest, now)
        live[ref] = sight.live
        if sight.promoted:
            promoted[ref] = sight.promoted
        elif ask is None:
            unknown[ref] = "nothing is measured: metrics.prometheus of customhouse.yaml names no server"
        elif sight.why:
            unknown[ref] = f"its numbers are not known: {sight.why}"
        elif sight.candidate:
            try:
                observations += _observed(ref, walk, sight, spec, ask, now)
            except TargetError as error:
                unknown[ref] = f"its numbers are not known: {error}"
    return Signals(tuple(observations), live, unknown, promoted)


def _sight(ref: ResourceRef, walk: Walk, live: Manifest, now: datetime) -> Sight:
    if ref.kind == "Rollout":
        return argo_sight(ref, live, walk.state, walk.marks, now)
    seen = seen_in_cluster(ref, live, walk.state, walk.course)
    if walk.course is not None and not walk.course.arrived:
        return Sight(seen)
    said = traffic_of(live, walk.state, walk.course)
    if said.candidate and said.stable:
        return Sight(seen, said.candidate, said.stable)
    why = f"its status does not name two revisions yet{': ' if said.message else ''}{said.message}"
    return Sight(seen, why=f"{why} (KServe shares traffic between revisions in its serverless mode alone)")


def _observed(
    ref: ResourceRef, walk: Walk, sight: Sight, spec: MetricsSpec, ask: Ask, now: datetime
) -> list[Observation]:
    found = []
    for release, revision in ((walk.state.candidate, sight.candidate), (walk.state.stable, sight.stable)):
        for name, metric in _METRICS.items():
            for item in ask(filled(spec.queries[name], ref, revision), now):
                labels = {key: item.labels[key] for key in _LABELS if key in item.labels}
                found.append(Observation(now, SOURCE, ref, release, metric, "", item.value, revision, labels))
    return found


def filled(query: str, ref: ResourceRef, revision: str) -> str:
    """A query with what it is asked about; names are of Kubernetes, and are quoted all the same."""
    for name, text in (("$namespace", ref.namespace), ("$name", ref.name), ("$revision", revision)):
        query = query.replace(name, text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " "))
    return query
