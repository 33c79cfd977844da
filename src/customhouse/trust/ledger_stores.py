"""A LedgerStore of the port's five methods as the storage that the ledger wants: its tree is then kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from customhouse._kit.hashtree import TILE_HEIGHT
from customhouse.core.errors import StateError, TamperError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.core.ports import LedgerStore
from customhouse.trust import merkle
from customhouse.trust.ledger_check import LedgerTree, Row, parse_entry

_BATCH = 4096
_ATTEMPTS = 5


def tree_of(store: LedgerStore) -> LedgerTree:
    """The store itself when it keeps the tree, else one that is made of its entries."""
    return store if hasattr(store, "append_sealed") else _InMemory(store)  # type: ignore[return-value]


class _InMemory:
    """Reads all entries once: for fakes and small ledgers. A checkpoint is saved after its entries, not with them."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._tree = merkle.MerkleTree()

    def append_sealed(
        self,
        items: Sequence[tuple[Entry, bytes]],
        seal: Callable[
            [int, merkle.CompactRange, Checkpoint | None, Callable[[int, int, int], bytes]], Checkpoint | None
        ],
    ) -> Sequence[int]:
        """Two steps: after a failure between them the next call seals what is there."""
        self._catch_up()
        before = self._store.size()
        indexes = self._store.append([entry for entry, _ in items]) if items else ()
        for attempt in range(1, _ATTEMPTS + 1):
            self._catch_up()
            tree = merkle.CompactRange()
            tree.extend(self._tree.node(0, index) for index in range(self._tree.size))
            made = seal(before if attempt == 1 else tree.size, tree, self._store.latest_checkpoint(), self.hashes)
            try:
                if made is not None:
                    self._store.save_checkpoint(made)
                break
            except StateError:
                latest = self._store.latest_checkpoint()
                if attempt == _ATTEMPTS or made is None or latest is None or latest.size < made.size:
                    raise  # it was no other process that got ahead
        return indexes

    def hashes(self, level: int, start: int, end: int) -> bytes:
        """See LedgerTree."""
        self._catch_up()
        return self._tree.nodes(level * TILE_HEIGHT, start, end)

    def rows(self, start: int, end: int) -> Sequence[Row]:
        """See LedgerTree. The key and the leaf hash are not stored, so they are those of the data."""
        found = enumerate(self._store.read(start, end), start)
        return [(index, _key(data), merkle.leaf_hash(data), bytes(data)) for index, data in found]

    def checkpoints(self, since: int = 0) -> Sequence[Checkpoint]:
        """The latest one alone."""
        latest = self._store.latest_checkpoint()
        return () if latest is None or latest.size < since else (latest,)

    def _catch_up(self) -> None:
        size = self._store.size()
        if size < self._tree.size:
            raise TamperError(f"the ledger shrank from {self._tree.size} to {size} entries")
        while self._tree.size < size:
            start = self._tree.size
            data = self._store.read(start, min(start + _BATCH, size))
            self._tree.extend(merkle.leaf_hash(item) for item in data)


def _key(data: bytes) -> str:
    try:
        return parse_entry(data).key
    except Exception:  # noqa: BLE001 - what is no entry is the check's to say
        return ""
