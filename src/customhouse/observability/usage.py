"""Usage: pod-hour facts in exact integers, from cumulative Observations.

Numbered as in the code:

1. A replica is an instance that has process metrics. It is there from its first sample (from
   `process_start_time_seconds`, where that is measured) to its last.
2. A segment between two samples belongs to the interval that holds its later end (`counters` step 2). It counts as
   time of the replica unless the process restarted over a gap longer than `max_gap`: then nobody knows, and only the
   gap that was allowed counts.
3. Reserved = replica time × what the declared workload requests. Used CPU = growth of the CPU counter, in whole
   microseconds. Memory = the largest resident set of one replica at any sample of the interval.
4. Requests and errors = growth of their counters, over all instances of the release (the gateway counts them).

Cumulative values are rounded to whole microseconds and requests before they are subtracted, so that intervals that
follow one another add up exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from customhouse.core.cost import Usage
from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef
from customhouse.core.workload import UNKNOWN_ACCELERATOR, Workload
from customhouse.observability.counters import Instance, sort_out

CPU_SECONDS = "process_cpu_seconds_total"
MEMORY_BYTES = "process_resident_memory_bytes"
START_TIME = "process_start_time_seconds"
REQUESTS = "customhouse_requests_total"
ERRORS = "customhouse_request_errors_total"
DEFAULT_MAX_GAP = timedelta(minutes=5)
_MILLISECOND = timedelta(milliseconds=1)

Declared = Callable[[ResourceRef, str], Workload | None]
"""The workload that a (resource, release) runs; None when it is not known any more."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The rows of an interval, and what could not be counted (broken samples, releases that nobody declared)."""

    rows: tuple[Usage, ...]
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Sums:
    milliseconds: int = 0
    cpu_microseconds: int = 0
    memory: int = 0
    requests: int = 0
    errors: int = 0
    seen: bool = False


def usage(
    observations: Iterable[Observation],
    declared: Declared | Mapping[tuple[ResourceRef, str], Workload],
    start: datetime,
    end: datetime,
    *,
    max_gap: timedelta = DEFAULT_MAX_GAP,
) -> UsageReport:
    """What every release used and had reserved in [start, end), sorted by resource and release.

    Pass with the Observations of the interval the last one of every series before it (`counters` step 5). A release
    whose workload is not known has its use counted, nothing reserved, and a problem that says so.
    """
    if start >= end:
        raise ValueError(f"the interval from {start.isoformat()} to {end.isoformat()} is empty")
    given = sort_out(observations)
    sums: dict[tuple[ResourceRef, str], _Sums] = defaultdict(_Sums)
    for instance in given.instances:
        resource, release, _ = instance.key
        _add(sums[resource, release], instance, start, end, max_gap)
    problems = list(given.problems)
    rows: list[Usage] = []
    for (resource, release), found in sorted(sums.items(), key=lambda item: item[0]):
        if not found.seen:
            continue
        work = declared(resource, release) if callable(declared) else declared.get((resource, release))
        if work is None and found.milliseconds:
            problems.append(f"{resource} {release}: not declared, so nothing is known of what it reserves")
        rows.append(_row((resource, release), (start, end), found, work))
    return UsageReport(tuple(rows), tuple(problems))


def _add(sums: _Sums, instance: Instance, start: datetime, end: datetime, max_gap: timedelta) -> None:
    sums.milliseconds += _present(instance, start, end, max_gap)
    sums.cpu_microseconds += _whole(instance, CPU_SECONDS, start, end, 10**6)
    sums.requests += _whole(instance, REQUESTS, start, end, 1)
    sums.errors += _whole(instance, ERRORS, start, end, 1)
    for (metric, _), samples in instance.series.items():
        inside = [value for at, value in samples if start <= at < end]
        sums.seen = sums.seen or bool(inside)
        if metric == MEMORY_BYTES and inside:
            sums.memory = max(sums.memory, int(max(inside)))


def _present(instance: Instance, start: datetime, end: datetime, max_gap: timedelta) -> int:
    """Steps 1 and 2, in whole milliseconds."""
    measured = {metric for metric, _ in instance.series}
    if not measured & {CPU_SECONDS, MEMORY_BYTES, START_TIME}:
        return 0
    origin: datetime | None = None
    milliseconds, before = 0, None
    for at in _process_times(instance):
        if before is None:
            origin = _started(instance, at)
            span = at - origin if origin is not None else timedelta(0)
        else:
            span = at - before
            if at in instance.restarts:
                span = min(span, max_gap)
        if start <= at < end:
            milliseconds += _ticks(at) - _ticks(at - span)
        before = at
    return milliseconds


def _process_times(instance: Instance) -> list[datetime]:
    return sorted(
        {
            at
            for (metric, _), samples in instance.series.items()
            if metric in (CPU_SECONDS, MEMORY_BYTES, START_TIME)
            for at, _ in samples
        }
    )


def _started(instance: Instance, first: datetime) -> datetime | None:
    """When the process began, if it says so and is right: after the epoch, not after its first sample."""
    for (metric, _), samples in instance.series.items():
        if metric == START_TIME and samples and samples[0][0] == first and 0 < samples[0][1] <= first.timestamp():
            return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=round(samples[0][1] * 10**6))
    return None


def _ticks(at: datetime) -> int:
    """Whole milliseconds since the epoch: differences of it add up over any cuts."""
    return (at - datetime.fromtimestamp(0, UTC)) // _MILLISECOND


def _whole(instance: Instance, metric: str, start: datetime, end: datetime, scale: int) -> int:
    """Growth of a counter, over all its labels, in whole units: rounded first, subtracted afterwards."""
    grown = 0
    for (name, _), samples in instance.series.items():
        if name != metric:
            continue
        before = 0
        for at, value in samples:
            now = round(value * scale)
            if start <= at < end:
                grown += now if now < before or at in instance.restarts else now - before
            before = now
    return grown


def _row(
    key: tuple[ResourceRef, str], interval: tuple[datetime, datetime], found: _Sums, work: Workload | None
) -> Usage:
    gpu: dict[str, int] = {}
    if work is not None and work.accelerators and found.milliseconds:
        gpu[work.accelerator or UNKNOWN_ACCELERATOR] = work.accelerators * found.milliseconds
    return Usage(
        resource=key[0],
        release=key[1],
        start=interval[0],
        end=interval[1],
        replica_milliseconds=found.milliseconds,
        cpu_request_millicore_milliseconds=found.milliseconds * (work.cpu if work else 0),
        cpu_used_microseconds=found.cpu_microseconds,
        memory_request_byte_milliseconds=found.milliseconds * (work.memory if work else 0),
        memory_peak_bytes=found.memory,
        gpu_milliseconds=gpu,
        requests=found.requests,
        errors=found.errors,
    )
