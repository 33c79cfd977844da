"""Laws of images: whatever the bytes are, a layer is read whole or refused, and layers apply as folders do."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.app.image_scan import scan_image
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError
from customhouse.trust.images.bounds import Bounds, LayerError
from customhouse.trust.images.layer import read_layer
from customhouse.trust.images.merged import merged
from customhouse.trust.scan.source import Source
from image_builder import ImageBuilder, Item, tar_of

STATUS = "Package: a\nStatus: install ok installed\nVersion: 1\n\n"
PLAIN = tar_of(
    {
        "etc/os-release": "ID=debian\nVERSION_ID=12\n",
        "var/lib/dpkg/status": STATUS,
        "x/a-1.dist-info/METADATA": "Name: a\nVersion: 1\n\n",
        "l": ("link", "x"),
        "n" * 150: "long",
    }
)
NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
STEPS = st.lists(st.tuples(st.sampled_from(["file", "folder", "remove", "opaque"]), NAMES), max_size=8)


@given(st.integers(0, 2**32))
def test_a_changed_archive_is_read_or_refused_and_never_something_else(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(PLAIN)
    for _ in range(chance.randint(1, 6)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    try:
        merged([read_layer(Source.of(bytes(data[: chance.randint(512, len(data))])), "", "", Bounds(), "x")])
    except LayerError:
        return


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_a_changed_layout_is_scanned_or_refused_with_a_reason(seed: int) -> None:
    chance = random.Random(seed)
    built = ImageBuilder(User="app", Env=["A=b"]).layer({"a": "1"}).layer(PLAIN)
    with TemporaryDirectory() as name:
        layout = built.layout(Path(name) / "l")
        places = [item for item in sorted(layout.rglob("*")) if item.is_file()]
        data = bytearray((place := chance.choice(places)).read_bytes())
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice(b'{}[]":,0\x00a')
        place.write_bytes(data)
        try:
            found = scan_image(Settings(Path(name) / "state"), str(layout))
        except CustomhouseError:
            return
        json.dumps(found.to_json())
        # Whatever is called complete has the packages that are there.
        assert not found.complete or {item.found.name for item in found.listing.packages} == {"a"}


@settings(max_examples=40)
@given(st.lists(STEPS, min_size=1, max_size=5))
def test_layers_leave_what_the_same_steps_leave_in_a_folder(layers: list[list[tuple[str, str]]]) -> None:
    with TemporaryDirectory() as name:
        root = Path(name)
        archives = [tar_of(_archive(root, steps)) for steps in layers]
        read = [read_layer(Source.of(archive), "", "", Bounds(), "x") for archive in archives]
        want = {str(item.relative_to(root)) for item in root.rglob("*") if not item.is_dir()}
        image = merged(read)
        assert {path for path, _ in image.files()} == want


def _archive(root: Path, steps: list[tuple[str, str]]) -> list[tuple[str, Item]]:
    """Entries of a layer that do to an image what is done to the folder meanwhile; what cannot be is left out."""
    found: list[tuple[str, Item]] = []
    removals = [(kind, path) for kind, path in steps if kind in ("remove", "opaque")]
    brought: set[str] = set()
    for kind, path in removals:
        place = root / path
        if not os.path.lexists(place) or not (kind == "remove" or place.is_dir()):
            continue
        if kind == "remove":
            folder, _, name = path.rpartition("/")
            found.append((f"{folder}/.wh.{name}".lstrip("/"), b""))
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        else:
            found.append((f"{path}/.wh..wh..opq", b""))
            for item in place.iterdir():
                shutil.rmtree(item) if item.is_dir() else item.unlink()
    removed = {path for _, path in removals}
    for kind, path in steps:
        place = root / path
        above = [parent for parent in place.relative_to(root).parents if str(parent) != "."]
        if kind not in ("file", "folder") or any((root / parent).is_file() for parent in above) or path in removed:
            continue
        if kind == "file" and path not in brought:
            if place.is_dir():
                shutil.rmtree(place)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("x")
            found.append((path, "x"))
        elif kind == "folder":
            if place.is_file():
                place.unlink()
            place.mkdir(parents=True, exist_ok=True)
            found.append((path, None))
        brought.add(path)
    return found
