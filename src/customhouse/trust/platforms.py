"""Evidence about an image for several platforms, out of that about the images in it.

Builders describe each platform by itself; what is pinned is the index. A statement of a kind counts for the index when
every platform in it has a verified one: as old as the oldest, and for scans each says its own. The index itself proves
what is in it, since its digest is the one that is pinned.

    *.index.json   {"index": base64 of the index, "platforms": {digest: {name: base64 of a file}}}
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from customhouse._kit.digest import bytes_digest, same_digest
from customhouse.core.errors import CustomhouseError, EvidenceError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.trust import strict_json
from customhouse.trust.oci import MAX_MANIFEST, Descriptor, is_index, listed, read_json

SUFFIX = ".index.json"
PLATFORM = "customhouse.dev/platform"
"""Key under which a predicate about vulnerabilities names the image in the index that it is about."""
MAX_PLATFORMS = 32
_MAX_BYTES = 96 * 1024 * 1024

_NEVER = datetime.min.replace(tzinfo=UTC)
Reader = Callable[[Mapping[str, bytes], str], Sequence[Evidence]]
"""Reads the files about one digest."""


def platforms_of(index: bytes, where: str) -> tuple[Descriptor, ...]:
    """The images of an index, also one whose platform is not said: a node may take it. Raises ArtifactError.

    What builders put beside them for `unknown/unknown` (their unsigned statements) no node takes.
    """
    found = listed(read_json(index, where), "manifests", where)
    return tuple(item for item in found if not item.platform.startswith("unknown/"))


def pack(index: bytes, files: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """What is attached to the images of an index, as one file."""
    return json.dumps(
        {
            "index": base64.b64encode(index).decode(),
            "platforms": {
                digest: {name: base64.b64encode(data).decode() for name, data in own.items()}
                for digest, own in files.items()
            },
        }
    ).encode()


def read_platforms(data: bytes, digest: str, read: Reader, where: str) -> tuple[Evidence, ...]:
    """Evidence about the index `digest`. Raises EvidenceError for a file that is malformed or of another index."""
    document = strict_json.parse(data, where, max_bytes=_MAX_BYTES)
    held = document.get("platforms") if isinstance(document, dict) else None
    index = _decode(document.get("index") if isinstance(document, dict) else None, where)
    if not isinstance(held, dict) or len(index) > MAX_MANIFEST or not same_digest(bytes_digest(index), digest):
        raise EvidenceError("it holds another index than the one that is pinned", where=where)
    try:
        images = platforms_of(index, where) if is_index(read_json(index, where)) else ()
    except CustomhouseError as error:
        raise EvidenceError(error.message, where=where) from error
    if not 0 < len(images) <= MAX_PLATFORMS:
        raise EvidenceError("no image for a platform is in it, or too many", where=where)
    said: dict[str, Sequence[Evidence]] = {}
    for image in images:
        own = held.get(image.digest)
        files = own if isinstance(own, dict) else {}
        said[image.digest] = read({str(name): _decode(text, where) for name, text in files.items()}, image.digest)
    found: list[Evidence] = []
    for kind in (EvidenceKind.BOM, EvidenceKind.SCAN, EvidenceKind.PROVENANCE, EvidenceKind.SIGNATURE):
        found.extend(_folded(kind, images, said, digest))
    return (*found, *_marked(images, said, digest))


def _marked(images: Sequence[Descriptor], said: Mapping[str, Sequence[Evidence]], digest: str) -> Iterator[Evidence]:
    """What is said of vulnerabilities in each platform, marked with the platform it is about.

    That one is not affected says nothing of another. A platform of which nothing is said has a statement that does not
    verify.
    """
    kinds = (EvidenceKind.VULNERABILITIES, EvidenceKind.VEX)
    every = [item for image in images for item in said[image.digest] if item.kind in kinds]
    reports = [item for item in every if item.kind is EvidenceKind.VULNERABILITIES]
    for image in images:
        own = [item for item in said[image.digest] if item.kind in kinds]
        for item in own:
            yield replace(item, subject=digest, predicate={**item.predicate, PLATFORM: image.digest})
        if reports and not any(item.kind is EvidenceKind.VULNERABILITIES for item in own):
            problem = f"there is none for {image.platform or image.digest}"
            marked = {PLATFORM: image.digest}
            yield replace(reports[0], subject=digest, predicate=marked, verified=False, problem=problem, signer=None)


def _folded(
    kind: EvidenceKind, images: Sequence[Descriptor], said: Mapping[str, Sequence[Evidence]], digest: str
) -> list[Evidence]:
    every = [item for image in images for item in said[image.digest] if item.kind is kind]
    if not every:
        return []
    good: list[Evidence] = []
    for image in images:
        own = [item for item in said[image.digest] if item.kind is kind]
        verified = [item for item in own if item.verified]
        if not verified:
            called = image.platform or image.digest
            problem = f"of {called}: {own[0].problem}" if own else f"there is none for {called}"
            lacking = replace(every[0], subject=digest, verified=False, problem=problem, signer=None)
            return [lacking, *_warnings(kind, every, digest)]
        # Of several about one image the newest counts for its age; what a scan says, each says.
        dated = sorted(verified, key=lambda item: item.issued_at or _NEVER)
        good.extend(verified if kind is EvidenceKind.SCAN else dated[-1:])
    times = [item.issued_at for item in good]
    oldest = None if None in times else min(time for time in times if time is not None)
    about = [replace(item, subject=digest, issued_at=oldest) for item in good]
    return [*about, *_warnings(kind, every, digest)]


def _warnings(kind: EvidenceKind, every: Sequence[Evidence], digest: str) -> list[Evidence]:
    """Scans that nobody trusted signed are heard when they warn: kept, for each platform."""
    if kind is not EvidenceKind.SCAN:
        return []
    return [replace(item, subject=digest) for item in every if not item.verified]


def _decode(value: Any, where: str) -> bytes:
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise EvidenceError("a part is not base64", where=where) from error
    raise EvidenceError("a part is missing", where=where)
