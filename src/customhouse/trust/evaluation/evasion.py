"""Evasion: how small a change of a row changes the answer, found by asking the model alone.

Two attacks of our own writing. Score-based: random search in the budget's box, after Square Attack
(Andriushchenko et al. 2020), whose moves are sets of features instead of squares; distances are L∞ in shares of each
feature's range. Decision-based: HopSkipJump (`hopskipjump`), which needs no probability. Both find upper bounds of what
is safe: a model that withstands them may yield to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.intervals import Array, Estimate, rounded, stream, wilson
from customhouse.trust.evaluation.performance import Settings, Truth, taken
from customhouse.trust.evaluation.surface import Predict, Space, margin

_FULL, _LAST = 0.8, 0.1
"""Share of the features that one move changes, at the first query and at the last."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """Which rows were attacked, which fell, after how many queries, and what they became."""

    rows: Array
    moved: Array
    fell: Any
    queries: int


def chosen_rows(truth: Truth, scores: Scores, count: int, seed: int) -> Any:
    """Rows that are answered rightly, at most `count`, evenly of each class: what is wrong already needs no attack."""
    rng = stream(seed, "attacked rows")
    if truth.code is None or scores.code is None:
        return np.sort(rng.permutation(truth.rows)[:count])
    right = np.flatnonzero(truth.code == scores.code)
    present = np.unique(truth.code[right])
    share = -(-count // max(len(present), 1))
    parts = [rng.permutation(right[truth.code[right] == k])[:share] for k in present]
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)


def square(
    predict: Predict, rows: Array, space: Space, budget: float, queries: int, seed: int, *, goal: Goal
) -> Attacked:
    """Random search within `budget`. Rows that have fallen are not asked about again."""
    rng = stream(seed, f"square {budget!r}")
    free = np.flatnonzero(space.mutable)
    best = rows.copy()
    if len(free) == 0 or len(rows) == 0:
        return Attacked(rows, best, np.zeros(len(rows), dtype=np.bool_), 0)
    reach = np.where(space.whole, np.floor(budget * space.size + 1e-9), budget * space.size)
    # First all features at once, to corners: where the decision is nearly linear this is the whole attack.
    signs = rng.choice((-1.0, 1.0), size=rows.shape)
    best = space.admitted(rows + signs * reach, rows)
    level = goal.level(predict(best), np.arange(len(rows)))
    asked = len(rows)
    for step in range(1, queries):
        active = np.flatnonzero(level > 0.0)
        if len(active) == 0:
            break
        share = max(_LAST, _FULL * (1.0 - step / queries))
        picked = rng.random((len(active), len(free))) < share
        picked[np.arange(len(active)), rng.integers(len(free), size=len(active))] = True
        corner = rng.choice((-1.0, 0.0, 1.0), size=(len(active), len(free)), p=(0.45, 0.1, 0.45)) * reach[free]
        # Every other move goes part of the way: what turns over and back within the budget has no corner that shows it.
        corner *= np.where(rng.random((len(active), 1)) < 0.5, 1.0, rng.random(corner.shape))
        tried = best[active].copy()
        tried[:, free] = np.where(picked, rows[active][:, free] + corner, tried[:, free])
        tried = space.admitted(tried, rows[active])
        found = goal.level(predict(tried), active)
        asked += len(active)
        better = found < level[active]
        best[active[better]] = tried[better]
        level[active[better]] = found[better]
    return Attacked(rows, best, level <= 0.0, asked)


@dataclass(frozen=True, slots=True)
class Goal:
    """What counts as evaded: another class, or a value that moved by more than `tolerance`."""

    origin: Scores
    threshold: float
    tolerance: float = 0.0

    def level(self, scores: Scores, which: Any) -> Array:
        """Above zero: not yet. `which` are the places of the rows that were asked about."""
        if scores.value is not None and self.origin.value is not None:
            return np.asarray(self.tolerance - np.abs(scores.value - self.origin.value[which]), dtype=np.float64)
        if self.origin.code is None or scores.code is None:
            return np.ones(len(which))
        found = margin(scores, self.origin.code[which], self.threshold)
        other = scores.code != self.origin.code[which]
        return np.where(other, np.minimum(found, 0.0), np.maximum(found, 1e-300))


def evade(
    predict: Predict,
    rows: Array,
    truth: Truth,
    scores: Scores,
    space: Space,
    *,
    budgets: Sequence[float],
    attacked: int,
    queries: int,
    threshold: float,
    settings: Settings,
) -> tuple[dict[str, Estimate], dict[str, Any]]:
    """Attack a sample at each budget: metrics `success_rate@0.1` and the details."""
    picked = chosen_rows(truth, scores, attacked, settings.seed)
    origin = taken(scores, picked)
    tolerance = 0.0 if truth.value is None else float(truth.value.std())
    goal = Goal(origin, threshold, tolerance)
    metrics: dict[str, Estimate] = {}
    details: list[dict[str, Any]] = []
    for budget in budgets:
        done = square(predict, rows[picked], space, budget, queries, settings.seed, goal=goal)
        rate = wilson(float(done.fell.sum()), len(picked), settings.z)
        if rate is None:
            continue
        metrics[f"success_rate@{budget:g}"] = rate
        fell = np.flatnonzero(done.fell)
        changed = (done.moved[fell] != done.rows[fell]).sum(axis=1) if len(fell) else np.zeros(0)
        details.append(
            {
                "attack": "random search (score-based)" if scores.p is not None or truth.value is not None else
                "random search (labels alone)",
                "budget": budget,
                "success_rate": rate.to_json(),
                "queries_per_row": rounded(done.queries / max(len(picked), 1)),
                "features_changed": rounded(float(np.median(changed))) if len(changed) else None,
            }
        )  # fmt: skip
    return metrics, {
        "rows": len(picked),
        "norm": "L-infinity, as a share of each feature's range",
        "attacks": details,
        "immutable": [name for name, free in zip(space.names, space.mutable, strict=True) if not free],
        "bounds_assumed": list(space.assumed),
        **({"tolerance": rounded(tolerance)} if truth.value is not None else {}),
    }
