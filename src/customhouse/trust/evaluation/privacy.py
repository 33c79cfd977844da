"""Privacy: whether the model tells which rows it was trained on, and how well it can be copied by asking it.

Membership: the loss of rows of training against rows that were held out (Yeom et al. 2018), also less what a reference
finds hard (Watson et al. 2022: rows that are hard for anybody are no sign). No shadow model of the original is trained,
so these are lower bounds: a stronger attacker may know more. Rows of another time or place than training's look like
strangers too; the interval says nothing about that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from customhouse.trust.evaluation.answers import Scores
from customhouse.trust.evaluation.intervals import Array, Estimate, area, rounded, stream, wilson
from customhouse.trust.evaluation.performance import Settings, Truth, losses, roc_auc, taken
from customhouse.trust.evaluation.surface import Predict, Space
from customhouse.trust.evaluation.surrogate import fitted

FALSE_POSITIVES = 0.01
LEAST_ROWS = 100


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with what is true and what the model answers."""

    x: Array
    truth: Truth
    scores: Scores

    def some(self, mask: Any) -> Rows:
        """Some of them."""
        return Rows(self.x[mask], self.truth.taken(mask), taken(self.scores, mask))


def difficulty(truth: Truth, scores: Scores) -> Array | None:
    """The loss of each row: log-loss, squared error, or whether the label is wrong."""
    if truth.value is not None and scores.value is not None:
        return np.asarray((truth.value - scores.value) ** 2, dtype=np.float64)
    if truth.code is None or scores.code is None:
        return None
    if scores.p is None:
        return np.asarray(truth.code != scores.code, dtype=np.float64)
    return losses(truth.code, scores.p)


def membership(members: Rows, strangers: Rows, settings: Settings) -> tuple[dict[str, Estimate], dict[str, Any]]:
    """How well training's rows are told from others: AUC (0.5: not at all) and true positives at 1 % false ones."""
    count = min(len(members.x), len(strangers.x))
    if count < LEAST_ROWS:
        return {}, {"reason": f"{count} rows; {LEAST_ROWS} of each side are needed"}
    rng = stream(settings.seed, "membership")
    inside, outside = (side.some(np.sort(rng.permutation(len(side.x))[:count])) for side in (members, strangers))
    loss = [difficulty(side.truth, side.scores) for side in (inside, outside)]
    if loss[0] is None or loss[1] is None:
        return {}, {"reason": "the answers have no loss"}
    metrics = _told_apart("membership", -loss[0], -loss[1], settings)
    half = np.arange(count) < count // 2
    reference = _reference(outside.some(half), rng)
    if reference is not None:
        hard = [_reference_loss(reference, side) for side in (inside, outside)]
        held = ~half
        metrics |= _told_apart("membership_calibrated", (hard[0] - loss[0])[held], (hard[1] - loss[1])[held], settings)
    return metrics, {
        "rows": count,
        "mean_loss_of_training": rounded(float(loss[0].mean())),
        "mean_loss_of_others": rounded(float(loss[1].mean())),
        "attacks": ["loss threshold", *(["loss less that of a reference"] if reference is not None else [])],
    }


def _told_apart(name: str, inside: Array, outside: Array, settings: Settings) -> dict[str, Estimate]:
    score = np.concatenate([inside, outside])
    member = np.arange(len(score)) < len(inside)
    found = roc_auc(member, score)
    if found is None:
        return {}
    # At this loss one stranger in a hundred is taken for a member; the interval is of the members alone.
    cut = float(np.quantile(outside, 1.0 - FALSE_POSITIVES, method="higher"))
    caught = wilson(float((inside > cut).sum()), len(inside), settings.z)
    metrics = {f"{name}_auc": area(*found, len(inside), len(outside), settings.z)}
    return metrics | ({} if caught is None else {f"{name}_tpr_at_1_percent": caught})


def _reference(rows: Rows, rng: np.random.Generator) -> Any:
    if rows.truth.value is not None:
        return fitted(rows.x, rows.truth.value[:, None], rng)
    if rows.truth.code is None or len(np.unique(rows.truth.code)) < 2:
        return None
    return fitted(rows.x, np.eye(len(rows.truth.classes))[rows.truth.code], rng)


def _reference_loss(reference: Any, rows: Rows) -> Array:
    said = reference(rows.x)
    if rows.truth.value is not None:
        return np.asarray((said[:, 0] - rows.truth.value) ** 2, dtype=np.float64)
    if rows.truth.code is None:
        return np.zeros(len(rows.x))
    p = np.clip(said, 1e-3, 1.0)
    return losses(rows.truth.code, p / p.sum(axis=1, keepdims=True))


def extraction(
    predict: Predict, rows: Rows, space: Space, queries: int, settings: Settings
) -> tuple[dict[str, Estimate], dict[str, Any]]:
    """How often a copy that was fitted on `queries` answers agrees with the model, on real rows.

    The attacker has no data: queries are drawn column by column from the ranges and from what a few rows show.
    """
    rng = stream(settings.seed, "extraction")
    seen = rows.x[rng.permutation(len(rows.x))[:50]]
    drawn = np.stack([seen[rng.integers(len(seen), size=queries), k] for k in range(rows.x.shape[1])], axis=1)
    spread = (rng.random(drawn.shape) - 0.5) * space.size * (rng.random((queries, 1)) < 0.5)
    asked = np.clip(drawn + spread * 0.5, np.minimum(space.low, drawn), np.maximum(space.high, drawn))
    asked = np.where(space.whole, np.rint(asked), asked)
    answers = predict(asked)
    if answers.value is not None and rows.scores.value is not None:
        copy = fitted(asked, answers.value[:, None], rng)(rows.x)[:, 0]
        apart = float(rows.scores.value.var())
        missed = float(np.mean((copy - rows.scores.value) ** 2))
        return {}, {"queries": queries, "r2_of_copy": rounded(1.0 - missed / apart) if apart > 0.0 else None}
    if answers.code is None or rows.scores.code is None:
        return {}, {"reason": "the answers are no classes"}
    classes = len(rows.truth.classes)
    target = np.eye(classes)[answers.code] if answers.p is None else np.log(np.clip(answers.p, 1e-6, 1.0))
    said = fitted(asked, target, rng)(rows.x)
    copied = said.argmax(axis=1)
    if classes == 2 and answers.p is not None:
        copied = (said[:, 1] - said[:, 0] >= _border(answers)).astype(np.int64)
    alike = copied == rows.scores.code
    fidelity = wilson(float(alike.sum()), len(alike), settings.z)
    shares = np.bincount(rows.scores.code, minlength=classes) / len(alike)
    by_chance = float((shares * np.bincount(copied, minlength=classes) / len(alike)).sum())
    kappa = (float(alike.mean()) - by_chance) / (1.0 - by_chance) if by_chance < 1.0 else 0.0
    metrics = {} if fidelity is None else {"extraction_fidelity": fidelity}
    return metrics, {
        "queries": queries,
        "agreement_beyond_chance": rounded(kappa),
        "agreement_of_the_majority": rounded(float(shares.max())),
    }


def _border(answers: Scores) -> float:
    """The threshold as the answers show it, in logits: between the lowest chosen and the highest that was not."""
    if answers.p is None or answers.code is None:
        return 0.0
    upper, lower = answers.p[answers.code == 1, 1], answers.p[answers.code == 0, 1]
    if not len(upper) or not len(lower):
        return 0.0
    cut = min(max((float(upper.min()) + float(lower.max())) / 2.0, 1e-6), 1.0 - 1e-6)
    return math.log(cut / (1.0 - cut))
