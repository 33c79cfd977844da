"""HopSkipJump (Chen, Jordan and Wainwright 2020): the nearest row with another answer, by asking for decisions alone.

Written from the paper (algorithm 2, L2), for many rows at once. Steps of a round: 1. walk back to the border between
the row and what is answered otherwise; 2. estimate the border's direction from random moves around that point; 3. step
along it, halved until the answer stays the other one. Distances are L2 over shares of each feature's range, divided by
the root of the number of features that can be chosen: 0.1 is a change of a tenth of the range in each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.evasion import chosen_rows
from customhouse.trust.evaluation.intervals import Array, Estimate, rounded, stream, wilson
from customhouse.trust.evaluation.performance import Codes, Settings, Truth, taken
from customhouse.trust.evaluation.surface import Predict, Space

_FIRST = 40
"""Random moves of the first round; the paper's schedule is this times the root of the round."""
_ROUNDS = 6
_HALVINGS = 10
_BACK = 8


@dataclass(slots=True)
class _Hunt:
    """The rows in units of their ranges, and who answers for them."""

    predict: Predict
    space: Space
    rows: Array
    code: Codes
    rng: np.random.Generator
    queries: int = 0

    def other(self, points: Array, which: Any) -> Any:
        """Whether each point (in units) is answered otherwise than row `which`."""
        origin = self.rows[which]
        real = self.space.admitted(points * self.space.size, origin)
        self.queries += len(points)
        scores = self.predict(real)
        return np.zeros(len(points), dtype=np.bool_) if scores.code is None else scores.code != self.code[which]

    def unit(self, rows: Array) -> Array:
        return np.asarray(rows / self.space.size, dtype=np.float64)


def nearest(
    predict: Predict, rows: Array, code: Codes, pool: Array, pool_code: Codes, space: Space, seed: int
) -> tuple[Array, int]:
    """The distance of each row to the nearest point found with another answer (infinite: none), and all queries."""
    hunt = _Hunt(predict, space, rows, code, stream(seed, "hopskipjump"))
    free = space.mutable
    origin = hunt.unit(rows)
    distance = np.full(len(rows), np.inf)
    if not free.any() or len(rows) == 0:
        return distance, 0
    point, started = _starts(hunt, origin, pool, pool_code)
    alive = np.flatnonzero(started)
    if len(alive) == 0:
        return distance, hunt.queries
    current = _border(hunt, origin[alive], point[alive], alive)
    for turn in range(1, _ROUNDS + 1):
        gap = np.linalg.norm(current - origin[alive], axis=1)
        direction = _direction(hunt, current, gap, alive, int(_FIRST * np.sqrt(turn)))
        current = _stepped(hunt, current, direction, gap / np.sqrt(turn), alive)
        current = _border(hunt, origin[alive], current, alive)
    # What counts is the row that can be: whole numbers are rounded, and the answer asked for once more.
    real = space.admitted(current * space.size, rows[alive])
    still = hunt.other(current, alive)
    gap = np.linalg.norm((real - rows[alive]) / space.size, axis=1) / np.sqrt(free.sum())
    distance[alive[still]] = gap[still]
    return distance, hunt.queries


def _starts(hunt: _Hunt, origin: Array, pool: Array, pool_code: Codes) -> tuple[Array, Any]:
    """For each row a real row that is answered otherwise, and still is with the row's fixed features."""
    best = origin.copy()
    found = np.zeros(len(origin), dtype=np.bool_)
    for _ in range(4):
        open_rows = np.flatnonzero(~found)
        if len(open_rows) == 0:
            break
        tried = np.empty_like(origin[open_rows])
        for place, row in enumerate(open_rows):
            others = np.flatnonzero(pool_code != hunt.code[row])
            if len(others) == 0:
                tried[place] = origin[row]
                continue
            some = hunt.rng.choice(others, size=min(50, len(others)), replace=False)
            apart = np.linalg.norm((hunt.unit(pool[some]) - origin[row])[:, hunt.space.mutable], axis=1)
            tried[place] = hunt.unit(pool[some[int(apart.argmin())]])
        tried = np.where(hunt.space.mutable, tried, origin[open_rows])
        other = hunt.other(tried, open_rows)
        best[open_rows[other]] = tried[other]
        found[open_rows[other]] = True
    return best, found


def _border(hunt: _Hunt, origin: Array, point: Array, which: Any) -> Array:
    low, high = np.zeros(len(point)), np.ones(len(point))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        other = hunt.other(origin + middle[:, None] * (point - origin), which)
        high, low = np.where(other, middle, high), np.where(other, low, middle)
    return np.asarray(origin + high[:, None] * (point - origin), dtype=np.float64)


def _direction(hunt: _Hunt, current: Array, gap: Array, which: Any, moves: int) -> Array:
    free = hunt.space.mutable
    size = np.maximum(gap / np.sqrt(free.sum()) * 0.3, 1e-4)
    noise = hunt.rng.normal(size=(len(current), moves, current.shape[1])) * free
    noise /= np.maximum(np.linalg.norm(noise, axis=2, keepdims=True), 1e-12)
    points = current[:, None, :] + size[:, None, None] * noise
    said = hunt.other(points.reshape(-1, current.shape[1]), np.repeat(which, moves)).reshape(len(current), moves)
    sign = np.where(said, 1.0, -1.0)
    # The mean is taken off, as the paper does, except where all answers are alike.
    average = sign.mean(axis=1, keepdims=True)
    weight = np.where(np.abs(average) == 1.0, sign, sign - average)
    found = (weight[:, :, None] * noise).mean(axis=1)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), dtype=np.float64)


def _stepped(hunt: _Hunt, current: Array, direction: Array, size: Array, which: Any) -> Array:
    result = current.copy()
    left = np.arange(len(current))
    step = size.copy()
    for _ in range(_BACK):
        tried = current[left] + step[left, None] * direction[left]
        other = hunt.other(tried, which[left])
        result[left[other]] = tried[other]
        left = left[~other]
        step[left] /= 2.0
        if len(left) == 0:
            break
    return result


def distances(
    predict: Predict, rows: Array, truth: Truth, scores: Scores, space: Space, attacked: int, settings: Settings
) -> tuple[dict[str, Estimate], dict[str, Any]]:
    """How far the nearest other answer is: shares of rows within some distances, and the median. Classifiers alone."""
    if scores.code is None:
        return {}, {"reason": "the model gives values and no classes"}
    picked = chosen_rows(truth, scores, attacked, settings.seed)
    own = taken(scores, picked)
    if own.code is None or len(picked) == 0:
        return {}, {"reason": "no row is answered rightly"}
    gap, queries = nearest(predict, rows[picked], own.code, rows, scores.code, space, settings.seed)
    found = np.sort(gap[np.isfinite(gap)])
    within = {f"{limit:g}": wilson(float((gap <= limit).sum()), len(gap), settings.z) for limit in (0.01, 0.05, 0.1)}
    metrics = {f"hopskipjump_within@{limit}": item for limit, item in within.items() if item is not None}
    middle = float(np.median(gap))
    return metrics, {
        "attack": "HopSkipJump (decisions alone)",
        "rows": len(picked),
        "norm": "L2 over shares of the ranges, divided by the root of the number of features",
        "median_distance": rounded(middle) if np.isfinite(middle) else None,
        "not_found": len(gap) - len(found),
        "queries_per_row": rounded(queries / len(picked)),
    }
