"""Counters of one version of a release, from Observations; and as the state store keeps them.

May live here: sums. May not: what they mean (that is `rollout_analysis`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from customhouse.control.rollout_analysis import ArmStats
from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef

_COUNTED = {"prediction_outcomes_total": "outcome", "prediction_scores_total": "bin"}
"""Counters that are kept apart by one label."""


def arm_stats(
    observations: Iterable[Observation], release: str, resource: ResourceRef | None = None, rate: float | None = None
) -> ArmStats:
    """The counters of one release, summed over instances; of several values of one series the newest counts.

    `release` is the revision that the Observations name. Metrics read, those of the local target:
    customhouse_requests_total, _request_errors_total, _request_duration_seconds_{bucket,sum,count},
    _request_duration_squares_total, _predictions_labelled_total, _prediction_log_loss_sum,
    _prediction_log_loss_squares_sum, _prediction_outcomes_total, _prediction_scores_total. `rate` is what a second of
    serving costs, in micro-units of the currency; None: unknown.
    """
    latest: dict[tuple[str, str, tuple[tuple[str, str], ...]], Observation] = {}
    for seen in observations:
        if seen.release != release or (resource is not None and seen.resource != resource):
            continue
        if not math.isfinite(seen.value):
            continue
        key = (seen.metric.removeprefix("customhouse_"), seen.instance, tuple(sorted(seen.labels.items())))
        if key not in latest or latest[key].at <= seen.at:
            latest[key] = seen
    sums: dict[str, float] = {}
    buckets: dict[float, int] = {}
    counted: dict[str, dict[str, int]] = {metric: {} for metric in _COUNTED}
    for (metric, _, _), seen in latest.items():
        if metric == "request_duration_seconds_bucket":
            bound = _bound(seen.labels.get("le", ""))
            if bound is not None:
                buckets[bound] = buckets.get(bound, 0) + int(seen.value)
        elif metric in counted:
            name = seen.labels.get(_COUNTED[metric], "")
            counted[metric][name] = counted[metric].get(name, 0) + int(seen.value)
        else:
            sums[metric] = sums.get(metric, 0.0) + seen.value
    served = int(sums.get("request_duration_seconds_count", 0)) if rate is not None else 0
    price = rate or 0.0
    squares = sums.get("request_duration_squares_total")
    return ArmStats(
        requests=int(sums.get("requests_total", 0)),
        errors=int(sums.get("request_errors_total", 0)),
        latency=buckets,
        labelled=int(sums.get("predictions_labelled_total", 0)),
        log_loss=sums.get("prediction_log_loss_sum", 0.0),
        log_loss_squares=sums.get("prediction_log_loss_squares_sum", 0.0),
        outcomes=counted["prediction_outcomes_total"],
        costed=served,
        cost=price * sums.get("request_duration_seconds_sum", 0.0) if served else 0.0,
        cost_squares=price**2 * (_squares(buckets) if squares is None else squares) if served else 0.0,
        scores=counted["prediction_scores_total"],
    )


def stats_json(stats: ArmStats | None) -> dict[str, Any] | None:
    """For the state store."""
    if stats is None:
        return None
    found = {item.name: getattr(stats, item.name) for item in fields(stats)}
    latency = [["inf" if math.isinf(bound) else bound, count] for bound, count in sorted(stats.latency.items())]
    return {**found, "latency": latency, "outcomes": dict(stats.outcomes), "scores": dict(stats.scores)}


def stats_of(value: Mapping[str, Any] | None) -> ArmStats | None:
    """The inverse of `stats_json`. A counter that an older version kept and this one does not is left out."""
    if value is None:
        return None
    known = {item.name for item in fields(ArmStats)}
    kept = {name: found for name, found in value.items() if name in known}
    return ArmStats(**{**kept, "latency": {float(bound): count for bound, count in value["latency"]}})


def _squares(buckets: Mapping[float, int]) -> float:
    """Sum of squared durations as a histogram bounds it from above: a spread too large only makes a test more careful.

    What lies beyond the last finite bound is taken for twice that.
    """
    total, below, last = 0.0, 0, 0.0
    for bound in sorted(buckets):
        last = 2.0 * last if math.isinf(bound) else bound
        total += max(buckets[bound] - below, 0) * last**2
        below = buckets[bound]
    return total


def _bound(text: str) -> float | None:
    """A bucket's upper bound in seconds (`+Inf`: infinite); None for a label that is not one."""
    try:
        bound = float(text)
    except ValueError:
        return None
    return bound if bound > 0 else None
