"""Attributions: what the answers hang on, over all rows and for a few of them, and a hint where one feature says all.

Permutation importance (Breiman 2001) as the rise of the loss per row; Shapley values by sampled orders (Štrumbelj and
Kononenko 2014) with the same background rows for all features, so that they add up to the answer exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.intervals import Array, Estimate, mean, rounded, stream
from customhouse.trust.evaluation.performance import Settings, Truth, roc_auc
from customhouse.trust.evaluation.privacy import difficulty
from customhouse.trust.evaluation.surface import Predict

_REPEATS = 3
_ORDERS = 32
_MAX_EXPLAINED = 300
"""Features: the rows of one explanation grow with their square."""
LEAK_AREA = 0.99
LEAK_SHARE = 0.9
MAX_FEATURES = 500


def importance(
    predict: Predict, rows: Array, truth: Truth, scores: Scores, names: Sequence[str], settings: Settings
) -> tuple[dict[str, Estimate], dict[str, Any]]:
    """The rise of the loss when a feature's values change places, by feature, largest first; and the leak hint."""
    clean = difficulty(truth, scores)
    if clean is None:
        return {}, {"reason": "the answers have no loss"}
    found: dict[str, Estimate] = {}
    for index, name in enumerate(names[:MAX_FEATURES]):
        rng = stream(settings.seed, f"permutation {index}")
        risen = np.zeros(len(rows))
        for _ in range(_REPEATS):
            moved = rows.copy()
            moved[:, index] = rows[rng.permutation(len(rows)), index]
            harder = difficulty(truth, predict(moved))
            risen += (clean if harder is None else harder) - clean
        estimate = mean(risen / _REPEATS, settings.z)
        if estimate is not None:
            found[name] = estimate
    ordered = sorted(found, key=lambda name: -found[name].value)
    total = sum(max(item.value, 0.0) for item in found.values())
    share = max(found[ordered[0]].value, 0.0) / total if ordered and total > 0.0 else 0.0
    alone = _alone(rows, truth, names)
    hint = _leak(ordered, share, alone, len(names))
    top = Estimate(share, None, None, len(rows))
    return {"top_feature_share": top}, {
        "loss": "squared error" if truth.value is not None else "log-loss" if scores.p is not None else "wrong labels",
        "rows": len(rows),
        "importance": {name: found[name].to_json() for name in ordered},
        "best_alone": {name: rounded(value) for name, value in alone[:5]},
        "leak_hint": hint,
    }


def _alone(rows: Array, truth: Truth, names: Sequence[str]) -> list[tuple[str, float]]:
    """How well each feature tells the label by itself: an area from 0.5 to 1, or a squared rank correlation."""
    found = []
    for index, name in enumerate(names[:MAX_FEATURES]):
        if truth.value is not None:
            found.append((name, _rank_correlation(rows[:, index], truth.value) ** 2))
        elif truth.code is not None:
            areas = [roc_auc(truth.code == k, rows[:, index]) for k in range(len(truth.classes))]
            # Of several classes the mean: one that stands apart from the others is no leak of them all.
            each = [max(item[0], 1.0 - item[0]) for item in areas if item is not None]
            found.append((name, float(np.mean(each)) if each else 0.5))
    return sorted(found, key=lambda item: (-item[1], item[0]))


def _rank_correlation(left: Array, right: Array) -> float:
    ranks = [np.unique(side, return_inverse=True)[1].astype(np.float64) for side in (left, right)]
    if ranks[0].std() == 0.0 or ranks[1].std() == 0.0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _leak(ordered: Sequence[str], share: float, alone: Sequence[tuple[str, float]], features: int) -> str | None:
    if alone and alone[0][1] >= LEAK_AREA:
        return (
            f"{alone[0][0]} alone tells the label nearly always ({alone[0][1]:.3f}): is it known before the label is?"
        )
    if features > 2 and ordered and share >= LEAK_SHARE:
        return f"{share:.0%} of what the model knows comes from {ordered[0]}: is it known before the label is?"
    return None


def output_of(scores: Scores, code: int) -> Array:
    """The number that is explained: a probability, a value, or whether the label is `code`."""
    if scores.value is not None:
        return scores.value
    if scores.p is not None:
        return scores.p[:, code]
    return np.zeros(0) if scores.code is None else (scores.code == code).astype(np.float64)


def shapley(
    predict: Predict, rows: Array, background: Array, code: Sequence[int], names: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """For each row: the answer, the mean answer of the background, and what each feature adds, with its error.

    `code` is the class whose probability is explained, a row. One order and one background row a sample; the features
    change from the background's to the row's one by one.
    """
    explained: list[dict[str, Any]] = []
    width = rows.shape[1]
    if width > _MAX_EXPLAINED:
        return explained
    for place, row in enumerate(rows):
        rng = stream(seed, f"shapley {place}")
        orders = np.array([rng.permutation(width) for _ in range(_ORDERS)])
        base = background[rng.integers(len(background), size=_ORDERS)]
        walk = np.repeat(base[:, None, :], width + 1, axis=1)
        for sample, order in enumerate(orders):
            for step, feature in enumerate(order, start=1):
                walk[sample, step:, feature] = row[feature]
        said = output_of(predict(walk.reshape(-1, width)), code[place]).reshape(_ORDERS, width + 1)
        gained = np.empty((_ORDERS, width))
        np.put_along_axis(gained, orders, np.diff(said, axis=1), axis=1)
        value = gained.mean(axis=0)
        error = gained.std(axis=0, ddof=1) / np.sqrt(_ORDERS)
        ranked = np.argsort(-np.abs(value), kind="stable")[:20]
        explained.append(
            {
                "answer": rounded(float(said[0, -1])),
                "background": rounded(float(said[:, 0].mean())),
                "features": [
                    {
                        "name": names[k],
                        "value": rounded(float(row[k])),
                        "adds": rounded(float(value[k])),
                        "error": rounded(float(error[k])),
                    }
                    for k in ranked.tolist()
                ],
            }
        )
    return explained
