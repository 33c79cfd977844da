"""Metrics of a probability forecast, with confidence intervals; numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Z95 = 1.959964
CLIP = 1e-7


def losses(y: Array, p: Array) -> Array:
    """Log-loss of each row in nats; probabilities are kept 1e-7 away from 0 and 1."""
    clipped = np.clip(p, CLIP, 1.0 - CLIP)
    return -(y * np.log(clipped) + (1.0 - y) * np.log(1.0 - clipped))


def auc(y: Array, p: Array) -> float:
    """Area under the ROC curve: the probability that a fraud scores above a good transaction (ties count half)."""
    order = np.argsort(p, kind="stable")
    ranks = np.empty(len(p))
    ranks[order] = np.arange(1, len(p) + 1)
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.bincount(inverse, weights=ranks) / counts)[inverse]
    positives = float(y.sum())
    negatives = len(y) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def metrics(y: Array, p: Array) -> dict[str, Any]:
    """AUC (Hanley and McNeil's interval), log-loss and Brier score with 95 % normal intervals, and the counts."""
    area = auc(y, p)
    positives, negatives = float(y.sum()), float(len(y) - y.sum())
    q1, q2 = area / (2.0 - area), 2.0 * area**2 / (1.0 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    half = Z95 * float(np.sqrt(max(spread, 0.0) / max(positives * negatives, 1.0)))
    return {
        "rows": len(y),
        "positives": int(positives),
        "auc": _interval(area, half),
        "log_loss": _mean(losses(y, p)),
        "brier": _mean((p - y) ** 2),
        "precision_at_half": _share(y[p >= 0.5]),
        "recall_at_half": _share((p >= 0.5)[y == 1].astype(np.float64)),
    }


def _interval(value: float, half: float) -> dict[str, float]:
    return {"value": round(value, 6), "low": round(value - half, 6), "high": round(value + half, 6)}


def _mean(values: Array) -> dict[str, float]:
    return _interval(float(values.mean()), Z95 * float(values.std(ddof=1)) / float(np.sqrt(len(values))))


def _share(values: Array) -> float | None:
    return round(float(values.mean()), 6) if len(values) else None
