"""Performance: metrics as scikit-learn defines them, each with an interval and the error of each row behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.intervals import (
    Array,
    Estimate,
    area,
    averaged,
    harmonic,
    influenced,
    mean,
    resampled,
    stream,
    wilson,
)

Codes = NDArray[np.int64]
EPSILON = float(np.finfo(np.float64).eps)
"""Probabilities are kept so far from 0 and 1 in the log-loss, as scikit-learn does."""
_BINS = 1000
MANY = 100
"""Classes: with more, areas and resampled intervals are left out, whose cost grows with the square."""
PINBALL = (0.1, 0.5, 0.9)
LOWER_IS_BETTER = frozenset(
    {"log_loss", "brier", "rmse", "mae", "mean_error", *(f"pinball_{int(100 * q)}" for q in PINBALL)}
)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of the rows: codes of classes, or values."""

    task: str
    classes: tuple[str, ...] = ()
    code: Codes | None = None
    value: Array | None = None

    @property
    def rows(self) -> int:
        """How many."""
        found = self.code if self.value is None else self.value
        return 0 if found is None else len(found)

    def taken(self, mask: Any) -> Truth:
        """Some of the rows."""
        return Truth(
            self.task,
            self.classes,
            None if self.code is None else self.code[mask],
            None if self.value is None else self.value[mask],
        )


def taken(scores: Scores, mask: Any) -> Scores:
    """Some of the rows."""
    return Scores(*(None if part is None else part[mask] for part in (scores.p, scores.code, scores.value)))


def confusion(y: Codes, code: Codes, classes: int) -> NDArray[np.int64]:
    """Rows: what is true; columns: what was answered."""
    return np.bincount(y * classes + code, minlength=classes * classes).reshape(classes, classes)


def losses(y: Codes, p: Array) -> Array:
    """The log-loss of each row, in nats."""
    chosen = np.clip(p[np.arange(len(y)), y], EPSILON, 1.0 - EPSILON)
    return np.asarray(-np.log(chosen), dtype=np.float64)


def brier(y: Codes, p: Array) -> Array:
    """The squared error of each row: of the positive class for two classes, summed over classes for more."""
    if p.shape[1] == 2:
        return np.asarray((p[:, 1] - y) ** 2, dtype=np.float64)
    return np.asarray((p**2).sum(axis=1) - 2.0 * p[np.arange(len(y)), y] + 1.0, dtype=np.float64)


def roc_auc(positive: NDArray[np.bool_], score: Array) -> tuple[float, Array] | None:
    """The area under the ROC curve and the influence of each row on it (DeLong's components); None for one class.

    Ties count half. Time is that of sorting.
    """
    m, n = int(positive.sum()), int(len(positive) - positive.sum())
    if m == 0 or n == 0:
        return None
    _, inverse, _ = np.unique(score, return_inverse=True, return_counts=True)
    ups = np.bincount(inverse, weights=positive).astype(np.float64)
    downs = np.bincount(inverse, weights=~positive).astype(np.float64)
    below = (np.cumsum(downs) - 0.5 * downs)[inverse] / n
    above = (m - np.cumsum(ups) + 0.5 * ups)[inverse] / m
    value = float(below[positive].mean())
    rows = len(positive)
    influence = np.where(positive, (below - value) * rows / m, (above - value) * rows / n)
    return value, influence


def average_precision(positive: NDArray[np.bool_], score: Array) -> float:
    """The area under the precision-recall curve as a sum of steps."""
    _, inverse = np.unique(-score, return_inverse=True)
    ups = np.bincount(inverse, weights=positive)
    every = np.bincount(inverse).astype(np.float64)
    return float(_precision_area(np.asarray(ups, dtype=np.float64)[None, :], every[None, :])[0])


def _precision_area(ups: Array, every: Array) -> Any:
    found, seen = np.cumsum(ups, axis=1), np.cumsum(every, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(seen > 0, found / seen, 0.0)
        return (precision * ups).sum(axis=1) / ups.sum(axis=1)


def _pr_interval(positive: NDArray[np.bool_], score: Array, settings: Settings) -> Estimate | None:
    value = average_precision(positive, score)
    if not math.isfinite(value):
        return None
    # Resampled on at most _BINS groups of neighbouring scores: as quick for millions of rows as for thousands.
    order = np.argsort(-score, kind="stable")
    bins = np.arange(len(order)) * min(_BINS, len(order)) // len(order)
    y = positive[order]
    width = int(bins[-1]) + 1
    counts = np.concatenate([np.bincount(bins[y], minlength=width), np.bincount(bins[~y], minlength=width)])

    def of(cells: Array) -> Array:
        ups = cells[:, :width]
        return np.asarray(_precision_area(ups, ups + cells[:, width:]), dtype=np.float64)

    found = resampled(
        counts, of, stream(settings.seed, "pr-auc"), resamples=settings.resamples, confidence=settings.confidence
    )
    if found is None or found.low is None or found.high is None:
        return Estimate(value, None, None, len(score))
    shift = value - found.value
    return Estimate(value, max(0.0, found.low + shift), min(1.0, found.high + shift), len(score))


@dataclass(frozen=True, slots=True)
class Settings:
    """What intervals are made with; `z` belongs to `confidence`."""

    z: float
    confidence: float
    seed: int
    resamples: int


def influences(truth: Truth, scores: Scores) -> dict[str, tuple[float, Array]]:
    """Metrics that are smooth functions of means, with the influence of each row: what differences are made of."""
    if truth.value is not None and scores.value is not None:
        return _regression_influences(truth.value, scores.value)
    if truth.code is None or scores.code is None:
        return {}
    y, code, classes = truth.code, scores.code, len(truth.classes)
    right = (y == code).astype(np.float64)
    found = {"accuracy": _of_mean(right), "balanced_accuracy": _balanced(y, right, classes)}
    if classes == 2:
        tp, fp, fn = (code == 1) & (y == 1), (code == 1) & (y == 0), (code == 0) & (y == 1)
        for name, top, bottom in (
            ("precision", tp, tp | fp),
            ("recall", tp, tp | fn),
            ("specificity", (code == 0) & (y == 0), y == 0),
            ("f1", 2.0 * tp, 2.0 * tp + fp + fn),
        ):
            ratio = _of_ratio(np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64))
            found |= {} if ratio is None else {name: ratio}
    if scores.p is None:
        return found
    found |= {"log_loss": _of_mean(losses(y, scores.p)), "brier": _of_mean(brier(y, scores.p))}
    if classes > MANY:
        return found
    areas = [roc_auc(y == k, scores.p[:, k]) for k in ((1,) if classes == 2 else range(classes))]
    known = [item for item in areas if item is not None]
    if known and len(known) == len(areas):
        value = float(np.mean([item[0] for item in known]))
        found["roc_auc"] = (value, np.mean([item[1] for item in known], axis=0))
    return found


def _of_mean(values: Array) -> tuple[float, Array]:
    value = float(values.mean())
    return value, values - value


def _of_ratio(top: Array, bottom: Array) -> tuple[float, Array] | None:
    below = float(bottom.mean())
    if below == 0.0:
        return None
    value = float(top.mean()) / below
    return value, (top - value * bottom) / below


def _balanced(y: Codes, right: Array, classes: int) -> tuple[float, Array]:
    counts = np.bincount(y, minlength=classes).astype(np.float64)
    present = counts > 0
    recall = np.divide(np.bincount(y, weights=right, minlength=classes), counts, where=present, out=np.zeros(classes))
    weight = len(y) / np.where(present, counts, 1.0) / present.sum()
    return float(recall[present].mean()), np.asarray(weight[y] * (right - recall[y]), dtype=np.float64)


def _regression_influences(y: Array, value: Array) -> dict[str, tuple[float, Array]]:
    error = value - y
    square = error**2
    mse, spread = float(square.mean()), float(y.var())
    rmse = math.sqrt(mse)
    found = {
        "rmse": (rmse, (square - mse) / (2.0 * rmse) if rmse > 0.0 else np.zeros(len(y))),
        "mae": _of_mean(np.abs(error)),
        "mean_error": _of_mean(error),
    }
    if spread > 0.0:
        apart = (y - y.mean()) ** 2
        found["r2"] = (1.0 - mse / spread, -(square - mse) / spread + mse / spread**2 * (apart - spread))
    for share in PINBALL:
        found[f"pinball_{int(100 * share)}"] = _of_mean(np.maximum(-share * error, (1.0 - share) * error))
    return found


def metrics(truth: Truth, scores: Scores, settings: Settings) -> dict[str, Estimate]:
    """Every metric with its interval; one that these rows do not give is left out."""
    smooth = influences(truth, scores)
    if truth.value is not None:
        return {name: influenced(value, terms, settings.z) for name, (value, terms) in smooth.items()}
    if truth.code is None or scores.code is None:
        return {}
    table = confusion(truth.code, scores.code, len(truth.classes))
    found = _of_counts(table, settings)
    if scores.p is not None:
        for name in ("log_loss", "brier"):
            found[name] = influenced(*smooth[name], settings.z)
        if "roc_auc" in smooth:
            fewest = int(min(table.sum(axis=1)[table.sum(axis=1) > 0]))
            found["roc_auc"] = area(*smooth["roc_auc"], fewest, truth.rows - fewest, settings.z)
        if len(truth.classes) == 2 and 0 < truth.code.sum() < truth.rows:
            precise = _pr_interval(truth.code == 1, scores.p[:, 1], settings)
            found |= {} if precise is None else {"pr_auc": precise}
    return found


def _of_counts(table: NDArray[np.int64], settings: Settings) -> dict[str, Estimate]:
    z, count = settings.z, int(table.sum())
    right = np.diag(table)
    rows = table.sum(axis=1)
    recalls = [wilson(float(right[k]), float(rows[k]), z) for k in range(len(table))]
    found: dict[str, Estimate | None] = {
        "accuracy": wilson(float(right.sum()), count, z),
        "balanced_accuracy": averaged([item for item in recalls if item is not None]),
    }
    if len(table) == 2:
        tn, fp, fn, tp = (float(item) for item in table.reshape(-1))
        found |= {
            "precision": wilson(tp, tp + fp, z),
            "recall": wilson(tp, tp + fn, z),
            "specificity": wilson(tn, tn + fp, z),
            "f1": harmonic(wilson(tp, tp + fp + fn, z)),
            "selection_rate": wilson(tp + fp, count, z),
            "prevalence": wilson(tp + fn, count, z),
        }
    elif len(table) <= MANY:
        for name, statistic in (("macro_f1", _macro_f1), ("macro_precision", _macro_precision)):
            found[name] = resampled(
                table.reshape(-1),
                statistic,
                stream(settings.seed, name),
                resamples=settings.resamples,
                confidence=settings.confidence,
            )
    if len(table) <= MANY:
        rng, cells = stream(settings.seed, "mcc"), table.reshape(-1)
        found["mcc"] = resampled(cells, _mcc, rng, resamples=settings.resamples, confidence=settings.confidence)
    return {name: item for name, item in found.items() if item is not None}


def _squares(cells: Array) -> Array:
    side = math.isqrt(cells.shape[1])
    return cells.reshape(-1, side, side)


def _macro_f1(cells: Array) -> Array:
    table = _squares(cells)
    right, rows, columns = np.einsum("rii->ri", table), table.sum(axis=2), table.sum(axis=1)
    whole = rows + columns
    return np.asarray(np.divide(2.0 * right, whole, where=whole > 0, out=np.zeros_like(right)).mean(axis=1))


def _macro_precision(cells: Array) -> Array:
    table = _squares(cells)
    right, columns = np.einsum("rii->ri", table), table.sum(axis=1)
    return np.asarray(np.divide(right, columns, where=columns > 0, out=np.zeros_like(right)).mean(axis=1))


def _mcc(cells: Array) -> Array:
    """Matthews' correlation for any number of classes (Gorodkin 2004); 0 where one side has one class alone."""
    table = _squares(cells)
    total = table.sum(axis=(1, 2))
    right, rows, columns = np.einsum("rii->r", table), table.sum(axis=2), table.sum(axis=1)
    top = right * total - (rows * columns).sum(axis=1)
    bottom = np.sqrt((total**2 - (columns**2).sum(axis=1)) * (total**2 - (rows**2).sum(axis=1)))
    return np.asarray(np.divide(top, bottom, where=bottom > 0, out=np.zeros_like(top)))


def per_class(truth: Truth, scores: Scores, settings: Settings) -> dict[str, dict[str, Estimate]]:
    """Precision, recall and F1 of each class against the others."""
    if truth.code is None or scores.code is None:
        return {}
    table = confusion(truth.code, scores.code, len(truth.classes))
    found: dict[str, dict[str, Estimate]] = {}
    for k, name in enumerate(truth.classes):
        tp, row, column = float(table[k, k]), float(table[k].sum()), float(table[:, k].sum())
        said = {
            "precision": wilson(tp, column, settings.z),
            "recall": wilson(tp, row, settings.z),
            "f1": harmonic(wilson(tp, row + column - tp, settings.z)),
        }
        found[name] = {key: item for key, item in said.items() if item is not None}
    return found


def main_metric(truth: Truth, scores: Scores) -> str:
    """The metric that differences are told in."""
    if truth.value is not None:
        return "rmse"
    return "balanced_accuracy" if scores.p is None else "roc_auc"


def means(values: Mapping[str, Array], settings: Settings) -> dict[str, Estimate]:
    """A mean of each."""
    found = {name: mean(array, settings.z) for name, array in values.items()}
    return {name: item for name, item in found.items() if item is not None}
