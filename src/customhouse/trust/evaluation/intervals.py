"""Estimates with intervals.

Sources: Wilson 1927 (shares); Zou and Donner 2008 (means and differences of them); DeLong et al. 1988 with the logit of
Pepe 2003 (areas); Efron's percentile bootstrap, drawn as multinomial counts, which is the same as resampling rows.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_DRAWN = 4_000_000
"""Cells that are drawn at once: 32 MB."""
DIGITS = 9
"""Significant digits of what is written: beyond these, sums differ between processors."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value and its interval; None where there is none. `count` is what it rests on."""

    value: float
    low: float | None
    high: float | None
    count: int

    def to_json(self) -> dict[str, Any]:
        """`{"value","low","high","count"}`, rounded to the digits that every machine agrees on."""
        return {
            "value": rounded(self.value),
            "low": None if self.low is None else rounded(self.low),
            "high": None if self.high is None else rounded(self.high),
            "count": self.count,
        }


def rounded(value: float) -> float:
    """To DIGITS significant digits; negative zero is zero. Raises ValueError for what is not finite."""
    if not math.isfinite(value):
        raise ValueError("a measurement is not finite")
    return float(f"{float(value):.{DIGITS}g}") + 0.0


def quantile(confidence: float) -> float:
    """The normal quantile of a two-sided interval: 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2.0)


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose: what another purpose draws changes nothing here."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())])))


def wilson(successes: float, count: float, z: float) -> Estimate | None:
    """A share of independent rows; None without rows."""
    if count <= 0:
        return None
    share = successes / count
    middle = (share + z * z / (2.0 * count)) / (1.0 + z * z / count)
    half = z * math.sqrt(share * (1.0 - share) / count + z * z / (4.0 * count * count)) / (1.0 + z * z / count)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Estimate(share, 0.0 if successes == 0 else low, 1.0 if successes == count else high, int(count))


def mean(values: Array, z: float) -> Estimate | None:
    """A mean by the central limit theorem; without an interval for a single row, None without rows."""
    if len(values) == 0:
        return None
    value = float(values.mean())
    if len(values) < 2:
        return Estimate(value, None, None, len(values))
    half = z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(value, value - half, value + half, len(values))


def influenced(value: float, influence: Array, z: float) -> Estimate:
    """A value whose error is the mean of one term a row (its influence function).

    Without an interval where no row differs from another: a perfect model on some rows is not known to be perfect.
    """
    count = len(influence)
    half = z * float(np.sqrt(np.mean(influence**2) / max(count - 1, 1)))
    if half == 0.0:
        return Estimate(value, None, None, count)
    return Estimate(value, value - half, value + half, count)


def area(value: float, influence: Array, positives: int, negatives: int, z: float) -> Estimate:
    """An area under a curve: its interval is symmetric on the logit scale and stays within 0 and 1."""
    spread = float(np.sqrt(np.mean(influence**2) / max(len(influence) - 1, 1)))
    fewer = min(positives, negatives)
    if spread == 0.0 or not 0.0 < value < 1.0:
        # Perfect ranks have no spread to see: as little is known as of a share of the smaller class.
        least = wilson(round(value) * fewer, fewer, z)
        return Estimate(value, least.low if least else None, least.high if least else None, len(influence))
    middle, half = math.log(value / (1.0 - value)), z * spread / (value * (1.0 - value))
    ends = [1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, middle + sign * half)))) for sign in (-1.0, 1.0)]
    return Estimate(value, ends[0], ends[1], len(influence))


def averaged(parts: Sequence[Estimate]) -> Estimate | None:
    """The mean of independent shares, by the recovery of variances from their intervals (Zou and Donner 2008)."""
    if not parts or any(part.low is None or part.high is None for part in parts):
        return None
    count = len(parts)
    value = sum(part.value for part in parts) / count
    low = math.sqrt(sum((part.value - (part.low or 0.0)) ** 2 for part in parts)) / count
    high = math.sqrt(sum(((part.high or 0.0) - part.value) ** 2 for part in parts)) / count
    return Estimate(value, value - low, value + high, sum(part.count for part in parts))


def harmonic(jaccard: Estimate | None) -> Estimate | None:
    """F1 from TP / (TP + FP + FN), of which it is an increasing function: 2J / (1 + J)."""
    if jaccard is None:
        return None

    def turned(share: float) -> float:
        return 2.0 * share / (1.0 + share)

    return Estimate(
        turned(jaccard.value), turned(jaccard.low or 0.0), turned(1.0 if jaccard.high is None else jaccard.high),
        jaccard.count,
    )  # fmt: skip


def resampled(
    counts: NDArray[np.int64],
    statistic: Callable[[Array], Array],
    rng: np.random.Generator,
    *,
    resamples: int,
    confidence: float,
) -> Estimate | None:
    """Percentile bootstrap of a statistic of cell counts; `statistic` takes [resamples, cells], gives one value each.

    Values that are not finite (a group that was not drawn) are left out. None without rows, or where the statistic of
    the counts themselves is not finite.
    """
    total = int(counts.sum())
    if total == 0:
        return None
    value = float(statistic(counts[None, :].astype(np.float64))[0])
    if not math.isfinite(value):
        return None
    step = max(1, _DRAWN // len(counts))
    sizes = [min(step, resamples - first) for first in range(0, resamples, step)]
    share = counts / total
    drawn = np.concatenate([statistic(rng.multinomial(total, share, size=n).astype(np.float64)) for n in sizes])
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < resamples // 2:
        return Estimate(value, None, None, total)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return Estimate(value, float(low), float(high), total)
