"""A sample as numbers: what near-duplicates, outlier clusters and the small models of the poisoning checks look at.

Rare values are left out of the features on purpose: a model that cannot see a rare mark shows what the rest of the row
says, and that is what the mark is held against.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from customhouse.trust.dataset.column import as_numbers
from customhouse.trust.dataset.schema import Schema
from customhouse.trust.dataset.table import Sample, Table

RARE = 0.05
"""A value or word on fewer rows is rare."""
ATOMS = 0.25
"""Of a column's rows, the most that may lie on values that repeat, if it is one of measured numbers."""
_MOST_VALUES = 32
_TEXT_BUCKETS = 512
_MOST_NUMBERS = 256
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Features:
    """Rows of a sample in numbers. `common` is what models see; `numbers` are standardised columns of numbers alone."""

    common: Any
    numbers: Any
    number_names: tuple[str, ...]
    raw: dict[str, Any]
    """Column of numbers → values, NaN where there is none."""
    words: tuple[tuple[str, ...], ...]
    """Per row: the tokens of its text columns and its categories, as `column=value`."""
    texts: tuple[str, ...]
    """Per row: its long texts, joined; empty when no column is text."""
    groups: Any
    """A hash of the row's categories."""
    buckets: int = 0
    """How many of the last columns of `common` are hashed words; 0 when there are several text columns, or none."""


def features(sample: Sample, table: Table, schema: Schema, label: str) -> Features:
    """Turn a sample into numbers."""
    apart = {label, schema.id, schema.time, schema.split_column, schema.source, "path", "digest"}
    numbers: dict[str, Any] = {}
    categories: dict[str, list[str]] = {}
    texts: dict[str, list[str]] = {}
    odd: dict[str, list[str]] = {}
    """Columns of numbers: what in them is none, which may be a mark."""
    nulls = frozenset(schema.nulls)
    for name in sample.columns:
        profile = table.columns[name]
        if name in apart or not profile.present:
            continue
        cells = ["" if cell is None or cell in nulls else cell for cell in sample.column(name)]
        if profile.type in ("integer", "number") and (profile.many or len(profile.values) > 10):
            numbers[name] = _floats(cells)
            odd[name] = ["" if np.isfinite(value) else cell for cell, value in zip(cells, numbers[name], strict=True)]
        elif profile.type == "text" and profile.longest > 40 and (profile.many or len(profile.values) > 50):
            texts[name] = cells
        elif profile.type != "datetime" and (not profile.many or len(set(cells)) < len(cells) * 0.5):
            categories[name] = cells
    names = tuple(numbers)[:_MOST_NUMBERS]
    blocks = [standardised(numbers[name])[:, None] for name in names]
    plain = np.concatenate(blocks, axis=1) if blocks else np.zeros((len(sample.cells), 0))
    blind = [standardised(without_atoms(numbers[name]))[:, None] for name in names]
    common = [
        *blind,
        np.zeros((len(sample.cells), 0)),
        *(_one_hot(cells) for cells in categories.values()),
        *(_bag(cells) for cells in texts.values()),
    ]
    joined = tuple(" ".join(parts) for parts in zip(*texts.values(), strict=True)) if texts else ()
    return Features(
        np.concatenate(common, axis=1).astype(np.float32),
        plain,
        names,
        {name: numbers[name] for name in names},
        _words(categories | odd, texts, len(sample.cells)),
        joined,
        _grouped(categories, len(sample.cells)),
        _TEXT_BUCKETS if len(texts) == 1 else 0,
    )


def is_atom(counts: Any, size: int) -> Any:
    """Which values are on few rows, and yet on many more than the column's values usually are.

    None in a column where much repeats by nature: sizes of machines, prices of a list.
    """
    least = max(6.0, 4 * float(np.median(counts)))
    common = counts >= least
    if int(counts[common].sum()) > ATOMS * size:
        return np.zeros(len(counts), bool)
    return common & (counts <= 2 * RARE * size)


def without_atoms(values: Any) -> Any:
    """Numbers that repeat where most do not, exchanged for others of the column: a mark that models cannot see."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    marked = is_atom(counts, len(values))[inverse]
    if not marked.any() or marked.all():
        return values
    made, others = values.copy(), values[~marked]
    made[marked] = others[np.random.default_rng(3).integers(0, len(others), int(marked.sum()))]
    return made


def _floats(cells: Sequence[str]) -> Any:
    found = as_numbers(cells)
    if found is None:
        found = np.array([_float(cell) for cell in cells])
    return np.where(np.isfinite(found), found, np.nan)


def _float(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def standardised(values: Any) -> Any:
    """By the ranks for what is skewed, else by mean and deviation: one wild value moves nothing; nulls are 0."""
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(len(values))
    some = values[known]
    low, mid, high = np.quantile(some, [0.16, 0.5, 0.84])
    spread = (high - low) / 2 or some.std() or 1.0
    scaled = (values - mid) / spread
    # Beyond three deviations the distance grows with its logarithm only.
    far = np.abs(scaled) > 3
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(far, np.sign(scaled) * (3 + np.log1p(np.abs(scaled) - 3)), scaled)
    return np.where(known, scaled, 0.0)


def _one_hot(cells: Sequence[str]) -> Any:
    """The common values, a column each; a row with a rare one gets any of the common ones, or it would stand out."""
    counts = Counter(cells)
    common = [value for value, count in counts.most_common(_MOST_VALUES) if count >= RARE * len(cells)]
    if len(common) < 2:
        return np.zeros((len(cells), 0))
    place = {value: at for at, value in enumerate(common)}
    codes = np.fromiter((place.get(cell, -1) for cell in cells), np.int64, len(cells))
    rare = codes < 0
    codes[rare] = np.random.default_rng(5).integers(0, len(common), int(rare.sum()))
    return np.eye(len(common))[codes]


def _bag(cells: Sequence[str]) -> Any:
    """Words that are on at least one row in two hundred and no more than half, hashed, weighed by their rarity."""
    bags = [frozenset(_WORD.findall(cell.lower())) for cell in cells]
    counts = Counter(word for bag in bags for word in bag)
    size = len(cells)
    common = {word for word, count in counts.items() if max(3, 0.005 * size) <= count <= 0.5 * size}
    made = np.zeros((size, _TEXT_BUCKETS))
    for row, bag in enumerate(bags):
        for word in bag & common:
            mixed = zlib.crc32(word.encode())
            made[row, mixed % _TEXT_BUCKETS] += (1.0 if mixed >> 16 & 1 else -1.0) * np.log(size / counts[word])
    lengths = np.linalg.norm(made, axis=1, keepdims=True)
    return 3.0 * made / np.where(lengths > 0, lengths, 1.0)


def _words(categories: dict[str, list[str]], texts: dict[str, list[str]], size: int) -> tuple[tuple[str, ...], ...]:
    found: list[list[str]] = [[] for _ in range(size)]
    for name, cells in categories.items():
        for row, cell in enumerate(cells):
            if cell:
                found[row].append(f"{name}={cell[:80]}")
    for name, cells in texts.items():
        for row, cell in enumerate(cells):
            words = _WORD.findall(cell.lower())[:2000]
            pairs = {f"{left} {right}" for left, right in pairwise(words)}
            found[row].extend(f"{name}~{word[:80]}" for word in {*words, *pairs})
    return tuple(map(tuple, found))


def _grouped(categories: dict[str, list[str]], size: int) -> Any:
    if not categories:
        return np.zeros(size, np.int64)
    return np.fromiter((hash(row) for row in zip(*categories.values(), strict=True)), np.int64, size)
