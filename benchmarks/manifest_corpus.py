"""5,000 manifests of 40 MB, made from the real ones of the given data: the same bytes on every machine.

`python benchmarks/manifest_corpus.py SOURCE TARGET [FILES]` writes them; SOURCE is the folder `manifests` of the given
data. Each file holds one real object under a name of its own; small objects (workloads, services, roles, config maps)
and large ones (custom resource definitions) take turns so that the mean is 8,000 bytes, and every seventh image is
moved to the tag `latest`, so that a rule about tags has something to say.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from customhouse.control.render import render
from customhouse.core.errors import DeclarationError

MEAN = 8_000
"""Bytes a file on average: 5,000 files are 40 MB, as the requirement says."""
_LARGE = range(10_000, 80_000)
_SMALL = range(200, 10_000)
_NAME = re.compile(r"(?m)^(metadata:\n(?:  .*\n)*?  name: )([a-z0-9.-]+)$")
_IMAGE = re.compile(r"(?m)^(\s*(?:- )?image: )([^\s:@\"']+)(?::[^\s:@\"']+)?$")
_WORKLOADS = re.compile(r"(?m)^kind: (Deployment|StatefulSet|DaemonSet|Job|CronJob|InferenceService|Pod)$")


def real_objects(source: Path) -> Iterator[str]:
    """Every object of the given manifests that has a plain name, as it is written, one by one."""
    for path in sorted(source.rglob("*.y*ml")):
        for text in re.split(r"(?m)^---.*\n", path.read_text()):
            if re.search(r"(?m)^kind: ", text) and _NAME.search(text) and "\n..." not in text and _is_whole(text):
                yield text if text.endswith("\n") else text + "\n"


def _is_whole(text: str) -> bool:
    """Whether it is an object by itself: samples with placeholders such as `{username}` are not."""
    try:
        return len(render({"object.yaml": text.encode()})) == 1
    except DeclarationError:
        return False


def manifests(source: Path, files: int = 5_000) -> Iterator[tuple[str, str]]:
    """Name and text of each file."""
    objects = list(real_objects(source))
    large = cycle([text for text in objects if len(text) in _LARGE])
    small = [text for text in objects if len(text) in _SMALL]
    # Workloads are what most rules are about: they come twice as often as they do in repositories of operators.
    workloads = [text for text in small if _WORKLOADS.search(text)]
    turn = cycle([item for pair in zip(small, cycle(workloads)) for item in pair])
    written = 0
    for number in range(files):
        text = next(large if written < number * MEAN else turn)
        text = _NAME.sub(lambda match: f"{match[1]}n{number}-{match[2]}", text, count=1)  # noqa: B023
        if number % 7 == 0:
            text = _IMAGE.sub(r"\1\2:latest", text)
        written += len(text.encode())
        yield f"part{number // 500}/object-{number:04}.yaml", text


def write(source: Path, target: Path, files: int = 5_000) -> int:
    """Write them all; how many bytes."""
    total = 0
    for name, text in manifests(source, files):
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        total += place.write_bytes(text.encode())
    return total


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:4])), "bytes")
