"""The Merkle tree over a dataset's rows, so that a range of rows is provably part of what was registered.

A leaf is the hash (RFC 6962, 0x00 before the data) of one row's bytes:

    tables     the cells as a JSON array of texts in RFC 8785 form (UTF-8; null where a cell is null): quoting, line
               ends, encoding and compression of the file do not matter
    arrays     the bytes of one item along the first axis, little-endian, C order
    files      the JSON array [path, digest] of one file (pictures, texts)

Rows are numbered from 0 over the files in order of their paths; a header is no row. The tree is that of RFC 6962 over
all leaves. CHUNK is a power of two, so that the root of every full chunk of rows is a node of the same tree.

A range proof names the complete subtrees left of the range (`before`), in it (`inside`) and right of it (`after`), each
side cut into the largest aligned ones. Whoever has the rows makes `inside` again from them; who has not still sees that
the range's hashes belong to the root.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse.core.errors import TamperError, UsageError
from customhouse.trust.merkle import EMPTY_ROOT, HASH_BYTES, CompactRange, leaf_hash, node_hash, root

CHUNK = 1024
"""Rows of a chunk: 32 bytes are kept for each, 64 KiB for two million rows."""
_LEVEL = CHUNK.bit_length() - 1


@dataclass(frozen=True, slots=True)
class RowTree:
    """What a register entry keeps: how many rows, how many to a chunk, and the root over all of them."""

    rows: int
    root: str
    chunk: int = CHUNK
    chunks: tuple[bytes, ...] = ()
    """The root of each chunk (the last may be short). Not in the entry; with it a proof reads two chunks only."""

    def to_json(self) -> dict[str, Any]:
        """`{"rows","chunk","root"}`."""
        return {"rows": self.rows, "chunk": self.chunk, "root": self.root}


@dataclass(frozen=True, slots=True)
class RangeProof:
    """Rows [start, end) of `rows`: the hashes of the aligned subtrees before, in and after the range, left to right."""

    rows: int
    start: int
    end: int
    before: tuple[bytes, ...]
    inside: tuple[bytes, ...]
    after: tuple[bytes, ...]

    def to_json(self) -> dict[str, Any]:
        """Hashes as hex."""
        return {
            "rows": self.rows,
            "start": self.start,
            "end": self.end,
            **{side: [item.hex() for item in getattr(self, side)] for side in ("before", "inside", "after")},
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> RangeProof:
        """Raises TamperError for what no proof looks like."""
        try:
            numbers = [value[key] for key in ("rows", "start", "end")]
            sides = [tuple(bytes.fromhex(item) for item in value[side]) for side in ("before", "inside", "after")]
        except (KeyError, TypeError, ValueError) as error:
            raise TamperError("this is no proof of a range of rows") from error
        if not all(type(number) is int for number in numbers):
            raise TamperError("this is no proof of a range of rows")
        return cls(*numbers, *sides)


class RowHasher:
    """Collects rows as they are read, in 32 bytes a chunk; `keep` names a range whose edge chunks keep their leaves."""

    __slots__ = ("_chunks", "_edges", "_kept", "_leaves", "rows")

    def __init__(self, keep: tuple[int, int] | None = None) -> None:
        self.rows = 0
        self._leaves: list[bytes] = []
        self._chunks: list[bytes] = []
        self._edges = () if keep is None else (keep[0] >> _LEVEL, max(keep[0], keep[1] - 1) >> _LEVEL)
        self._kept: dict[int, tuple[bytes, ...]] = {}

    def extend(self, rows: Iterable[bytes]) -> list[bytes]:
        """Add rows; gives their leaf hashes."""
        added = [leaf_hash(row) for row in rows]
        self._leaves.extend(added)
        self.rows += len(added)
        while len(self._leaves) >= CHUNK:
            self._close(self._leaves[:CHUNK])
            del self._leaves[:CHUNK]
        return added

    def _close(self, leaves: Sequence[bytes]) -> None:
        if len(self._chunks) in self._edges:
            self._kept[len(self._chunks)] = tuple(leaves)
        self._chunks.append(root(leaves))

    def finish(self) -> RowTree:
        """The tree over everything that was added."""
        if self._leaves:
            self._kept[len(self._chunks)] = tuple(self._leaves)  # every range that ends before the last row cuts it
            self._close(self._leaves)
            self._leaves = []
        return RowTree(self.rows, "sha256:" + _fold(self._peaks()).hex(), CHUNK, tuple(self._chunks))

    def _peaks(self) -> list[tuple[int, bytes]]:
        full = self.rows >> _LEVEL
        sizes = [(CHUNK, item) for item in self._chunks[:full]]
        return sizes + [(self.rows - full * CHUNK, item) for item in self._chunks[full:]]

    def proof(self, start: int, end: int) -> RangeProof:
        """The proof of the range that `keep` named, after `finish`.

        Raises UsageError for a range that is empty or goes beyond the rows.
        """
        if not 0 <= start < end <= self.rows:
            raise UsageError(f"rows {start} to {end} are not in a dataset of {self.rows}", hint="the first row is 0")
        sides = (_aligned(0, start), _aligned(start, end), _aligned(end, self.rows))
        return RangeProof(self.rows, start, end, *(tuple(self._node(at, size) for at, size in side) for side in sides))

    def _node(self, at: int, size: int) -> bytes:
        first = at >> _LEVEL
        if size >= CHUNK:
            return root_of(self._chunks[first : first + (size >> _LEVEL)])
        leaves = self._kept.get(first)
        if leaves is not None:
            return root(leaves[at - first * CHUNK : at - first * CHUNK + size])
        raise UsageError("the leaves of this range were not kept", hint="name the range when the rows are read")


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over nodes that stand side by side at one level."""
    peaks = CompactRange()
    for item in hashes:
        peaks.append(item)
    return peaks.root()


def _aligned(start: int, end: int) -> list[tuple[int, int]]:
    """[start, end) as the fewest subtrees: (first row, rows), each a power of two that divides its start."""
    found = []
    while start < end:
        size = 1 << ((end - start).bit_length() - 1)
        if start:
            size = min(size, start & -start)
        found.append((start, size))
        start += size
    return found


def _fold(parts: Sequence[tuple[int, bytes]]) -> bytes:
    """The root over neighbouring subtrees, left to right: equal sizes merge, and what is left joins from the right."""
    if not parts:
        return EMPTY_ROOT
    stack: list[tuple[int, bytes]] = []
    for size, item in parts:
        stack.append((size, item))
        while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
            (width, right), (_, left) = stack.pop(), stack.pop()
            stack.append((2 * width, node_hash(left, right)))
    result = stack.pop()[1]
    while stack:
        result = node_hash(stack.pop()[1], result)
    return result


def verify_range(proof: RangeProof, registered: RowTree, rows: Sequence[bytes] | None = None) -> None:
    """Check that [start, end) belongs to the registered rows; with `rows` (their bytes) that it is these.

    How many rows there are comes from the register, since a root alone does not say it. Raises TamperError: another
    number of hashes than the range has, another root, or other rows.
    """
    root_digest = registered.root
    if proof.rows != registered.rows:
        raise TamperError(f"the proof is of {proof.rows} rows, and {registered.rows} are registered")
    if not (is_digest(root_digest) and 0 <= proof.start < proof.end <= proof.rows):
        raise TamperError(f"rows {proof.start} to {proof.end} of {proof.rows}: no such range")
    cuts = (_aligned(0, proof.start), _aligned(proof.start, proof.end), _aligned(proof.end, proof.rows))
    sides = (proof.before, proof.inside, proof.after)
    for cut, side in zip(cuts, sides, strict=True):
        if len(cut) != len(side) or any(len(item) != HASH_BYTES for item in side):
            raise TamperError("the proof has another shape than its range of rows")
    parts = [
        (size, item) for cut, side in zip(cuts, sides, strict=True) for (_, size), item in zip(cut, side, strict=True)
    ]
    if "sha256:" + _fold(parts).hex() != root_digest:
        raise TamperError("the rows do not belong to this dataset: the root is another")
    if rows is None:
        return
    leaves = [leaf_hash(row) for row in rows]
    if len(leaves) != proof.end - proof.start:
        raise TamperError(f"{len(leaves)} rows are given for a range of {proof.end - proof.start}")
    for (at, size), item in zip(cuts[1], proof.inside, strict=True):
        if root(leaves[at - proof.start : at - proof.start + size]) != item:
            raise TamperError(f"rows {at} to {at + size} are not those that were registered")
