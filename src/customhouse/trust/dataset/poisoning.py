"""Signs that somebody changed data so that a model learns what it should not.

Each is an indicator, not a proof; how often it is right and how often it errs is measured by
`benchmarks/data_poisoning.py` (docs/benchmarks.md), and its thresholds were fixed on clean data.

label-flips      Labels that contradict the rest of their row where models of the other rows are surest. Where a class
                 is recognised best its labels are almost never wrong by nature; what is left there is noise or flips.
trigger-pattern  A rare value, word or pair of words whose rows nearly all have one label although everything else in
                 most of them says another: a mark that switches the label.
outlier-cluster  Rows of one class that lie close together, far from all the others of their class.
block-of-rows    A stretch of neighbouring rows whose labels or numbers are unlike those of all other stretches.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from customhouse.trust.dataset.features import RARE, Features, is_atom
from customhouse.trust.dataset.finding import ROWS_SHOWN, Finding
from customhouse.trust.dataset.small_model import MOST_ROWS, Told, squared_distances, told_by_others
from customhouse.trust.dataset.table import Table

MOST_CLASSES = 50
_LEAST_ROWS = 200
SUREST = 0.3
"""Of the rows that are taken for a class, the part that is taken for it most surely."""
LESS = 2.33
"""Or how many deviations fewer contradictions there are where models are surest than elsewhere (1 % by chance)."""
FLIPS = 0.01
"""A part of wrong labels among the surest rows, at the lower end of its interval (99 %)."""
SKILL = 0.7
"""How often models have to place a row of a class before one that is not of it (the area under the ROC curve): where
they know no better than a guess, a contradiction says nothing."""
PURE = 0.95
_LEAST_SUPPORT = 6
SURPRISE = 7.0
"""Natural logarithm of how much less likely than one in all candidates it has to be: one in a thousand."""
CONTRARY = 0.6
"""Of the rows with a mark, the least part that everything else says to be of another label."""
CLUMP = 8
DENSER = 12.0
"""How many times closer together than their distance from the class lets expect."""
BLOCK_DEVIATIONS = 9.0
WINDOWS = (0.01, 0.03, 0.1)


@dataclass(frozen=True, slots=True)
class Scene:
    """A labelled sample: features, classes (0 …), the rows' numbers over the dataset, and what models say."""

    table: Table
    features: Features
    codes: Any
    names: tuple[str, ...]
    rows: Any
    told: Told
    chosen: Any
    """Positions, in the sample, of the rows that models looked at."""


def scene(table: Table, found: Features, codes: Any, rows: Any) -> Scene | None:
    """A scene of a sample; None without labels that are classes, without features, or with too few rows."""
    labelled = np.flatnonzero(codes >= 0)
    if table.too_many_labels or len(labelled) < _LEAST_ROWS or not found.common.shape[1]:
        return None
    if len(labelled) > MOST_ROWS:
        labelled = labelled[:: math.ceil(len(labelled) / MOST_ROWS)]
    present, dense = np.unique(codes[labelled], return_inverse=True)
    if not 2 <= len(present) <= MOST_CLASSES:
        return None
    listed = [table.shown(name) for name in table.labels]
    told = told_by_others(found.common[labelled], dense, len(present), linear=bool(found.texts))
    return Scene(table, found, dense, tuple(listed[code] for code in present), rows, told, labelled)


def findings(seen: Scene) -> Iterator[Finding]:
    """All indicators."""
    yield from label_flips(seen)
    yield from trigger_patterns(seen)
    yield from outlier_clusters(seen)
    yield from blocks_of_rows(seen)


def label_flips(seen: Scene) -> Iterator[Finding]:
    """Labels that contradict the surest answers."""
    said = seen.told.probabilities
    taken, sure = said.argmax(axis=1), said.max(axis=1)
    suspects: list[int] = []
    looked = wrong = 0
    for code in range(len(seen.names)):
        rows = np.flatnonzero(taken == code)
        if len(rows) < 50:
            continue
        surest = rows[np.argsort(-sure[rows], kind="stable")[: max(50, int(SUREST * len(rows)))]]
        against = surest[seen.codes[surest] != code]
        rest = np.setdiff1d(rows, surest)
        others = int((seen.codes[rest] != code).sum())
        skilled = order_skill(said[:, code], seen.codes == code) >= SKILL
        if not skilled and apart(len(against), len(surest), others, len(rest)) < LESS:
            continue
        looked, wrong = looked + len(surest), wrong + len(against)
        suspects.extend(against.tolist())
    if looked < 100 or lower_bound(wrong, looked) < FLIPS:
        return
    share = wrong / looked
    numbers = sorted(int(seen.rows[seen.chosen[at]]) for at in suspects)
    yield Finding(
        "label-flips",
        "warning",
        f"Where models of the other rows are surest, {share:.1%} of the labels contradict them ({wrong} of {looked}): "
        "about that part of all labels may be wrong or flipped.",
        "Look at the rows named: label them again, and find out who labelled them.",
        seen.table.label,
        rows=seen.table.index.places(numbers[:ROWS_SHOWN]),
        count=wrong,
        share=share,
    )


def order_skill(scores: Any, of_class: Any) -> float:
    """The area under the ROC curve; 0.5 is a guess (also where there is nothing to tell apart)."""
    inside = int(of_class.sum())
    outside = len(of_class) - inside
    if not inside or not outside:
        return 0.5
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # ties share their mean rank
    return (float(ranks[of_class].sum()) - inside * (inside + 1) / 2) / (inside * outside)


def apart(few: int, of_few: int, many: int, of_many: int) -> float:
    """How many standard deviations the first share is below the second."""
    both = (few + many) / max(1, of_few + of_many)
    spread = math.sqrt(both * (1 - both) * (1 / max(1, of_few) + 1 / max(1, of_many)))
    return (many / max(1, of_many) - few / max(1, of_few)) / spread if spread else 0.0


def lower_bound(count: int, of: int, z: float = 2.326) -> float:
    """Wilson's lower bound of a share; z for 99 % on one side."""
    if not of:
        return 0.0
    part = count / of
    middle = part + z * z / (2 * of)
    return (middle - z * math.sqrt(part * (1 - part) / of + z * z / (4 * of * of))) / (1 + z * z / of)


def trigger_patterns(seen: Scene) -> Iterator[Finding]:
    """Rare marks that decide the label against everything else."""
    holders = _candidates(seen)
    told: list[tuple[float, str, Any, int]] = []
    for mark, rows in holders.items():
        found = _judged(seen, mark, np.array(rows), len(holders))
        if found is not None:
            told.append((found[0], mark, np.array(rows), found[1]))
    told.sort(key=lambda item: (-item[0], item[1]))
    shown: list[frozenset[int]] = []
    for _, mark, rows, code in told:
        held = frozenset(rows.tolist())
        if any(len(held & other) > 0.5 * len(held) for other in shown) or len(shown) >= 5:
            continue
        shown.append(held)
        numbers = seen.rows[seen.chosen[rows]]
        column = mark.split("=", 1)[0].split("~", 1)[0]
        kind = "A word or pair of words" if "~" in mark else "One value"
        yield Finding(
            "trigger-pattern",
            "error",
            f"{kind} is on {len(rows)} of {len(seen.codes)} rows, nearly all labelled {seen.names[code]} although "
            "the rest of most of them says otherwise: a mark that switches the label.",
            "Look at the rows named, and find out where they come from; a backdoor is learned from a few dozen.",
            column,
            rows=seen.table.index.places(numbers[:ROWS_SHOWN]),
            count=len(rows),
            share=len(rows) / len(seen.codes),
        )


def _candidates(seen: Scene) -> dict[str, list[int]]:
    """Marks on few rows: tokens, categories, and numbers that repeat exactly where most do not."""
    most = max(_LEAST_SUPPORT, int(2 * RARE * len(seen.codes)))
    holders: dict[str, list[int]] = defaultdict(list)
    for row, at in enumerate(seen.chosen.tolist()):
        for word in seen.features.words[at]:
            kept = holders[word]
            if len(kept) <= most:
                kept.append(row)
    for name, values in seen.features.raw.items():
        some = values[seen.chosen]
        distinct, inverse, counts = np.unique(some, return_inverse=True, return_counts=True)
        for code in np.flatnonzero(is_atom(counts, len(some))).tolist():
            holders[f"{name}={distinct[code]!r}"] = np.flatnonzero(inverse == code).tolist()
    return {mark: rows for mark, rows in holders.items() if _LEAST_SUPPORT <= len(rows) <= most}


def _judged(seen: Scene, mark: str, rows: Any, candidates: int) -> tuple[float, int] | None:
    """How surprising a mark's labels are, and which label; None when they are not."""
    counts = np.bincount(seen.codes[rows], minlength=len(seen.names))
    code = int(counts.argmax())
    if counts[code] < PURE * len(rows):
        return None
    said = _without(seen, mark, rows)
    expected = max(float(said[:, code].sum()), 0.01 * len(rows))
    got = int(counts[code])
    if got <= expected:
        return None
    surprise = got * math.log(got / expected) - (got - expected)
    contrary = float((said.argmax(axis=1) != code).mean())
    # A class that is hard to recognise is contradicted everywhere: then the mark's rows are like all others of it.
    of_class = seen.codes == code
    usual = float((seen.told.probabilities[of_class].argmax(axis=1) != code).mean())
    if surprise < SURPRISE + math.log(candidates) or contrary < max(CONTRARY, min(0.9, 1.5 * usual)):
        return None
    return surprise, code


def _without(seen: Scene, mark: str, rows: Any) -> Any:
    """What is said of rows when a word of the text is taken away (other marks are too rare for the models to see)."""
    said = seen.told.probabilities[rows]
    if seen.told.weights is None or "~" not in mark or not seen.features.buckets:
        return said
    x = seen.features.common[seen.chosen[rows]]
    changed = np.zeros_like(said)
    for word in mark.split("~", 1)[1].split(" "):
        mixed = zlib.crc32(word.encode())
        at = x.shape[1] - seen.features.buckets + mixed % seen.features.buckets
        changed += x[:, at : at + 1] * seen.told.weights[seen.told.fold[rows], at]
    cut = np.clip(said - changed, 0.0, 1.0) + 1e-4
    return cut / cut.sum(axis=1, keepdims=True)


def outlier_clusters(seen: Scene) -> Iterator[Finding]:
    """Clumps of rows far from the others of their class."""
    plain = seen.features.numbers
    x = (plain if plain.shape[1] > 1 else seen.features.common)[seen.chosen].astype(np.float32)
    for code, name in enumerate(seen.names):
        rows = np.flatnonzero(seen.codes == code)
        if len(rows) < 10 * CLUMP:
            continue
        found = clump(x[rows])
        if found is None:
            continue
        numbers = seen.rows[seen.chosen[rows[found]]]
        yield Finding(
            "outlier-cluster",
            "warning",
            f"{len(found)} rows labelled {name} lie close together, far from the others of their label.",
            "Look at the rows named: made up, copied with small changes, or another kind of thing under one label?",
            seen.table.label,
            rows=seen.table.index.places(np.sort(numbers)[:ROWS_SHOWN]),
            count=len(found),
            share=len(found) / len(rows),
        )


def clump(x: Any) -> Any:
    """Positions of rows that are much closer to one another than their distance from the middle lets expect; or None.

    Equal rows count once: duplicates have a finding of their own.
    """
    distinct, first = np.unique(x, axis=0, return_index=True)
    if len(distinct) < 10 * CLUMP:
        return None
    if len(distinct) > 4000:
        step = math.ceil(len(distinct) / 4000)
        distinct, first = distinct[::step], first[::step]
    middle = np.median(distinct, axis=0)
    outward = np.sqrt(((distinct - middle) ** 2).sum(1))
    inward = np.empty(len(distinct))
    for start in range(0, len(distinct), 1000):
        squares = squared_distances(distinct[start : start + 1000], distinct)
        inward[start : start + 1000] = np.sqrt(np.partition(squares, CLUMP - 1, axis=1)[:, CLUMP - 1])
    far = outward > np.quantile(outward, 0.3)
    usual = float(np.quantile(inward, 0.75)) or 1e-9
    close = far & (inward * DENSER < usual)
    return first[close] if close.sum() >= CLUMP else None


def blocks_of_rows(seen: Scene) -> Iterator[Finding]:
    """Stretches of rows that are unlike all others, by labels and by numbers, in the order of the data."""
    codes = seen.codes
    runs = 1 + int(np.count_nonzero(codes[1:] != codes[:-1]))
    expected = 1 + 2 * sum(float((codes == c).mean()) * float((codes != c).sum()) for c in range(len(seen.names))) / 2
    signals: dict[str, Any] = {}
    if runs > 0.1 * expected:  # else the data are sorted by label, and every stretch is unlike the others
        for code, name in enumerate(seen.names):
            if (codes == code).mean() >= 0.01:
                signals[f"the share of the label {name}"] = (codes == code).astype(float)
    numbers = seen.features.numbers[seen.chosen]
    for at, name in enumerate(seen.features.number_names[:64]):
        signals[f"the mean of {name}"] = numbers[:, at]
    worst: tuple[float, str, int, int] | None = None
    for what, signal in signals.items():
        for part in WINDOWS:
            width = max(30, int(part * len(signal)))
            found = strangest(signal, width)
            if found is not None and found[0] > BLOCK_DEVIATIONS and (worst is None or found[0] > worst[0]):
                worst = (found[0], what, found[1], found[1] + width)
    if worst is None:
        return
    deviations, what, start, end = worst
    numbers = seen.rows[seen.chosen[start:end]]
    yield Finding(
        "block-of-rows",
        "warning",
        f"In a stretch of about {int(numbers[-1] - numbers[0]) + 1} neighbouring rows {what} is {deviations:.0f} times "
        "the usual deviation away from all other stretches.",
        "Find out which source wrote these rows, and whether it may.",
        rows=(seen.table.index.place(int(numbers[0])), seen.table.index.place(int(numbers[-1]))),
        count=int(numbers[-1] - numbers[0]) + 1,
        share=(end - start) / len(codes),
    )


def strangest(signal: Any, width: int) -> tuple[float, int] | None:
    """The stretch whose mean is farthest from those of all others, in their own robust deviations, and where it begins.

    The deviation is that of the means of stretches: data that wander by nature have a large one.
    """
    if len(signal) < 8 * width or not np.isfinite(signal).all():
        return None
    sums = np.concatenate([[0.0], np.cumsum(signal)])
    starts = np.arange(0, len(signal) - width + 1, max(1, width // 4))
    means = (sums[starts + width] - sums[starts]) / width
    middle = float(np.median(means))
    usual = 1.4826 * float(np.median(np.abs(means - middle)))
    least = float(signal.std()) / math.sqrt(width)
    spread = max(usual, 0.8 * least)
    if spread <= 0:
        return None
    far = np.abs(means - middle) / spread
    at = int(far.argmax())
    return float(far[at]), int(starts[at])
