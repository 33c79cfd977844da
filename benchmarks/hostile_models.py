"""Writes hostile model files of the pickle family: `python benchmarks/hostile_models.py FOLDER` (about 700 files).

The payloads are harmless: they would create /tmp/harmless-marker. Nothing is executed here and nothing may be loaded.
Techniques follow public advisories on picklescan, fickling, modelscan and modelaudit, and our own reading of the
libraries whose names scanners allow. `manifest.json` says the technique of each file.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from hostile_archives import arrays, torches
from hostile_pickles import COMMAND, glob, parts, stacked, text, tricks

GADGETS = Path(__file__).with_name("hostile_gadgets.txt")


def gadgets() -> Iterator[tuple[str, bytes]]:
    """Each gadget once, spelled in turn in seven ways."""
    for number, dotted in enumerate(GADGETS.read_text().splitlines()[1:]):
        module, name = parts(dotted)
        argument, named = text(COMMAND), stacked(dotted)
        ways = (
            b"\x80\x02" + glob(dotted) + argument + b"\x85R.",
            b"\x80\x04" + stacked(dotted) + argument + b"\x85R.",
            f"(S'{COMMAND}'\ni{module}\n{name}\n.".encode(),
            b"(" + glob(dotted) + argument + b"o.",
            b"\x80\x05\x95" + struct.pack("<Q", len(named + argument) + 3) + named + argument + b"\x85R.",
            b"\x80\x04" + text(name) + b"\x940" + text(module) + b"\x94h\x00\x93" + argument + b"\x85\x81.",
            b"\x80\x04}" + text("weights") + stacked(dotted) + b"s.",
        )  # fmt: skip
        yield f"gadget:{dotted}", ways[number % len(ways)]


def everything() -> Iterator[tuple[str, str, bytes]]:
    """Technique, name, bytes."""
    for technique, data in gadgets():
        yield technique, "m.pkl", data
    for technique, data in tricks():
        yield technique, "m.pkl", data
    yield from arrays()
    yield from torches()


def main(folder: Path) -> int:
    """Write the files; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (technique, name, data) in enumerate(everything()):
        file = f"{number:04d}-{name}"
        (folder / file).write_bytes(data)
        rows.append({"file": file, "technique": technique})
    (folder / "manifest.json").write_text(json.dumps(rows, indent=1))
    return len(rows)


if __name__ == "__main__":
    print(main(Path(sys.argv[1])), "files")
