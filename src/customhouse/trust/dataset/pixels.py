"""Pixels of pictures, decoded with Pillow where it is installed: a small grey copy, and the four corners as they are.

Decoders are native code and pictures come from strangers, so each is decoded in a forked process that the kernel ends
when it takes too long (`_kit.forks`); a decoder that crashes takes that process along and no other. Only the five
formats are tried that the headers were read of, and nothing of more than MAX_PIXELS.

How many pictures are looked at has an end (COUNT, TOTAL_PIXELS): those whose digests come first, so that it does not
depend on their names.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from customhouse._kit import forks
from customhouse._kit.reading import NotRegularError, opened

MAX_PIXELS = 40_000_000
"""Of one picture; 40 megapixels are 160 MB while they are decoded."""
MAX_BYTES = 256 << 20
COUNT = 20_000
TOTAL_PIXELS = 4_000_000_000
SECONDS = 20.0
"""Of processor time, for one picture; one of MAX_PIXELS takes about one."""
MOST_ENDED = 20
"""Pictures that may hang or crash a decoder; the data have failed by then."""
SMALL, CORNER = 16, 16
"""Pixels of the small copy and of the corners, in width and height."""
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")


@dataclass(frozen=True, slots=True)
class Asked:
    """A picture to decode: its row over the dataset, its file, and how many pixels its header says."""

    row: int
    path: Path
    pixels: int
    digest: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What is kept of a picture; `problem` is why its pixels cannot be decoded."""

    row: int
    small: bytes = b""
    """SMALL² grey bytes."""
    corners: bytes = b""
    """4 · CORNER² grey bytes, each corner turned so that it begins with its outermost pixel; empty if it is smaller."""
    problem: str = ""


def installed() -> bool:
    """Whether pictures can be decoded at all."""
    return find_spec("PIL") is not None


def chosen(asked: Sequence[Asked]) -> list[Asked]:
    """The pictures that are looked at, in order of their rows; one of each digest."""
    found: list[Asked] = []
    total, before = 0, ""
    for one in sorted(asked, key=lambda item: (item.digest, item.row)):
        if one.digest == before or one.pixels > MAX_PIXELS:
            continue
        before = one.digest
        if len(found) >= COUNT or total + one.pixels > TOTAL_PIXELS:
            break
        total += one.pixels
        found.append(one)
    return sorted(found, key=lambda item: item.row)


def looks(asked: Sequence[Asked]) -> Iterator[Look]:
    """Decode. A picture that ends its process is a problem of that picture, and the others go on."""
    start = ended = 0
    while start < len(asked):
        if ended == MOST_ENDED:
            problem = f"{ended} pictures before it ended their decoder: it and those after it were not looked at"
            yield Look(asked[start].row, problem=problem)
            return
        rest, ended = asked[start:], ended + 1
        done = 0
        try:
            for one, said in zip(rest, forks.in_order(_decoded, rest, forks.workers(), limit_s=SECONDS), strict=True):
                done += 1
                small, corners, problem = said
                yield Look(one.row, base64.b64decode(small), base64.b64decode(corners), problem)
        except forks.ForkEndedError:
            yield Look(rest[done].row, problem=f"decoding takes more than {SECONDS:g} s of processor time")
        except forks.ForkError:
            yield Look(rest[done].row, problem="the process that decoded it ended: a broken file, or too little memory")
        start += done + 1


def _decoded(one: Asked) -> tuple[str, str, str]:
    """Small copy and corners in base64, and what is wrong. Runs in a fork; no exception leaves it."""
    try:
        with opened(one.path) as descriptor, open(descriptor, "rb", closefd=False) as file:
            grey = grey_of(file)
    except (NotRegularError, OSError) as error:
        return "", "", _plain(error)
    except Exception as error:  # noqa: BLE001 - Pillow raises whatever its decoders meet: SyntaxError, struct.error …
        return "", "", _plain(error)
    small = np.clip(np.rint(shrunk(grey)), 0, 255).astype(np.uint8).tobytes()
    return base64.b64encode(small).decode(), base64.b64encode(corners_of(grey)).decode(), ""


def _plain(error: Exception) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in str(error))
    return f"its pixels cannot be decoded ({' '.join(text.split())[:120] or type(error).__name__})"


def grey_of(file: Any) -> Any:
    """The picture (of several the first) as [height, width] of bytes, on white where it is transparent."""
    image_module: Any = import_module("PIL.Image")
    image_module.MAX_IMAGE_PIXELS = MAX_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", image_module.DecompressionBombWarning)
        with image_module.open(file, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError("it has more pixels than its header said")
            image.load()
            if image.mode.startswith("I;16"):
                return (np.asarray(image) >> 8).astype(np.uint8)
            if image.mode in ("I", "F"):
                return _stretched(np.asarray(image, np.float32))
            if "A" in image.getbands() or "transparency" in image.info:
                full = image.convert("RGBA")
                white = image_module.new("RGBA", full.size, (255, 255, 255, 255))
                return np.asarray(image_module.alpha_composite(white, full).convert("L"))
            return np.asarray(image.convert("L"))


def _stretched(values: Any) -> Any:
    known = values[np.isfinite(values)]
    if not known.size or known.max() == known.min():
        return np.zeros(values.shape, np.uint8)
    low, high = float(known.min()), float(known.max())
    return np.clip((np.nan_to_num(values) - low) / (high - low) * 255, 0, 255).astype(np.uint8)


def shrunk(grey: Any) -> Any:
    """SMALL × SMALL means of areas."""
    return _areas(grey.shape[0]) @ grey.astype(np.float32) @ _areas(grey.shape[1]).T


def _areas(length: int) -> Any:
    """A matrix [SMALL, length] that takes means of equal stretches; pixels on an edge count by their parts."""
    edges = np.arange(SMALL + 1) * (length / SMALL)
    at = np.arange(length)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    return (np.clip(overlap, 0, None) * (SMALL / length)).astype(np.float32)


def corners_of(grey: Any) -> bytes:
    """Upper left, upper right, lower left, lower right; empty for a picture that is smaller than a corner."""
    if min(grey.shape) < CORNER:
        return b""
    turned = (grey, grey[:, ::-1], grey[::-1], grey[::-1, ::-1])
    return b"".join(np.ascontiguousarray(side[:CORNER, :CORNER]).tobytes() for side in turned)
