"""What a model's outputs mean: probabilities of classes, classes alone, or values; checked before they are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from customhouse.core.errors import ArtifactError

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
_FEW = 20
"""So many whole numbers may as well be classes: what they are is asked for."""
_TRUE = ("1", "1.0", "true", "True", "TRUE", "yes", "Yes", "y")


class Tensor(Protocol):
    """One input or output of a model: Open Inference Protocol datatype; -1 for dimensions that vary."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def datatype(self) -> str:
        """`FP32`, `INT64`, `BYTES` …."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes."""


class Model(Protocol):
    """What answers."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What it takes."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What it gives."""

    def run(self, rows: Array | Sequence[str], outputs: Sequence[str]) -> list[Any]:
        """An array of each output, one answer a row."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Answers for rows. Of a classifier `p` [rows, classes] (None: labels alone) and `code`, of a regressor `value`."""

    p: Array | None = None
    code: Codes | None = None
    value: Array | None = None

    @property
    def known(self) -> int:
        """How many rows."""
        found = self.code if self.value is None else self.value
        return 0 if found is None else len(found)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the outputs of one model are read. `classes` are in the order of its columns; empty for a regressor."""

    task: str
    output: str
    scores: str
    classes: tuple[str, ...]
    threshold: float
    where: str
    text: bool = False
    columns: tuple[str, ...] = ()
    """The classes in the order of the model's columns, where that is another."""

    def read(self, arrays: Sequence[Any]) -> Scores:
        """The Scores of one answer. Raises ArtifactError for what is no answer of this kind."""
        array = arrays[0]
        if self.scores == "labels":
            return Scores(code=self._codes(array))
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            self._fail(f"output {self.output!r} holds text, and {self.scores} are expected")
        flat = array.reshape(len(array), -1)
        if not bool(np.isfinite(flat).all()):
            row = int(np.flatnonzero(~np.isfinite(flat).all(axis=1))[0])
            self._fail(f"the model answers {flat[row][:4].tolist()} for a row: that is no number")
        if self.task == "regression":
            if flat.shape[1] != 1:
                self._fail(f"output {self.output!r} has {flat.shape[1]} columns, and one value a row is expected")
            return Scores(value=flat[:, 0].astype(np.float64))
        p = self._probabilities(flat)
        code = (p[:, 1] >= self.threshold).astype(np.int64) if self.task == "binary" else p.argmax(axis=1)
        return Scores(p=p, code=code)

    def _probabilities(self, flat: Array) -> Array:
        p = self._of_columns(flat)
        turned = len(self.classes) == 2 and flat.shape[1] == 2 and self.columns[:1] == self.classes[1:]
        return p[:, ::-1] if turned else p

    def _of_columns(self, flat: Array) -> Array:
        count = len(self.classes)
        if flat.shape[1] == 1 and count == 2:
            one = _sigmoid(flat[:, 0]) if self.scores == "logits" else flat[:, 0]
            self._within(one)
            return np.stack([1.0 - one, one], axis=1)
        if flat.shape[1] != count:
            self._fail(
                f"output {self.output!r} has {flat.shape[1]} columns, and there are {count} classes: "
                f"{', '.join(self.classes[:10])}",
                "declare `classes` in the order of the model's columns",
            )
        if self.scores == "logits":
            return _softmax(flat)
        self._within(flat)
        total = flat.sum(axis=1)
        if float(np.abs(total - 1.0).max()) > 1e-3:
            self._fail(
                f"the probabilities of a row sum to {float(total[np.abs(total - 1.0).argmax()]):.4g}",
                "declare `scores: logits` if they are none, or `output` with the one that holds probabilities",
            )
        return np.asarray(np.clip(flat, 0.0, 1.0) / total[:, None], dtype=np.float64)

    def _within(self, p: Array) -> None:
        if float(p.min(initial=0.0)) < -1e-6 or float(p.max(initial=0.0)) > 1.0 + 1e-6:
            self._fail(
                f"output {self.output!r} reaches from {float(p.min()):.4g} to {float(p.max()):.4g}: no probabilities",
                "declare `scores: logits`, or `task: regression`",
            )

    def _codes(self, array: Any) -> Codes:
        known = {name: index for index, name in enumerate(self.classes)}
        found = np.asarray(array).reshape(len(array), -1)
        if found.shape[1] != 1:
            self._fail(f"output {self.output!r} has {found.shape[1]} columns, and one label a row is expected")
        names = [_name(item) for item in found[:, 0].tolist()]
        for name in set(names) - set(known):
            self._fail(f"the model answers {name!r}, which is none of the classes {', '.join(self.classes[:10])}")
        return np.array([known[name] for name in names], dtype=np.int64)

    def encode(self, labels: Sequence[str], first: int, where: str) -> Codes:
        """Labels of the data as codes. Raises ArtifactError for one that the model does not know."""
        known = {name: index for index, name in enumerate(self.classes)}
        try:
            return np.array([known[_plain(label)] for label in labels], dtype=np.int64)
        except KeyError as error:
            row = next(place for place, label in enumerate(labels) if _plain(label) not in known)
            raise ArtifactError(
                f"the label is {labels[row][:60]!r}, which the model does not know: {', '.join(self.classes[:10])}",
                where=f"{where}:{first + row + 2}",
                hint="declare `classes` in the order of the model's columns, or leave the rows out",
            ) from error

    def _fail(self, message: str, hint: str = "") -> NoReturn:
        raise ArtifactError(message, where=self.where, hint=hint)


def _plain(label: str) -> str:
    """`1` and `1.0` are one class: what wrote the file decides which it is."""
    text = label.strip()
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text


def _name(item: Any) -> str:
    return _plain(f"{item:g}") if isinstance(item, float) else _plain(str(item))


def _sigmoid(z: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(z, -700.0, 700.0))), dtype=np.float64)


def _softmax(z: Array) -> Array:
    shifted = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan says of outputs; empty texts are found out."""

    task: str
    output: str
    scores: str
    classes: tuple[str, ...]
    positive: str
    threshold: float


def interpret(
    model: Model, wanted: Wanted, labels: Sequence[str], where: str, probe: Array | Sequence[str] = ()
) -> tuple[Reading, tuple[str, ...]]:
    """How this model's outputs are read, and what was assumed. `labels` are those of the first rows, `probe` one row.

    Raises ArtifactError where it cannot be known.
    """
    notes: list[str] = []
    outputs = {item.name: item for item in model.outputs}
    if wanted.output and wanted.output not in outputs:
        raise ArtifactError(f"the model has no output {wanted.output!r}; it has {', '.join(outputs)}", where=where)
    floats = [item for item in model.outputs if item.datatype.startswith("FP")]
    chosen = outputs.get(wanted.output) or _chosen(model.outputs, floats, wanted, where)
    width = chosen.shape[1] if len(chosen.shape) > 1 else 1
    if width < 1 and len(probe):  # the model does not say how many columns it answers with
        answered = model.run(probe, [chosen.name])[0]
        width = int(answered.shape[1]) if answered.ndim > 1 else 1
    scores = wanted.scores or ("probabilities" if chosen in floats else "labels")
    task = wanted.task
    known = sorted({_plain(label) for label in labels}, key=_order)
    if not task:
        task = _task(known, width, scores, where)
        notes.append(f"the task is taken for {task}: the label has {len(known)} values in the first rows")
    if task == "regression":
        if chosen not in floats:
            raise ArtifactError(f"output {chosen.name!r} holds no numbers", where=where)
        return Reading(task, chosen.name, "values", (), 0.0, where), tuple(notes)
    classes, columns, said = _classes(wanted, known, task, width if scores != "labels" else 0)
    text = len(model.inputs) == 1 and model.inputs[0].datatype == "BYTES"
    return Reading(task, chosen.name, scores, classes, wanted.threshold, where, text, columns), (*notes, *said)


def _chosen(outputs: Sequence[Tensor], floats: Sequence[Tensor], wanted: Wanted, where: str) -> Tensor:
    if wanted.scores == "labels":
        rest = [item for item in outputs if item not in floats] or list(outputs)
        return rest[0]
    if len(floats) == 1 or (floats and len(outputs) == len(floats) == 1):
        return floats[0]
    if not floats and len(outputs) == 1:
        return outputs[0]
    names = ", ".join(item.name for item in outputs)
    raise ArtifactError(f"the model has several outputs: {names}", where=where, hint="declare `output`")


def _task(known: Sequence[str], width: int, scores: str, where: str) -> str:
    if scores == "labels" or width > 1:
        return "binary" if len(known) <= 2 and width <= 2 else "multiclass"
    if len(known) <= 2:
        return "binary"
    if _numeric(known) and (len(known) > _FEW or not all(name.lstrip("-").isdigit() for name in known)):
        return "regression"
    raise ArtifactError(
        f"the model gives one number a row, and the label has {len(known)} values: {', '.join(known[:8])}",
        where=where,
        hint="declare `task`: regression, or binary with `positive`",
    )


def _numeric(known: Sequence[str]) -> bool:
    try:
        return bool([float(name) for name in known])
    except ValueError:
        return False


def _classes(
    wanted: Wanted, known: Sequence[str], task: str, width: int
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """The classes (of two the positive one last), and those of the model's columns in their order."""
    notes: list[str] = []
    columns = tuple(_plain(item) for item in wanted.classes) or tuple(known)
    if task == "binary":
        positive = _plain(wanted.positive) or _positive(wanted, columns, width)
        if len(columns) == 1:
            columns = tuple(sorted({*columns, positive, "0" if positive != "0" else "1"}, key=_order)[:2])
        if positive not in columns:
            raise ArtifactError(f"the positive class {positive!r} is none of {', '.join(columns)}")
        negative = next(name for name in columns if name != positive)
        if not wanted.classes:
            notes.append(f"the positive class is {positive!r}")
            if width == 2:
                notes.append(f"the model's columns are taken for {', '.join(columns)}, in this order")
        return (negative, positive), columns, notes
    if wanted.classes:
        return columns, columns, notes
    if width > 1 and width != len(known) and all(name.isdigit() and int(name) < width for name in known):
        columns = tuple(str(index) for index in range(width))
    notes.append(f"the model's columns are taken for {', '.join(columns[:10])}, in this order")
    return columns, columns, notes


def _positive(wanted: Wanted, columns: Sequence[str], width: int) -> str:
    """Of two declared classes, and of two columns, the second; else what means yes. Raises ArtifactError."""
    if len(columns) == 2 and (wanted.classes or width == 2):
        return columns[1]
    said = next((name for name in _TRUE if name in columns), "")
    if said:
        return said
    only = f"the first rows all have the label {columns[0]!r}, and " if len(columns) == 1 else ""
    raise ArtifactError(
        f"{only}which of {', '.join(columns[:8])} is the positive class is not said",
        hint="evaluate on rows of both classes, and declare `positive` (or `classes`) in a plan",
    )


def _order(name: str) -> tuple[int, float, str]:
    return (0, float(name), name) if name.lstrip("-").isdigit() else (1, 0.0, name)


def feature_names(
    model: Model, declared: Sequence[str], header: Sequence[str], apart: Mapping[str, str], where: str
) -> tuple[tuple[str, ...], str]:
    """The columns that the model takes, in its order, and what was assumed. `apart`: columns that are none, and why.

    Raises ArtifactError for a model that is not tabular, and where their number is not the model's.
    """
    inputs = model.inputs
    if not inputs:
        raise ArtifactError("the model takes nothing", where=where)
    for spec in inputs:
        if len(spec.shape) > 2 or (len(inputs) > 1 and len(spec.shape) == 2 and spec.shape[1] not in (-1, 1)):
            raise ArtifactError(
                f"input {spec.name!r} has shape {list(spec.shape)}: only tables and one column of text are evaluated",
                where=where,
                hint="measure pictures, sound and generative models elsewhere; `model attest --evaluation` takes that",
            )
    if len(inputs) > 1:
        names = tuple(spec.name for spec in inputs)
        if declared and set(declared) != set(names):
            odd = sorted(set(declared) ^ set(names))
            raise ArtifactError(
                f"the model's inputs are {', '.join(names)}; features differ in {odd[0]!r}", where=where
            )
        return names, ""
    found = tuple(declared) or tuple(name for name in header if name not in apart)
    width = inputs[0].shape[1] if len(inputs[0].shape) == 2 else 1
    if inputs[0].datatype == "BYTES":
        width = 1
    if width not in (-1, len(found)):
        raise ArtifactError(
            f"the model takes {width} features, and there are {len(found)}: {', '.join(found[:12])}",
            where=where,
            hint="declare `features` in the model's order, and `ignore` for columns that are none",
        )
    return found, "" if declared else "the features are taken in the order of the file's columns: " + ", ".join(found)
