"""What is known of the rollouts of a cluster: live objects from its API, counters from Prometheus.

What is not known is said and never guessed: a rollout whose numbers are out of reach waits where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from customhouse.app import wiring_metrics
from customhouse.app.metrics_spec import MetricsSpec
from customhouse.app.rollout_kinds import seen_in_cluster, traffic_of
from customhouse.app.rollouts import Walk
from customhouse.core.cluster import Cluster
from customhouse.core.errors import TargetError
from customhouse.core.observation import Observation
from customhouse.core.plan import LiveObject
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


def asked_signals(cluster: Cluster, walks: Mapping[ResourceRef, Walk], spec: MetricsSpec, now: datetime) -> Signals:
    """`cluster_signals` by the Prometheus that customhouse.yaml names."""
    ask = wiring_metrics.prometheus(spec.prometheus).query if spec.prometheus else None
    return cluster_signals(cluster, walks, spec, ask, now)


def cluster_signals(
    cluster: Cluster, walks: Mapping[ResourceRef, Walk], spec: MetricsSpec, ask: Ask | None, now: datetime
) -> Signals:
    """Look at every rollout once. Raises TargetError when the cluster does not answer."""
    refs = tuple(walks)
    found = dict(zip(refs, cluster.get(refs), strict=True))
    live = {
        ref: seen_in_cluster(ref, manifest, walks[ref].state, walks[ref].course)
        for ref, manifest in found.items()
        if manifest is not None
    }
    observations: list[Observation] = []
    unknown: dict[ResourceRef, str] = {}
    for ref, walk in walks.items():
        manifest = found[ref]
        if manifest is None:
            unknown[ref] = "it is not in the cluster"
        elif ask is None:
            unknown[ref] = "nothing is measured: metrics.prometheus of customhouse.yaml names no server"
        elif walk.course is None or walk.course.arrived:
            try:
                observations += _observed(ref, walk, manifest, spec, ask, now)
            except TargetError as error:
                unknown[ref] = f"its numbers are not known: {error}"
    return Signals(tuple(observations), live, unknown)


def _observed(
    ref: ResourceRef, walk: Walk, live: Manifest, spec: MetricsSpec, ask: Ask, now: datetime
) -> list[Observation]:
    said = traffic_of(live, walk.state, walk.course)
    if not said.candidate or not said.stable:
        raise TargetError(
            f"its status does not name two revisions yet{': ' if said.message else ''}{said.message}",
            hint="KServe shares traffic between revisions in its serverless mode alone",
        )
    found = []
    for release, revision in ((walk.state.candidate, said.candidate), (walk.state.stable, said.stable)):
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
