"""Calibration: whether a probability of 0.8 comes true in 80 of 100 rows.

Bins hold equally many rows. The plain error (ECE) is above zero for a perfect model too; the debiased one (Kumar, Liang
and Ma 2019) takes off what chance alone makes. Of several classes, the probability of the answered one is looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from customhouse.trust.evaluation.intervals import Array, Estimate, mean, resampled, rounded, stream, wilson
from customhouse.trust.evaluation.performance import Codes, Settings, losses

_LOW, _HIGH = 0.05, 20.0
"""Temperatures that are looked at."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Metrics, the reliability table, and the temperature that would mend most of it."""

    metrics: dict[str, Estimate]
    table: list[dict[str, Any]]
    temperature: dict[str, Any]
    ece_by_chance: float = 0.0
    """What the ECE of a model is in the mean that is calibrated and gives these answers."""


def calibrate(y: Codes, p: Array, bins: int, settings: Settings) -> Calibration:
    """Measure it. `p` is [rows, classes]."""
    said, true = confidences(y, p)
    order = np.argsort(said, kind="stable")
    bins = max(2, min(bins, len(order) // 10))
    bin_of = np.empty(len(order), dtype=np.int64)
    bin_of[order] = np.arange(len(order)) * bins // len(order)
    counts = np.bincount(bin_of, minlength=bins).astype(np.float64)
    level = np.bincount(bin_of, weights=said, minlength=bins) / counts
    hits = np.bincount(bin_of, weights=true, minlength=bins)
    cells = np.concatenate([hits, counts - hits]).astype(np.int64)
    rng = stream(settings.seed, "calibration")
    found: dict[str, Estimate | None] = {
        "ece": resampled(
            cells, lambda c: _ece(c, level), rng, resamples=settings.resamples, confidence=settings.confidence
        ),
        "bias": mean(said - true, settings.z),
    }
    if found["ece"] is not None:
        found["ece"] = _shifted(found["ece"])
    square = _debiased(cells.astype(np.float64)[None, :], level)[0]
    drawn = resampled(
        cells, lambda c: _debiased(c, level), rng, resamples=settings.resamples, confidence=settings.confidence
    )
    if drawn is not None and drawn.low is not None and drawn.high is not None:
        # Resampling adds as much noise again: the drawn values lie above by what they were meant to take off.
        noise = float(np.sum(hits * (counts - hits) / counts) / counts.sum() / max(counts.mean(), 1.0))
        ends = [math.sqrt(max(0.0, end - noise)) for end in (drawn.low, drawn.high)]
        value = math.sqrt(max(0.0, square))
        found["rms_debiased"] = Estimate(value, min(ends[0], value), max(ends[1], value), len(y))
    table = [_row(counts[b], level[b], hits[b], settings.z) for b in range(bins)]
    spread = np.sqrt(np.bincount(bin_of, weights=said * (1.0 - said), minlength=bins)) / counts
    chance = float((spread * counts).sum() / counts.sum() * math.sqrt(2.0 / math.pi))
    return Calibration({k: v for k, v in found.items() if v is not None}, table, temperature(y, p, settings), chance)


def confidences(y: Codes, p: Array) -> tuple[Array, Array]:
    """What was said, and whether it came true: of the positive class of two, else of the class that was answered."""
    if p.shape[1] == 2:
        return p[:, 1], y.astype(np.float64)
    chosen = p.argmax(axis=1)
    return p[np.arange(len(y)), chosen], (chosen == y).astype(np.float64)


def plain_error(y: Codes, p: Array, bins: int) -> float:
    """The ECE alone."""
    said, true = confidences(y, p)
    order = np.argsort(said, kind="stable")
    pieces = np.array_split(order, max(2, min(bins, len(order) // 10)))
    return float(sum(abs(said[i].mean() - true[i].mean()) * len(i) for i in pieces if len(i)) / len(order))


def _ece(cells: Array, level: Array) -> Array:
    hits, counts = cells[:, : len(level)], cells[:, : len(level)] + cells[:, len(level) :]
    share = np.divide(hits, counts, where=counts > 0, out=np.zeros_like(hits))
    return np.asarray((np.abs(share - level) * counts).sum(axis=1) / counts.sum(axis=1))


def _debiased(cells: Array, level: Array) -> Array:
    hits, counts = cells[:, : len(level)], cells[:, : len(level)] + cells[:, len(level) :]
    safe = np.maximum(counts, 2.0)
    share = hits / safe
    square = (share - level) ** 2 - share * (1.0 - share) / (safe - 1.0)
    return np.asarray((square * counts).sum(axis=1) / counts.sum(axis=1))


def _shifted(drawn: Estimate) -> Estimate:
    """The drawn values are biased once more than the value is: the interval is moved back by half of its distance."""
    if drawn.low is None or drawn.high is None:
        return drawn
    middle = (drawn.low + drawn.high) / 2.0
    shift = max(0.0, middle - drawn.value)
    return Estimate(
        drawn.value, max(0.0, min(drawn.low - shift, drawn.value)), max(drawn.high - shift, drawn.value), drawn.count
    )


def _row(count: float, level: float, hits: float, z: float) -> dict[str, Any]:
    share = wilson(hits, count, z)
    return {
        "rows": int(count),
        "said": rounded(level),
        "true": rounded(hits / count),
        "low": None if share is None or share.low is None else rounded(share.low),
        "high": None if share is None or share.high is None else rounded(share.high),
    }


def temperature(y: Codes, p: Array, settings: Settings) -> dict[str, Any]:
    """The temperature that gives the least log-loss on one half of the rows, and what it does to the other half.

    `improves`: whether the log-loss of the other half falls by more than chance.
    """
    picked = stream(settings.seed, "temperature").random(len(y)) < 0.5
    if min(int(picked.sum()), int((~picked).sum())) < 20:
        return {"value": None, "reason": "fewer than 40 rows"}
    z = np.log(np.clip(p, 1e-15, 1.0))
    low, high = math.log(_LOW), math.log(_HIGH)
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    ends = [high - golden * (high - low), low + golden * (high - low)]
    for _ in range(40):
        left, right = (float(losses(y[picked], heated(z[picked], math.exp(t))).mean()) for t in ends)
        if left <= right:
            high = ends[1]
        else:
            low = ends[0]
        ends = [high - golden * (high - low), low + golden * (high - low)]
    best = math.exp((low + high) / 2.0)
    rest = ~picked
    gain = mean(losses(y[rest], p[rest]) - losses(y[rest], heated(z[rest], best)), settings.z)
    return {
        "value": rounded(round(best, 3)),
        "log_loss_gain": None if gain is None else gain.to_json(),
        "improves": bool(gain is not None and gain.low is not None and gain.low > 0.0),
    }


def heated(z: Array, value: float) -> Array:
    """Probabilities of logits (or logarithms of probabilities) at a temperature."""
    scaled = z / value
    shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float64)
