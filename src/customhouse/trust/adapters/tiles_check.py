"""The judge of a mirror: a folder or an address with the files of a ledger, and nothing but the log's key.

A check may go on from a checkpoint that was verified before: the tree up to there must be the same, by the mirror's own
hashes, and the bytes before it are not read again.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from customhouse._kit.clock import Clock
from customhouse._kit.hashtree import HASH_BYTES
from customhouse._kit.http import HttpError, request
from customhouse.core.errors import TamperError
from customhouse.core.ledger import Checkpoint
from customhouse.core.ports import Progress
from customhouse.trust import merkle
from customhouse.trust.adapters.tile_layout import CHECKPOINT, HEIGHT, WIDTH, Tile, row, split_entries, tiles_of
from customhouse.trust.keys import PublicKey
from customhouse.trust.ledger_check import (
    MAX_PROBLEMS,
    LedgerProblem,
    LedgerReport,
    Verified,
    parse_entry,
    stored_peaks,
)
from customhouse.trust.ledger_keys import KeyChain
from customhouse.trust.note import MAX_NOTE_BYTES, NoteKey, note_parts, open_checkpoint, read_checkpoint

_MOST_UNSIGNED = 1 << 30
"""Bytes of entries that are read at most before their checkpoint is known to be signed (some 2,500,000 entries)."""

Read = Callable[[str, int], bytes]
"""(path below the prefix, most bytes) → the file. Raises TamperError, whatever the reason."""


def folder_reader(folder: Path) -> Read:
    """Files below a folder; links are not followed."""

    def read(name: str, limit: int) -> bytes:
        try:
            descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as handle:
                content = handle.read(limit + 1)
        except OSError as error:
            raise TamperError(f"cannot be read: {error.strerror}", where=name) from error
        if len(content) > limit:
            raise TamperError("larger than it can be", where=name)
        return content

    return read


def url_reader(prefix: str, timeout_s: float = 30.0) -> Read:
    """Files below an address: https, or http with this machine; a redirect to another origin is not followed."""
    base = prefix.rstrip("/")

    def read(name: str, limit: int) -> bytes:
        try:
            answer = request(
                "GET", f"{base}/{name}", timeout_s=timeout_s, max_bytes=limit, redirects=lambda _before, _after: False
            )
        except HttpError as error:
            raise TamperError(f"cannot be fetched: {error}", where=name) from error
        if answer.status != 200:
            raise TamperError(f"the server answers {answer.status}", where=name)
        return answer.body

    return read


def verify(folder: Path, origin: str, key: PublicKey, clock: Clock, progress: Progress | None = None) -> LedgerReport:
    """Verify a folder offline: the checkpoint's signature, every entry, every tile, the root; nothing may be extra.

    Never raises for damage: each problem names the file, and the entry when it is one entry's.
    """
    made = MirrorCheck(folder_reader(folder), origin, (key,), progress=progress)
    made.run()
    made.problems.extend(made.foreign(folder))
    return made.report(clock)


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What was found of a mirror; `note` is its checkpoint, empty when that does not verify.

    `keys` are those that its entries hand the ledger on to and from, if the checkpoint verifies.
    """

    report: LedgerReport
    note: str
    keys: tuple[PublicKey, ...] = ()


def check_mirror(
    place: str, log: NoteKey, since: Verified | None, clock: Clock, progress: Progress | None = None
) -> Mirrored:
    """Verify a mirror, by its address or its folder; of a folder that is read whole nothing may be extra."""
    remote = "://" in place
    read = url_reader(place) if remote else folder_reader(Path(place))
    made = MirrorCheck(read, log.name, (log.key,), since, progress)
    made.run()
    if not remote:
        made.problems.extend(made.foreign(Path(place)))
    signed = made.checkpoint if made.signed else None
    return Mirrored(made.report(clock), "" if signed is None else signed.note, made.keys if made.signed else ())


class MirrorCheck:
    """One verification over a reader; `checkpoint` and `tree` are what was found."""

    def __init__(
        self,
        read: Read,
        origin: str,
        keys: Iterable[PublicKey],
        since: Verified | None = None,
        progress: Progress | None = None,
    ) -> None:
        """`since` is where an earlier check ended (a remembered checkpoint that was verified)."""
        self._read = read
        self._origin = origin
        self._keys = tuple(keys)
        self._since = since
        self._chain = KeyChain(origin)
        self._progress = progress
        self._leaves = bytearray()
        self._blamed: list[LedgerProblem] = []
        self.problems: list[LedgerProblem] = []
        self.checkpoint: Checkpoint | None = None
        self.signed = False
        """Whether the checkpoint is known to be the log's; until then its size is anybody's word."""
        self.tree = merkle.CompactRange()
        self.start = 0

    def run(self) -> None:
        """1. the checkpoint; 2. what was verified before; 3. every entry; 4. its key; 5. the root; 6. the tiles."""
        unsigned = ""
        try:
            note = self._read(CHECKPOINT, MAX_NOTE_BYTES).decode()
            self.checkpoint = read_checkpoint(note_parts(note)[0], self._origin, note)
            try:
                open_checkpoint(note, self._origin, *self._keys)
                self.signed = True
            except TamperError as error:
                unsigned = error.message  # the entries may say that another key followed the one that is known
        except (TamperError, UnicodeDecodeError) as error:
            self.problems.append(LedgerProblem(getattr(error, "message", "not text"), where=CHECKPOINT))
            return
        if not self._begin(self.checkpoint):
            return
        self._take(self.checkpoint.size)
        self._check_signer(self.checkpoint, unsigned)
        if self.tree.size == self.checkpoint.size:
            genuine = hmac.compare_digest(self.tree.root(), self.checkpoint.root)
            if not genuine:
                blamed = self._blamed[0] if self._blamed else LedgerProblem("", where=CHECKPOINT)
                text = "the entries do not lead to the signed root"
                self.problems.insert(0, LedgerProblem(text, blamed.index, blamed.where))
            self._check_tiles(genuine=genuine)

    def report(self, clock: Clock) -> LedgerReport:
        """What was found."""
        sealed = self.checkpoint.size if self.checkpoint is not None and self.signed else 0
        notes: tuple[str, ...] = ()
        if self.start:
            notes = (f"entries 0 to {self.start - 1} were verified before; only the hashes over them were compared",)
        return LedgerReport(
            self._origin,
            self.tree.size,
            sealed,
            self.tree.root(),
            int(self.signed),
            tuple(self.problems[:MAX_PROBLEMS]),
            clock.now(),
            self.start,
            notes,
        )

    def foreign(self, folder: Path) -> Sequence[LedgerProblem]:
        """Files of a folder that was read whole and that are no part of it."""
        if self.checkpoint is None or self.tree.size != self.checkpoint.size:
            return ()
        wanted = {tile.path for tile in tiles_of(self.checkpoint.size)} | {CHECKPOINT}
        found: list[LedgerProblem] = []
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if (path.is_symlink() or not path.is_dir()) and name not in wanted:
                found.append(LedgerProblem("a file that does not belong here", where=name))
            if len(found) > MAX_PROBLEMS:
                break
        return found

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The keys of the entries that were read, the oldest first."""
        steps = self._chain.steps
        return tuple(dict.fromkeys(key for _, before, after in steps for key in (before, after)))

    def hashes(self, level: int, start: int, end: int) -> bytes:
        """Hashes of one tile level, out of the mirror's tiles as its checkpoint makes them."""
        assert self.checkpoint is not None  # noqa: S101 - `run` reads it first
        count = self.checkpoint.size >> (HEIGHT * level)
        found = b""
        for number in range(start // WIDTH, -(-end // WIDTH)):
            width = min(WIDTH, count - number * WIDTH)
            if width > 0:
                found += self._tile(Tile(level, number, width))
        return found[start % WIDTH * HASH_BYTES :][: (end - start) * HASH_BYTES]

    def _begin(self, checkpoint: Checkpoint) -> bool:
        since = self._since
        if since is None or since.size == 0:
            return True
        if since.size > checkpoint.size:
            text = f"{since.size} entries were verified before, and it now is of {checkpoint.size}: it was rolled back"
            self.problems.append(LedgerProblem(text, where=CHECKPOINT))
            return False
        try:
            tree = merkle.CompactRange(since.size, stored_peaks(since.size, self.hashes))
        except TamperError as error:
            self.problems.append(LedgerProblem(error.message, where=error.where))
            return False
        if not hmac.compare_digest(tree.root(), since.root):
            text = f"the tree of {since.size} entries is not the one that was verified before: it was forked"
            self.problems.append(LedgerProblem(text, where=CHECKPOINT))
            return False
        if not since.whole:
            self.tree, self.start = tree, since.size
        return True

    def _take(self, size: int) -> None:
        """Every entry from the start, with the leaf that tile level 0 says of it."""
        taken = 0
        for tile in row(None, size, self.start):
            first = tile.number * WIDTH
            if not self.signed and taken > _MOST_UNSIGNED:
                text = (
                    f"not signed by the key that is known, and nothing in its first {self.tree.size} entries says why"
                )
                self.problems.append(LedgerProblem(text, where=CHECKPOINT))
                return
            try:
                bundle = self._read(tile.path, tile.most_bytes)
                taken += len(bundle)
                items = split_entries(bundle, tile.width)
                hashes = self._tile(Tile(0, tile.number, tile.width))
            except TamperError as error:
                self.problems.append(LedgerProblem(error.message, where=error.where or tile.path))
                return
            for offset, item in enumerate(items):
                index = first + offset
                if index < self.start:
                    continue
                leaf = merkle.leaf_hash(item)
                if leaf != hashes[offset * HASH_BYTES : (offset + 1) * HASH_BYTES]:
                    self._blamed.append(LedgerProblem("", index, tile.path))
                try:
                    self._chain.take(index, parse_entry(item))
                except TamperError as error:
                    self.problems.append(LedgerProblem(error.message, index, tile.path))
                self.tree.append(leaf)
                self._leaves += leaf
            if self._progress is not None:
                self._progress("entries", self.tree.size, size)

    def _check_signer(self, checkpoint: Checkpoint, unsigned: str) -> None:
        """The key that must have signed it, by the entries, must lead back to one that is known."""
        try:
            signer = self._chain.at(checkpoint.size, self._keys[0])
            if self._chain.steps:
                if not any(key in (before, after) for key in self._keys for _, before, after in self._chain.steps):
                    raise TamperError("the key that is given is none of those that this ledger had")  # noqa: TRY301
                open_checkpoint(checkpoint.note, self._origin, signer)
                self.signed = True
            elif unsigned:
                raise TamperError(unsigned)  # noqa: TRY301 - said where the other reasons are
        except TamperError as error:
            self.signed = False
            self.problems.append(LedgerProblem(error.message, where=CHECKPOINT))

    def _check_tiles(self, *, genuine: bool) -> None:
        """With the signed root reached the entries are right and a tile that differs is not; else the two disagree."""
        levels: dict[int, bytearray] = {0: self._leaves}
        for level, top in self.tree.completed:
            levels.setdefault(level, bytearray()).extend(top)
        what = "is not that of the entries" if genuine else "does not fit the entries below it"
        for level, expected in levels.items():
            begun = self.start >> (HEIGHT * level)
            for tile in row(level, self.tree.size >> (HEIGHT * level), begun):
                try:
                    found = self._tile(tile)
                except TamperError as error:
                    self.problems.append(LedgerProblem(error.message, where=error.where or tile.path))
                    continue
                first = tile.number * WIDTH
                for offset in range(max(0, begun - first), tile.width):
                    place = (first + offset - begun) * HASH_BYTES
                    if found[offset * HASH_BYTES :][:HASH_BYTES] != expected[place : place + HASH_BYTES]:
                        index = first + offset if level == 0 else None
                        self.problems.append(LedgerProblem(f"hash {offset} {what}", index, tile.path))

    def _tile(self, tile: Tile) -> bytes:
        content = self._read(tile.path, tile.most_bytes)
        if len(content) != tile.width * HASH_BYTES:
            raise TamperError(f"{len(content)} bytes, not {tile.width} hashes", where=tile.path)
        return content
