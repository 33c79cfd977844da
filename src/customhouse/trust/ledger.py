"""The ledger: every Entry is a leaf of one Merkle tree whose signed heads (checkpoints) cannot be taken back.

    ledger = Ledger(store, key, "example.com/customhouse", clock)
    (receipt,) = ledger.append([entry])      # durable, proved, and covered by a signed checkpoint
    report = ledger.verify()                 # recomputes everything; report.problems is empty or says where

What it cannot see by itself: a past that was wholly rewritten by somebody who holds the key, and entries cut off
together with every checkpoint that covered them. For that a checkpoint must be kept elsewhere (a witness).
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from customhouse._kit.clock import Clock, from_rfc3339, to_rfc3339
from customhouse.core.errors import StateError, TamperError, UsageError
from customhouse.core.ledger import Checkpoint, Entry, Receipt
from customhouse.core.ports import LedgerStore, Progress
from customhouse.trust import merkle
from customhouse.trust.keys import PrivateKey, PublicKey
from customhouse.trust.note import NoteKey, open_checkpoint, sign_checkpoint

MAX_ENTRY_BYTES = 65_535
"""tlog-tiles writes an entry's length as a uint16."""
MAX_PROBLEMS = 100
_BATCH = 4096
_FIELDS = {"key", "kind", "at", "actor", "subjects", "body"}


@runtime_checkable
class LedgerHistory(Protocol):
    """What a LedgerStore may offer beside the port: it makes opening fast and damage locatable to one entry."""

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        """The leaf hashes of [start, end) as they were recorded when the entries were appended."""

    def checkpoints(self) -> Sequence[Checkpoint]:
        """Every checkpoint that was saved, smallest first."""


@dataclass(frozen=True, slots=True)
class LedgerProblem:
    """One thing that does not verify. `index` is the entry, None when it is a checkpoint or the whole."""

    message: str
    index: int | None = None
    where: str = ""

    def __str__(self) -> str:
        place = self.where or ("ledger" if self.index is None else f"entry {self.index}")
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What `verify` found. `sealed` entries are covered by a signed checkpoint; the rest were appended since."""

    origin: str
    size: int
    sealed: int
    root: bytes
    checkpoints: int
    problems: tuple[LedgerProblem, ...]
    verified_at: datetime

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """`{"origin","size","sealed","root","checkpoints","ok","problems":[{"index","where","message"}],…}`."""
        return {
            "origin": self.origin,
            "size": self.size,
            "sealed": self.sealed,
            "root": self.root.hex(),
            "checkpoints": self.checkpoints,
            "ok": self.ok,
            "problems": [{"index": p.index, "where": p.where, "message": p.message} for p in self.problems],
            "verified_at": to_rfc3339(self.verified_at),
        }


def parse_entry(data: bytes) -> Entry:
    """The Entry of leaf data. Raises TamperError unless it is exactly what `Entry.to_bytes` writes."""
    try:
        document = json.loads(data)
        if set(document) != _FIELDS:
            raise TamperError("not the fields of an entry")
        entry = Entry(
            key=document["key"],
            kind=document["kind"],
            at=from_rfc3339(document["at"]),
            actor=document["actor"],
            subjects=tuple(document["subjects"]),
            body=document["body"],
        )
        canonical = entry.to_bytes()
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise TamperError(f"not an entry: {error}") from error
    if canonical != data:
        raise TamperError("not in canonical form")
    return entry


class Ledger:
    """An append-only log over a LedgerStore. `signer` is an Ed25519 key; a PublicKey gives a ledger that only reads.

    May be used from several threads; several processes may append to one store. Opening it checks that the stored
    leaves still lead to the last signed checkpoint and raises TamperError when they do not.
    """

    def __init__(self, store: LedgerStore, signer: PrivateKey | PublicKey, origin: str, clock: Clock) -> None:
        self._store = store
        self._signer = signer if isinstance(signer, PrivateKey) else None
        self._public = signer.public if isinstance(signer, PrivateKey) else signer
        NoteKey(origin, self._public)  # refuses a bad origin or kind of key before anything is written
        self.origin = origin
        self._clock = clock
        self._tree = merkle.MerkleTree()
        self._published: Checkpoint | None = None
        self._opened = False
        self._lock = threading.RLock()

    @property
    def size(self) -> int:
        """How many entries are stored."""
        return self._store.size()

    def append(self, entries: Sequence[Entry]) -> tuple[Receipt, ...]:
        """Store entries in one transaction and sign a checkpoint over them; one Receipt each, in order.

        An entry whose key is there already gets the Receipt of the stored one. Raises UsageError for an entry above
        MAX_ENTRY_BYTES or a ledger without a private key: nothing is stored then. After a StateError of the store the
        entries may be there without a checkpoint (the disk filled up in between); the same call again completes it.
        """
        if self._signer is None:
            raise UsageError("this ledger was opened for reading", hint="open it with its private key")
        for entry in entries:
            length = len(entry.to_bytes())
            if length > MAX_ENTRY_BYTES:
                raise UsageError(
                    f"entry {entry.key!r} has {length} bytes, more than {MAX_ENTRY_BYTES}",
                    hint="record the digest of a large body, not the body",
                )
        with self._lock:
            self._open()
            indexes = self._store.append(entries) if entries else ()
            checkpoint = self._publish()
            return tuple(self._receipt(index, checkpoint) for index in indexes)

    def checkpoint(self) -> Checkpoint:
        """The signed head; entries that none covers yet are covered now, if the ledger has its private key.

        Raises StateError when there is none and this ledger only reads.
        """
        with self._lock:
            self._open()
            if self._signer is not None:
                return self._publish()
            self._check_published()
            if self._published is None:
                raise StateError("the ledger has no checkpoint yet", where=self.origin)
            return self._published

    def prove(self, index: int) -> Receipt:
        """The proof that entry `index` is under the checkpoint.

        Raises UsageError when there is no such entry, TamperError when its stored data is not what was appended.
        """
        with self._lock:
            checkpoint = self.checkpoint()
            if not 0 <= index < checkpoint.size:
                raise UsageError(f"no entry {index} under the checkpoint of {checkpoint.size}", where=self.origin)
            self._proved_data(index)
            return self._receipt(index, checkpoint)

    def proved(self, index: int) -> tuple[Receipt, Entry]:
        """`prove`, with the Entry itself (what `custody.trace` takes)."""
        receipt = self.prove(index)
        return receipt, parse_entry(self._proved_data(index))

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the ledger of `new` entries begins with that of `old`. Raises UsageError unless 0<old≤new."""
        with self._lock:
            self._open()
            self._catch_up()
            if not 0 < old <= new <= self._tree.size:
                raise UsageError(f"no proof from size {old} to {new}; the ledger has {self._tree.size} entries")
            return self._tree.consistency_proof(old, new)

    def entries(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, Entry]]:
        """(index, Entry) of [start, end), read in batches. Raises TamperError for one that is not an entry."""
        stop = self.size if end is None else min(end, self.size)
        for index, data in self._data(start, stop):
            try:
                yield index, parse_entry(data)
            except TamperError as error:
                raise TamperError(error.message, where=f"entry {index}") from error

    def verify(self, progress: Progress | None = None) -> LedgerReport:
        """Recompute everything from the stored bytes; never raises for damage, every problem is in the report.

        1. each entry is canonical, its key unique, and hashes to the leaf recorded at its append;
        2. each saved checkpoint is signed, and its root is that of the entries up to its size;
        3. no checkpoint is missing entries that it covered.
        """
        problems: list[LedgerProblem] = []
        saved = self._saved_checkpoints()
        checked = [self._check_note(checkpoint, problems) for checkpoint in saved]
        wanted = {checkpoint.size for checkpoint in checked if checkpoint is not None}
        size = self._store.size()
        roots: dict[int, bytes] = {}
        keys: set[str] = set()
        peaks = merkle.CompactRange()
        recorded = self._recorded(size)
        try:
            for index, data in self._data(0, size):
                if index in wanted:
                    roots[index] = peaks.root()
                leaf = merkle.leaf_hash(data)
                problem = _entry_problem(index, data, leaf, next(recorded, None), keys)
                if problem is not None:
                    problems.append(problem)
                peaks.append(leaf)
                if progress is not None and index % 1024 == 0:
                    progress("entries", index, size)
        except StateError as error:  # a row is missing; what follows it cannot be judged
            problems.append(LedgerProblem(error.message, where=error.where))
        roots[peaks.size] = peaks.root()
        self._check_roots([c for c in checked if c is not None], roots, problems)
        if progress is not None:
            progress("entries", size, size)
        sealed = max((c.size for c in checked if c is not None), default=0)
        return LedgerReport(
            self.origin, size, sealed, peaks.root(), len(saved), tuple(problems[:MAX_PROBLEMS]), self._clock.now()
        )

    def _open(self) -> None:
        if not self._opened:
            self._catch_up()
            self._check_published()
            self._opened = True

    def _catch_up(self) -> None:
        """Take in what was appended since, by whomever."""
        size = self._store.size()
        if size < self._tree.size:
            raise TamperError(f"the ledger shrank from {self._tree.size} to {size} entries", where=self.origin)
        while self._tree.size < size:
            start = self._tree.size
            end = min(start + _BATCH, size)
            if isinstance(self._store, LedgerHistory):
                leaves = self._store.leaf_hashes(start, end)
            else:
                leaves = [merkle.leaf_hash(data) for data in self._store.read(start, end)]
            if len(leaves) != end - start:
                raise TamperError("entries are missing", where=f"entries {start} to {end}")
            self._tree.extend(leaves)

    def _check_published(self) -> None:
        """The latest checkpoint must be signed and match the leaves; only then may anything be built on it."""
        latest = self._store.latest_checkpoint()
        if latest is None or latest == self._published:
            return
        checked = open_checkpoint(latest.note, self.origin, self._public)
        self._catch_up()
        if checked.size > self._tree.size:
            raise TamperError(f"{checked.size} entries were signed and {self._tree.size} are there", where=self.origin)
        if not hmac.compare_digest(self._tree.root(checked.size), checked.root):
            raise TamperError(
                "the entries do not lead to the last signed checkpoint",
                where=self.origin,
                hint="run `customhouse ledger verify` to see where; restore the state from a backup",
            )
        self._published = checked

    def _publish(self) -> Checkpoint:
        """Sign and save a checkpoint over everything; another process may get ahead, then start over."""
        assert self._signer is not None  # noqa: S101 - both callers have checked it
        for attempt in range(5):
            self._catch_up()
            if self._published is not None and self._published.size == self._tree.size:
                return self._published
            mine = sign_checkpoint(self.origin, self._tree.size, self._tree.root(), self._signer)
            try:
                self._store.save_checkpoint(mine)
            except StateError:
                latest = self._store.latest_checkpoint()
                if attempt == 4 or latest is None or latest.size < mine.size:
                    raise
                self._check_published()
            else:
                self._published = mine
                return mine
        raise StateError("another process keeps publishing checkpoints", where=self.origin, hint="try again")

    def _proved_data(self, index: int) -> bytes:
        (data,) = self._store.read(index, index + 1)
        if not hmac.compare_digest(merkle.leaf_hash(data), self._tree.node(0, index)):
            raise TamperError("the stored entry is not what was appended", where=f"entry {index}")
        return bytes(data)

    def _receipt(self, index: int, checkpoint: Checkpoint) -> Receipt:
        proof = self._tree.inclusion_proof(index, checkpoint.size)
        return Receipt(index, self._tree.node(0, index), proof, checkpoint)

    def _data(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        for first in range(start, end, _BATCH):
            yield from enumerate(self._store.read(first, min(first + _BATCH, end)), first)

    def _recorded(self, size: int) -> Iterator[bytes]:
        if isinstance(self._store, LedgerHistory):
            for first in range(0, size, _BATCH):
                yield from self._store.leaf_hashes(first, min(first + _BATCH, size))

    def _saved_checkpoints(self) -> Sequence[Checkpoint]:
        if isinstance(self._store, LedgerHistory):
            return self._store.checkpoints()
        latest = self._store.latest_checkpoint()
        return () if latest is None else (latest,)

    def _check_note(self, saved: Checkpoint, problems: list[LedgerProblem]) -> Checkpoint | None:
        where = f"checkpoint {saved.size}"
        try:
            signed = open_checkpoint(saved.note, self.origin, self._public)
        except TamperError as error:
            problems.append(LedgerProblem(error.message, where=where))
            return None
        if (signed.size, signed.root, signed.origin) != (saved.size, saved.root, saved.origin):
            problems.append(LedgerProblem("the row is not what its note says", where=where))
        return signed

    def _check_roots(
        self, checkpoints: Sequence[Checkpoint], roots: dict[int, bytes], problems: list[LedgerProblem]
    ) -> None:
        good = 0
        for checkpoint in sorted(checkpoints, key=lambda c: c.size):
            where = f"checkpoint {checkpoint.size}"
            found = roots.get(checkpoint.size)
            if checkpoint.size == 0:
                found = merkle.EMPTY_ROOT
            if found is None:
                problems.append(LedgerProblem("entries that it covers are missing", where=where))
            elif not hmac.compare_digest(found, checkpoint.root):
                suspects = f"something in entries {good} to {checkpoint.size - 1} was changed"
                problems.append(LedgerProblem(f"the entries lead to another root: {suspects}", where=where))
                return  # every later root differs for the same reason
            else:
                good = checkpoint.size


def _entry_problem(
    index: int, data: bytes, leaf: bytes, recorded: bytes | None, keys: set[str]
) -> LedgerProblem | None:
    if recorded is not None and not hmac.compare_digest(leaf, recorded):
        return LedgerProblem("its bytes are not those that were appended", index)
    try:
        entry = parse_entry(data)
    except TamperError as error:
        return LedgerProblem(error.message, index)
    if entry.key in keys:
        return LedgerProblem(f"the key {entry.key!r} is there twice", index)
    keys.add(entry.key)
    return None
