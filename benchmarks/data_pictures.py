"""How often copies and patches in pictures are named: on a folder of pictures, changed by known amounts.

    python benchmarks/data_pictures.py FOLDER [--count 4000] [--jpeg]

FOLDER has a folder of pictures for each label. Told are: of 200 pictures that were saved again with a change, how many
are found beside their original; how many pictures of the folder itself are called copies; and of sets in which a patch
was stamped on 1 % and 3 % of the pictures, which then got another label, how many are named, how many as an error, and
how many of the pictures named were stamped. Needs the extra `images`.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from customhouse._kit.digest import bytes_digest
from customhouse.trust.dataset import picture_checks, pixels
from customhouse.trust.dataset.pictures import picture


def load(folder: Path, count: int) -> list[tuple[Path, pixels.Look]]:
    places = sorted(place for place in folder.rglob("*") if place.is_file())
    random.Random(1).shuffle(places)
    asked = []
    for row, place in enumerate(places[:count]):
        data = place.read_bytes()
        said = picture(data)
        if not said.problem and said.width * said.height < 2_000_000:
            asked.append(pixels.Asked(row, place, said.width * said.height, bytes_digest(data)))
    return [(places[look.row], look) for look in pixels.looks(pixels.chosen(asked)) if look.small]


def shown(place: Path) -> Image.Image:
    with Image.open(place) as image:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def look_at(image: Image.Image, row: int, *, jpeg: int = 0) -> pixels.Look:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=jpeg) if jpeg else image.save(buffer, "PNG")
    buffer.seek(0)
    grey = pixels.grey_of(buffer)
    small = np.clip(np.rint(pixels.shrunk(grey)), 0, 255).astype(np.uint8)
    return pixels.Look(row, small.tobytes(), pixels.corners_of(grey))


def changed(image: Image.Image, row: int) -> Iterator[tuple[str, pixels.Look]]:
    width, height = image.size
    cut = max(1, width // 50), max(1, height // 50)
    array = np.asarray(image).astype(int)
    noise = np.random.default_rng(row).normal(0, 8, array.shape)
    yield "JPEG, quality 50", look_at(image, row, jpeg=50)
    yield "JPEG, quality 20", look_at(image, row, jpeg=20)
    yield "half the size", look_at(image.resize((max(16, width // 2), max(16, height // 2))), row)
    yield "20 % brighter", look_at(ImageEnhance.Brightness(image).enhance(1.2), row)
    yield "20 % less contrast", look_at(ImageEnhance.Contrast(image).enhance(0.8), row)
    yield "less colour", look_at(ImageEnhance.Color(image).enhance(0.3), row)
    yield "noise, deviation 8", look_at(Image.fromarray((array + noise).clip(0, 255).astype(np.uint8)), row)
    yield "2 % cut on each side", look_at(image.crop((*cut, width - cut[0], height - cut[1])), row)


def copies(items: list[tuple[Path, pixels.Look]]) -> None:
    known = [pixels.Look(row, look.small, look.corners) for row, (_, look) in enumerate(items)]
    named = {later for _, later in picture_checks.near_pairs(picture_checks.Gallery.of(known))}
    print(f"of the {len(known)} pictures as they are, called copies: {len(named)}")
    made: dict[str, list[tuple[int, pixels.Look]]] = {}
    plain = picture_checks.Gallery.of(known).plain
    wanted = [row for row in range(len(items)) if not plain[row]]
    for row in random.Random(5).sample(wanted, min(200, len(wanted))):
        for what, look in changed(shown(items[row][0]), row):
            made.setdefault(what, []).append((row, look))
    for what, some in made.items():
        looks = known + [look for _, look in some]
        pairs = set(picture_checks.near_pairs(picture_checks.Gallery.of(looks)))
        hit = sum((row, len(known) + at) in pairs for at, (row, _) in enumerate(some))
        print(f"  {what:22} {hit / len(some):.0%} of {len(some)}")


def patterns() -> dict[str, Any]:
    chance = np.random.default_rng(3)

    def checked(size: int) -> Any:
        return ((np.add.outer(np.arange(size), np.arange(size)) % 2) * 255).astype(np.uint8)

    return {
        "white, 4 × 4": np.full((4, 4), 255, np.uint8),
        "black, 5 × 5": np.zeros((5, 5), np.uint8),
        "checked, 3 × 3": checked(3),
        "checked, 5 × 5": checked(5),
        "greys, 6 × 6": chance.integers(0, 256, (6, 6)).astype(np.uint8),
        "black and white, 8 × 8": chance.integers(0, 2, (8, 8)).astype(np.uint8) * 255,
    }


def found(looks: list[pixels.Look], codes: Any) -> list[Any]:
    gallery = picture_checks.Gallery.of(looks)
    again = {later for _, later in picture_checks.near_pairs(gallery)}
    kept = np.array([at for at in range(len(looks)) if gallery.cornered[at] and at not in again])
    return picture_checks.found_patches(gallery, codes, kept)


def stamped(image: Image.Image, patch: Any, offset: int) -> Image.Image:
    array = np.asarray(image).copy()
    bottom, right = array.shape[0] - offset, array.shape[1] - offset
    array[bottom - len(patch) : bottom, right - len(patch) : right] = patch[..., None]
    return Image.fromarray(array)


def patches(items: list[tuple[Path, pixels.Look]], folder: Path, quality: int) -> None:
    labels = [place.relative_to(folder).parts[0] for place, _ in items]
    names = sorted(set(labels))
    codes = np.array([names.index(label) for label in labels])
    known = [pixels.Look(row, look.small, look.corners) for row, (_, look) in enumerate(items)]
    print(f"patches named as they are: {[(len(item.holders), item.sure) for item in found(known, codes)]}")
    large = [code for code in range(len(names)) if (codes == code).sum() >= 100]
    totals = [0, 0, 0]
    for share in (0.01, 0.03):
        for what, patch in patterns().items():
            hits = sure = 0
            right: list[float] = []
            for seed in range(3):
                chance = random.Random(seed * 7 + int(share * 100))
                target, offset = chance.choice(large), chance.choice((0, 1, 2))
                source = [row for row in range(len(items)) if codes[row] != target and items[row][1].corners]
                hit = set(chance.sample(source, max(20, int(share * len(items)))))
                looks, now = list(known), codes.copy()
                for row in hit:
                    looks[row] = look_at(stamped(shown(items[row][0]), patch, offset), row, jpeg=quality)
                    now[row] = target
                ours = [
                    item for item in found(looks, now) if len(hit.intersection(item.holders)) * 2 > len(item.holders)
                ]
                hits += bool(ours)
                sure += any(item.sure for item in ours)
                right += [len(hit.intersection(item.holders)) / len(item.holders) for item in ours[:1]]
            totals = [totals[0] + hits, totals[1] + sure, totals[2] + 3]
            shown_rows = f"{sum(right) / len(right):.0%}" if right else "-"
            print(f"  {share:.0%} {what:24} named {hits} of 3, as an error {sure}; stamped of those named {shown_rows}")
    print(f"  in all {totals[0]} of {totals[2]}, as an error {totals[1]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--jpeg", action="store_true", help="stamped pictures are saved as JPEG of quality 88")
    asked = parser.parse_args()
    items = load(asked.folder, asked.count)
    copies(items)
    patches(items, asked.folder, 88 if asked.jpeg else 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
