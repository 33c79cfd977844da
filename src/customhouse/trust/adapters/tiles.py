"""The ledger as a static folder (C2SP tlog-tiles), which anybody can serve, mirror and verify without the store.

checkpoint                      the signed note
tile/<L>/<N>[.p/<W>]            hashes of level 8·L, 256 a tile; the last one of a level may be partial (W hashes)
tile/entries/<N>[.p/<W>]        the entries under tile/0/<N>, each after its length as a big-endian uint16
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from customhouse._kit.clock import Clock
from customhouse.core.errors import StateError, TamperError
from customhouse.core.ledger import Checkpoint
from customhouse.core.ports import LedgerStore, Progress
from customhouse.trust import merkle
from customhouse.trust.keys import PublicKey
from customhouse.trust.ledger import MAX_ENTRY_BYTES, MAX_PROBLEMS, LedgerProblem, LedgerReport, parse_entry
from customhouse.trust.note import MAX_NOTE_BYTES, open_checkpoint

WIDTH = 256
HEIGHT = 8
_MAX_BUNDLE_BYTES = WIDTH * (MAX_ENTRY_BYTES + 2)


@dataclass(frozen=True, slots=True)
class Tile:
    """One file of the folder: level (None: entries), number, and how many of its 256 places are filled."""

    level: int | None
    number: int
    width: int

    @property
    def path(self) -> str:
        """Where it is, relative to the folder."""
        name = "entries" if self.level is None else str(self.level)
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{name}/{encode_number(self.number)}{partial}"


def encode_number(number: int) -> str:
    """Groups of three digits, all but the last after an x: 1234067 is `x001/x234/067`."""
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def tiles_of(size: int) -> Iterator[Tile]:
    """Every hash tile of a tree of `size` leaves, then every bundle of entries."""
    level, count = 0, size
    while count:
        yield from _row(level, count)
        level, count = level + 1, count >> HEIGHT
    yield from _row(None, size)


def _row(level: int | None, count: int) -> Iterator[Tile]:
    for number in range(count // WIDTH):
        yield Tile(level, number, WIDTH)
    if count % WIDTH:
        yield Tile(level, count // WIDTH, count % WIDTH)


def publish(store: LedgerStore, folder: Path, origin: str, key: PublicKey) -> Checkpoint:
    """Write the ledger up to its latest checkpoint: tiles first, the checkpoint last, each file all or nothing.

    What is written is checked against the checkpoint first. Tiles that are there already are left alone, partial
    tiles that the new ones replace are removed. Raises StateError (no checkpoint yet, cannot write) or TamperError.
    """
    latest = store.latest_checkpoint()
    if latest is None:
        raise StateError("the ledger has no checkpoint yet", where=origin)
    checkpoint = open_checkpoint(latest.note, origin, key)
    data = [bytes(item) for item in store.read(0, checkpoint.size)]
    tree = merkle.MerkleTree(merkle.leaf_hash(item) for item in data)
    if tree.size != checkpoint.size or tree.root() != checkpoint.root:
        raise TamperError("the entries do not lead to the last signed checkpoint", where=origin)
    try:
        for tile in tiles_of(checkpoint.size):
            place = folder / tile.path
            if tile.width < WIDTH or not place.exists():
                _write(place, _content(tile, tree, data))
        _write(folder / "checkpoint", checkpoint.note.encode())
        _remove_stale(folder, {tile.path for tile in tiles_of(checkpoint.size)} | {"checkpoint"})
    except OSError as error:
        raise StateError(f"cannot write the tiles: {error.strerror}", where=str(folder)) from error
    return checkpoint


def _content(tile: Tile, tree: merkle.MerkleTree, data: list[bytes]) -> bytes:
    start = tile.number * WIDTH
    if tile.level is not None:
        return tree.nodes(tile.level * HEIGHT, start, start + tile.width)
    return b"".join(len(item).to_bytes(2, "big") + item for item in data[start : start + tile.width])


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


def _remove_stale(folder: Path, wanted: set[str]) -> None:
    for path in sorted((folder / "tile").rglob("*"), reverse=True):
        if path.is_file() and ".p/" in path.as_posix() and path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
        elif path.is_dir() and path.name.endswith(".p") and not any(path.iterdir()):
            path.rmdir()


def verify(folder: Path, origin: str, key: PublicKey, clock: Clock, progress: Progress | None = None) -> LedgerReport:
    """Verify a folder offline: the checkpoint's signature, every entry, every tile, the root; nothing may be extra.

    Never raises for damage: each problem names the file, and the entry when it is one entry's.
    """
    problems: list[LedgerProblem] = []
    empty = LedgerReport(origin, 0, 0, merkle.EMPTY_ROOT, 0, (), clock.now())
    try:
        note = _read(folder, "checkpoint", MAX_NOTE_BYTES).decode()
        checkpoint = open_checkpoint(note, origin, key)
    except (TamperError, UnicodeDecodeError) as error:
        problem = LedgerProblem(getattr(error, "message", "not text"), where="checkpoint")
        return LedgerReport(origin, 0, 0, empty.root, 0, (problem,), clock.now())
    tree, blamed = _leaves(folder, checkpoint.size, problems, progress)
    if tree.size == checkpoint.size:
        genuine = tree.root() == checkpoint.root
        if not genuine:
            where, index = blamed[0] if blamed else ("checkpoint", None)
            problems.insert(0, LedgerProblem("the entries do not lead to the signed root", index, where))
        _check_tiles(folder, tree, genuine=genuine, problems=problems)
    _check_extra(folder, checkpoint.size, problems)
    return LedgerReport(origin, tree.size, checkpoint.size, tree.root(), 1, tuple(problems[:MAX_PROBLEMS]), clock.now())


def _leaves(
    folder: Path, size: int, problems: list[LedgerProblem], progress: Progress | None
) -> tuple[merkle.MerkleTree, list[tuple[str, int | None]]]:
    """The tree that the entries make, and the places where an entry does not fit the leaf in its tile."""
    tree = merkle.MerkleTree()
    blamed: list[tuple[str, int | None]] = []
    for tile in _row(None, size):
        start = tile.number * WIDTH
        try:
            items = _split(_read(folder, tile.path, _MAX_BUNDLE_BYTES), tile.width)
            hashes = _read_tile(folder, Tile(0, tile.number, tile.width))
        except TamperError as error:
            problems.append(LedgerProblem(error.message, where=error.where or tile.path))
            return tree, blamed
        for offset, item in enumerate(items):
            leaf = merkle.leaf_hash(item)
            if leaf != hashes[offset]:
                blamed.append((tile.path, start + offset))
            try:
                parse_entry(item)
            except TamperError as error:
                problems.append(LedgerProblem(error.message, start + offset, tile.path))
            tree.append(leaf)
        if progress is not None:
            progress("entries", tree.size, size)
    return tree, blamed


def _check_tiles(folder: Path, tree: merkle.MerkleTree, *, genuine: bool, problems: list[LedgerProblem]) -> None:
    for tile in tiles_of(tree.size):
        if tile.level is None:
            continue
        start = tile.number * WIDTH
        try:
            found = b"".join(_read_tile(folder, tile))
        except TamperError as error:
            problems.append(LedgerProblem(error.message, where=error.where or tile.path))
            continue
        if found == tree.nodes(tile.level * HEIGHT, start, start + tile.width):
            continue
        # With the signed root reached, the entries are right and the tile is not; otherwise the two disagree.
        for offset in range(tile.width):
            piece = slice(offset * merkle.HASH_BYTES, (offset + 1) * merkle.HASH_BYTES)
            if found[piece] != tree.node(tile.level * HEIGHT, start + offset):
                what = "is not that of the entries" if genuine else "does not fit the entries below it"
                index = start + offset if tile.level == 0 else None
                problems.append(LedgerProblem(f"hash {offset} {what}", index, tile.path))


def _check_extra(folder: Path, size: int, problems: list[LedgerProblem]) -> None:
    wanted = {tile.path for tile in tiles_of(size)} | {"checkpoint"}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name not in wanted:
            problems.append(LedgerProblem("a file that does not belong here", where=name))
        if len(problems) > MAX_PROBLEMS:
            return


def _read_tile(folder: Path, tile: Tile) -> list[bytes]:
    content = _read(folder, tile.path, WIDTH * merkle.HASH_BYTES)
    if len(content) != tile.width * merkle.HASH_BYTES:
        raise TamperError(f"{len(content)} bytes, not {tile.width} hashes", where=tile.path)
    return [content[i : i + merkle.HASH_BYTES] for i in range(0, len(content), merkle.HASH_BYTES)]


def _split(bundle: bytes, width: int) -> list[bytes]:
    items: list[bytes] = []
    position = 0
    while position < len(bundle):
        length = int.from_bytes(bundle[position : position + 2], "big")
        end = position + 2 + length
        if end > len(bundle):
            raise TamperError(f"entry {len(items)} of this bundle runs past its end")
        items.append(bundle[position + 2 : end])
        position = end
    if len(items) != width:
        raise TamperError(f"{len(items)} entries, not {width}")
    return items


def _read(folder: Path, name: str, limit: int) -> bytes:
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as handle:
            content = handle.read(limit + 1)
    except OSError as error:
        raise TamperError(f"cannot be read: {error.strerror}", where=name) from error
    if len(content) > limit:
        raise TamperError("larger than it can be", where=name)
    return content
