"""Small models that are fitted in closed form: what an attacker, or a reference, learns from rows and answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from customhouse.trust.evaluation.intervals import Array

_HIDDEN = 256
_RIDGE = 1e-2


@dataclass(frozen=True, slots=True)
class Surrogate:
    """Ridge regression over random rectified features (Rahimi and Recht 2008), of rows scaled to the seen ranks."""

    centre: Array
    scale: Array
    weights: Array
    bias: Array
    coefficients: Array

    def __call__(self, rows: Array) -> Array:
        """What it answers: [rows, outputs]."""
        return np.asarray(self._features(rows) @ self.coefficients, dtype=np.float64)

    def _features(self, rows: Array) -> Array:
        x = np.clip((rows - self.centre) / self.scale, -5.0, 5.0)
        hidden = np.maximum(x @ self.weights + self.bias, 0.0)
        return np.concatenate([np.ones((len(x), 1)), x, hidden], axis=1)


def fitted(rows: Array, targets: Array, rng: np.random.Generator) -> Surrogate:
    """Fit one to rows [n, features] and targets [n, outputs]."""
    width = rows.shape[1]
    centre = np.median(rows, axis=0)
    # Heavy tails would leave everybody else at zero: the scale is that of the middle half.
    low, high = np.quantile(rows, [0.25, 0.75], axis=0)
    scale = np.where(high > low, (high - low) / 1.35, np.where(rows.std(axis=0) > 0, rows.std(axis=0), 1.0))
    weights = rng.normal(size=(width, _HIDDEN)) / np.sqrt(width)
    empty = Surrogate(centre, scale, weights, rng.normal(size=_HIDDEN), np.zeros((1, 1)))
    features = empty._features(rows)  # noqa: SLF001 - the same class
    penalty = _RIDGE * len(rows) * np.eye(features.shape[1])
    penalty[0, 0] = 0.0
    solved = np.linalg.solve(features.T @ features + penalty, features.T @ targets)
    return Surrogate(centre, scale, weights, empty.bias, np.asarray(solved, dtype=np.float64))
