"""How a ledger lies in files (C2SP tlog-tiles), whoever keeps them.

checkpoint                      the signed note
tile/<L>/<N>[.p/<W>]            hashes of level 8·L, 256 a tile; the last one of a level may be partial (W hashes)
tile/entries/<N>[.p/<W>]        the entries under tile/0/<N>, each after its length as a big-endian uint16
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from customhouse._kit.hashtree import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH
from customhouse.core.errors import TamperError
from customhouse.trust.ledger_check import MAX_ENTRY_BYTES

WIDTH = TILE_WIDTH
HEIGHT = TILE_HEIGHT
CHECKPOINT = "checkpoint"
MAX_BUNDLE_BYTES = WIDTH * (MAX_ENTRY_BYTES + 2)
MAX_TILE_BYTES = WIDTH * HASH_BYTES
_PATH = re.compile(r"tile/(0|[1-9]\d?|entries)/((?:x\d{3}/){0,5}\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tile:
    """One file: level (None: entries), number, and how many of its 256 places are filled."""

    level: int | None
    number: int
    width: int

    @property
    def path(self) -> str:
        """Where it is, relative to the prefix."""
        name = "entries" if self.level is None else str(self.level)
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{name}/{encode_number(self.number)}{partial}"

    @property
    def most_bytes(self) -> int:
        """How large it can be."""
        return MAX_BUNDLE_BYTES if self.level is None else MAX_TILE_BYTES


def encode_number(number: int) -> str:
    """Groups of three digits, all but the last after an x: 1234067 is `x001/x234/067`."""
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def parse_path(path: str) -> Tile | None:
    """The tile of a path; None unless it is written exactly as `Tile.path` writes it."""
    found = _PATH.fullmatch(path) if len(path) <= 64 else None
    if found is None:
        return None
    level = None if found[1] == "entries" else int(found[1])
    number = int(found[2].replace("x", "").replace("/", ""))
    tile = Tile(level, number, int(found[3]) if found[3] else WIDTH)
    return tile if tile.path == path and (level is None or level <= 63) else None


def tiles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """Every hash tile of a tree of `size` leaves, then every bundle; without those that `since` leaves fill."""
    level = 0
    while size >> (HEIGHT * level):
        yield from row(level, size >> (HEIGHT * level), since >> (HEIGHT * level))
        level += 1
    yield from row(None, size, since)


def row(level: int | None, count: int, since: int = 0) -> Iterator[Tile]:
    """The tiles of one level with `count` places filled, from the first that `since` places do not fill."""
    for number in range(since // WIDTH, count // WIDTH):
        yield Tile(level, number, WIDTH)
    if count % WIDTH:
        yield Tile(level, count // WIDTH, count % WIDTH)


def join_entries(items: Sequence[bytes]) -> bytes:
    """The bytes of a bundle."""
    return b"".join(len(item).to_bytes(2, "big") + item for item in items)


def split_entries(bundle: bytes, width: int) -> list[bytes]:
    """The entries of a bundle. Raises TamperError unless it holds exactly `width`."""
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
