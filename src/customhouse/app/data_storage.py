"""Where data lie, as far as this machine can tell: who may read the files, and whether the device is encrypted.

What cannot be told is unknown, and never assumed: the schema's `storage` says it then, with its evidence.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse.trust.dataset.finding import Finding
from customhouse.trust.dataset.schema import Schema
from customhouse.trust.dataset.sensitive import Sensitive

_ENCRYPTED = frozenset({"ecryptfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs", "fuse.securefs"})
_LOOKED_AT = 10_000
"""Files whose modes are read."""


@dataclass(frozen=True, slots=True)
class Place:
    """`encrypted` None: this machine cannot tell. `open_to_all` are files that every account may read."""

    encrypted: bool | None
    reason: str
    open_to_all: tuple[str, ...]

    def to_json(self, schema: Schema) -> dict[str, Any]:
        """`{"encrypted","access_controlled","reason","evidence"}`; null is unknown."""
        return {
            "encrypted": encrypted(self, schema),
            "access_controlled": controlled(self, schema),
            "reason": self.reason,
            "evidence": schema.storage.evidence or None,
        }


def encrypted(place: Place, schema: Schema) -> bool | None:
    """What was seen here, else what is declared."""
    return place.encrypted if place.encrypted is not None else schema.storage.encrypted


def controlled(place: Place, schema: Schema) -> bool | None:
    """Files that everybody may read are not controlled, whatever is declared."""
    return False if place.open_to_all else schema.storage.access_controlled


def place_of(path: Path) -> Place:
    """Look at the files' modes, and at the device that they lie on."""
    known, reason = _device(path)
    found = []
    for count, file in enumerate(_files(path)):
        if count >= _LOOKED_AT:
            break
        with suppress(OSError):
            if file.lstat().st_mode & stat.S_IROTH:
                found.append(file.name if file == path else file.relative_to(path).as_posix())
    if found and not _reachable(path):
        found = []
    return Place(known, reason, tuple(found))


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in names)


def _reachable(path: Path) -> bool:
    """Whether other accounts get to the files at all: every folder above lets them pass."""
    start = path.resolve()
    folders = [start, *start.parents] if start.is_dir() else list(start.parents)
    try:
        return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)
    except OSError:
        return True


def _device(path: Path) -> tuple[bool | None, str]:
    """Whether the file system is encrypted (None: not known), and by what that is seen."""
    try:
        number = path.stat().st_dev
    except OSError:
        return None, "nothing can be seen of its device"
    major, minor = os.major(number), os.minor(number)
    kind = ""
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            head, _, tail = line.partition(" - ")
            if head.split()[2] == f"{major}:{minor}":
                kind = tail.partition(" ")[0]
    if kind in _ENCRYPTED:
        return True, f"it lies on {kind}"
    with suppress(OSError):
        if Path(f"/sys/dev/block/{major}:{minor}/dm/uuid").read_text(encoding="ascii").startswith("CRYPT-"):
            return True, "its device is encrypted by dm-crypt"
    return None, f"its file system ({kind or 'unknown'}) does not say whether it is encrypted"


def storage_findings(place: Place, schema: Schema, columns: tuple[Sensitive, ...]) -> Iterator[Finding]:
    """What is wrong with where sensitive columns lie. Nothing is asked when there is none."""
    if not columns:
        return
    # A name alone ("age") may mislead; what is declared, or seen in values, does not.
    sure = any(item.by != "name" for item in columns)
    severe = "error" if sure else "warning"
    names = ", ".join(sorted(item.column for item in columns)[:10])
    if place.open_to_all:
        message = f"Sensitive columns ({names}) lie in files that every account of this machine may read."
        fix = "chmod o-rwx, or keep them below a folder that others may not enter."
        yield Finding(
            "storage-unprotected", severe, message, fix, rows=place.open_to_all[:20], count=len(place.open_to_all)
        )
    if encrypted(place, schema) is False:
        message = f"Sensitive columns ({names}) lie where nothing is encrypted, as the schema says."
        yield Finding("storage-unprotected", severe, message, "Move them to encrypted storage.")
    unknown = [
        what
        for what, value in (
            ("encrypted", encrypted(place, schema)),
            ("access-controlled", True if place.open_to_all else controlled(place, schema)),
        )
        if value is None
    ]
    if unknown:
        message = f"Sensitive columns ({names}): it is not known whether their storage is {' and '.join(unknown)}."
        fix = f"Say it under `storage` of the schema, with its evidence: {place.reason}."
        yield Finding("storage-unknown", severe, message, fix)
    elif not place.open_to_all and not schema.storage.evidence and place.encrypted is None:
        message = "The schema says that the storage is protected, and names nothing by which that can be seen."
        yield Finding("storage-unknown", "warning", message, "Name it: `storage.evidence`.")
