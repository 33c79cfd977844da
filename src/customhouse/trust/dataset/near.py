"""Rows that are almost the same: texts by MinHash and Jaccard, numbers by their place on a fine grid.

Rows of few columns come close to one another by nature. So a table of numbers is held against itself with every column
shuffled: what is found there is chance, and only what goes well beyond it is told.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from customhouse.trust.dataset.finding import ROWS_SHOWN, Finding
from customhouse.trust.dataset.table import Table

PERMUTATIONS, BANDS = 64, 16
"""Sixteen bands of four: pairs alike by 0.8 are seen with 99.98 %, by 0.4 with 34 %, and then compared."""
ALIKE = 0.8
_MOST_TEXTS = 10_000
_WORD = re.compile(r"\w+")
_MERSENNE = (1 << 31) - 1
_BUCKET = 50
"""Texts of one bucket are compared in pairs; a larger one is boilerplate."""
_GRID = 0.02
"""Of a standard deviation."""
_BEYOND = 3.0

Pairs = list[tuple[int, int]]


def shingles(text: str) -> frozenset[int]:
    """Hashes of three words in a row; of five characters where there are few words."""
    words = _WORD.findall(text.lower())
    if len(words) < 8:
        plain = " ".join(words)
        parts = [plain[i : i + 5] for i in range(max(1, len(plain) - 4))]
    else:
        parts = [" ".join(words[i : i + 3]) for i in range(len(words) - 2)]
    return frozenset(zlib.crc32(part.encode()) & 0x7FFFFFFF for part in parts)


def near_texts(texts: Sequence[str]) -> Pairs:
    """Pairs of texts that share at least ALIKE of their shingles; none of the same text."""
    sets = [shingles(text) for text in texts]
    random = np.random.default_rng(20260101)
    factors = random.integers(1, _MERSENNE, PERMUTATIONS, dtype=np.int64)[:, None]
    shifts = random.integers(0, _MERSENNE, PERMUTATIONS, dtype=np.int64)[:, None]
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    rows = PERMUTATIONS // BANDS
    for index, items in enumerate(sets):
        if len(items) < 3:
            continue
        hashed = np.fromiter(items, np.int64, len(items))[None, :]
        signature = ((factors * hashed + shifts) % _MERSENNE).min(axis=1).astype(np.int32)
        for band in range(BANDS):
            buckets[band, signature[band * rows : (band + 1) * rows].tobytes()].append(index)
    seen: set[tuple[int, int]] = set()
    for members in buckets.values():
        seen.update(combinations(members[:_BUCKET], 2))
    found = []
    for left, right in sorted(seen):
        a, b = sets[left], sets[right]
        if len(a & b) >= ALIKE * len(a | b) and texts[left] != texts[right]:
            found.append((left, right))
    return found


def near_numbers(values: Any, groups: Any) -> Pairs:
    """Pairs of neighbouring rows whose numbers all differ by less than the grid, and that are in the same group.

    `values` are standardised; rows that are equal to one another are not pairs.
    """
    found: set[tuple[int, int]] = set()
    for shift in (0.0, 0.5):
        cells = np.floor(values / _GRID + shift).astype(np.int64)
        keys = np.zeros(len(values), np.int64)
        for column in (*cells.T, groups):
            keys = keys * np.int64(1_000_003) ^ column
        order = np.argsort(keys, kind="stable")
        for at in np.flatnonzero(keys[order][1:] == keys[order][:-1]).tolist():
            left, right = int(order[at]), int(order[at + 1])
            apart = np.abs(values[left] - values[right])
            if apart.max() <= _GRID and apart.max() > 0 and groups[left] == groups[right]:
                found.add((min(left, right), max(left, right)))
    return sorted(found)


def findings(table: Table, texts: Sequence[str], numbers: Any, groups: Any, rows: Any) -> Iterator[Finding]:
    """Near-duplicates among the rows of a sample (their numbers over the dataset are `rows`), and across splits."""
    pairs: Pairs = []
    if texts:
        pairs = near_texts(texts[:_MOST_TEXTS])
    elif numbers.shape[1] >= 3 and len(numbers) >= 50:
        pairs = near_numbers(numbers, groups)
        if pairs:
            random = np.random.default_rng(7)
            shuffled = np.stack([random.permutation(column) for column in numbers.T], axis=1)
            chance = len(near_numbers(shuffled, random.permutation(groups)))
            if len(pairs) <= _BEYOND * chance + 5:
                pairs = []
    if not pairs:
        return
    looked = min(len(rows), _MOST_TEXTS) if texts else len(rows)
    later = sorted({right for _, right in pairs})
    share, limit = len(later) / looked, table.schema.max_near_share
    if limit is None or share > limit:
        message = f"{len(later)} of {looked} rows that were looked at ({share:.2%}) are almost the same as another."
        yield Finding(
            "near-duplicate-rows",
            "warning" if limit is None else "error",
            message,
            "Keep one of each: copies with small changes weigh as many, and hide from a search for equal rows.",
            rows=table.index.places(rows[later[:ROWS_SHOWN]]),
            count=len(later),
            share=share,
        )
    codes = table.split_codes()[rows]
    torn = [(left, right) for left, right in pairs if codes[left] != codes[right]]
    if torn and len([name for name in table.splits if name]) > 1:
        yield Finding(
            "near-leakage",
            "warning",
            f"{len(torn)} pairs of almost the same rows lie in different splits.",
            "Keep each pair in one split: a model is tested on what it has almost seen.",
            rows=table.index.places(rows[[right for _, right in torn[:ROWS_SHOWN]]]),
            count=len(torn),
            share=len(torn) / looked,
        )
