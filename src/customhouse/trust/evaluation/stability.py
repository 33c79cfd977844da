"""Stability: what noise, missing values, coarse numbers and a wrong unit do to the model, as a drop of its main metric.

Drops are paired by row: the same rows, clean and disturbed. Positive is worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.comparison import differences
from customhouse.trust.evaluation.intervals import Array, Estimate, rounded, stream
from customhouse.trust.evaluation.performance import Settings, Truth, main_metric
from customhouse.trust.evaluation.surface import Predict, Space

UNITS = (1000.0, 0.001, 60.0)
"""Kilo- or milli-, and minutes for hours: what pipelines mix up."""
MAX_FEATURES = 100
"""A wrong unit is tried on so many features; each costs a question about the whole sample."""


def stability(
    predict: Predict,
    rows: Array,
    truth: Truth,
    scores: Scores,
    space: Space,
    *,
    noise: Sequence[float],
    dropout: float,
    settings: Settings,
) -> tuple[dict[str, Estimate], dict[str, Any]]:
    """Disturb the sample in each way: metrics `gaussian@0.1.drop`, and which feature is worst in a wrong unit."""
    metric = main_metric(truth, scores)
    metrics: dict[str, Estimate] = {}
    table: list[dict[str, Any]] = []

    def measured(name: str, disturbed: Array) -> Estimate | None:
        # A model may take nothing but whole numbers there.
        answers = predict(np.where(space.whole, np.rint(disturbed), disturbed))
        drop = differences(truth, scores, answers, settings.z).get(metric)
        if drop is None:
            return None
        row: dict[str, Any] = {"disturbance": name, "drop": drop.to_json()}
        if scores.code is not None and answers.code is not None:
            row["other_answers"] = rounded(float((scores.code != answers.code).mean()))
        table.append(row)
        metrics[f"{name}.drop"] = drop
        return drop

    # Spread within the middle 98 of 100 rows: one outlier must not decide how much noise is a little.
    clipped = np.clip(rows, *np.quantile(rows, [0.01, 0.99], axis=0))
    spread = clipped.std(axis=0)
    for level in noise:
        moved = rows + stream(settings.seed, f"noise {level!r}").normal(size=rows.shape) * spread * level
        measured(f"gaussian@{level:g}", np.clip(moved, np.minimum(space.low, rows), np.maximum(space.high, rows)))
    if dropout > 0.0:
        lost = stream(settings.seed, "dropout").random(rows.shape) < dropout
        measured(f"dropout@{dropout:g}", np.where(lost, np.median(rows, axis=0), rows))
    measured("two_digits", _two_digits(rows))
    worst = _wrong_units(predict, rows, truth, scores, space, metric, settings)
    if worst is not None:
        metrics["unit.drop"] = worst[0]
        table.append({"disturbance": "unit", "drop": worst[0].to_json(), "feature": worst[1], "factor": worst[2]})
    return metrics, {"metric": metric, "rows": truth.rows, "table": table}


def _two_digits(rows: Array) -> Array:
    """Rounded to two significant digits, as an export or a form may do it."""
    size = np.power(10.0, np.floor(np.log10(np.where(rows == 0.0, 1.0, np.abs(rows)))) - 1.0)
    return np.asarray(np.rint(rows / size) * size, dtype=np.float64)


def _wrong_units(
    predict: Predict, rows: Array, truth: Truth, scores: Scores, space: Space, metric: str, settings: Settings
) -> tuple[Estimate, str, float] | None:
    worst: tuple[Estimate, str, float] | None = None
    for index in range(min(rows.shape[1], MAX_FEATURES)):
        if len(np.unique(rows[:100, index])) <= 2:
            continue  # a flag has no unit
        for factor in UNITS:
            moved = rows.copy()
            moved[:, index] *= factor
            if space.whole[index]:
                moved[:, index] = np.rint(moved[:, index])
            drop = differences(truth, scores, predict(moved), settings.z).get(metric)
            if drop is not None and (worst is None or drop.value > worst[0].value):
                worst = (drop, space.names[index], factor)
    return worst
