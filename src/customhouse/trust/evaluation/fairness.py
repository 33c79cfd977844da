"""Fairness: rates per declared group and per intersection, their differences and ratios, with intervals.

Definitions: Hardt, Price and Srebro 2016 (equalised odds, equal opportunity); demographic parity and its ratio (the
four-fifths rule). A difference of groups is never below zero, so each is told beside what chance alone makes of groups
that are alike. Groups with fewer rows than the plan's minimum are named and not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.calibration import confidences, plain_error
from customhouse.trust.evaluation.intervals import Array, Estimate, mean, resampled, rounded, stream, wilson
from customhouse.trust.evaluation.performance import Codes, Settings, Truth

MAX_GROUPS = 200
_BINS = 10


@dataclass(frozen=True, slots=True)
class Split:
    """Rows by the values of a column: `codes` [rows], and a name for each code."""

    name: str
    values: tuple[str, ...]
    codes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fairness:
    """Flat metrics (`channel.equalised_odds_difference`), and a table of groups for each split."""

    metrics: dict[str, Estimate]
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)


def crossed(splits: Sequence[Split]) -> Split | None:
    """The intersections of all splits; None where there are not two, or too many."""
    if len(splits) < 2 or int(np.prod([len(item.values) for item in splits])) > MAX_GROUPS * 10:
        return None
    codes = np.zeros(len(splits[0].codes), dtype=np.int64)
    names = [""]
    for item in splits:
        codes = codes * len(item.values) + item.codes
        names = [f"{before} & {value}".removeprefix(" & ") for before in names for value in item.values]
    return Split(" × ".join(item.name for item in splits), tuple(names), codes)


def fairness(truth: Truth, scores: Scores, splits: Sequence[Split], minimum: int, settings: Settings) -> Fairness:
    """All splits, and their intersections where `splits` has them."""
    found = Fairness({})
    for split in splits:
        counts = np.bincount(split.codes, minlength=len(split.values))
        judged = [k for k in np.argsort(-counts, kind="stable").tolist() if counts[k] >= minimum][:MAX_GROUPS]
        judged.sort()
        small = {split.values[k]: int(counts[k]) for k in range(len(counts)) if k not in judged and counts[k]}
        rows, gaps, chance = _split(truth, scores, split, judged, settings)
        found.metrics.update({f"{split.name}.{name}": item for name, item in gaps.items()})
        found.tables[split.name] = {
            "groups": rows,
            "not_judged": small,
            "minimum": minimum,
            "differences": {
                name: item.to_json()
                | (
                    {"chance": rounded(chance[name]), "above_chance": item.value > chance[name]}
                    if name in chance
                    else {}
                )
                for name, item in gaps.items()
            },
        }
    return found


def _split(
    truth: Truth, scores: Scores, split: Split, judged: Sequence[int], settings: Settings
) -> tuple[dict[str, Any], dict[str, Estimate], dict[str, float]]:
    if truth.value is not None and scores.value is not None:
        return _regression(truth.value, scores.value, split, judged, settings)
    if truth.code is None or scores.code is None:
        return {}, {}, {}
    binary = len(truth.classes) == 2
    y, code = (truth.code, scores.code) if binary else ((truth.code == scores.code).astype(np.int64),) * 2
    cells = np.array(
        [np.bincount(2 * y[mask] + code[mask], minlength=4) for mask in (split.codes == k for k in judged)],
        dtype=np.int64,
    ).reshape(len(judged), 4)
    rows = {}
    for index, k in enumerate(judged):
        tn, fp, fn, tp = (float(item) for item in cells[index])
        shares = {"accuracy": wilson(tn + tp if binary else tp, cells[index].sum(), settings.z)}
        if binary:
            shares |= {
                "selection_rate": wilson(tp + fp, cells[index].sum(), settings.z),
                "true_positive_rate": wilson(tp, tp + fn, settings.z),
                "false_positive_rate": wilson(fp, fp + tn, settings.z),
                "precision": wilson(tp, tp + fp, settings.z),
                "prevalence": wilson(tp + fn, cells[index].sum(), settings.z),
            }
        row: dict[str, Any] = {"rows": int(cells[index].sum())}
        row |= {name: item.to_json() for name, item in shares.items() if item is not None}
        if scores.p is not None:
            row |= _calibrated(truth.code, scores.p, split.codes == k, settings)
        rows[split.values[k]] = row
    if len(judged) < 2:
        return rows, {}, {}
    names = _BINARY if binary else {"accuracy_difference": _BINARY["accuracy_difference"]}
    gaps, chance = {}, {}
    for name, statistic in names.items():
        rng = stream(settings.seed, f"fairness {split.name} {name}")
        found = resampled(
            cells.reshape(-1), statistic, rng, resamples=settings.resamples, confidence=settings.confidence
        )
        if found is not None:
            gaps[name] = found
            if name.endswith("difference"):
                chance[name] = _by_chance(cells, statistic, rng, settings)
    return rows, gaps, chance


def _by_chance(cells: NDArray[np.int64], statistic: Any, rng: np.random.Generator, settings: Settings) -> float:
    """What a difference stays below with the declared confidence where all groups have the same rates."""
    share = cells.sum(axis=0) / cells.sum()
    drawn = np.concatenate(
        [rng.multinomial(int(row.sum()), share, size=settings.resamples).astype(np.float64) for row in cells], axis=1
    )
    values = statistic(drawn)
    values = values[np.isfinite(values)]
    return float(np.quantile(values, settings.confidence)) if len(values) else 0.0


def _rates(cells: Array) -> tuple[Array, Array, Array, Array]:
    """Selection rate, true and false positive rate, accuracy: [resamples, groups]; NaN where nothing is in a group."""
    tn, fp, fn, tp = (cells.reshape(len(cells), -1, 4)[:, :, k] for k in range(4))
    with np.errstate(invalid="ignore", divide="ignore"):
        total = tn + fp + fn + tp
        return (tp + fp) / total, tp / (tp + fn), fp / (fp + tn), (tp + tn) / total


def _gap(rates: Array) -> Array:
    return np.asarray(rates.max(axis=1) - rates.min(axis=1), dtype=np.float64)


def _ratio(cells: Array) -> Array:
    rates = _rates(cells)[0]
    most = rates.max(axis=1)
    return np.asarray(np.divide(rates.min(axis=1), most, where=most > 0, out=np.ones_like(most)))


_BINARY: Mapping[str, Any] = {
    "demographic_parity_difference": lambda cells: _gap(_rates(cells)[0]),
    "demographic_parity_ratio": _ratio,
    "equal_opportunity_difference": lambda cells: _gap(_rates(cells)[1]),
    "equalised_odds_difference": lambda cells: np.maximum(_gap(_rates(cells)[1]), _gap(_rates(cells)[2])),
    "accuracy_difference": lambda cells: _gap(_rates(cells)[3]),
}


def _calibrated(y: Codes, p: Array, mask: NDArray[np.bool_], settings: Settings) -> dict[str, Any]:
    said, true = confidences(y[mask], p[mask])
    bias = mean(said - true, settings.z)
    return {
        "calibration_bias": None if bias is None else bias.to_json(),
        "ece": rounded(plain_error(y[mask], p[mask], _BINS)),
    }


def _regression(
    y: Array, value: Array, split: Split, judged: Sequence[int], settings: Settings
) -> tuple[dict[str, Any], dict[str, Estimate], dict[str, float]]:
    rows: dict[str, Any] = {}
    found: dict[str, list[Estimate]] = {"mean_error": [], "mae": []}
    for k in judged:
        error = (value - y)[split.codes == k]
        said = {"mean_error": mean(error, settings.z), "mae": mean(np.abs(error), settings.z)}
        rows[split.values[k]] = {"rows": len(error)} | {n: i.to_json() for n, i in said.items() if i is not None}
        for name, item in said.items():
            if item is not None:
                found[name].append(item)
    gaps = {}
    for name, items in found.items():
        if len(items) > 1:
            top, bottom = max(items, key=lambda item: item.value), min(items, key=lambda item: item.value)
            gaps[f"{name}_difference"] = _apart(top, bottom)
    return rows, gaps, {}


def _apart(top: Estimate, bottom: Estimate) -> Estimate:
    """The difference of two independent estimates (Zou and Donner 2008)."""
    value = top.value - bottom.value
    if None in (top.low, top.high, bottom.low, bottom.high):
        return Estimate(value, None, None, top.count + bottom.count)
    down = float(np.hypot(top.value - (top.low or 0.0), (bottom.high or 0.0) - bottom.value))
    up = float(np.hypot((top.high or 0.0) - top.value, bottom.value - (bottom.low or 0.0)))
    return Estimate(value, value - down, value + up, top.count + bottom.count)
