"""The ledger: every Entry is a leaf of one Merkle tree whose signed heads (checkpoints) cannot be taken back.

    ledger = Ledger(store, key, "example.com/customhouse", clock)
    (receipt,) = ledger.append([entry])      # durable, proved, and covered by a signed checkpoint
    report = ledger.verify()                 # recomputes everything; report.problems is empty or says where

What it cannot see by itself: a past that was wholly rewritten by somebody who holds the key, and entries cut off
together with every checkpoint that covered them. For that a checkpoint must be kept elsewhere (a witness).
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar, overload

from customhouse._kit.clock import Clock
from customhouse.core.errors import StateError, TamperError, UsageError
from customhouse.core.ledger import Checkpoint, Entry, Receipt
from customhouse.core.ports import LedgerStore, Progress
from customhouse.trust import merkle
from customhouse.trust.keys import PrivateKey, PublicKey
from customhouse.trust.ledger_check import (
    MAX_ENTRY_BYTES,
    MAX_PROBLEMS,
    Check,
    LedgerProblem,
    LedgerReport,
    LedgerTree,
    Verified,
    parse_entry,
)
from customhouse.trust.ledger_keys import rotation
from customhouse.trust.ledger_stores import tree_of
from customhouse.trust.note import NoteKey, note_parts, open_checkpoint, sign_checkpoint

__all__ = [
    "MAX_ENTRY_BYTES",
    "MAX_PROBLEMS",
    "Ledger",
    "LedgerProblem",
    "LedgerReport",
    "Receipts",
    "Verified",
    "parse_entry",
]

_T = TypeVar("_T")
_BATCH = 4096
_MOST_AT_ONCE = 50_000
"""Entries of several threads that one transaction takes: some 25 MB."""


class Receipts(Sequence[Receipt]):
    """The receipts of one `append`, in the order of its entries; a proof is made when its receipt is asked for."""

    __slots__ = ("_checkpoint", "_indexes", "_made")

    def __init__(
        self, indexes: Sequence[int], checkpoint: Checkpoint, made: Callable[[int, Checkpoint], Receipt]
    ) -> None:
        self._indexes = indexes
        self._checkpoint = checkpoint
        self._made = made

    def __len__(self) -> int:
        return len(self._indexes)

    @overload
    def __getitem__(self, position: int) -> Receipt: ...

    @overload
    def __getitem__(self, position: slice) -> Sequence[Receipt]: ...

    def __getitem__(self, position: int | slice) -> Receipt | Sequence[Receipt]:
        if isinstance(position, slice):
            return Receipts(self._indexes[position], self._checkpoint, self._made)
        return self._made(self._indexes[position], self._checkpoint)


class _Waiting:
    """Entries of one caller until the transaction that takes them is over."""

    __slots__ = ("checkpoint", "error", "indexes", "items", "leads", "ready")

    def __init__(self, items: Sequence[tuple[Entry, bytes]]) -> None:
        self.items = items
        self.leads = False
        self.ready = threading.Event()
        self.indexes: Sequence[int] = ()
        self.checkpoint: Checkpoint | None = None
        self.error: BaseException | None = None


class Ledger:
    """An append-only log over a LedgerStore. `signer` is an Ed25519 key; a PublicKey gives a ledger that only reads.

    May be used from several threads, which then share transactions; several processes may append to one store. Before
    anything is built on the last signed checkpoint, the stored tree is held against it (TamperError); that reads
    O(log n) hashes.
    """

    def __init__(
        self,
        store: LedgerStore,
        signer: PrivateKey | PublicKey,
        origin: str,
        clock: Clock,
        retired: Sequence[PublicKey] = (),
    ) -> None:
        """`retired` are keys that the ledger had before: old checkpoints are read under them, none is made."""
        self._store = store
        self._retired = tuple(retired)
        self._stored: LedgerTree = tree_of(store)
        self._signer = signer if isinstance(signer, PrivateKey) else None
        self._public = signer.public if isinstance(signer, PrivateKey) else signer
        NoteKey(origin, self._public)  # refuses a bad origin or kind of key before anything is written
        self.origin = origin
        self._clock = clock
        self._nodes = merkle.TiledTree(self._stored.hashes)
        self._published: Checkpoint | None = None
        self._queue: list[_Waiting] = []
        self._queue_lock = threading.Lock()
        self._led = False
        self._lock = threading.RLock()

    @property
    def size(self) -> int:
        """How many entries are stored."""
        return self._store.size()

    def append(self, entries: Sequence[Entry]) -> Sequence[Receipt]:
        """Store entries and a signed checkpoint over them in one transaction; one Receipt each, in order.

        An entry whose key is there already gets the Receipt of the stored one. Threads that come while another one
        writes are written together, with one wait for the disk. Raises UsageError for an entry above MAX_ENTRY_BYTES
        or a ledger without a private key, TamperError when the stored tree does not lead to the last checkpoint:
        nothing is stored then.
        """
        self._may_write()
        mine = _Waiting([(entry, _leaf_data(entry)) for entry in entries])
        try:
            with self._queue_lock:
                self._queue.append(mine)
                mine.leads, self._led = not self._led, True
            if not mine.leads:
                mine.ready.wait()  # until another one has written it, or it is this one's turn to write
        except BaseException:
            with self._queue_lock:
                self._queue = [waiting for waiting in self._queue if waiting is not mine]
            if mine.leads:
                self._hand_on()
            raise
        if mine.leads:
            try:
                with self._lock:
                    self._write(self._next())
            finally:
                self._hand_on()
        if mine.error is not None:
            raise mine.error
        assert mine.checkpoint is not None  # noqa: S101 - `_write` sets one of the two
        return Receipts(mine.indexes, mine.checkpoint, self._receipt) if mine.items else ()

    def checkpoint(self) -> Checkpoint:
        """The signed head; entries that none covers yet are covered now, if the ledger has its private key.

        Raises StateError when there is none and this ledger only reads.
        """
        with self._lock:
            if self._signer is not None:
                return self._seal_all(())[1]
            latest = self._store.latest_checkpoint()
            if latest is None:
                raise StateError("the ledger has no checkpoint yet", where=self.origin)
            size = self._store.size()
            if latest.size > size:
                raise TamperError(f"{latest.size} entries were signed and {size} are there", where=self.origin)
            return self._trusted(latest, self._nodes.node)

    def prove(self, index: int, under: Checkpoint | None = None) -> Receipt:
        """The proof that entry `index` is under the latest checkpoint, or under an older one of this ledger.

        Raises UsageError when there is no such entry, TamperError when its stored data is not what was appended.
        """
        return self.proved(index, under)[0]

    def proved(self, index: int, under: Checkpoint | None = None) -> tuple[Receipt, Entry]:
        """`prove`, with the Entry itself (what `custody.trace` takes)."""
        with self._lock:
            checkpoint = self.checkpoint()
            if under is not None:
                checkpoint = open_checkpoint(under.note, self.origin, self._public, *self._retired)
            if not 0 <= index < checkpoint.size:
                raise UsageError(f"no entry {index} under the checkpoint of {checkpoint.size}", where=self.origin)
            (data,) = self._store.read(index, index + 1)
            receipt = self._receipt(index, checkpoint)
            if not hmac.compare_digest(merkle.leaf_hash(data), receipt.leaf_hash):
                raise TamperError("the stored entry is not what was appended", where=f"entry {index}")
            return receipt, parse_entry(bytes(data))

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the ledger of `new` entries begins with that of `old`. Raises UsageError unless 0<old≤new."""
        with self._lock:
            size = self._store.size()
            if not 0 < old <= new <= size:
                raise UsageError(f"no proof from size {old} to {new}; the ledger has {size} entries")
            return self._read(lambda: merkle.consistency_proof(old, new, self._nodes.node))

    def root(self, size: int) -> bytes:
        """The root of the first `size` entries, by the stored tree."""
        with self._lock:
            return self._read(lambda: merkle.range_root(0, size, self._nodes.node))

    def entries(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, Entry]]:
        """(index, Entry) of [start, end), read in batches. Raises TamperError for one that is not an entry."""
        stop = self.size if end is None else min(end, self.size)
        for first in range(start, stop, _BATCH):
            for index, data in enumerate(self._store.read(first, min(first + _BATCH, stop)), first):
                try:
                    yield index, parse_entry(data)
                except TamperError as error:
                    raise TamperError(error.message, where=f"entry {index}") from error

    def verify(self, progress: Progress | None = None, since: Verified | None = None) -> LedgerReport:
        """Recompute everything from the stored bytes; never raises for damage, every problem is in the report.

        1. each entry is canonical, its key unique, and hashes to the leaf recorded at its append;
        2. the stored tree is that of the entries;
        3. each saved checkpoint is signed, and its root is that of the entries up to its size;
        4. no checkpoint is missing entries that it covered.

        With `since` the entries of an earlier check are not read again; the tree up to there must be the same.
        """
        check = Check(self._stored, self._store.size(), self.origin, self._public, since)
        check.run(progress)
        notes: tuple[str, ...] = ()
        if check.start:
            notes = (f"entries 0 to {check.start - 1} were verified before; only the hashes over them were compared",)
        return LedgerReport(
            self.origin,
            check.size,
            check.sealed,
            check.tree.root(),
            check.checkpoints,
            tuple(check.problems[:MAX_PROBLEMS]),
            self._clock.now(),
            check.start,
            notes,
        )

    def _may_write(self) -> None:
        if self._signer is None:
            raise UsageError("this ledger was opened for reading", hint="open it with its private key")

    def _next(self) -> list[_Waiting]:
        """Whoever waits, in order, up to a bound. The caller's own are among them or were taken before."""
        with self._queue_lock:
            taken, count = 0, 0
            for waiting in self._queue:
                if taken and count + len(waiting.items) > _MOST_AT_ONCE:
                    break
                taken, count = taken + 1, count + len(waiting.items)
            group, self._queue = self._queue[:taken], self._queue[taken:]
            return group

    def _write(self, group: Sequence[_Waiting]) -> None:
        """One transaction for all of them; its failure is the failure of each."""
        try:
            indexes, checkpoint = self._seal_all([item for waiting in group for item in waiting.items])
            first = 0
            for waiting in group:
                waiting.indexes = indexes[first : first + len(waiting.items)]
                waiting.checkpoint = checkpoint
                first += len(waiting.items)
        except BaseException as error:
            shared = error if isinstance(error, Exception) else StateError("the writing thread was interrupted")
            for waiting in group:
                waiting.error = shared
            raise
        finally:
            for waiting in group:
                waiting.ready.set()

    def _hand_on(self) -> None:
        """The first of those that came in between writes next: there is always one who does while anybody waits."""
        with self._queue_lock:
            self._led = bool(self._queue)
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].ready.set()

    def hand_on(self, new: PrivateKey, actor: str) -> Checkpoint:
        """Enter that `new` follows this ledger's key, under a checkpoint that both sign; write with `new` from now on.

        Doing it again gives the same checkpoint. Raises UsageError, StateError, TamperError.
        """
        self._may_write()
        assert self._signer is not None  # noqa: S101 - `_may_write` has checked it
        entry = rotation(self.origin, self._signer, new, self._clock.now(), actor)
        with self._lock:
            return self._seal_all([(entry, _leaf_data(entry))], new)[1]

    def _seal_all(
        self, items: Sequence[tuple[Entry, bytes]], follower: PrivateKey | None = None
    ) -> tuple[Sequence[int], Checkpoint]:
        published: list[Checkpoint] = []

        def seal(
            before: int,
            tree: merkle.CompactRange,
            latest: Checkpoint | None,
            hashes: Callable[[int, int, int], bytes],
        ) -> Checkpoint | None:
            assert self._signer is not None  # noqa: S101 - the callers have checked it
            if latest is not None:
                if latest.size > before:
                    raise TamperError(f"{latest.size} entries were signed and {before} are there", where=self.origin)
                self._still_ours(latest, follower)
                published.append(self._trusted(latest, merkle.TiledTree(hashes).node))
                if latest.size == tree.size:
                    return None
            made = sign_checkpoint(self.origin, tree.size, tree.root(), self._signer)
            if follower is not None:
                second = sign_checkpoint(self.origin, tree.size, tree.root(), follower)
                made = replace(made, note=made.note + second.note.rpartition("\n\n")[2])
            published.append(made)
            return made

        indexes = self._stored.append_sealed(items, seal)
        self._published = published[-1]
        return indexes, published[-1]

    def _still_ours(self, latest: Checkpoint, follower: PrivateKey | None) -> None:
        """Whoever writes with a key that was followed by another would make a ledger that no key fits any more."""
        if latest == self._published:
            return
        keys = [self._public, *self._retired, *([follower.public] if follower is not None else [])]
        known = {NoteKey(self.origin, key).key_hash for key in keys}
        signed = {raw[:4] for name, raw, _ in note_parts(latest.note)[1] if name == self.origin}
        if NoteKey(self.origin, self._public).key_hash in signed and not signed <= known:
            raise StateError(
                "the ledger has another key by now", where=self.origin, hint="end this process and start it anew"
            )

    def _trusted(self, latest: Checkpoint, node: merkle.NodeReader) -> Checkpoint:
        """The latest checkpoint, if it is signed and the stored tree leads to it; only then may anything be built."""
        if latest == self._published:
            return latest
        checked = open_checkpoint(latest.note, self.origin, self._public)
        root = self._read(lambda: merkle.range_root(0, checked.size, node))
        if not hmac.compare_digest(root, checked.root):
            raise TamperError(
                "the entries do not lead to the last signed checkpoint",
                where=self.origin,
                hint="run `customhouse ledger verify` to see where; restore the state from a backup",
            )
        self._published = checked
        return checked

    def _receipt(self, index: int, checkpoint: Checkpoint) -> Receipt:
        """Made of the stored hashes and then checked: nobody gets a proof that does not prove."""
        with self._lock:

            def made() -> Receipt:
                leaf = self._nodes.node(0, index)
                return Receipt(
                    index, leaf, merkle.inclusion_proof(index, checkpoint.size, self._nodes.node), checkpoint
                )

            receipt = self._read(made)
        try:
            merkle.verify_inclusion(index, checkpoint.size, receipt.leaf_hash, receipt.proof, checkpoint.root)
        except TamperError as error:
            raise TamperError(
                f"the stored tree does not prove it: {error.message}",
                where=f"entry {index}",
                hint="run `customhouse ledger verify`",
            ) from error
        return receipt

    def _read(self, reading: Callable[[], _T]) -> _T:
        try:
            return reading()
        except IndexError as error:
            raise TamperError(f"the stored tree is not whole: {error}", where=self.origin) from error


def _leaf_data(entry: Entry) -> bytes:
    data = entry.to_bytes()
    if len(data) > MAX_ENTRY_BYTES:
        raise UsageError(
            f"entry {entry.key!r} has {len(data)} bytes, more than {MAX_ENTRY_BYTES}",
            hint="record the digest of a large body, not the body",
        )
    return data
