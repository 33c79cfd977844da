"""One column as it streams by: types, nulls, range, moments, quantiles of a sample, and what its schema finds wrong.

Memory is bounded: counts of at most MAX_DISTINCT values, a sample of SAMPLE numbers; only a column that must be unique,
or that others refer to, keeps eight bytes for each row.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from customhouse.trust.dataset.batch import Batch
from customhouse.trust.dataset.finding import Finding, Places, plural
from customhouse.trust.dataset.patience import patience
from customhouse.trust.dataset.schema import Column

MAX_DISTINCT = 10_000
SAMPLE = 20_000
TOP = 10
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_INTEGER = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_MOMENT = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_BEGINS = frozenset("0123456789+-. \t")
"""What a number or a time begins with."""
_TRUTH = frozenset({"true", "false", "True", "False", "TRUE", "FALSE", "yes", "no"})
_BOOLEAN = re.compile("true|false|yes|no|[01]", re.IGNORECASE)
_MOSTLY = 0.9
"""From this part of its values on a column has a type, and the others are what is odd in it."""


class ColumnProfile:
    """The statistics of one column."""

    def __init__(self, name: str, nulls: frozenset[str], rule: Column | None, *, keep: bool = False) -> None:
        self.name, self.rule, self._nulls = name, rule, nulls
        self.rows = self.nulls = 0
        self.numbers = self.integers = self.moments = self.truths = self.texts = 0
        self.minimum, self.maximum = math.inf, -math.inf
        self.earliest, self.latest = "", ""
        self._mean = self._squares = 0.0
        self.shortest, self.longest = 1 << 62, 0
        self.values: Counter[str] = Counter()
        self.many = False
        self._sample: list[Any] = []
        self._stride, self._seen = 1, 0
        self._hashes: list[Any] = []
        self._keep = keep or (rule is not None and rule.unique)
        self.wrong: dict[str, Places] = {}
        self.odd = Places()
        self.infinite = 0

    def update(self, values: Sequence[str | None], batch: Batch) -> None:
        """The column's cells of one batch."""
        self.rows += len(values)
        if self._keep:
            self._hashes.append(np.fromiter(map(hash, values), np.int64, len(values)))
        if None not in values and self._nulls.isdisjoint(values):
            present, at = list(values), None
        else:
            at = [i for i, value in enumerate(values) if value is not None and value not in self._nulls]
            present = [values[i] for i in at]
            self.nulls += len(values) - len(present)
            if self.rule is not None and not self.rule.nullable and len(present) < len(values):
                kept = set(at)
                for index in range(len(values)):
                    if index not in kept:
                        self._wrong("null", batch, index)
        texts = [value for value in present if value is not None]
        if not texts:
            return
        self._count(texts)
        numbers = self._typed(texts, at, batch)
        if self.rule is not None:
            self._judge(self.rule, texts, numbers, at, batch)

    def _count(self, texts: list[str]) -> None:
        if self.many:
            return
        self.values.update(texts)
        if len(self.values) > MAX_DISTINCT:
            self.many = True
            self.values.clear()

    def _typed(self, texts: list[str], at: list[int] | None, batch: Batch) -> Any:
        """Count types; the values as numbers when all of them are."""
        numbers = as_numbers(texts)
        if numbers is not None:
            self.numbers += len(texts)
            joined = "".join(texts)
            if "." not in joined and "e" not in joined and "E" not in joined and "n" not in joined:
                self.integers += len(texts)
            self._measure(numbers)
            return numbers
        lengths = list(map(len, texts))
        self.shortest, self.longest = min(self.shortest, *lengths), max(self.longest, *lengths)
        some, others = [], []
        for index, text in enumerate(texts):
            if not text or text[0] not in _BEGINS:
                others.append(index)
            elif _NUMBER.fullmatch(text):
                self.numbers += 1
                self.integers += _INTEGER.fullmatch(text) is not None
                some.append(float(text))
            elif _MOMENT.fullmatch(text):
                self.moments += 1
                self.earliest = text if not self.earliest or text < self.earliest else self.earliest
                self.latest = max(self.latest, text)
            else:
                others.append(index)
        truths = sum(texts[index] in _TRUTH for index in others)
        self.truths += truths
        self.texts += len(others) - truths
        if some:
            self._measure(np.array(some))
        if len(some) * 2 > len(texts):
            for index in others:
                self.odd.add(batch.place(index if at is None else at[index]))
        return None

    def _measure(self, numbers: Any) -> None:
        finite = numbers[np.isfinite(numbers)]
        self.infinite += len(numbers) - len(finite)
        if not len(finite):
            return
        self.minimum, self.maximum = min(self.minimum, float(finite.min())), max(self.maximum, float(finite.max()))
        # Chan, Golub and LeVeque: moments of parts give those of the whole.
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers as large as 1e308 there is no deviation
            count, mean = len(finite), float(finite.mean())
            before = self.numbers - len(numbers)
            delta, total = mean - self._mean, max(1, before + count)
            self._squares += float(((finite - mean) ** 2).sum()) + delta * delta * before * count / total
            self._mean += delta * count / total
        self._keep_some(finite)

    def _keep_some(self, finite: Any) -> None:
        """Every so many numbers, evenly over all rows: twice as far apart whenever there are too many."""
        taken = finite[-self._seen % self._stride :: self._stride]
        self._seen += len(finite)
        self._sample.append(taken)
        if sum(map(len, self._sample)) > 2 * SAMPLE:
            self._sample = [np.concatenate(self._sample)[::2]]
            self._stride *= 2

    def _judge(self, rule: Column, texts: list[str], numbers: Any, at: list[int] | None, batch: Batch) -> None:
        def wrong(name: str, index: int) -> None:
            self._wrong(name, batch, index if at is None else at[index])

        self._judge_type(rule, texts, numbers, wrong)
        self._judge_range(rule, texts, numbers, wrong)
        if rule.values:
            known = frozenset(rule.values)
            if not known.issuperset(texts):
                for index, text in enumerate(texts):
                    if text not in known:
                        wrong("value-not-listed", index)
        if rule.pattern is not None:
            match = rule.pattern.fullmatch
            with patience(self.name, batch.place(0)):
                found = [index for index, text in enumerate(texts) if match(text[:4096]) is None]
            for index in found:
                wrong("pattern", index)
        if rule.min_length is not None or rule.max_length is not None:
            low, high = rule.min_length or 0, rule.max_length if rule.max_length is not None else 1 << 62
            for index, text in enumerate(texts):
                if not low <= len(text) <= high:
                    wrong("length", index)

    def _judge_type(self, rule: Column, texts: list[str], numbers: Any, wrong: Any) -> None:
        if rule.type in ("any", "text"):
            return
        if numbers is not None and rule.type == "number":
            for index in np.flatnonzero(~np.isfinite(numbers)).tolist():
                wrong("type", index)
            return
        shape = {"integer": _INTEGER, "number": _NUMBER, "boolean": _BOOLEAN, "datetime": _MOMENT}[rule.type]
        for index, text in enumerate(texts):
            if shape.fullmatch(text) is None:
                wrong("type", index)

    def _judge_range(self, rule: Column, texts: list[str], numbers: Any, wrong: Any) -> None:
        if rule.minimum is None and rule.maximum is None:
            return
        if rule.type == "datetime":
            low, high = str(rule.minimum or ""), str(rule.maximum or "\uffff")
            for index, text in enumerate(texts):
                if not low <= text <= high:
                    wrong("range", index)
            return
        if numbers is None:
            numbers = np.array([float(text) if _NUMBER.fullmatch(text) else math.nan for text in texts])
        outside = np.zeros(len(numbers), bool)
        if isinstance(rule.minimum, float):
            outside |= numbers < rule.minimum
        if isinstance(rule.maximum, float):
            outside |= numbers > rule.maximum
        for index in np.flatnonzero(outside).tolist():
            wrong("range", index)

    def _wrong(self, rule: str, batch: Batch, index: int) -> None:
        places = self.wrong.get(rule)
        if places is None:
            places = self.wrong[rule] = Places()
        places.add(batch.place(index) if places.count < 100 else "")

    @property
    def type(self) -> str:
        """What it looks like: the type that at least nine in ten of its values have."""
        present = self.rows - self.nulls
        if not present:
            return "any"
        if set(self.values) <= _TRUTH and self.values and not self.many:
            return "boolean"
        for name, count in (("integer", self.integers), ("number", self.numbers), ("datetime", self.moments)):
            if count >= present * _MOSTLY:
                return name
        return "text"

    @property
    def present(self) -> int:
        """Values that are no null."""
        return self.rows - self.nulls

    @property
    def mean(self) -> float | None:
        """Of its numbers."""
        return self._mean if self.numbers - self.infinite > 0 else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation of its numbers."""
        count = self.numbers - self.infinite
        return math.sqrt(max(0.0, self._squares) / count) if count > 0 else None

    def sample(self) -> Any:
        """Some of its numbers, spread over the rows."""
        return np.concatenate(self._sample) if self._sample else np.array([])

    def hashes(self) -> Any:
        """A hash for every row, where they were kept."""
        return np.concatenate(self._hashes) if self._hashes else np.array([], np.int64)

    def findings(self) -> list[Finding]:
        """What is wrong with the values, by the schema and by themselves."""
        found = []
        for rule, places in sorted(self.wrong.items()):
            message = f"{places.count} of {self.rows} values {_SAYS[rule]}{_asked(rule, self.rule)}."
            first = tuple(place for place in places.first if place)
            share = places.count / max(1, self.rows)
            fix = "Correct or remove these rows, or change the schema by review."
            found.append(Finding(rule, "error", message, fix, self.name, rows=first, count=places.count, share=share))
        rule_of = self.rule
        if rule_of is not None and rule_of.max_null_share is not None and self.rows:
            share = self.nulls / self.rows
            if share > rule_of.max_null_share:
                message = f"{share:.2%} of the values are null, {rule_of.max_null_share:.2%} at the most may be."
                fix = "Find out where they come from, or allow more by review."
                found.append(Finding("null-share", "error", message, fix, self.name, count=self.nulls, share=share))
        declared = rule_of is not None and rule_of.type != "any"
        if not declared and self.odd.count and self.type in ("integer", "number"):
            message = f"The column is of numbers, and {plural(self.texts + self.truths + self.moments, 'value')} none."
            share = (self.present - self.numbers) / max(1, self.rows)
            fix = "Correct them, or declare the column's type or its nulls in the schema."
            found.append(
                Finding(
                    "mixed-type",
                    "error",
                    message,
                    fix,
                    self.name,
                    rows=tuple(self.odd.first),
                    count=self.present - self.numbers,
                    share=share,
                )
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """The statistics, without any value of a column that may be personal: those are only in `top` and `range`."""
        distinct: int | str = f"more than {MAX_DISTINCT}" if self.many else len(self.values)
        row: dict[str, Any] = {"name": self.name, "type": self.type, "rows": self.rows, "nulls": self.nulls}
        row["distinct"] = distinct
        if self.mean is not None and self.type in ("integer", "number"):
            cuts = np.quantile(self.sample(), [0.05, 0.5, 0.95]).tolist()
            row |= {"min": _finite(self.minimum), "max": _finite(self.maximum)}
            row |= {"mean": _finite(self.mean), "deviation": _finite(self.deviation)}
            row |= {"quantiles": {"0.05": _finite(cuts[0]), "0.5": _finite(cuts[1]), "0.95": _finite(cuts[2])}}
        if self.type == "datetime":
            row |= {"earliest": self.earliest, "latest": self.latest}
        if self.type == "text" and self.longest:
            row |= {"shortest": self.shortest, "longest": self.longest}
        if not self.many and self.type in ("text", "boolean", "integer") and len(self.values) <= 50:
            row["top"] = dict(self.values.most_common(TOP))
        return row


_SAYS = {
    "type": "are no ",
    "range": "are outside of ",
    "value-not-listed": "are none of those listed",
    "pattern": "do not match ",
    "length": "have a length outside of ",
    "null": "are null, and none may be",
}


def _asked(rule: str, column: Column | None) -> str:
    if column is None:
        return ""
    if rule == "type":
        return column.type
    if rule == "range":
        return f"{_shown(column.minimum)} to {_shown(column.maximum)}"
    if rule == "pattern":
        return "" if column.pattern is None else column.pattern.pattern[:200]
    if rule == "length":
        return f"{_shown(column.min_length)} to {_shown(column.max_length)}"
    return ""


def _finite(value: float | None) -> float | None:
    """JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None


def _shown(bound: object) -> str:
    return "any" if bound is None else f"{bound:g}" if isinstance(bound, float) else str(bound)


def as_numbers(texts: Sequence[str]) -> Any:
    """An array when every text is a number as programs write them; None else."""
    try:
        found = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return None
    # Python reads `1_000`, and digits of every script; other readers do not.
    joined = "".join(texts)
    return found if joined.isascii() and "_" not in joined else None
