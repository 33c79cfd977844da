"""A snapshot of Feast from its own files: `feature_store.yaml` or the registry file, and the files of the dataset.

Views are matched with files by the address of their source: the longest end of it that a file's path begins with. A
source without an address (a table of a warehouse) is matched by the view's name: `VIEW.parquet` or `VIEW/…`. Two views
may share a source, as a view that is pushed to shares that of its rows at rest; two sources may not share a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from customhouse._kit.digest import FileEntry, Tree, bytes_digest
from customhouse._kit.reading import NotRegularError, opened
from customhouse.control.yaml_values import Read
from customhouse.core.errors import ConfigError, UsageError
from customhouse.core.resource import Location
from customhouse.trust.dataset.feast import MAX_BYTES, NUMBERS, FeastRegistry, FeastView, read_registry, views_of

MAX_NAMES = 100
"""Of views without files that an entry lists."""
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FeastSnapshot:
    """The views that have files in the dataset, and what is entered of the registry."""

    project: str
    views: tuple[tuple[FeastView, tuple[FileEntry, ...]], ...]
    registry: Mapping[str, Any]
    updated: str


def is_store(document: object) -> bool:
    """Whether a document is a `feature_store.yaml`."""
    return isinstance(document, Mapping) and "schema" not in document and {"project", "registry"} <= set(document)


def of_store(place: Path, read: Read, files: Tree) -> FeastSnapshot:
    """The snapshot of the project that a `feature_store.yaml` names. Raises ConfigError, UsageError, ArtifactError."""
    document: Any = read.value
    where = str(read.marks.get("/registry", Location(place.name)))
    given = document["registry"]
    kind = given.get("registry_type", "file") if isinstance(given, Mapping) else "file"
    path = given.get("path") if isinstance(given, Mapping) else given
    project = document["project"]
    if not isinstance(project, str) or not isinstance(path, str) or not path:
        raise ConfigError("`project` and the path of `registry` are texts", where=where, hint="as `feast init` writes")
    if kind != "file" or _REMOTE.match(path):
        raise UsageError(
            f"the registry ({str(kind)[:40]}, {_shown(path)}) is not a file here; only Feast's registry file is read",
            where=where,
            hint="copy the file here and give it in place of feature_store.yaml, or write the snapshot as YAML",
        )
    return of_registry(place.parent / path, project, files)


def of_registry(place: Path, project: str, files: Tree) -> FeastSnapshot:
    """The snapshot of a project by a registry file. Raises ConfigError, UsageError, ArtifactError."""
    try:
        with opened(place) as descriptor, open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    except NotRegularError as error:
        raise UsageError(str(error), where=str(place)) from error
    except OSError as error:
        hint = "run `feast apply`, and name its registry file"
        raise UsageError(f"the registry cannot be read: {error.strerror}", where=str(place), hint=hint) from error
    found = read_registry(data, place.name)
    views = list(views_of(found, project, place.name))
    matched = [(view, matching(view, files.files)) for view in views]
    _require_apart(matched, place.name)
    chosen = tuple((view, own) for view, own in matched if own)
    if not chosen:
        shown = "; ".join(f"{view.name[:80]} from {view.source.place[:200] or view.source.kind}" for view in views[:5])
        raise ConfigError(
            f"no file of the dataset belongs to a view of {views[0].project!r}: {shown}",
            where=place.name,
            hint="export each view to a file that is called as its source is, or VIEW.parquet",
        )
    said = _said(found, bytes_digest(data), [view.name for view, own in matched if not own])
    return FeastSnapshot(views[0].project, chosen, said, found.updated)


def _said(found: FeastRegistry, digest: str, absent: Sequence[str]) -> dict[str, Any]:
    return {
        "digest": digest,
        "schemaVersion": found.schema_version,
        "versionId": found.version_id,
        "updated": found.updated,
        "notExported": sorted(absent)[:MAX_NAMES],
        "onDemand": list(found.on_demand[:MAX_NAMES]),
    }


def matching(view: FeastView, files: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    """The files of a view: those that fit its source's address best, else those that are called like the view."""
    address = re.sub(r"^[a-z][a-z0-9+.-]*://", "", view.source.place, flags=re.IGNORECASE)
    parts = [part for part in PurePosixPath(address).parts if part not in ("/", ".", "..")]
    best, found = 0, list[FileEntry]()
    for file in files if view.source.kind in ("file", "spark", "other", "custom") else ():
        fits = _overlap(parts, PurePosixPath(file.path).parts)
        if fits > best:
            best, found = fits, [file]
        elif fits and fits == best:
            found.append(file)
    if found:
        return tuple(found)
    return tuple(file for file in files if file.path.split("/")[0].split(".")[0] == view.name)


def _overlap(address: Sequence[str], path: Sequence[str]) -> int:
    """How many parts at the end of an address a path begins with; or all of them, somewhere in it."""
    for start in range(len(address)):
        tail = tuple(address[start:])
        if tuple(path[: len(tail)]) == tail:
            return len(tail)
    whole = tuple(address)
    within = any(tuple(path[at : at + len(whole)]) == whole for at in range(len(path))) if whole else False
    return len(whole) if within else 0


def _require_apart(matched: Sequence[tuple[FeastView, tuple[FileEntry, ...]]], where: str) -> None:
    """Two sources that the same file would fit: nobody knows which of them it was taken of."""
    taken: dict[str, FeastView] = {}
    for view, own in matched:
        for file in own:
            other = taken.setdefault(file.path, view)
            if other.source.place != view.source.place:
                raise ConfigError(
                    f"{file.path} fits the sources of two views, {other.name!r} and {view.name!r}",
                    where=where,
                    hint="export each view to a file that is called VIEW.parquet, or below its source's own folders",
                )


def asked_of(view: FeastView) -> dict[str, Any]:
    """A view as `data_snapshot` looks at it: each feature may be called as here, or as in its source."""
    there = {here: column for column, here in view.source.renamed.items()}
    return {
        "name": view.name,
        "entities": [*view.keys],
        "features": [*view.features],
        "also": {name: there[name] for name in (*view.keys, *view.features) if name in there},
        "numbers": [name for name, kind in view.features.items() if kind in NUMBERS],
        **({"timestamp": view.source.timestamp} if view.source.timestamp else {}),
    }


def told_of(view: FeastView) -> dict[str, Any]:
    """What the entry in the ledger says of a view beyond what it says of any."""
    return {
        "kind": view.kind,
        "types": dict(sorted(view.features.items())),
        "source": {"kind": view.source.kind, "name": view.source.name, "place": _shown(view.source.place)},
    }


def _shown(place: str) -> str:
    """An address without what may be secret: a user with a password, a query."""
    return re.sub(r"^([a-z][a-z0-9+.-]*://)[^/@]*@", r"\1", place.partition("?")[0], flags=re.IGNORECASE)[:500]
