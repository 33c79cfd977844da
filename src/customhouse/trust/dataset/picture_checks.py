"""What pixels tell of a folder of pictures: near-duplicates, leaks between splits, and patches that go with one label.

near-duplicate-rows  Grey copies of 16 × 16, without the slow change from side to side that any sky has, that are all
                     but equal up to brightness and contrast, and far closer to one another than pictures of this
                     dataset are to their eighth neighbour: what looks alike by nature (digits, X-rays) is no copy.
trigger-pattern      The same small patch near the same corner of pictures that are otherwise different (Gu et al.,
                     BadNets, 2017): nearly all of one label, of which most pictures have none, and by all that is shown
                     besides of other labels. Where what is shown tells no label, or several corners have a mark
                     (a series in one frame), it is a warning.

What is not seen: copies that were turned, mirrored or cropped by a tenth; patches that are not near a corner, marks
that are blended over the whole picture, marks on pictures of their own label's making (docs/data.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from customhouse.trust.dataset.finding import ROWS_SHOWN, Finding
from customhouse.trust.dataset.pixels import CORNER, SMALL, Look
from customhouse.trust.dataset.table import Table

ALIKE, APART = 0.01, 0.5
"""One minus the correlation of two grey copies, and their largest difference anywhere in deviations, at the most."""
BY_NATURE = 0.1
"""Of the usual distance to the eighth neighbour, the part that copies are closer than."""
LEAST_CONTRAST = 6.0
"""Deviation of a grey copy, of 255: a picture of one colour resembles every other such."""
_NEIGHBOUR = 8
_PROBE = 2000
_BLOCK = 1000
SIZES, OFFSETS = (12, 10, 8, 6, 5, 4, 3), (0, 1, 2, 3)
PURE = 0.95
LEAST_HOLDERS = 8
MOST_OF_ALL, MOST_OF_CLASS = 0.25, 0.6
WORTH_A_LOOK, SURPRISE = 4.0, 7.0
"""Natural logarithm of how much less likely than one in all candidates the labels have to be."""
CONTRAST, EDGE = 48.0, 32.0
"""Grey levels: within a patch, or between a patch of one grey and what is around it."""
DIVERSE = 0.5
"""How different its pictures have to be, of what any pictures of the dataset are."""
LEAST_SKILL = 0.1
"""How many more of a picture's nearest have its label if it is of that, for what is shown to tell of labels at all."""
BELONGS = 0.4
"""Of that difference, the part up to which pictures with a patch do not belong to their label."""
_HIDDEN, _NEAREST, _SAMPLED, _MOST_JUDGED = 6, 10, 500, 40
_CORNERS = ("upper left", "upper right", "lower left", "lower right")


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures side by side: their rows, standardised grey copies, whether they have no contrast, and corners."""

    rows: Any
    small: Any
    detail: Any
    """The grey copies less their slow change, standardised."""
    plain: Any
    corners: Any
    cornered: Any

    @classmethod
    def of(cls, found: Sequence[Look]) -> Gallery:
        """Those that could be decoded."""
        seen = [look for look in found if look.small]
        small = np.frombuffer(b"".join(look.small for look in seen), np.uint8).reshape(len(seen), SMALL * SMALL)
        values = small.astype(np.float32)
        slow = _slow()
        detail = values - (values @ slow) @ slow.T
        empty = bytes(4 * CORNER * CORNER)
        corners = np.frombuffer(b"".join(look.corners or empty for look in seen), np.uint8)
        return cls(
            np.array([look.row for look in seen], np.int64),
            _unit(values - values.mean(axis=1, keepdims=True)),
            _unit(detail),
            detail.std(axis=1) < LEAST_CONTRAST,
            corners.reshape(len(seen), 4, CORNER, CORNER),
            np.array([bool(look.corners) for look in seen], bool),
        )


def _unit(values: Any) -> Any:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)


def _slow() -> Any:
    """An orthonormal basis of what changes slowly over a picture: constants, slopes and bows."""
    at = np.linspace(-1, 1, SMALL)
    across, down = (part.ravel() for part in np.meshgrid(at, at))
    basis = np.stack([np.ones_like(across), across, down, across * across, down * down, across * down], axis=1)
    return np.linalg.qr(basis)[0].astype(np.float32)


def findings(table: Table, found: Sequence[Look]) -> Iterator[Finding]:
    """All that pixels tell."""
    gallery = Gallery.of(found)
    if len(gallery.rows) < 2:
        return
    pairs = near_pairs(gallery)
    yield from _copies(table, gallery, pairs)
    if not table.too_many_labels:
        yield from _patches(table, gallery, pairs)


def near_pairs(gallery: Gallery) -> list[tuple[int, int]]:
    """Positions of pictures that are almost the same, each pair once."""
    some = np.flatnonzero(~gallery.plain)
    if len(some) < 2:
        return []
    small = gallery.detail[some]
    limit = min(ALIKE, BY_NATURE * _usual(small))
    found: list[tuple[int, int]] = []
    for start in range(0, len(small), _BLOCK):
        apart = 1.0 - small[start : start + _BLOCK] @ small[start:].T
        left, right = np.nonzero(apart <= limit)
        later = np.flatnonzero(right > left)
        far = np.abs(small[start + left[later]] - small[start + right[later]]).max(axis=1) * SMALL
        later = later[far <= APART]
        found += zip(some[start + left[later]].tolist(), some[start + right[later]].tolist(), strict=True)
        if len(found) > 50 * len(some):
            return []  # everything resembles everything: no copies can be told
    return found


def _usual(small: Any) -> float:
    """The middle distance to the eighth neighbour; copies of one picture are seldom as many."""
    step = max(1, math.ceil(len(small) / _PROBE))
    probe = small[::step]
    if len(small) <= _NEIGHBOUR:
        return 1.0
    nearest = [
        np.partition(1.0 - probe[at : at + _BLOCK] @ small.T, _NEIGHBOUR, axis=1)[:, _NEIGHBOUR]
        for at in range(0, len(probe), _BLOCK)
    ]
    return float(np.median(np.concatenate(nearest)))


def _copies(table: Table, gallery: Gallery, pairs: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    later = sorted({right for _, right in pairs})
    share, limit = len(later) / len(gallery.rows), table.schema.max_near_share
    if later and (limit is None or share > limit):
        yield Finding(
            "near-duplicate-rows",
            "warning" if limit is None else "error",
            f"{len(later)} of {len(gallery.rows)} pictures that were looked at ({share:.2%}) are almost the same as "
            "another, pixel for pixel.",
            "Keep one of each: copies of another size, quality or brightness weigh as many.",
            rows=table.index.places(gallery.rows[later[:ROWS_SHOWN]]),
            count=len(later),
            share=share,
        )
    codes = table.split_codes()[gallery.rows]
    torn = [(left, right) for left, right in pairs if codes[left] != codes[right]]
    if torn and len([name for name in table.splits if name]) > 1:
        yield Finding(
            "near-leakage",
            "warning",
            f"{len(torn)} pairs of almost the same pictures lie in different splits.",
            "Keep each pair in one split: a model is tested on what it has almost seen.",
            rows=table.index.places(gallery.rows[[right for _, right in torn[:ROWS_SHOWN]]]),
            count=len(torn),
            share=len(torn) / len(gallery.rows),
        )


@dataclass(frozen=True, slots=True)
class _Patch:
    """A patch that goes with a label: where, how large, on which pictures (positions), and how surprising that is."""

    corner: int
    size: int
    offset: int
    holders: Any
    label: int
    surprise: float
    sure: bool = False
    """Whether what is shown besides tells of labels at all, and it is the only corner with a mark."""


def _patches(table: Table, gallery: Gallery, pairs: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    codes = table.label_codes()[gallery.rows]
    copies = {right for _, right in pairs}
    kept = np.array(
        [at for at in np.flatnonzero((codes >= 0) & gallery.cornered).tolist() if at not in copies], np.int64
    )
    if len(kept) < 5 * LEAST_HOLDERS or len(np.unique(codes[kept])) < 2:
        return
    names = list(table.labels)
    for patch in found_patches(gallery, codes, kept)[:5]:
        side = f", {patch.offset} from the edge" if patch.offset else ""
        why = "although the rest of most of them says otherwise: " if patch.sure else "whatever else they show: "
        yield Finding(
            "trigger-pattern",
            "error" if patch.sure else "warning",
            f"The same {patch.size} × {patch.size} pixels are in the {_CORNERS[patch.corner]} corner{side} of "
            f"{len(patch.holders)} of {len(kept)} pictures, nearly all labelled {table.shown(names[patch.label])} "
            f"{why}a mark that a model learns in place of what is shown.",
            "Look at the pictures named, and find out where they come from; a backdoor is learned from a few dozen.",
            rows=table.index.places(gallery.rows[np.sort(patch.holders)[:ROWS_SHOWN]]),
            count=len(patch.holders),
            share=len(patch.holders) / len(kept),
        )


def found_patches(gallery: Gallery, codes: Any, kept: Any) -> list[_Patch]:
    """The largest first, then the most surprising."""
    labels, dense = np.unique(codes[kept], return_inverse=True)
    shares = np.bincount(dense) / len(kept)
    anything = _difference(gallery.small[kept])
    candidates: list[_Patch] = []
    looked_at = 0
    for corner in range(4):
        for size in SIZES:
            for offset in (item for item in OFFSETS if item + size <= CORNER):
                for groups in _alike(gallery.corners[kept, corner], offset, offset + size):
                    groups_found, counted = _pure(groups, dense, shares)
                    looked_at += counted
                    for rows, label, surprise in groups_found:
                        patch = _Patch(corner, size, offset, kept[rows], label, surprise)
                        if _stands_out(gallery, patch):
                            candidates.append(patch)
    bar = SURPRISE + math.log(max(1, looked_at))
    candidates = [
        item
        for item in candidates
        if item.surprise >= WORTH_A_LOOK and _difference(gallery.small[item.holders]) >= DIVERSE * anything
    ]
    candidates.sort(key=lambda item: (-item.size * item.size * len(item.holders), item.corner, item.offset))
    return [
        _Patch(item.corner, item.size, item.offset, item.holders, int(labels[item.label]), item.surprise, sure)
        for item, sure, surprise in _contradicted(gallery, dense, kept, candidates)
        if surprise >= bar
    ]


def _contradicted(
    gallery: Gallery, dense: Any, kept: Any, candidates: list[_Patch]
) -> Iterator[tuple[_Patch, bool, float]]:
    """The patches whose pictures are, by everything else in them, of other labels; or of which nobody can tell.

    With each whether that is sure, and how surprising its label is by what is shown besides.
    """
    shown: list[frozenset[int]] = []
    for item in candidates:
        held = frozenset(item.holders.tolist())
        if any(len(held & other) > 0.5 * len(held) for other in shown):
            continue
        framed = any(
            len(held.intersection(other.holders.tolist())) > 0.5 * len(held)
            for other in candidates
            if other.corner != item.corner
        )
        if len(shown) >= _MOST_JUDGED:
            break
        shown.append(held)
        others = ~np.isin(kept, item.holders)
        asked = _without_corner(gallery.small, item.corner)
        known, of_label = asked[kept[others]], (dense[others] == item.label).astype(np.float32)
        theirs, own = known[of_label == 0][:_SAMPLED], known[of_label == 1][:_SAMPLED]
        if not len(own) or not len(theirs):
            continue
        among = [_vouched(part, known, of_label, itself=itself)
                 for part, itself in ((own, True), (theirs, True), (asked[item.holders], False))]  # fmt: skip
        skill = among[0] - among[1]
        if skill < LEAST_SKILL or among[2] <= among[1] + BELONGS * skill:
            size = len(item.holders)
            got = int((dense[np.isin(kept, item.holders)] == item.label).sum())
            shown_so = max(among[2], 0.02) if skill >= LEAST_SKILL else 1.0
            yield item, skill >= LEAST_SKILL and not framed, max(item.surprise, _unlikely(got, size, shown_so))


def _without_corner(small: Any, corner: int) -> Any:
    """Grey copies without the part in which the mark may be seen."""
    shown = np.ones((SMALL, SMALL), bool)
    half = slice(None, _HIDDEN), slice(-_HIDDEN, None)
    shown[half[corner // 2], half[corner % 2]] = False
    values = small[:, shown.ravel()]
    return _unit(values - values.mean(axis=1, keepdims=True))


def _vouched(asked: Any, known: Any, of_label: Any, *, itself: bool) -> float:
    """How many of the nearest pictures have the label, on the mean; `itself`: the nearest is the picture that asks."""
    count = min(_NEAREST + itself, len(known) - 1)
    total = 0.0
    for start in range(0, len(asked), _BLOCK):
        near = asked[start : start + _BLOCK] @ known.T
        nearest = np.argpartition(-near, count, axis=1)[:, :count]
        votes = of_label[nearest].sum(axis=1)
        if itself:
            votes = votes - of_label[near.argmax(axis=1)]
        total += float(votes.sum())
    return total / (len(asked) * max(1, count - itself))


def _alike(corner: Any, start: int, end: int) -> Iterator[Any]:
    """Numbers of groups of patches that are the same in eight greys; twice, with shifted bounds (noise of JPEG).

    Those of one grey that end where the patch ends are another group than white margins, which go on.
    """
    part = corner[:, start:end, start:end].reshape(len(corner), -1).astype(np.int64)
    ends = (part.max(1) - part.min(1) < CONTRAST) & _edged(corner, start, end)
    weights = np.random.default_rng(13).integers(1, 1 << 62, part.shape[1], dtype=np.int64)
    for shift in (0, 16):
        with np.errstate(over="ignore"):
            keys = ((part + shift) >> 5) @ weights * 2 + ends
        yield np.unique(keys, return_inverse=True)[1]


def _edged(corner: Any, start: int, end: int) -> Any:
    """Whether what is around a patch, on the sides away from the corner, is of other greys than its mean."""
    if end >= CORNER:
        return np.zeros(len(corner), bool)
    inner = corner[:, start:end, start:end].mean(axis=(1, 2))[:, None]
    ring = np.concatenate([corner[:, end, : end + 1], corner[:, :end, end]], axis=1).astype(np.float32)
    return (np.abs(ring - inner) >= EDGE).mean(axis=1) >= 0.7


def _pure(groups: Any, dense: Any, shares: Any) -> tuple[list[tuple[Any, int, float]], int]:
    """Groups that nearly all have one label of which most pictures are in no such group; how many were looked at."""
    counts = np.bincount(groups)
    fitting = np.flatnonzero((counts >= LEAST_HOLDERS) & (counts <= MOST_OF_ALL * len(groups)))
    found = []
    for group in fitting.tolist():
        rows = np.flatnonzero(groups == group)
        of_label = np.bincount(dense[rows], minlength=len(shares))
        label = int(of_label.argmax())
        got, size = int(of_label[label]), len(rows)
        if got < PURE * size or got > MOST_OF_CLASS * shares[label] * len(groups):
            continue
        found.append((rows, label, _unlikely(got, size, float(shares[label]))))
    return found, len(fitting)


def _unlikely(got: int, size: int, share: float) -> float:
    """Of `size` pictures `got` have a label that `share` of all have: the exponent of Chernoff's bound."""
    part = got / size
    if part <= share or share >= 1:
        return 0.0
    rest = (1 - part) * math.log((1 - part) / (1 - share)) if part < 1 else 0.0
    return size * (part * math.log(part / share) + rest)


def _stands_out(gallery: Gallery, patch: _Patch) -> bool:
    """Whether a patch has contrast within, or an edge to what is around it: white margins are no marks."""
    corner = gallery.corners[patch.holders, patch.corner]
    end = patch.offset + patch.size
    inner = corner[:, patch.offset : end, patch.offset : end].reshape(len(corner), -1).astype(np.int16)
    if float(np.median(inner.max(1) - inner.min(1))) >= CONTRAST:
        return True
    return float(_edged(corner, patch.offset, end).mean()) >= 0.7


def _difference(small: Any) -> float:
    """The mean distance of two pictures: one minus the correlation of their grey copies."""
    size = len(small)
    if size < 2:
        return 0.0
    together = small.sum(axis=0, dtype=np.float64)
    return 1.0 - (float(together @ together) - size) / (size * (size - 1))
