"""Growth of cumulative counters between samples: resets, gaps, duplicates and samples out of order.

Used by money (`usage`) and by statistics (`telemetry`), so that both see the same growth. Rules, numbered as in the
code:

1. Samples of one series are put in order of time; of two at the same time the larger counts (a counter only grows).
2. A segment runs from one sample to the next and belongs wholly to the interval [since, until) that holds its later
   end. So intervals that follow one another count everything exactly once, with no interpolation.
3. A value below the one before means a new process that began at 0: the growth is the new value. A restart seen in
   one counter of an instance counts for all its counters at that sample, since one that grew past its old value would
   hide it.
4. A gap is no reset: the counter went on while nobody looked, and its growth counts at the sample after the gap.
5. The first sample of a series is growth from 0. So pass the last sample of every series before `since` as well;
   without it, an old process is taken for a new one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef

InstanceKey = tuple[ResourceRef, str, str]
"""Resource, release, instance: one process or pod."""
SeriesKey = tuple[str, tuple[tuple[str, str], ...]]
"""Metric and sorted labels, within an instance."""


@dataclass(slots=True)
class Instance:
    """All samples of one process, by series; each series in order of time."""

    key: InstanceKey
    series: dict[SeriesKey, list[tuple[datetime, float]]] = field(default_factory=dict)
    restarts: frozenset[datetime] = frozenset()
    """Samples at which some counter was below its value before."""

    def growth(self, metric: str, since: datetime, until: datetime) -> dict[tuple[tuple[str, str], ...], float]:
        """Growth of each series of a counter metric within [since, until), by its labels."""
        return {
            labels: sum(delta for at, delta in self.deltas(name, labels) if since <= at < until)
            for name, labels in self.series
            if name == metric
        }

    def deltas(self, metric: str, labels: tuple[tuple[str, str], ...] = ()) -> list[tuple[datetime, float]]:
        """(later end, growth) of every segment of one counter series (steps 2 to 5)."""
        found: list[tuple[datetime, float]] = []
        before = 0.0
        for at, value in self.series.get((metric, labels), ()):
            found.append((at, value if value < before or at in self.restarts else value - before))
            before = value
        return found

    def times(self) -> list[datetime]:
        """When this process was seen, in order."""
        return sorted({at for samples in self.series.values() for at, _ in samples})


@dataclass(frozen=True, slots=True)
class Sorted:
    """Observations by instance, and what was wrong with those that were left out."""

    instances: tuple[Instance, ...]
    problems: tuple[str, ...]


def sort_out(observations: Iterable[Observation]) -> Sorted:
    """Step 1 and the restarts of step 3. Values that are not finite or below 0 are left out and named."""
    found: dict[InstanceKey, dict[SeriesKey, dict[datetime, float]]] = defaultdict(dict)
    problems: list[str] = []
    for seen in observations:
        if not math.isfinite(seen.value) or (seen.value < 0 and _grows(seen.metric)) or seen.at.tzinfo is None:
            problems.append(
                f"{seen.resource} {seen.metric} at {seen.at.isoformat()}: {seen.value} is not a measurement"
            )
            continue
        key = (seen.resource, seen.release, seen.instance)
        samples = found[key].setdefault((seen.metric, tuple(sorted(seen.labels.items()))), {})
        samples[seen.at] = max(seen.value, samples.get(seen.at, seen.value))
    instances = []
    for key in sorted(found):
        series = {name: sorted(samples.items()) for name, samples in sorted(found[key].items())}
        instances.append(Instance(key, series, _restarts(series)))
    return Sorted(tuple(instances), tuple(sorted(set(problems))))


def _grows(metric: str) -> bool:
    # Log-loss sums are sums of non-negative numbers too, so a negative one is broken as well.
    return metric.endswith(("_total", "_sum", "_count", "_bucket"))


def _restarts(series: Mapping[SeriesKey, list[tuple[datetime, float]]]) -> frozenset[datetime]:
    found: set[datetime] = set()
    for (metric, _), samples in series.items():
        if not _grows(metric):
            continue
        found.update(at for (_, before), (at, value) in pairwise(samples) if value < before)
    return frozenset(found)
