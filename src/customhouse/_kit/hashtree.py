"""The hashes of RFC 6962 (section 2.1) and the frontier of a growing tree: what both its keeper and its judge need.

Hashes are 32-byte SHA-256 values. Leaves and nodes are hashed with different prefixes, so neither passes for the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
TILE_HEIGHT = 8
"""C2SP tlog-tiles: a tile holds the hashes of 2^8 subtrees; each full one is one hash of the tile level above."""
TILE_WIDTH = 1 << TILE_HEIGHT


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf's data."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The root of a stream of leaves in O(log n) memory: the peaks of RFC 6962's tree, largest first.

    `completed` collects (tile level, hash) of every subtree of 256, 256², … leaves as it becomes complete, in order;
    whoever wants them takes them out.
    """

    __slots__ = ("_peaks", "completed", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Go on after `size` leaves, whose peaks (one for each bit of `size`, the largest first) are known."""
        if len(peaks) != size.bit_count():
            raise ValueError(f"{len(peaks)} peaks for {size} leaves")
        self.size = size
        self._peaks = list(peaks)
        self.completed: list[tuple[int, bytes]] = []

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash; complete subtrees of equal size merge."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order."""
        peaks, size, sha256 = self._peaks, self.size, hashlib.sha256
        for leaf in leaves:
            top, merges, level = leaf, size, 0
            while merges & 1:
                top = sha256(b"\x01" + peaks.pop() + top).digest()
                merges >>= 1
                level += 1
                if not level % TILE_HEIGHT:
                    self.completed.append((level // TILE_HEIGHT, top))
            peaks.append(top)
            size += 1
        self.size = size

    @property
    def peaks(self) -> Sequence[bytes]:
        """The roots of the complete subtrees that the leaves make, largest first."""
        return tuple(self._peaks)

    def copy(self) -> CompactRange:
        """Another one over the same leaves, that grows by itself."""
        return CompactRange(self.size, self._peaks)

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        result = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            result = node_hash(peak, result)
        return result
