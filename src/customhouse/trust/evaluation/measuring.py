"""All measurements of a plan, in order: flat metrics for bounds, details for people, and what was not measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from customhouse.core.errors import ArtifactError
from customhouse.trust.evaluation.attribution import importance, output_of, shapley
from customhouse.trust.evaluation.calibration import calibrate
from customhouse.trust.evaluation.collecting import Seen, overlap
from customhouse.trust.evaluation.comparison import differences, trivial
from customhouse.trust.evaluation.evasion import evade
from customhouse.trust.evaluation.fairness import crossed, fairness
from customhouse.trust.evaluation.hopskipjump import distances
from customhouse.trust.evaluation.intervals import Array, Estimate, quantile, wilson
from customhouse.trust.evaluation.performance import (
    MANY,
    Settings,
    confusion,
    metrics,
    per_class,
    taken,
)
from customhouse.trust.evaluation.plan import Plan
from customhouse.trust.evaluation.privacy import Rows, extraction, membership
from customhouse.trust.evaluation.stability import stability
from customhouse.trust.evaluation.surface import Space, space_of

Tell = Callable[[str], None]
_CELLS, _LEAST = 400_000, 200


@dataclass(slots=True)
class Measured:
    """What came out. `kinds` were measured; `missing` says why others were not."""

    metrics: dict[str, Estimate] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)
    """What a reader has to weigh, in sentences."""

    def put(self, kind: str, found: dict[str, Estimate], section: Any, prefix: str = "") -> None:
        """Take in one kind's metrics, by their names with the kind before them."""
        self.metrics.update({f"{prefix or kind + '.'}{name}": item for name, item in found.items()})
        self.sections[kind] = section


def measure(plan: Plan, held: Seen, training: Seen | None, tell: Tell) -> Measured:
    """Everything that the plan asks for. Raises ArtifactError where the model fails."""
    done = Measured(limits=list(held.notes))
    settings = Settings(quantile(plan.confidence), plan.confidence, plan.seed, plan.resamples)
    _repeated(done, plan, held, settings)
    if training is not None:
        _leaks(done, plan, held, training, settings)
    steps: dict[str, Callable[[], None]] = {
        "performance": lambda: _performance(done, held, training, settings),
        "fairness": lambda: _fairness(done, plan, held, settings),
        "calibration": lambda: _calibration(done, plan, held, settings),
    }
    if isinstance(held.sample, np.ndarray):
        space = space_of(held.features, plan.features, held.sample)
        around = _Around(plan, _narrowed(held, held.sample), space, settings)
        steps |= {
            "evasion": lambda: _evasion(done, around),
            "stability": lambda: _stability(done, around),
            "privacy": lambda: _privacy(done, around, training),
            "attribution": lambda: _attribution(done, around),
        }
        if bool(np.isnan(held.sample).any()):
            for kind in ("evasion", "stability", "privacy", "attribution"):
                steps.pop(kind)
                done.missing[kind] = "rows have missing values, which nothing here moves"
    else:
        for kind in ("evasion", "stability", "privacy", "attribution"):
            done.missing[kind] = "the model takes text: only what needs no change of rows is measured"
    for kind in ("performance", "fairness", "calibration", "evasion", "stability", "privacy", "attribution"):
        if kind not in plan.measure:
            done.missing[kind] = "the plan does not ask for it"
        elif kind in steps:
            tell(kind)
            with np.errstate(over="ignore"):
                steps[kind]()
    return done


def _narrowed(held: Seen, sample: Array) -> Seen:
    """Fewer rows of wide tables: each feature is moved by itself, and work grows with the square of their number."""
    rows = max(_LEAST, _CELLS // max(sample.shape[1], 1))
    if len(sample) <= rows:
        return held
    kept = np.linspace(0, len(sample) - 1, rows).astype(np.int64)
    return replace(held, sample=sample[kept], index=held.index[kept])


@dataclass(frozen=True, slots=True)
class _Around:
    """The sample of rows that are moved, with all that is asked about it."""

    plan: Plan
    held: Seen
    space: Space
    settings: Settings

    @property
    def x(self) -> Array:
        if not isinstance(self.held.sample, np.ndarray):
            raise ArtifactError("rows of text are not moved")
        return self.held.sample

    @property
    def rows(self) -> Rows:
        return Rows(self.x, self.held.truth.taken(self.held.index), taken(self.held.scores, self.held.index))


def _repeated(done: Measured, plan: Plan, held: Seen, settings: Settings) -> None:
    """Rows that stand there more than once are no new rows: whoever repeats a file makes every interval narrow."""
    twice = held.rows - len(np.unique(held.prints))
    share = wilson(float(twice), held.rows, settings.z)
    if share is not None:
        done.metrics["data.repeated_share"] = share
    if twice > plan.max_overlap * held.rows:
        done.limits.append(
            f"{twice} of {held.rows} evaluated rows repeat others; if they are copies, intervals are too narrow"
        )


def _leaks(done: Measured, plan: Plan, held: Seen, training: Seen, settings: Settings) -> None:
    common, twice = overlap(held, training)
    share = wilson(float(common), held.rows, settings.z)
    allowed = max(plan.max_overlap, twice)
    same = held.digest == training.digest
    leak = same or common / held.rows > allowed
    done.limits.extend(training.notes)
    done.sections["leakage"] = {
        "rows_in_training": common,
        "allowed_share": allowed,
        "repeated_within_training": twice,
        "same_file": same,
        "leak": leak,
    }
    if share is not None:
        done.metrics["data.overlap_share"] = share
    if leak:
        done.limits.insert(
            0,
            f"{common} of {held.rows} evaluated rows stand in the training data: every figure is too good",
        )


def _performance(done: Measured, held: Seen, training: Seen | None, settings: Settings) -> None:
    truth, scores = held.truth, held.scores
    found = metrics(truth, scores, settings)
    section: dict[str, Any] = {}
    if truth.code is not None and scores.code is not None:
        section["classes"] = list(truth.classes)
        if len(truth.classes) <= MANY:
            section["confusion"] = confusion(truth.code, scores.code, len(truth.classes)).tolist()
        section["per_class"] = {
            name: {key: item.to_json() for key, item in said.items()}
            for name, said in per_class(truth, scores, settings).items()
        }
    plain, what = trivial(truth, None if training is None else training.truth)
    better = differences(truth, scores, plain, settings.z)
    section["baseline"] = {"what": what, "better_by": {name: item.to_json() for name, item in better.items()}}
    done.put("performance", found, section, prefix="\0")
    done.metrics = {name.removeprefix("\0"): item for name, item in done.metrics.items()}
    done.metrics |= {f"better_than_trivial.{name}": item for name, item in better.items()}
    if held.other.known:
        beside = differences(truth, scores, held.other, settings.z)
        done.metrics |= {f"better_than_against.{name}": item for name, item in beside.items()}
        theirs = metrics(truth, held.other, settings)
        section["against"] = {
            "metrics": {name: item.to_json() for name, item in theirs.items()},
            "better_by": {name: item.to_json() for name, item in beside.items()},
        }
    section["slices"] = {}
    for split in (*held.slices, *held.groups):
        table = {}
        counts = np.bincount(split.codes, minlength=len(split.values))
        largest = set(np.argsort(-counts, kind="stable")[:MANY].tolist())
        if len(split.values) > MANY:
            done.limits.append(f"of the {len(split.values)} values of {split.name}, the {MANY} largest are measured")
        for code, value in enumerate(split.values):
            mask = np.flatnonzero(split.codes == code)
            if len(mask) == 0 or code not in largest:
                continue
            part = metrics(truth.taken(mask), taken(scores, mask), settings)
            table[value] = {"rows": len(mask)} | {name: item.to_json() for name, item in part.items()}
            done.metrics |= {f"slice.{split.name}={value}.{name}": item for name, item in part.items()}
        section["slices"][split.name] = table
    done.kinds.append("performance")


def _fairness(done: Measured, plan: Plan, held: Seen, settings: Settings) -> None:
    if not held.groups:
        done.missing["fairness"] = "no groups are declared"
        return
    both = crossed(held.groups) if plan.intersections else None
    splits = [*held.groups, *([both] if both is not None else [])]
    found = fairness(held.truth, held.scores, splits, plan.minimum_group, settings)
    done.put("fairness", found.metrics, found.tables)
    for name, table in found.tables.items():
        if table["not_judged"]:
            small = ", ".join(f"{value} ({count})" for value, count in list(table["not_judged"].items())[:10])
            done.limits.append(f"groups of {name} with fewer than {plan.minimum_group} rows were not judged: {small}")
    if found.metrics:
        done.kinds.append("fairness")
    else:
        done.missing["fairness"] = f"fewer than two groups have {plan.minimum_group} rows"


def _calibration(done: Measured, plan: Plan, held: Seen, settings: Settings) -> None:
    if held.scores.p is None or held.truth.code is None:
        done.missing["calibration"] = "the model gives no probabilities"
        return
    if held.rows < 40:
        done.missing["calibration"] = "fewer than 40 rows"
        return
    found = calibrate(held.truth.code, held.scores.p, plan.bins, settings)
    about = {"ece_by_chance": found.ece_by_chance, "reliability": found.table, "temperature": found.temperature}
    done.put("calibration", found.metrics, about)
    done.kinds.append("calibration")


def _evasion(done: Measured, around: _Around) -> None:
    plan, rows = around.plan, around.rows
    predict = around.held.answering
    found, details = evade(
        predict,
        rows.x,
        rows.truth,
        rows.scores,
        around.space,
        budgets=plan.budgets,
        attacked=plan.attacked,
        queries=plan.queries,
        threshold=around.held.answering.reading.threshold,
        settings=around.settings,
    )
    near, about = distances(
        predict, rows.x, rows.truth, rows.scores, around.space, max(10, plan.attacked // 2), around.settings
    )
    done.put("evasion", found | near, details | {"decision_based": about})
    if not found:
        done.missing["evasion"] = "no row of the sample is answered rightly"
        return
    done.kinds.append("evasion")
    done.limits.append("attacks find upper bounds: a model that withstood these may yield to others")
    if around.space.assumed:
        done.limits.append(
            "the bounds of these features were not declared, and are those of the rows: "
            + ", ".join(around.space.assumed[:12])
        )


def _stability(done: Measured, around: _Around) -> None:
    rows = around.rows
    found, details = stability(
        around.held.answering,
        rows.x,
        rows.truth,
        rows.scores,
        around.space,
        noise=around.plan.noise,
        dropout=around.plan.dropout,
        settings=around.settings,
    )
    done.put("stability", found, details)
    if found:
        done.kinds.append("stability")
    else:
        done.missing["stability"] = "the sample does not give the main metric"


def _privacy(done: Measured, around: _Around, training: Seen | None) -> None:
    found, copied = extraction(
        around.held.answering, around.rows, around.space, around.plan.extraction_queries, around.settings
    )
    section: dict[str, Any] = {"extraction": copied}
    if training is None or not isinstance(training.sample, np.ndarray):
        done.missing["privacy"] = "membership needs the training data (--train)"
    elif bool(np.isnan(training.sample).any()):
        done.missing["privacy"] = "training has missing values"
    else:
        members = Rows(training.sample, training.truth.taken(training.index), training.scores)
        told, details = membership(members, around.rows, around.settings)
        found |= told
        section["membership"] = details
        if told:
            done.kinds.append("privacy")
            done.limits.append(
                "membership inference was tried without shadow models: a stronger attacker may know more"
            )
        else:
            done.missing["privacy"] = str(details.get("reason"))
    done.put("privacy", found, section)


def _attribution(done: Measured, around: _Around) -> None:
    rows, predict = around.rows, around.held.answering
    found, details = importance(predict, rows.x, rows.truth, rows.scores, around.held.features, around.settings)
    if not found:
        done.missing["attribution"] = str(details.get("reason"))
        return
    count = min(around.plan.explained, len(rows.x))
    picked = _spread(rows, count)
    code = [1] * count
    if rows.truth.code is not None and rows.scores.code is not None and len(rows.truth.classes) != 2:
        code = rows.scores.code[picked].tolist()
    details["rows_explained"] = shapley(
        predict, rows.x[picked], rows.x, code, around.held.features, around.settings.seed
    )
    done.put("attribution", found, details)
    done.kinds.append("attribution")
    if details["leak_hint"]:
        done.limits.append(f"possible leak of the label: {details['leak_hint']}")


def _spread(rows: Rows, count: int) -> Any:
    """Rows from the lowest answer to the highest: a reader sees both ends and the middle."""
    level = output_of(rows.scores, 1 if len(rows.truth.classes) == 2 else 0)
    order = np.argsort(level, kind="stable")
    return order[np.linspace(0, len(order) - 1, count).astype(np.int64)] if count else order[:0]
