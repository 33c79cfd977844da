"""Usage per window from Observations: what right-sizing looks at."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef
from customhouse.optimisation.rightsize import UsageSeries

MEMORY = "process_resident_memory_bytes"
CPU = "process_cpu_seconds_total"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def usage_series(
    observations: Iterable[Observation], resource: ResourceRef, window_s: int, release: str | None = None
) -> UsageSeries:
    """The windows of one workload, replicas pooled: a window of one instance is one value.

    Memory is the peak in the window in bytes. CPU is the mean rate in millicores, rounded up, between the last sample
    before the window's end and the last one before its beginning (or the instance's first sample). A counter that went
    back (a restarted process under the same name) begins a new stretch. Windows are aligned to the epoch; the last one
    of all is left out, since it may not be over. Raises ValueError for a window shorter than a second.
    """
    if window_s < 1:
        raise ValueError(f"a window of {window_s} s; at least 1 is needed")
    memory: dict[tuple[str, int], float] = {}
    samples: dict[str, list[tuple[float, float]]] = {}
    for seen in observations:
        wanted = seen.resource == resource and release in (None, seen.release)
        if not wanted or seen.metric not in (MEMORY, CPU) or not math.isfinite(seen.value):
            continue
        second = (seen.at - _EPOCH).total_seconds()
        if seen.metric == MEMORY:
            key = (seen.instance, int(second // window_s))
            memory[key] = max(memory.get(key, 0.0), seen.value)
        else:
            samples.setdefault(seen.instance, []).append((second, seen.value))
    cpu = {
        (instance, window): rate
        for instance, points in samples.items()
        for window, rate in _rates(sorted(points), window_s).items()
    }
    last = max((window for _, window in (*memory, *cpu)), default=0)
    return UsageSeries(
        window_s,
        tuple(math.ceil(memory[key]) for key in sorted(memory, key=lambda key: (key[1], key[0])) if key[1] < last),
        tuple(math.ceil(cpu[key]) for key in sorted(cpu, key=lambda key: (key[1], key[0])) if key[1] < last),
    )


def _rates(points: list[tuple[float, float]], window_s: int) -> dict[int, float]:
    """Mean millicores per window of one instance's cumulative CPU seconds."""
    rates: dict[int, float] = {}
    start_at, start_value = points[0]
    window, (end_at, end_value) = int(start_at // window_s), points[0]
    for at, value in points[1:]:
        if value < end_value or int(at // window_s) != window:
            if end_at > start_at:
                rates[window] = max(rates.get(window, 0.0), (end_value - start_value) / (end_at - start_at) * 1000.0)
            # A fall begins a new stretch at this very sample; a new window goes on from the last one of the old.
            start_at, start_value = (at, value) if value < end_value else (end_at, end_value)
            window = int(at // window_s)
        end_at, end_value = at, value
    if end_at > start_at:
        rates[window] = max(rates.get(window, 0.0), (end_value - start_value) / (end_at - start_at) * 1000.0)
    return rates
