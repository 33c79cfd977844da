"""The judge of a ledger: everything is recomputed from the stored bytes, and every problem is placed.

A check may go on from where an earlier one ended (`Verified`): the tree up to there must be the same still, by the
hashes that are stored; the bytes of the entries up to there are then not read again, and the report says so.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from customhouse._kit.canonical import MAX_SAFE_INTEGER
from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.hashtree import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH
from customhouse.core.errors import StateError, TamperError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.core.ports import Progress
from customhouse.trust import merkle
from customhouse.trust.entry_text import quick_entry
from customhouse.trust.keys import PublicKey
from customhouse.trust.ledger_keys import KeyChain
from customhouse.trust.note import open_checkpoint

MAX_ENTRY_BYTES = 65_535
"""tlog-tiles writes an entry's length as a uint16."""
MAX_PROBLEMS = 100
_BATCH = 4096
_FIELDS = {"key", "kind", "at", "actor", "subjects", "body"}

Row = tuple[int, str, bytes, bytes]
"""(position, key, leaf hash, leaf data) as they are stored."""


class LedgerTree(Protocol):
    """What the ledger asks of its storage beside the port: the stored tree, and a checkpoint with its entries."""

    def append_sealed(
        self,
        items: Sequence[tuple[Entry, bytes]],
        seal: Callable[
            [int, merkle.CompactRange, Checkpoint | None, Callable[[int, int, int], bytes]], Checkpoint | None
        ],
    ) -> Sequence[int]:
        """Store new entries and what `seal` makes of (size before, tree after, latest checkpoint, tree reader)."""

    def hashes(self, level: int, start: int, end: int) -> bytes:
        """The joined hashes [start, end) of one tile level, fewer where the tree ends."""

    def rows(self, start: int, end: int) -> Sequence[Row]:
        """The rows of [start, end) in order; one that is missing is left out."""

    def checkpoints(self, since: int = 0) -> Sequence[Checkpoint]:
        """Every saved checkpoint of at least `since` entries, smallest first."""


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
class Verified:
    """How far an earlier check came: so many entries under this root. `whole`: read them again all the same."""

    size: int
    root: bytes
    whole: bool = False


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What `verify` found. `sealed` entries are covered by a signed checkpoint; the rest were appended since.

    `looked_from`: the bytes of the entries before it were not read again, only the hashes over them.
    """

    origin: str
    size: int
    sealed: int
    root: bytes
    checkpoints: int
    problems: tuple[LedgerProblem, ...]
    verified_at: datetime
    looked_from: int = 0
    notes: tuple[str, ...] = field(default=())
    """What was not looked at, and what is known beside: sentences for people."""

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
            "looked_from": self.looked_from,
            "notes": list(self.notes),
            "problems": [{"index": p.index, "where": p.where, "message": p.message} for p in self.problems],
            "verified_at": to_rfc3339(self.verified_at),
        }


def parse_entry(data: bytes) -> Entry:
    """The Entry of leaf data. Raises TamperError unless it is exactly what `Entry.to_bytes` writes."""
    if (quick := quick_entry(data)) is not None:
        return quick
    try:
        document = json.loads(data, parse_int=_number)
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


def _number(text: str) -> int | float:
    """A number beyond what a double tells apart was written as one (RFC 8785 section 3.2.2.3)."""
    value = int(text)
    return value if abs(value) <= MAX_SAFE_INTEGER else float(text)


class Check:
    """One verification: the entries first, then the stored tree, then the checkpoints; never raises for damage."""

    def __init__(
        self, stored: LedgerTree, size: int, origin: str, key: PublicKey, since: Verified | None = None
    ) -> None:
        """`key` is the one that signs now; `since` is where an earlier check ended."""
        self._stored = stored
        self._origin = origin
        self._key = key
        self._chain = KeyChain(origin)
        self._since = since
        self.size = size
        self.problems: list[LedgerProblem] = []
        self.tree = merkle.CompactRange()
        self.start = 0
        self.sealed = 0
        self.checkpoints = 0

    def run(self, progress: Progress | None = None) -> None:
        """1. where to begin; 2. each entry; 3. the stored tiles; 4. each checkpoint, and what none may be missing."""
        self._begin()
        saved = self._stored.checkpoints(self.start)
        self.checkpoints = len(saved)
        wanted = {checkpoint.size for checkpoint in saved}
        roots: dict[int, bytes] = {self.tree.size: self.tree.root()}
        try:
            for size in self._entries(progress):
                if size in wanted:
                    roots[size] = self.tree.root()
        except StateError as error:  # a row is missing; what follows it cannot be judged
            self.problems.append(LedgerProblem(error.message, where=error.where))
        roots[self.tree.size] = self.tree.root()
        self._check_tiles()
        if self._chain.steps and self._chain.steps[-1][2] != self._key:
            index = self._chain.steps[-1][0]
            self.problems.append(LedgerProblem("it hands the ledger on to a key that is not this ledger's", index))
        # Which key must have signed a checkpoint is said by the entries before it.
        checked = [found for found in map(self._check_note, saved) if found is not None]
        self.sealed = max((checkpoint.size for checkpoint in checked), default=0)
        self._check_roots(checked, roots)

    def _begin(self) -> None:
        """Where the earlier check ended, if the tree up to there still is the one that was checked; else at 0."""
        since = self._since
        if since is None or since.size == 0:
            return
        if since.size > self.size:
            text = f"{since.size} entries were verified before and {self.size} are there"
            self.problems.append(LedgerProblem(text))
            return
        try:
            peaks = stored_peaks(since.size, self._stored.hashes)
        except (StateError, TamperError) as error:
            self.problems.append(LedgerProblem(error.message))
            return
        tree = merkle.CompactRange(since.size, peaks)
        if not hmac.compare_digest(tree.root(), since.root):
            text = f"the tree of {since.size} entries is not the one that was verified before: history was changed"
            self.problems.append(LedgerProblem(text))
            return
        if not since.whole:
            self.tree, self.start = tree, since.size

    def _entries(self, progress: Progress | None) -> Iterator[int]:
        """Take in entry after entry; gives the size after each."""
        keys: set[int] = set()
        for first in range(self.start, self.size, _BATCH):
            expected = first
            for position, key, recorded, data in self._stored.rows(first, min(first + _BATCH, self.size)):
                if position != expected:
                    break
                leaf = merkle.leaf_hash(data)
                as_recorded = hmac.compare_digest(leaf, recorded)
                problem = _entry_problem(position, key, data, as_recorded, keys, self._chain)
                if problem is not None:
                    self.problems.append(problem)
                self.tree.append(leaf)
                expected += 1
                if progress is not None and position % 1024 == 0:
                    progress("entries", position, self.size)
                yield expected
            if expected < min(first + _BATCH, self.size):
                raise StateError(f"entry {expected} is missing")
        if progress is not None:
            progress("entries", self.size, self.size)

    def _check_tiles(self) -> None:
        """The stored tree is what proofs are made of, so it must be that of the entries."""
        levels: dict[int, list[bytes]] = {}
        for level, top in self.tree.completed:
            levels.setdefault(level, []).append(top)
        for level, hashes in levels.items():
            start = self.start >> (TILE_HEIGHT * level)
            try:
                found = self._stored.hashes(level, start, start + len(hashes))
            except StateError as error:
                self.problems.append(LedgerProblem(error.message))
                continue
            for offset, expected in enumerate(hashes):
                if found[offset * HASH_BYTES : (offset + 1) * HASH_BYTES] != expected:
                    number, place = divmod(start + offset, TILE_WIDTH)
                    text = f"hash {place} of the stored tree is not that of the entries"
                    self.problems.append(LedgerProblem(text, where=f"tile/{level}/{number}"))
                    break

    def _check_note(self, saved: Checkpoint) -> Checkpoint | None:
        where = f"checkpoint {saved.size}"
        try:
            signed = open_checkpoint(saved.note, self._origin, self._chain.at(saved.size, self._key))
        except TamperError as error:
            self.problems.append(LedgerProblem(error.message, where=where))
            return None
        if (signed.size, signed.root, signed.origin) != (saved.size, saved.root, saved.origin):
            self.problems.append(LedgerProblem("the row is not what its note says", where=where))
        return signed

    def _check_roots(self, checkpoints: Sequence[Checkpoint], roots: dict[int, bytes]) -> None:
        good = self.start
        for checkpoint in sorted(checkpoints, key=lambda c: c.size):
            where = f"checkpoint {checkpoint.size}"
            found = merkle.EMPTY_ROOT if checkpoint.size == 0 else roots.get(checkpoint.size)
            if found is None:
                self.problems.append(LedgerProblem("entries that it covers are missing", where=where))
            elif not hmac.compare_digest(found, checkpoint.root):
                suspects = f"something in entries {good} to {checkpoint.size - 1} was changed"
                self.problems.append(LedgerProblem(f"the entries lead to another root: {suspects}", where=where))
                return  # every later root differs for the same reason
            else:
                good = checkpoint.size


def stored_peaks(size: int, hashes: Callable[[int, int, int], bytes]) -> list[bytes]:
    """The peaks of the first `size` leaves, from at most 255 hashes of each tile level. Raises TamperError."""
    peaks: list[bytes] = []
    level = 0
    while count := size >> (TILE_HEIGHT * level):
        width = count % TILE_WIDTH
        joined = hashes(level, count - width, count)
        if len(joined) != width * HASH_BYTES:
            raise TamperError(f"hashes of the stored tree are missing (tile level {level}, from {count - width})")
        part = merkle.CompactRange()
        part.extend(joined[i : i + HASH_BYTES] for i in range(0, len(joined), HASH_BYTES))
        peaks = [*part.peaks, *peaks]
        level += 1
    return peaks


def _entry_problem(
    index: int, key: str, data: bytes, as_recorded: bool, keys: set[int], chain: KeyChain
) -> LedgerProblem | None:
    if not as_recorded:
        return LedgerProblem("its bytes are not those that were appended", index)
    try:
        entry = parse_entry(data)
        chain.take(index, entry)
    except TamperError as error:
        return LedgerProblem(error.message, index)
    if entry.key != key:
        return LedgerProblem(f"the key of its row is {key[:200]!r} and not its own, {entry.key[:200]!r}", index)
    # 64 bits a key: an eighth of the memory that the texts of a million keys take.
    seen = hash(entry.key)
    if seen in keys:
        return LedgerProblem(f"the key {entry.key!r} is there twice", index)
    keys.add(seen)
    return None
