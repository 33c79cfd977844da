"""The ledger as static files (C2SP tlog-tiles): out of the store for a server, or written into a folder.

What is given out is what the signed checkpoint covers; the tree is the stored one, whose root is held against it.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from customhouse._kit.hashtree import HASH_BYTES
from customhouse.core.errors import StateError, TamperError
from customhouse.core.ledger import Checkpoint
from customhouse.core.ports import LedgerStore
from customhouse.trust import merkle
from customhouse.trust.adapters.tile_layout import (
    CHECKPOINT,
    HEIGHT,
    WIDTH,
    Tile,
    encode_number,
    join_entries,
    parse_path,
    tiles_of,
)
from customhouse.trust.adapters.tiles_check import folder_reader, verify
from customhouse.trust.keys import PublicKey
from customhouse.trust.ledger_check import stored_peaks
from customhouse.trust.ledger_stores import tree_of
from customhouse.trust.note import MAX_NOTE_BYTES, open_checkpoint

__all__ = ["Tile", "TileSource", "encode_number", "publish", "tiles_of", "verify"]

_BATCH = 4096
Cosigned = Callable[[Checkpoint], str]
"""The note of a checkpoint with the cosignatures that are known of it."""


class TileSource:
    """The files of a ledger out of its store. May be used from several threads."""

    def __init__(
        self, store: LedgerStore, origin: str, keys: Iterable[PublicKey], cosigned: Cosigned = lambda made: made.note
    ) -> None:
        self._store = store
        self._stored = tree_of(store)
        self._origin = origin
        self._keys = tuple(keys)
        self._cosigned = cosigned
        self._latest: Checkpoint | None = None

    def checkpoint(self) -> Checkpoint:
        """The latest, if it is signed and the stored tree leads to it. Raises StateError (none yet), TamperError."""
        latest = self._store.latest_checkpoint()
        if latest is None:
            raise StateError("the ledger has no checkpoint yet", where=self._origin)
        if latest != self._latest:
            checked = open_checkpoint(latest.note, self._origin, *self._keys)
            tree = merkle.CompactRange(checked.size, stored_peaks(checked.size, self._stored.hashes))
            if not hmac.compare_digest(tree.root(), checked.root):
                raise TamperError("the entries do not lead to the last signed checkpoint", where=self._origin)
            self._latest = latest
        return latest

    def note(self) -> str:
        """The checkpoint as it is published."""
        return self._cosigned(self.checkpoint())

    def get(self, path: str) -> bytes | None:
        """The bytes of a tile or bundle by its path (`tile/…`); None when the checkpoint does not reach so far."""
        tile = parse_path(path)
        if tile is None:
            return None
        covered = self.checkpoint().size >> (HEIGHT * (tile.level or 0))
        if tile.number * WIDTH + tile.width > covered:
            return None
        return self.content(tile)

    def content(self, tile: Tile) -> bytes:
        """The bytes of a tile. Raises StateError, or TamperError when the stored tree is not whole."""
        start = tile.number * WIDTH
        if tile.level is None:
            return join_entries(self._store.read(start, start + tile.width))
        found = self._stored.hashes(tile.level, start, start + tile.width)
        if len(found) != tile.width * HASH_BYTES:
            raise TamperError("the stored tree is not whole", where=tile.path)
        return found

    def grown(self, old: Checkpoint | None, new: Checkpoint) -> None:
        """Check the entries between two checkpoints against both. Raises TamperError."""
        size = 0 if old is None else old.size
        if old is not None and size > new.size:
            raise TamperError(
                f"what is published has {size} entries and the ledger {new.size}",
                where=self._origin,
                hint="the ledger was cut back, or this folder is of another one",
            )
        tree = merkle.CompactRange(size, stored_peaks(size, self._stored.hashes))
        if old is not None and not hmac.compare_digest(tree.root(), old.root):
            raise TamperError(
                f"what is published has another tree of {size} entries: the ledger was forked", where=self._origin
            )
        for first in range(size, new.size, _BATCH):
            tree.extend(merkle.leaf_hash(item) for item in self._store.read(first, min(first + _BATCH, new.size)))
        if not hmac.compare_digest(tree.root(), new.root):
            raise TamperError("the entries do not lead to the last signed checkpoint", where=self._origin)
        made: dict[int, list[bytes]] = {}
        for level, top in tree.completed:
            made.setdefault(level, []).append(top)
        for level, hashes in made.items():
            start = size >> (HEIGHT * level)
            if self._stored.hashes(level, start, start + len(hashes)) != b"".join(hashes):
                raise TamperError(f"level {level} of the stored tree is not that of the entries", where=self._origin)


def publish(
    store: LedgerStore,
    folder: Path,
    origin: str,
    key: PublicKey,
    *others: PublicKey,
    cosigned: Cosigned = lambda made: made.note,
) -> Checkpoint:
    """Write the ledger up to its latest checkpoint: tiles first, the checkpoint last, each file all or nothing.

    Where the folder holds an older checkpoint of this ledger only what came since is read, checked against both, and
    written; partial tiles that the new ones replace are removed. Raises StateError (no checkpoint yet, cannot write)
    or TamperError, also when the folder is ahead of the ledger or of another past.
    """
    keys = (key, *others)
    source = TileSource(store, origin, keys, cosigned)
    checkpoint = open_checkpoint(source.checkpoint().note, origin, *keys)
    old = _published(folder, origin, keys)
    source.grown(old, checkpoint)
    since = 0 if old is None else old.size
    try:
        for tile in tiles_of(checkpoint.size, since):
            _write(folder / tile.path, source.content(tile))
        _write(folder / CHECKPOINT, source.note().encode())
        _remove_partial(folder, checkpoint.size, since)
    except OSError as error:
        raise StateError(f"cannot write the tiles: {error.strerror}", where=str(folder)) from error
    return checkpoint


def _remove_partial(folder: Path, size: int, since: int) -> None:
    """Partial tiles that the new ones replace, also those of a run that was killed before its checkpoint."""
    wanted = {tile.path for tile in tiles_of(size, since)}
    for tile in tiles_of(size, since):
        whole = Tile(tile.level, tile.number, WIDTH).path
        parts = folder / f"{whole}.p"
        if not parts.is_dir():
            continue
        for place in parts.iterdir():
            if f"{whole}.p/{place.name}" not in wanted:
                place.unlink()
        if not any(parts.iterdir()):
            parts.rmdir()


def _published(folder: Path, origin: str, keys: Iterable[PublicKey]) -> Checkpoint | None:
    """The checkpoint that a folder holds; None for a new folder. Raises TamperError when it is not of this ledger."""
    if not (folder / CHECKPOINT).exists():
        return None
    try:
        note = folder_reader(folder)(CHECKPOINT, MAX_NOTE_BYTES).decode()
        return open_checkpoint(note, origin, *keys)
    except (TamperError, UnicodeDecodeError) as error:
        raise TamperError(
            "the folder holds a checkpoint that is not of this ledger",
            where=str(folder / CHECKPOINT),
            hint="choose another folder; nothing was written",
        ) from error


def _write(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)
