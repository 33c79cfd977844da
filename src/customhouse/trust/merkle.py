"""Merkle trees of RFC 6962 (section 2.1), with proofs checked as in RFC 9162 (sections 2.1.3.2 and 2.1.4.2).

Hashes are 32-byte SHA-256 values. Leaves and nodes are hashed with different prefixes, so neither passes for the other.
"""

from __future__ import annotations

import hashlib
import hmac
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

from customhouse._kit.hashtree import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    CompactRange,
    leaf_hash,
    node_hash,
)
from customhouse.core.errors import TamperError

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "CompactRange",
    "MerkleTree",
    "NodeReader",
    "TiledTree",
    "consistency_proof",
    "inclusion_proof",
    "inclusion_proofs",
    "leaf_hash",
    "node_hash",
    "range_root",
    "root",
    "verify_consistency",
    "verify_inclusion",
]

NodeReader = Callable[[int, int], bytes]
"""(level, index) → the hash of the complete subtree that covers leaves [index << level, (index + 1) << level)."""


class MerkleTree:
    """An append-only tree that keeps the hash of every complete subtree: 64 bytes a leaf.

    `append` costs two hashes on average, a root or proof O(log² n) at worst and O(log n) reads.
    """

    __slots__ = ("_levels",)

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels: list[bytearray] = [bytearray()]
        self.extend(leaves)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0]) // HASH_BYTES

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes, then complete the levels above in one pass each."""
        self._levels[0].extend(b"".join(leaves))
        level = 0
        while len(self._levels[level]) >= 2 * HASH_BYTES:
            if level + 1 == len(self._levels):
                self._levels.append(bytearray())
            below, above = self._levels[level], self._levels[level + 1]
            sha256 = hashlib.sha256
            pairs = len(below) // (2 * HASH_BYTES)
            for start in range(len(above) * 2, pairs * 2 * HASH_BYTES, 2 * HASH_BYTES):
                above += sha256(b"\x01" + below[start : start + 2 * HASH_BYTES]).digest()
            level += 1

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree (a NodeReader). Raises IndexError when it is not complete."""
        start = index * HASH_BYTES
        found = bytes(self._levels[level][start : start + HASH_BYTES]) if 0 <= level < len(self._levels) else b""
        if len(found) != HASH_BYTES:
            raise IndexError(f"no complete subtree at level {level}, index {index}")
        return found

    def nodes(self, level: int, start: int, end: int) -> bytes:
        """The hashes [start, end) of one level, joined; shorter when there are fewer."""
        if level >= len(self._levels):
            return b""
        return bytes(self._levels[level][start * HASH_BYTES : end * HASH_BYTES])

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves (default: all)."""
        return range_root(0, self.size if size is None else size, self.node)

    def inclusion_proof(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """See `inclusion_proof`."""
        return inclusion_proof(index, self.size if size is None else size, self.node)

    def consistency_proof(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """See `consistency_proof`."""
        return consistency_proof(old, self.size if new is None else new, self.node)


class TiledTree:
    """A tree that lies elsewhere, read by tiles (C2SP tlog-tiles) as they are needed; the latest used are kept.

    `read` gives the joined hashes of one tile level: (tile level, start, end) → at most end - start of them.
    """

    __slots__ = ("_kept", "_read")

    _MOST = 256
    """Tiles kept: 16 KiB each."""

    def __init__(self, read: Callable[[int, int, int], bytes]) -> None:
        self._read = read
        self._kept: OrderedDict[tuple[int, int], MerkleTree] = OrderedDict()

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree (a NodeReader). Raises IndexError when its tile is not long enough."""
        tile_level, above = divmod(level, TILE_HEIGHT)
        first = index << above
        number, place = divmod(first, TILE_WIDTH)
        tile = self._kept.get((tile_level, number))
        if tile is None or tile.size < place + (1 << above):
            start = number * TILE_WIDTH
            joined = self._read(tile_level, start, start + TILE_WIDTH)
            tile = MerkleTree(joined[i : i + HASH_BYTES] for i in range(0, len(joined), HASH_BYTES))
            self._kept[tile_level, number] = tile
            if len(self._kept) > self._MOST:
                self._kept.popitem(last=False)
        self._kept.move_to_end((tile_level, number))
        return tile.node(above, place >> above)


def root(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes (MTH of RFC 6962)."""
    peaks = CompactRange()
    for leaf in leaves:
        peaks.append(leaf)
    return peaks.root()


def range_root(start: int, end: int, node: NodeReader) -> bytes:
    """MTH(D[start:end]). `start` must be a multiple of the largest power of two below the width."""
    width = end - start
    if width < 0:
        raise ValueError(f"[{start}, {end}) is not a range")
    if width == 0:
        return EMPTY_ROOT
    result: bytes | None = None
    # Complete subtrees from the right (smallest) to the left; each becomes the left sibling of all that is right of it.
    while width:
        low = (width & -width).bit_length() - 1
        width -= 1 << low
        peak = node(low, (start + width) >> low)
        result = peak if result is None else node_hash(peak, result)
    assert result is not None  # noqa: S101 - width was positive, so one peak was read
    return result


def inclusion_proof(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1, leaf to root. Raises ValueError unless 0 ≤ index < size."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    return tuple(_path(index, 0, size, node))


def _path(index: int, start: int, end: int, node: NodeReader) -> list[bytes]:
    siblings: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            siblings.append(range_root(middle, end, node))
            end = middle
        else:
            siblings.append(range_root(start, middle, node))
            start = middle
    siblings.reverse()
    return siblings


def inclusion_proofs(
    leaves: Mapping[int, bytes], size: int, node: NodeReader
) -> tuple[bytes, dict[int, tuple[bytes, ...]]]:
    """The root of D[size] by these leaves and by `node` for all others, and PATH(index, D[size]) of each of them.

    Every hash of a path is part of how the root was come by: if that is the right root, each path leads to it, and
    `verify_inclusion` has nothing to find. What the paths share is hashed once.
    Raises ValueError unless 0 ≤ index < size.
    """
    wanted = sorted(leaves)
    if wanted and not 0 <= wanted[0] <= wanted[-1] < size:
        raise ValueError(f"leaves {wanted[0]} to {wanted[-1]} are not in a tree of {size}")
    paths: list[list[bytes]] = [[] for _ in wanted]

    def covered(start: int, end: int, first: int, last: int) -> bytes:
        """MTH(D[start:end]), in which are wanted[first:last]."""
        if first == last:
            return range_root(start, end, node)
        if end - start == 1:
            return leaves[start]
        middle = start + _split(end - start)
        cut = bisect_left(wanted, middle, first, last)
        left, right = covered(start, middle, first, cut), covered(middle, end, cut, last)
        for number in range(first, cut):
            paths[number].append(right)
        for number in range(cut, last):
            paths[number].append(left)
        return node_hash(left, right)

    top = covered(0, size, 0, len(wanted)) if size else EMPTY_ROOT
    return top, {index: tuple(path) for index, path in zip(wanted, paths, strict=True)}


def consistency_proof(old: int, new: int, node: NodeReader) -> tuple[bytes, ...]:
    """PROOF(old, D[new]) of RFC 6962 section 2.1.2. Raises ValueError unless 0 < old ≤ new."""
    if not 0 < old <= new:
        raise ValueError(f"no proof from size {old} to size {new}")
    proof: list[bytes] = []
    start, end, whole = 0, new, True
    # `whole`: the old tree still is the complete left part, so its root is known to the verifier and left out.
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(range_root(middle, end, node))
            end = middle
        else:
            proof.append(range_root(start, middle, node))
            start, whole = middle, False
    if not whole:
        proof.append(range_root(start, end, node))
    proof.reverse()
    return tuple(proof)


def _split(width: int) -> int:
    """The largest power of two smaller than `width`."""
    return 1 << ((width - 1).bit_length() - 1)


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root_hash: bytes) -> None:
    """Check that `leaf` is number `index` of the tree of `size` under `root_hash`; raises TamperError."""
    if not 0 <= index < size:
        raise TamperError(f"inclusion proof: leaf {index} is not in a tree of {size}")
    _check_lengths(proof, leaf, root_hash)
    first, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise TamperError("inclusion proof: too long")
        if first & 1 or first == last:
            result = node_hash(sibling, result)
            while first and not first & 1:
                first >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        first >>= 1
        last >>= 1
    if last != 0:
        raise TamperError("inclusion proof: too short")
    if not hmac.compare_digest(result, root_hash):
        raise TamperError("inclusion proof: it leads to another root")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of `new` leaves begins with the tree of `old` leaves; raises TamperError.

    An old size of 0 proves nothing and is refused.
    """
    if not 0 < old <= new:
        raise TamperError(f"consistency proof: sizes {old} and {new} are not 0 < old ≤ new")
    if old == new:
        if proof:
            raise TamperError("consistency proof: not empty between equal sizes")
        if not hmac.compare_digest(old_root, new_root):
            raise TamperError("consistency proof: two roots for one size")
        return
    if not proof:
        raise TamperError("consistency proof: empty")
    _check_lengths(proof, old_root, new_root)
    # The root of an old tree that is a complete subtree of the new one is left out of the proof.
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    old_result, new_result = _climb(path, old - 1, new - 1)
    if not hmac.compare_digest(old_result, old_root):
        raise TamperError("consistency proof: it leads to another old root")
    if not hmac.compare_digest(new_result, new_root):
        raise TamperError("consistency proof: it leads to another new root")


def _climb(path: Sequence[bytes], first: int, last: int) -> tuple[bytes, bytes]:
    """Steps 3 to 6 of RFC 9162 section 2.1.4.2: the old and the new root that the path leads to."""
    while first & 1:
        first >>= 1
        last >>= 1
    old_result = new_result = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise TamperError("consistency proof: too long")
        if first & 1 or first == last:
            old_result = node_hash(sibling, old_result)
            new_result = node_hash(sibling, new_result)
            while first and not first & 1:
                first >>= 1
                last >>= 1
        else:
            new_result = node_hash(new_result, sibling)
        first >>= 1
        last >>= 1
    if last != 0:
        raise TamperError("consistency proof: too short")
    return old_result, new_result


def _check_lengths(proof: Sequence[bytes], *hashes: bytes) -> None:
    if any(len(item) != HASH_BYTES for item in (*proof, *hashes)):
        raise TamperError("proof: a hash that is not 32 bytes")
