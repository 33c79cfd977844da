"""Differences on the same rows: beside a trivial model, beside another one. Positive is better, whatever the metric."""

from __future__ import annotations

from typing import Any

import numpy as np

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.intervals import Array, Estimate, influenced
from customhouse.trust.evaluation.performance import LOWER_IS_BETTER, Truth, influences


def differences(truth: Truth, ours: Scores, theirs: Scores, z: float) -> dict[str, Estimate]:
    """Ours less theirs for each metric that both have, turned so that positive is better; paired by row."""
    left, right = influences(truth, ours), influences(truth, theirs)
    if _same(ours, theirs):
        return {name: Estimate(0.0, 0.0, 0.0, truth.rows) for name in left if name != "mean_error"}
    found = {}
    for name in left:
        if name in right and name != "mean_error":
            sign = -1.0 if name in LOWER_IS_BETTER else 1.0
            value = sign * (left[name][0] - right[name][0])
            found[name] = influenced(value, sign * (left[name][1] - right[name][1]), z)
    return found


def _same(ours: Scores, theirs: Scores) -> bool:
    pairs = ((ours.p, theirs.p), (ours.code, theirs.code), (ours.value, theirs.value))
    return all(np.array_equal(a, b) if a is not None and b is not None else a is b for a, b in pairs)


def trivial(truth: Truth, learnt: Truth | None) -> tuple[Scores, str]:
    """What answers without looking at a row, from the labels of training where they are given."""
    seen = learnt or truth
    place = "training" if learnt is not None else "the evaluated rows"
    if truth.value is not None and seen.value is not None:
        level = float(seen.value.mean())
        return Scores(value=np.full(truth.rows, level)), f"always the mean of {place}, {level:.6g}"
    counts = np.bincount(seen.code if seen.code is not None else np.zeros(1, int), minlength=len(truth.classes))
    share = np.asarray(counts / counts.sum(), dtype=np.float64)
    most = int(share.argmax())
    p = np.tile(share, (truth.rows, 1))
    name = truth.classes[most]
    return Scores(p=p, code=np.full(truth.rows, most)), f"always {name!r}, the most frequent class of {place}"


def agreement(ours: Scores, theirs: Scores) -> Any:
    """Of classifiers: which rows both answer alike. None for regressors."""
    if ours.code is None or theirs.code is None:
        return None
    return ours.code == theirs.code


def score_of(scores: Scores) -> Array | None:
    """One number a row: the positive class of two, the value of a regressor; None for others."""
    if scores.value is not None:
        return scores.value
    return scores.p[:, 1] if scores.p is not None and scores.p.shape[1] == 2 else None
