"""A model as a function of its rows, for whoever moves them: the space of the features, and one number to watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.intervals import Array
from customhouse.trust.evaluation.plan import Feature

Predict = Callable[[Array], Scores]


@dataclass(frozen=True, slots=True)
class Space:
    """What rows can be: bounds and size of each feature, which are whole numbers, and which an attacker may choose."""

    names: tuple[str, ...]
    low: Array
    high: Array
    whole: NDArray[np.bool_]
    mutable: NDArray[np.bool_]
    assumed: tuple[str, ...] = ()
    """Features whose bounds were not declared, and are those that the rows have."""

    @property
    def size(self) -> Array:
        """The range of each feature, in which budgets are told; 1 for one that never changes."""
        span = self.high - self.low
        return np.where(span > 0.0, span, 1.0)

    def admitted(self, rows: Array, origin: Array) -> Array:
        """The nearest rows that can be: within the bounds (or where they were), whole, and unchanged where fixed."""
        moved = np.clip(rows, np.minimum(self.low, origin), np.maximum(self.high, origin))
        moved = np.where(self.whole, np.rint(moved), moved)
        return np.where(self.mutable, moved, origin)


def space_of(names: Sequence[str], declared: Sequence[Feature], rows: Array) -> Space:
    """The space: as declared; else what the rows show, without their outermost hundredths."""
    known = {feature.name: feature for feature in declared}
    low, high = np.quantile(rows, 0.01, axis=0), np.quantile(rows, 0.99, axis=0)
    whole = np.all(rows == np.rint(rows), axis=0)
    flat = np.array([len(np.unique(rows[:, k])) <= 2 for k in range(rows.shape[1])])
    low, high = np.where(flat, rows.min(axis=0), low), np.where(flat, rows.max(axis=0), high)
    mutable = np.ones(len(names), dtype=np.bool_)
    assumed = []
    for index, name in enumerate(names):
        feature = known.get(name, Feature(name))
        if feature.low is None or feature.high is None:
            assumed.append(name)
        low[index] = low[index] if feature.low is None else feature.low
        high[index] = high[index] if feature.high is None else feature.high
        mutable[index] = feature.mutable
        if feature.type:
            whole[index] = feature.type != "number"
    return Space(tuple(names), low, high, whole, mutable, tuple(assumed))


def margin(scores: Scores, code: NDArray[np.int64], threshold: float) -> Array:
    """How far each answer is on the side of `code`: what an attacker makes small, and below zero another answer.

    For two classes in logits from the threshold, of several the probability above the best other one; without
    probabilities 1 or -1.
    """
    if scores.code is None:
        return np.zeros(0)
    if scores.p is None:
        return np.where(scores.code == code, 1.0, -1.0)
    rows = np.arange(len(code))
    if scores.p.shape[1] == 2:
        signed = _logit(scores.p[:, 1]) - float(_logit(np.array([threshold]))[0])
        return np.where(code == 1, signed, -signed)
    others = scores.p.copy()
    others[rows, code] = -1.0
    return np.asarray(scores.p[rows, code] - others.max(axis=1), dtype=np.float64)


def _logit(p: Array) -> Array:
    clipped = np.clip(p, 1e-15, 1.0 - 1e-15)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), dtype=np.float64)
