"""Statistics of a release over a window, from cumulative Observations: what rollouts and the dashboard look at.

Pure functions. Latency comes from histogram buckets (upper bounds `le` in seconds, cumulative, as Prometheus has
them), and its quantiles are interpolated within a bucket, so they are as exact as the buckets are narrow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef
from customhouse.observability.counters import sort_out
from customhouse.observability.usage import CPU_SECONDS, ERRORS, MEMORY_BYTES, REQUESTS

BUCKETS = "customhouse_request_duration_seconds_bucket"
DURATION_SUM = "customhouse_request_duration_seconds_sum"
LABELLED = "customhouse_predictions_labelled_total"
LOG_LOSS_SUM = "customhouse_prediction_log_loss_sum"
LOG_LOSS_SQUARES = "customhouse_prediction_log_loss_squares_sum"
OUTCOMES = "customhouse_prediction_outcomes_total"


@dataclass(frozen=True, slots=True)
class WindowStats:
    """One release over [since, until). Latencies in seconds (None without requests), memory in bytes."""

    since: datetime
    until: datetime
    requests: int = 0
    errors: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)
    buckets: tuple[tuple[float, int], ...] = ()
    """(upper bound, requests at or below it), cumulative, ending with infinity."""
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    latency_mean: float | None = None
    labelled: int = 0
    log_loss_sum: float = 0.0
    log_loss_squares_sum: float = 0.0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """`tp`, `fp`, `tn`, `fn` at the threshold that the target uses."""
    cpu_seconds: float = 0.0
    memory_peak: int = 0
    instances: int = 0

    @property
    def seconds(self) -> float:
        """How long the window is."""
        return (self.until - self.since).total_seconds()

    @property
    def request_rate(self) -> float:
        """Requests a second over the window."""
        return self.requests / self.seconds if self.seconds > 0 else 0.0

    @property
    def error_ratio(self) -> float | None:
        """Errors over requests; None without requests: no traffic says nothing of errors."""
        return self.errors / self.requests if self.requests else None

    @property
    def log_loss_mean(self) -> float | None:
        """Mean log-loss of the labelled predictions."""
        return self.log_loss_sum / self.labelled if self.labelled else None

    @property
    def log_loss_variance(self) -> float | None:
        """Sample variance (n − 1) of the log-loss of one prediction; None below two."""
        if self.labelled < 2:
            return None
        mean = self.log_loss_sum / self.labelled
        return max(0.0, (self.log_loss_squares_sum - self.labelled * mean * mean) / (self.labelled - 1))


def window(
    observations: Iterable[Observation], resource: ResourceRef, release: str, since: datetime, until: datetime
) -> WindowStats:
    """What one release did in [since, until), over all its instances.

    Pass with the Observations of the window the last one of every series before it (`counters` step 5).
    """
    mine = [seen for seen in observations if seen.release == release and seen.resource == resource]
    sums: dict[str, float] = defaultdict(float)
    codes: dict[str, float] = defaultdict(float)
    outcomes: dict[str, float] = defaultdict(float)
    cumulative: dict[float, float] = defaultdict(float)
    memory, running = 0.0, 0
    for instance in sort_out(mine).instances:
        for metric in (REQUESTS, ERRORS, DURATION_SUM, LABELLED, LOG_LOSS_SUM, LOG_LOSS_SQUARES, CPU_SECONDS):
            for labels, grown in instance.growth(metric, since, until).items():
                sums[metric] += grown
                if metric == REQUESTS:
                    codes[dict(labels).get("code", "")] += grown
        for labels, grown in instance.growth(OUTCOMES, since, until).items():
            outcomes[dict(labels).get("outcome", "")] += grown
        for labels, grown in instance.growth(BUCKETS, since, until).items():
            bound = _bound(dict(labels).get("le", ""))
            if bound is not None:
                cumulative[bound] += grown
        sizes = [v for (m, _), s in instance.series.items() if m == MEMORY_BYTES for at, v in s if since <= at < until]
        memory, running = max([memory, *sizes]), running + bool(sizes)
    buckets = _monotone(cumulative)
    counted = buckets[-1][1] if buckets else 0
    return WindowStats(
        since=since,
        until=until,
        requests=round(sums[REQUESTS]),
        errors=round(sums[ERRORS]),
        codes={code: round(grown) for code, grown in sorted(codes.items()) if round(grown)},
        buckets=buckets,
        p50=quantile(buckets, 0.5),
        p95=quantile(buckets, 0.95),
        p99=quantile(buckets, 0.99),
        latency_mean=sums[DURATION_SUM] / counted if counted else None,
        labelled=round(sums[LABELLED]),
        log_loss_sum=sums[LOG_LOSS_SUM],
        log_loss_squares_sum=sums[LOG_LOSS_SQUARES],
        outcomes={name: round(grown) for name, grown in sorted(outcomes.items())},
        cpu_seconds=sums[CPU_SECONDS],
        memory_peak=int(memory),
        instances=running,
    )


def quantile(buckets: Sequence[tuple[float, int]], q: float) -> float | None:
    """The q-quantile of a cumulative histogram, linear within a bucket (as Prometheus' `histogram_quantile`).

    None when it is empty. In the last, unbounded bucket it is the largest finite bound: a floor, not a guess. Raises
    ValueError for q outside [0, 1].
    """
    if not 0 <= q <= 1:
        raise ValueError(f"{q} is not a quantile")
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank = q * buckets[-1][1]
    lower, below = 0.0, 0
    for bound, count in buckets:
        if count >= rank and count > below:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * max(0.0, rank - below) / (count - below)
        if not math.isinf(bound):
            lower = bound
        below = count
    return lower


def _bound(text: str) -> float | None:
    try:
        bound = float(text)
    except ValueError:
        return None
    return None if math.isnan(bound) else bound


def _monotone(cumulative: Mapping[float, float]) -> tuple[tuple[float, int], ...]:
    """In order of bounds, never falling: scrapes of several instances are not one moment."""
    found: list[tuple[float, int]] = []
    highest = 0
    for bound in sorted(cumulative):
        highest = max(highest, round(cumulative[bound]))
        found.append((bound, highest))
    return tuple(found)
