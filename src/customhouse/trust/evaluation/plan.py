"""The plan of an evaluation: a YAML file in Git that says what is measured, how, and which bounds have to hold.

Everything has a default except the label; unknown keys are errors that name the nearest known one.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

API = "customhouse.dev/evaluation/v1"
KINDS = ("performance", "fairness", "calibration", "evasion", "stability", "privacy", "attribution")
"""What can be measured, in the order in which it is."""
TASKS = ("binary", "multiclass", "regression")
SCORES = ("probabilities", "logits", "labels", "values")
TYPES = ("number", "integer", "category")

Fail = Callable[[str, str], NoReturn]
"""Raises ConfigError at the place of a JSON pointer, with a message."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column. `low` and `high` are what it can be at all; `mutable`: whether an attacker can choose it."""

    name: str
    type: str = ""
    """`number`, `integer` or `category` (its codes are not ordered); empty: seen from the rows."""
    low: float | None = None
    high: float | None = None
    mutable: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    """A column that rows are told apart by: its values, or the ranges between `cuts`."""

    column: str
    cuts: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """As metrics are called."""
        return self.column


@dataclass(frozen=True, slots=True)
class Bound:
    """What a metric has to be. `on`: which end of the interval counts, or the `value` itself."""

    metric: str
    at_least: float | None
    at_most: float | None
    on: str
    place: str = ""

    @property
    def text(self) -> str:
        """`at least 0.8 (low end of the interval)`."""
        words = [
            f"{word} {limit:.12g}"
            for word, limit in (("at least", self.at_least), ("at most", self.at_most))
            if limit is not None
        ]
        end = {"low": "low end of the interval", "high": "high end of the interval", "value": "the estimate"}[self.on]
        return f"{' and '.join(words)} ({end})"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is declared. Sizes are rows, budgets shares of a feature's range, times seconds."""

    label: str
    task: str = ""
    positive: str = ""
    classes: tuple[str, ...] = ()
    threshold: float = 0.5
    features: tuple[Feature, ...] = ()
    ignore: tuple[str, ...] = ()
    output: str = ""
    scores: str = ""
    missing: str = "refuse"
    """Empty cells of features: `refuse`, or `nan` for models that take them."""
    groups: tuple[Axis, ...] = ()
    intersections: bool = True
    minimum_group: int = 50
    slices: tuple[Axis, ...] = ()
    measure: tuple[str, ...] = KINDS
    confidence: float = 0.95
    seed: int = 1
    resamples: int = 1000
    bins: int = 15
    sample: int = 2000
    """Rows that are perturbed, attacked and attributed; metrics are of all rows."""
    budgets: tuple[float, ...] = (0.01, 0.05, 0.1)
    attacked: int = 100
    queries: int = 300
    """Of one attack on one row."""
    noise: tuple[float, ...] = (0.05, 0.1)
    dropout: float = 0.1
    extraction_queries: int = 1000
    explained: int = 5
    max_overlap: float = 0.01
    seconds: float = 600.0
    memory_mb: int = 4096
    bounds: tuple[Bound, ...] = ()
    users: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    name: str = ""
    digest: str = ""
    """Of the file; empty without one."""


_NUMBER = (int, float)
_LISTS = {"ignore": str, "classes": (str, int), "measure": str}
_KEYS = {
    "apiVersion", "task", "label", "positive", "classes", "threshold", "features", "ignore", "output", "scores",
    "missing", "groups", "intersections", "minimumGroup", "slices", "measure", "confidence", "seed", "resamples",
    "calibration", "sample", "evasion", "stability", "privacy", "attribution", "limits", "data", "bounds",
    "considerations",
}  # fmt: skip


def read_plan(
    document: Any, fail: Fail, *, name: str = "", digest: str = "", place: Callable[[str], str] = str
) -> Plan:
    """A plan from a YAML document. `place` gives `file:line:column` of a JSON pointer. Raises what `fail` raises."""
    read = _Reader(fail)
    said = read.object("", document, _KEYS)
    if said.get("apiVersion") != API:
        fail("/apiVersion", f"apiVersion must be {API!r}")
    default = Plan(label="")
    section = {
        key: read.object(f"/{key}", said.get(key) or {}, known)
        for key, known in (
            ("calibration", {"bins"}),
            ("evasion", {"budgets", "rows", "queries"}),
            ("stability", {"noise", "dropout"}),
            ("privacy", {"queries"}),
            ("attribution", {"rows"}),
            ("limits", {"seconds", "memoryMb"}),
            ("data", {"maxOverlap"}),
            ("considerations", {"users", "limitations"}),
        )
    }
    label = said.get("label")
    if not isinstance(label, str) or not label:
        fail("/label" if "label" in said else "", "label is missing: the column that holds what is true")
    plan = Plan(
        label=label,
        task=read.word("/task", said.get("task", ""), TASKS),
        positive=read.text("/positive", said.get("positive", "")),
        classes=read.texts("/classes", said.get("classes") or ()),
        threshold=read.number("/threshold", said.get("threshold", default.threshold), 0.0, 1.0),
        features=tuple(read.feature(f"/features/{i}", item) for i, item in read.items("/features", said)),
        ignore=read.texts("/ignore", said.get("ignore") or ()),
        output=read.text("/output", said.get("output", "")),
        scores=read.word("/scores", said.get("scores", ""), SCORES),
        missing=read.word("/missing", said.get("missing", default.missing), ("refuse", "nan")),
        groups=tuple(read.axis(f"/groups/{i}", item) for i, item in read.items("/groups", said)),
        intersections=read.boolean("/intersections", said.get("intersections", True)),
        minimum_group=read.whole("/minimumGroup", said.get("minimumGroup", default.minimum_group), 10, 10**9),
        slices=tuple(read.axis(f"/slices/{i}", item) for i, item in read.items("/slices", said)),
        measure=tuple(read.word(f"/measure/{i}", item, KINDS) for i, item in read.items("/measure", said)) or KINDS,
        confidence=read.number("/confidence", said.get("confidence", default.confidence), 0.5, 0.999),
        seed=read.whole("/seed", said.get("seed", default.seed), 0, 2**32 - 1),
        resamples=read.whole("/resamples", said.get("resamples", default.resamples), 200, 100_000),
        sample=read.whole("/sample", said.get("sample", default.sample), 100, 100_000),
        **_sections(read, section, default),
        bounds=tuple(read.bound(f"/bounds/{i}", item, place) for i, item in read.items("/bounds", said)),
        name=name,
        digest=digest,
    )
    _check(plan, fail)
    return plan


def _sections(read: _Reader, said: Mapping[str, Mapping[str, Any]], default: Plan) -> dict[str, Any]:
    evasion, stability, limits = said["evasion"], said["stability"], said["limits"]
    return {
        "bins": read.whole("/calibration/bins", said["calibration"].get("bins", default.bins), 2, 200),
        "budgets": read.numbers("/evasion/budgets", evasion.get("budgets", default.budgets), 0.0, 1.0),
        "attacked": read.whole("/evasion/rows", evasion.get("rows", default.attacked), 10, 10_000),
        "queries": read.whole("/evasion/queries", evasion.get("queries", default.queries), 20, 100_000),
        "noise": read.numbers("/stability/noise", stability.get("noise", default.noise), 0.0, 10.0),
        "dropout": read.number("/stability/dropout", stability.get("dropout", default.dropout), 0.0, 1.0),
        "extraction_queries": read.whole(
            "/privacy/queries", said["privacy"].get("queries", default.extraction_queries), 50, 1_000_000
        ),
        "explained": read.whole("/attribution/rows", said["attribution"].get("rows", default.explained), 0, 100),
        "seconds": read.number("/limits/seconds", limits.get("seconds", default.seconds), 0.1, 86_400.0),
        "memory_mb": read.whole("/limits/memoryMb", limits.get("memoryMb", default.memory_mb), 64, 1 << 20),
        "max_overlap": read.number("/data/maxOverlap", said["data"].get("maxOverlap", default.max_overlap), 0.0, 1.0),
        "users": read.texts("/considerations/users", said["considerations"].get("users") or ()),
        "limitations": read.texts("/considerations/limitations", said["considerations"].get("limitations") or ()),
    }


def _check(plan: Plan, fail: Fail) -> None:
    names = [feature.name for feature in plan.features]
    for index, name in enumerate(names):
        if name in names[:index]:
            fail(f"/features/{index}/name", f"the feature {name!r} is declared twice")
        if name == plan.label:
            fail(f"/features/{index}/name", f"{name!r} is the label: a model that sees it predicts nothing")
    for key, axes in (("groups", plan.groups), ("slices", plan.slices)):
        columns = [axis.column for axis in axes]
        for index, column in enumerate(columns):
            if column in columns[:index]:
                fail(f"/{key}/{index}", f"{column!r} stands twice")
    if plan.positive and plan.classes and plan.positive not in plan.classes:
        fail("/positive", f"{plan.positive!r} is none of classes")
    if len(set(plan.classes)) != len(plan.classes):
        fail("/classes", "a class stands twice")
    if plan.task == "binary" and plan.classes and len(plan.classes) != 2:
        fail("/classes", f"{len(plan.classes)} classes, and the task is binary")


@dataclass(frozen=True, slots=True)
class _Reader:
    fail: Fail

    def object(self, at: str, value: Any, known: set[str]) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            self.fail(at, f"{at.rpartition('/')[2] or 'the plan'} is no mapping")
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
                self.fail(f"{at}/{key}", f"unknown key {key!r}; {hint}")
        return value

    def items(self, at: str, said: Mapping[str, Any]) -> list[tuple[int, Any]]:
        value = said.get(at[1:])
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > 10_000:
            self.fail(at, f"{at[1:]} is no list")
        return list(enumerate(value))

    def text(self, at: str, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int)) or len(str(value)) > 1000:
            self.fail(at, f"{value!r} is no text")
        return str(value)

    def texts(self, at: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            self.fail(at, f"{at.rpartition('/')[2]} is no list")
        return tuple(self.text(f"{at}/{index}", item) for index, item in enumerate(value))

    def word(self, at: str, value: Any, known: Sequence[str]) -> str:
        if value == "" or value in known:
            return str(value)
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(known)}"
        return self.fail(at, f"{value!r}; {hint}")

    def boolean(self, at: str, value: Any) -> bool:
        if not isinstance(value, bool):
            self.fail(at, f"{value!r} is neither true nor false")
        return value

    def number(self, at: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
        if isinstance(value, bool) or not isinstance(value, _NUMBER) or not math.isfinite(value):
            self.fail(at, f"{value!r} is no number")
        if not low <= value <= high:
            self.fail(at, f"{value} is outside {low:g} to {high:g}")
        return float(value)

    def whole(self, at: str, value: Any, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(at, f"{value!r} is no whole number")
        if not low <= value <= high:
            self.fail(at, f"{value} is outside {low} to {high}")
        return value

    def numbers(self, at: str, value: Any, low: float, high: float) -> tuple[float, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            self.fail(at, f"{at.rpartition('/')[2]} is no list of numbers")
        return tuple(sorted({self.number(f"{at}/{index}", item, low, high) for index, item in enumerate(value)}))

    def feature(self, at: str, item: Any) -> Feature:
        if isinstance(item, str):
            return Feature(item)
        said = self.object(at, item, {"name", "type", "min", "max", "mutable"})
        if not isinstance(said.get("name"), str):
            self.fail(at, "a feature has a name")
        low, high = (None if said.get(key) is None else self.number(f"{at}/{key}", said[key]) for key in ("min", "max"))
        if low is not None and high is not None and low >= high:
            self.fail(f"{at}/max", f"{high:g} is not above min, which is {low:g}")
        kind = self.word(f"{at}/type", said.get("type", ""), TYPES)
        # What a code without order becomes when it is moved a little means nothing; changing it has to be declared.
        mutable = self.boolean(f"{at}/mutable", said.get("mutable", kind != "category"))
        return Feature(said["name"], kind, low, high, mutable)

    def axis(self, at: str, item: Any) -> Axis:
        if isinstance(item, str):
            return Axis(item)
        said = self.object(at, item, {"column", "cuts"})
        if not isinstance(said.get("column"), str):
            self.fail(at, "column is missing")
        return Axis(said["column"], self.numbers(f"{at}/cuts", said.get("cuts") or (), -math.inf, math.inf))

    def bound(self, at: str, item: Any, place: Callable[[str], str]) -> Bound:
        said = self.object(at, item, {"metric", "atLeast", "atMost", "counts"})
        if not isinstance(said.get("metric"), str):
            self.fail(at, "metric is missing")
        low, high = (
            None if said.get(key) is None else self.number(f"{at}/{key}", said[key]) for key in ("atLeast", "atMost")
        )
        if low is None and high is None:
            self.fail(at, f"the bound on {said['metric']!r} has neither atLeast nor atMost")
        if "counts" not in said and low is not None and high is not None:
            self.fail(at, "a bound with both ends says what counts: `counts: value`, or write two bounds")
        # The careful end: what is at least so good has to be so at the low end of the interval.
        on = self.word(
            f"{at}/counts", said.get("counts", "low" if low is not None else "high"), ("low", "high", "value")
        )
        return Bound(said["metric"], low, high, on or "value", place(at))
