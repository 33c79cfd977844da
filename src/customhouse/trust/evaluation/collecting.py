"""From rows to what is measured: each row is read once, answered for, and only what metrics need of it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from customhouse.core.errors import ArtifactError
from customhouse.trust.evaluation.answers import Model, Reading, Scores, Wanted, feature_names, interpret
from customhouse.trust.evaluation.fairness import MAX_GROUPS, Split
from customhouse.trust.evaluation.intervals import Array, stream
from customhouse.trust.evaluation.performance import Truth
from customhouse.trust.evaluation.plan import Axis, Plan
from customhouse.trust.evaluation.table import Chunk, Reservoir, Table, fingerprints

MAX_ANSWERS = 200_000_000
"""Rows times classes: 8 bytes each are held."""


@dataclass(frozen=True, slots=True)
class Answering:
    """A model with the way its outputs are read."""

    model: Model
    reading: Reading

    def __call__(self, rows: Array | Sequence[str]) -> Scores:
        """The Scores of rows. Raises ArtifactError."""
        return self.reading.read(self.model.run(rows, [self.reading.output]))


@dataclass(frozen=True, slots=True)
class Seen:
    """A file's rows: truth and scores of all (of training: labels of all, no scores), features of a sample."""

    name: str
    digest: str
    rows: int
    columns: tuple[str, ...]
    features: tuple[str, ...]
    truth: Truth
    scores: Scores
    other: Scores
    """Of the model that this one is compared with; empty without one."""
    sample: Array | list[str]
    index: NDArray[np.int64]
    prints: NDArray[np.uint64]
    groups: tuple[Split, ...]
    slices: tuple[Split, ...]
    answering: Answering
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Kept:
    """Pieces of all chunks, joined at the end."""

    truth: list[Any] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    other: list[Scores] = field(default_factory=list)
    prints: list[NDArray[np.uint64]] = field(default_factory=list)


class _Coder:
    """The values of one column as codes, in the order in which they come; of a column with cuts, its ranges."""

    def __init__(self, axis: Axis, where: str) -> None:
        self._axis, self._where = axis, where
        self._codes: list[NDArray[np.int64]] = []
        cuts = [f"{cut:g}" for cut in axis.cuts]
        ranges = [f"below {cuts[0]}", *(f"{a} to {b}" for a, b in pairwise(cuts)), f"from {cuts[-1]}"] if cuts else []
        self._known: dict[str, int] = {name: code for code, name in enumerate(ranges)}

    def add(self, chunk: Chunk, table: Table) -> None:
        cells = chunk.columns[self._axis.column]
        if self._axis.cuts:
            values = table.numbers(cells, self._axis.column, chunk.first)
            self._codes.append(np.searchsorted(np.array(self._axis.cuts), values, side="right"))
            return
        for cell in cells:
            if cell not in self._known:
                if len(self._known) >= 10 * MAX_GROUPS:
                    self._fail()
                self._known[cell] = len(self._known)
        self._codes.append(np.array([self._known[cell] for cell in cells], dtype=np.int64))

    def split(self) -> Split:
        codes = np.concatenate(self._codes) if self._codes else np.zeros(0, dtype=np.int64)
        if self._axis.cuts:
            return Split(self._axis.name, tuple(self._known), codes)
        # By name, so that the order of the rows does not matter.
        names = sorted(self._known)
        places = np.empty(max(len(names), 1), dtype=np.int64)
        for place, name in enumerate(names):
            places[self._known[name]] = place
        return Split(self._axis.name, tuple(names), places[codes])

    def _fail(self) -> NoReturn:
        raise ArtifactError(
            f"{self._axis.column} has more than {10 * MAX_GROUPS} values: rows are not told apart by it",
            where=self._where,
            hint="declare `cuts` for a column of numbers",
        )


def collect(table: Table, model: Model, plan: Plan, *, against: Model | None = None, where: str = "") -> Seen:
    """Read a holdout and have every row answered. `where` is the model's name. Raises ArtifactError."""
    table.require([plan.label], "the label")
    table.require([item.column for item in (*plan.groups, *plan.slices)], "a group or slice")
    declared = [item.name for item in plan.features]
    table.require(declared, "a feature")
    apart = _apart(plan)
    features, note = feature_names(model, declared, table.header, apart, where)
    table.require(features, "an input of the model")
    others = tuple(dict.fromkeys([plan.label, *(item.column for item in (*plan.groups, *plan.slices))]))
    text = len(model.inputs) == 1 and model.inputs[0].datatype == "BYTES"
    chunks = table.chunks(features, others, text=text, missing=plan.missing == "nan")
    first = next(chunks)
    answering, notes = _answering(model, plan, first, where)
    beside = None
    if against is not None:
        beside = Answering(against, _other(against, answering, plan, first.x[:1]))
    coders = [[_Coder(axis, str(table.path)) for axis in axes] for axes in (plan.groups, plan.slices)]
    sampled = Reservoir(plan.sample, stream(plan.seed, "sample"))
    kept = _Kept()
    for chunk in _again(first, chunks):
        kept.truth.append(_truth(chunk, plan, answering.reading, table))
        kept.scores.append(answering(chunk.x))
        if (chunk.first + len(kept.truth[-1])) * max(len(answering.reading.classes), 1) > MAX_ANSWERS:
            raise ArtifactError(
                f"more than {MAX_ANSWERS} probabilities (rows times classes)",
                where=str(table.path),
                hint="evaluate on a sample of the rows",
            )
        if beside is not None:
            kept.other.append(beside(chunk.x))
        kept.prints.append(fingerprints(chunk.x))
        sampled.add(chunk.first, chunk.x)
        for coder in (*coders[0], *coders[1]):
            coder.add(chunk, table)
    truth = _joined_truth(kept.truth, answering.reading)
    _require_both(truth, plan, str(table.path))
    return Seen(
        name=table.path.name,
        digest=table.digest,
        rows=table.rows,
        columns=table.header,
        features=features,
        truth=truth,
        scores=_joined(kept.scores),
        other=_joined(kept.other),
        sample=sampled.rows,
        index=sampled.index,
        prints=np.concatenate(kept.prints),
        groups=tuple(coder.split() for coder in coders[0]),
        slices=tuple(coder.split() for coder in coders[1]),
        answering=answering,
        notes=(*((note,) if note else ()), *notes),
    )


def collect_training(table: Table, plan: Plan, held: Seen) -> Seen:
    """Read what the model was trained on: labels and fingerprints of all rows, answers for a sample of them."""
    table.require([plan.label], "the label")
    table.require(held.features, "an input of the model")
    text = held.answering.reading.text
    sampled = Reservoir(plan.sample, stream(plan.seed, "training sample"))
    kept = _Kept()
    for chunk in table.chunks(held.features, [plan.label], text=text, missing=plan.missing == "nan"):
        kept.truth.append(_truth(chunk, plan, held.answering.reading, table))
        kept.prints.append(fingerprints(chunk.x))
        sampled.add(chunk.first, chunk.x)
    notes = []
    order = tuple(name for name in table.header if name in held.features)
    if not plan.features and order != tuple(name for name in held.columns if name in held.features):
        notes.append("training has its columns in another order than the holdout: declare `features`")
    return replace(
        held,
        name=table.path.name,
        digest=table.digest,
        rows=table.rows,
        columns=table.header,
        truth=_joined_truth(kept.truth, held.answering.reading),
        scores=held.answering(sampled.rows),
        other=Scores(),
        sample=sampled.rows,
        index=sampled.index,
        prints=np.concatenate(kept.prints),
        groups=(),
        slices=(),
        notes=tuple(notes),
    )


def _apart(plan: Plan) -> Mapping[str, str]:
    """Columns that are no features where none are declared."""
    said = dict.fromkeys(plan.ignore, "ignored")
    said |= {item.column: "a group" for item in plan.groups}
    return said | {plan.label: "the label"}


def _answering(model: Model, plan: Plan, first: Chunk, where: str) -> tuple[Answering, tuple[str, ...]]:
    wanted = Wanted(plan.task, plan.output, plan.scores, plan.classes, plan.positive, plan.threshold)
    reading, notes = interpret(model, wanted, first.columns[plan.label], where, first.x[:1])
    return Answering(model, reading), notes


def _other(model: Model, ours: Answering, plan: Plan, probe: Array | Sequence[str]) -> Reading:
    """How the other model is read: the same classes in the same order of columns."""
    said = ours.reading
    positive = said.classes[1] if said.task == "binary" else ""
    wanted = Wanted(said.task, "", plan.scores, said.columns, positive, plan.threshold)
    if any(item.name == ours.reading.output for item in model.outputs):
        wanted = replace(wanted, output=ours.reading.output)
    reading, _ = interpret(model, wanted, said.classes, "the model of --against", probe)
    return reading


def _again(first: Chunk, rest: Iterator[Chunk]) -> Iterator[Chunk]:
    yield first
    yield from rest


def _truth(chunk: Chunk, plan: Plan, reading: Reading, table: Table) -> Any:
    labels = chunk.columns[plan.label]
    if reading.task == "regression":
        return table.numbers(labels, plan.label, chunk.first)
    return reading.encode(labels, chunk.first, str(table.path))


def _joined_truth(parts: Sequence[Any], reading: Reading) -> Truth:
    whole = np.concatenate(parts)
    if reading.task == "regression":
        return Truth(reading.task, (), None, whole)
    return Truth(reading.task, reading.classes, whole, None)


def _joined(parts: Sequence[Scores]) -> Scores:
    if not parts:
        return Scores()

    def one(name: str) -> Any:
        pieces = [getattr(part, name) for part in parts]
        return None if pieces[0] is None else np.concatenate(pieces)

    return Scores(one("p"), one("code"), one("value"))


def _require_both(truth: Truth, plan: Plan, where: str) -> None:
    if truth.code is not None and len(np.unique(truth.code)) < 2:
        only = truth.classes[int(truth.code[0])]
        raise ArtifactError(
            f"every row has the label {only!r}: how others are told from it cannot be measured",
            where=where,
            hint=f"evaluate on rows of every class; is {plan.label!r} the label?",
        )
    if truth.value is not None and float(truth.value.std()) == 0.0:
        raise ArtifactError("every row has the same label: nothing can be measured", where=where)


def overlap(held: Seen, training: Seen) -> tuple[int, float]:
    """Rows of the holdout whose features stand in training too, and the share of training that stands there twice."""
    found = int(np.isin(held.prints, training.prints).sum())
    distinct = len(np.unique(training.prints))
    return found, 1.0 - distinct / training.rows
