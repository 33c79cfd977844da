"""A whole table as it streams by: its columns, a hash of each row's content, labels, splits, keys, and a sample.

Kept for each row are eleven bytes (and eight more for each key that must not leak); everything statistical is computed
from a sample of at most SAMPLE rows, the same whenever the data are the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np

from customhouse.trust.dataset.batch import Batch, Cells
from customhouse.trust.dataset.column import ColumnProfile
from customhouse.trust.dataset.finding import Finding
from customhouse.trust.dataset.rowtree import RowHasher, RowTree
from customhouse.trust.dataset.schema import Schema

SAMPLE = 20_000
"""Rows of the sample: a tenth of a percent of them is still twenty."""
SAMPLE_CELLS = 4_000_000
MAX_LABELS = 1000
"""More values are no classes."""
_NAMELESS = frozenset({"path", "digest", "bytes"})
"""Columns of loose files that are about the file and not its content."""


@dataclass(slots=True)
class Index:
    """Where rows are, by their number over the dataset: a stretch for each batch."""

    starts: list[int] = field(default_factory=list)
    stretches: list[tuple[str, str, Any]] = field(default_factory=list)

    def add(self, batch: Batch) -> None:
        """A batch; its lines are kept as one number where each row has one line."""
        lines = batch.lines
        plain = isinstance(lines, range) or lines[-1] - lines[0] == len(lines) - 1
        kept: Any = lines[0] if plain else np.array(lines)
        if not batch.by:
            kept = [row[0] for row in batch.cells]
        self.starts.append(batch.first)
        self.stretches.append((batch.file, batch.by, kept))

    def place(self, row: int) -> str:
        """`FILE:LINE` of a row."""
        at = bisect_right(self.starts, row) - 1
        file, by, kept = self.stretches[at]
        offset = row - self.starts[at]
        if not by:
            return str(kept[offset])
        return f"{file}{by}{kept + offset if isinstance(kept, int) else kept[offset]}"

    def places(self, rows: Iterable[int]) -> tuple[str, ...]:
        """Several."""
        return tuple(self.place(int(row)) for row in rows)


@dataclass(slots=True)
class Sample:
    """Rows that were drawn: their numbers in order, and their cells under `columns`."""

    columns: tuple[str, ...]
    rows: Any
    cells: list[Cells]
    of: int

    @property
    def whole(self) -> bool:
        """Whether it is every row."""
        return len(self.cells) == self.of

    def column(self, name: str) -> list[str | None]:
        """One column's cells."""
        at = self.columns.index(name)
        return [row[at] for row in self.cells]


class Table:
    """What streams by, folded up."""

    def __init__(self, schema: Schema, *, keep: Iterable[str] = ()) -> None:
        self.schema = schema
        self.columns: dict[str, ColumnProfile] = {}
        self.index = Index()
        self.rows = 0
        self.labels: dict[str, int] = {}
        self.splits: dict[str, int] = {}
        self.shapes: dict[tuple[str, ...], str] = {}
        """Columns as they were seen, and the first file with them."""
        self.too_many_labels = False
        self.split_times: dict[str, tuple[str, str]] = {}
        self.secret_label = False
        """Whether the labels are somebody's personal data: then they are told by number."""
        self._hasher = RowHasher()
        self._contents: list[Any] = []
        self._label_codes: list[Any] = []
        self._split_codes: list[Any] = []
        self._keys: dict[str, list[Any]] = {name: [] for name in schema.leak_keys}
        self._keep = frozenset(keep)
        self._nulls = frozenset(schema.nulls)
        self._drawn: list[tuple[int, int, Cells]] = []
        self._cutoff = 1 << 64
        self._places: dict[tuple[str, ...], _Where] = {}

    @property
    def label(self) -> str:
        """The label's column: the schema's, or that of labels that lie beside the data."""
        return self.schema.label or ("label" if "label" in self.columns and not self.schema.columns else "")

    def shown(self, label: str) -> str:
        """A label as findings may tell it."""
        return f"class {self.labels.get(label, -1) + 1}" if self.secret_label else repr(label[:80])

    def update(self, batch: Batch) -> None:
        """One more batch."""
        where = self._places.get(batch.columns)
        if where is None:
            where = self._places[batch.columns] = _Where.of(batch.columns, self.schema)
            if not any(set(batch.columns) >= set(known) for known in self.shapes) or not self.shapes:
                self.shapes[batch.columns] = batch.file
        self.index.add(batch)
        self._hasher.extend(batch.row_bytes())
        columns = list(zip(*batch.cells, strict=True))
        for name, values in zip(batch.columns, columns, strict=True):
            profile = self.columns.get(name)
            if profile is None:
                rule = self.schema.column(name)
                profile = ColumnProfile(name, self._nulls, rule, keep=name in self._keep)
                self.columns[name] = profile
            profile.update(values, batch)
        size = len(batch.cells)
        self._contents.append(np.fromiter((hash(where.content(row)) for row in batch.cells), np.int64, size))
        self._label_codes.append(self._coded(columns, where.label, size))
        self._split_codes.append(self._split_of(batch, columns, where))
        for name, kept in self._keys.items():
            if name in batch.columns:
                kept.append(np.fromiter(map(hash, columns[batch.columns.index(name)]), np.int64, size))
        self._draw(batch)
        self.rows += size

    def _coded(self, columns: Sequence[Sequence[str | None]], at: int, size: int) -> Any:
        if at < 0 or self.too_many_labels:
            return np.full(size, -1, np.int16)
        codes = self.labels
        for value in set(columns[at]):
            if value is not None and value not in self._nulls:
                codes.setdefault(value, len(codes))
        if len(codes) > MAX_LABELS:
            self.too_many_labels = True
            return np.full(size, -1, np.int16)
        return np.fromiter((codes.get(value or "", -1) for value in columns[at]), np.int16, size)

    def _split_of(self, batch: Batch, columns: Sequence[Sequence[str | None]], where: _Where) -> Any:
        size = len(batch.cells)
        names = [value or "" for value in columns[where.split]] if where.split >= 0 else [batch.split] * size
        for name in dict.fromkeys(names):
            self.splits.setdefault(name, len(self.splits))
        if where.time >= 0 and len(self.splits) <= 64:
            for name, value in zip(names, columns[where.time], strict=True):
                if value:
                    low, high = self.split_times.get(name, (value, value))
                    self.split_times[name] = (min(low, value), max(high, value))
        return np.fromiter((min(self.splits[name], 127) for name in names), np.int8, size)

    def _draw(self, batch: Batch) -> None:
        numbers = np.arange(batch.first, batch.first + len(batch.cells), dtype=np.uint64)
        drawn = _mixed(numbers)
        for at in np.flatnonzero(drawn < np.uint64(min(self._cutoff, (1 << 64) - 1))).tolist():
            self._drawn.append((int(drawn[at]), int(numbers[at]), batch.cells[at]))
        most = self._most(len(batch.columns))
        if len(self._drawn) > 2 * most:
            self._drawn = sorted(self._drawn, key=itemgetter(0))[:most]
            self._cutoff = self._drawn[-1][0] + 1

    @staticmethod
    def _most(columns: int) -> int:
        return max(200, min(SAMPLE, SAMPLE_CELLS // max(1, columns)))

    def sample(self) -> Sample:
        """The rows that were drawn, in their order; those that lack columns have nulls there."""
        columns = tuple(self.columns)
        chosen = sorted(self._drawn, key=itemgetter(0))[: self._most(len(columns))]
        chosen.sort(key=itemgetter(1))
        width = len(columns)
        cells = [row if len(row) == width else (*row, *([None] * (width - len(row)))) for _, _, row in chosen]
        return Sample(columns, np.array([row for _, row, _ in chosen], np.int64), cells, self.rows)

    def tree(self) -> RowTree:
        """The tree over the rows."""
        return self._hasher.finish()

    def contents(self) -> Any:
        """A hash of each row's content: all but id, label, time, split and source."""
        return _joined(self._contents, np.int64)

    def label_codes(self) -> Any:
        """The class of each row, -1 without one."""
        return _joined(self._label_codes, np.int16)

    def split_codes(self) -> Any:
        """The split of each row, by its place in `splits`."""
        return _joined(self._split_codes, np.int8)

    def keys(self, name: str) -> Any:
        """A hash of each row's key; empty when not every row has the column."""
        found = _joined(self._keys.get(name, []), np.int64)
        return found if len(found) == self.rows else found[:0]

    def value_findings(self) -> list[Finding]:
        """What the columns found in their values."""
        return [item for profile in self.columns.values() for item in profile.findings()]


@dataclass(frozen=True, slots=True)
class _Where:
    """Places of columns in a row."""

    content: Any
    label: int
    split: int
    time: int

    @classmethod
    def of(cls, columns: tuple[str, ...], schema: Schema) -> _Where:
        label = schema.label or ("label" if not schema.columns else "")
        apart = {schema.id, label, schema.time, schema.split_column, schema.source}
        if "digest" in columns and "path" in columns:  # pictures: the digest is the content
            chosen = [columns.index("digest")]
        else:
            chosen = [i for i, name in enumerate(columns) if name not in apart and name not in _NAMELESS]
        chosen = chosen or list(range(len(columns)))
        return cls(
            itemgetter(*chosen),
            columns.index(label) if label in columns else -1,
            columns.index(schema.split_column) if schema.split_column in columns else -1,
            columns.index(schema.time) if schema.time in columns else -1,
        )


def _mixed(numbers: Any) -> Any:
    """Splitmix64 of row numbers: which rows are drawn does not depend on what is in them."""
    with np.errstate(over="ignore"):
        mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _joined(parts: list[Any], kind: Any) -> Any:
    if len(parts) > 1:
        parts[:] = [np.concatenate(parts)]
    return parts[0] if parts else np.array([], kind)
