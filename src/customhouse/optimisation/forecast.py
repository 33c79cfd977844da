"""Forecasts of a regular series with intervals: a small ensemble in numpy, weighted and calibrated by back-tests.

Members: last value, seasonal naive, seasonal mean of the last periods, drift, damped trend on seasonally adjusted
values. Each is back-tested from rolling origins; weights are the inverse squares of their mean absolute errors. The
interval is empirical (split conformal): the finite-sample quantile of the ensemble's own back-test errors at each
distance. With too little history for a back-test the interval is wide and says so in `method`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from customhouse.core.errors import UsageError

Array = NDArray[np.float64]
Member = Callable[[Array, int, int], Array]

MAX_POINTS = 100_000
MAX_HORIZON = 10_000
MIN_POINTS = 3
_ORIGINS = 24
"""Back-test origins at most: enough for a 90 % quantile, and a forecast stays under 100 ms."""


class SeriesError(UsageError):
    """A series that cannot be forecast: too short, not in order, not finite; the message says which."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """`mean`, `lo` and `hi` at `times`, in the unit of the series; `level` is the share the interval should cover.

    `weights` of the members and the season's length in steps (1: none found) say how it was made.
    """

    times: tuple[datetime, ...]
    mean: tuple[float, ...]
    lo: tuple[float, ...]
    hi: tuple[float, ...]
    level: float
    season: int
    weights: dict[str, float]
    method: str


def forecast(
    times: Sequence[datetime], values: Sequence[float], horizon: int, level: float = 0.9, *, season: int | None = None
) -> Forecast:
    """The next `horizon` values of a series in order of time.

    The step is the median distance between times; gaps are filled by linear interpolation. Without `season` (in steps)
    an hour, a day and a week are tried by autocorrelation. When no value is negative the interval is cut at 0.
    Raises SeriesError for fewer than 3 points, unordered or repeated times, NaN, or sizes beyond the limits.
    """
    if not 0.0 < level < 1.0:
        raise SeriesError(f"level {level:g} is not between 0 and 1; write 0.9 for 90 %")
    if not 1 <= horizon <= MAX_HORIZON:
        raise SeriesError(f"horizon {horizon} is not between 1 and {MAX_HORIZON}")
    step, y = regular(times, values)
    period = season or find_season(y, step)
    weights, errors = _backtest(y, horizon, period)
    mean = _combine(y, horizon, period, weights)
    half = _half_widths(y, errors, horizon, level)
    low = mean - half
    if y.min() >= 0.0:
        mean, low = np.maximum(mean, 0.0), np.maximum(low, 0.0)
    last = times[-1]
    return Forecast(
        times=tuple(last + step * (index + 1) for index in range(horizon)),
        mean=tuple(mean.tolist()),
        lo=tuple(low.tolist()),
        hi=tuple((mean + half).tolist()),
        level=level,
        season=period,
        weights={name: round(weight, 6) for name, weight in weights.items()},
        method=f"ensemble, {len(errors)} back-test origins" if errors else "ensemble, too short for a back-test",
    )


def regular(times: Sequence[datetime], values: Sequence[float]) -> tuple[timedelta, Array]:
    """The step and the values on a regular grid that ends at the last time. Raises SeriesError."""
    if len(times) != len(values):
        raise SeriesError(f"{len(times)} times and {len(values)} values")
    if not MIN_POINTS <= len(values) <= MAX_POINTS:
        raise SeriesError(f"{len(values)} points; between {MIN_POINTS} and {MAX_POINTS} are needed")
    y = np.asarray(values, dtype=np.float64)
    if not np.isfinite(y).all():
        raise SeriesError(f"value {int(np.flatnonzero(~np.isfinite(y))[0]) + 1} is not a finite number")
    seconds = np.array([(at - times[-1]).total_seconds() for at in times])
    gaps = np.diff(seconds)
    if (gaps <= 0).any():
        raise SeriesError(f"time {int(np.flatnonzero(gaps <= 0)[0]) + 2} is not after the one before it")
    step = float(np.median(gaps))
    count = round(-seconds[0] / step) + 1
    if count > MAX_POINTS:
        raise SeriesError(f"{count} steps between the first and the last time; at most {MAX_POINTS}")
    grid = np.arange(-(count - 1), 1) * step
    return timedelta(seconds=step), np.interp(grid, seconds, y)


def find_season(y: Array, step: timedelta) -> int:
    """The season in steps: an hour, a day or a week if the series has two of them and repeats itself, 1 otherwise."""
    best, strength = 1, 0.3  # weaker than this a season costs more than it brings
    detrended = y - np.linspace(y[0], y[-1], len(y)) if len(y) > 2 else y
    for length in (timedelta(hours=1), timedelta(days=1), timedelta(days=7)):
        period = round(length / step)
        if period >= 2 and 2 * period <= len(y):
            found = _autocorrelation(detrended, period)
            if found > strength + (0.05 if best > 1 else 0.0):
                best, strength = period, found
    return best


def _autocorrelation(y: Array, lag: int) -> float:
    centred = y - y.mean()
    scale = float((centred**2).sum())
    return 0.0 if scale == 0.0 else float((centred[lag:] * centred[:-lag]).sum()) / scale * len(y) / (len(y) - lag)


def _last(y: Array, horizon: int, _period: int) -> Array:
    return np.full(horizon, y[-1])


def _seasonal(y: Array, horizon: int, period: int) -> Array:
    return np.resize(y[-period:], horizon)


def _seasonal_mean(y: Array, horizon: int, period: int) -> Array:
    periods = min(len(y) // period, 4)
    return np.resize(y[len(y) - periods * period :].reshape(periods, period).mean(axis=0), horizon)


def _drift(y: Array, horizon: int, _period: int) -> Array:
    slope = (y[-1] - y[0]) / (len(y) - 1)
    return np.asarray(y[-1] + slope * np.arange(1, horizon + 1))


def _damped(y: Array, horizon: int, period: int) -> Array:
    """Holt's damped trend (φ 0.9, α 0.3, β 0.1) on the values less their seasonal profile."""
    profile = np.zeros(period)
    if period > 1:
        whole = len(y) // period * period
        tail = y[len(y) - whole :].reshape(-1, period)
        profile = (tail - tail.mean(axis=1, keepdims=True)).mean(axis=0)
    phase = (np.arange(len(y)) - len(y)) % period
    adjusted = (y - profile[phase])[-500:]
    start = min(len(adjusted), 10)
    level, trend = float(adjusted[:start].mean()), 0.0
    for value in adjusted.tolist():
        before = level
        level = 0.3 * value + 0.7 * (level + 0.9 * trend)
        trend = 0.1 * (level - before) + 0.9 * 0.9 * trend
    steps = np.cumsum(0.9 ** np.arange(1, horizon + 1))
    return np.asarray(level + trend * steps + profile[np.arange(horizon) % period])


MEMBERS: dict[str, Member] = {
    "last": _last,
    "seasonal": _seasonal,
    "seasonal_mean": _seasonal_mean,
    "drift": _drift,
    "damped": _damped,
}


def _combine(y: Array, horizon: int, period: int, weights: dict[str, float]) -> Array:
    parts = [weight * MEMBERS[name](y, horizon, period) for name, weight in weights.items()]
    return np.asarray(np.sum(parts, axis=0))


def _backtest(y: Array, horizon: int, period: int) -> tuple[dict[str, float], list[Array]]:
    """Weights of the members, and the ensemble's errors per origin (each of the length that could be checked)."""
    names = [name for name in MEMBERS if period > 1 or not name.startswith("seasonal")]
    first = max(2 * period if period > 1 else 0, MIN_POINTS + 2, len(y) // 3)
    last = len(y) - 1
    if last - first < 4:
        return {name: 1.0 / len(names) for name in names}, []
    origins = np.unique(np.linspace(first, last, min(_ORIGINS * 2, last - first + 1)).astype(int))
    runs: list[tuple[Array, list[Array]]] = []
    for origin in origins.tolist():
        reach = min(horizon, len(y) - origin)
        runs.append((y[origin : origin + reach], [MEMBERS[name](y[:origin], reach, period) for name in names]))
    losses = np.array(
        [[float(np.abs(actual - part).mean()) for part in parts] for actual, parts in runs], dtype=np.float64
    ).mean(axis=0)
    floor = max(float(losses.min()), 1e-12)
    raw = (floor / np.maximum(losses, floor)) ** 2
    shares = raw / raw.sum()
    errors = [actual - np.tensordot(shares, np.array(parts), axes=1) for actual, parts in runs]
    return dict(zip(names, shares.tolist(), strict=True)), errors


def _half_widths(y: Array, errors: list[Array], horizon: int, level: float) -> Array:
    """Half the interval at each distance: it never shrinks with distance, and grows as √ beyond what was checked."""
    spread = float(np.abs(np.diff(y)).mean()) if len(y) > 1 else 0.0
    if not errors:
        # Nothing could be checked: three mean steps, or half of the mean level, whichever is more, growing as √.
        return np.asarray(max(3.0 * spread, 0.5 * abs(float(y.mean()))) * np.sqrt(np.arange(1, horizon + 1)))
    half = np.zeros(horizon)
    checked = 0
    for index in range(horizon):
        near = [np.abs(run[max(0, index - 1) : index + 2]) for run in errors if len(run) > index]
        if len(near) < 5:
            break
        sample = np.sort(np.concatenate(near))
        # Split conformal: the ⌈(n+1)·level⌉-th smallest, n being the origins; neighbours only smooth it.
        rank = math.ceil((len(near) + 1) * level) / len(near)
        half[index] = sample[min(len(sample), math.ceil(rank * len(sample))) - 1] * max(1.0, rank)
        checked = index + 1
    if checked == 0:
        half[0] = max(float(np.abs(np.concatenate(errors)).max()), spread)
        checked = 1
    half[:checked] = np.maximum.accumulate(half[:checked])
    beyond = np.arange(checked + 1, horizon + 1)
    half[checked:] = half[checked - 1] * np.sqrt(beyond / checked)
    return half
