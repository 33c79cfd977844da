"""Snapshots of a feature store, by digest: which views, as of when, and the very files that hold them.

A snapshot is a file beside an export (docs/data.md), or what Feast's own registry says of it. Its digest binds store,
moment, views and the digests of their files, so that a model can be traced to the features that it was trained on
whatever the store says tomorrow.

1. Every view has files in the dataset, and no file is of two views (of Feast: of two sources). 2. They have the view's
columns. 3. No row is later than the snapshot: a feature from the future is a leak.
"""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import Tree, json_digest
from customhouse.app import wiring
from customhouse.app.configuration import check_document
from customhouse.app.data_feast import FeastSnapshot, asked_of, is_store, of_registry, of_store, told_of
from customhouse.app.governance import read_document
from customhouse.control.yaml_values import Read
from customhouse.core.errors import ConfigError, UsageError
from customhouse.core.resource import Location
from customhouse.trust.dataset.checks import moment_of
from customhouse.trust.dataset.column import as_numbers
from customhouse.trust.dataset.finding import Finding
from customhouse.trust.dataset.layout import Layout, layout
from customhouse.trust.dataset.schema import NULLS
from customhouse.trust.dataset.source import Reading

MAX_BYTES = 4 << 20
MAX_VIEWS = 50
MAX_ENTERED = 16 << 10
"""Bytes of the document in the ledger's entry, which has 64 KiB for all."""
_WRITTEN = (".yaml", ".yml", ".json")
"""How a snapshot's file is called; any other is taken for Feast's registry."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is entered of it. `names` are the views as the graph calls them."""

    document: Mapping[str, Any]
    findings: tuple[Finding, ...]

    @property
    def digest(self) -> str:
        """The digest over store, moment, views and the digests of their files."""
        return json_digest(dict(self.document))

    def entered(self) -> dict[str, Any]:
        """The document as the ledger has it: where there are very many features, how many in place of their names."""
        if len(canonical_json(dict(self.document))) <= MAX_ENTERED:
            return dict(self.document)
        views = [
            {key: value for key, value in view.items() if key not in ("types", "features")}
            | {"features": len(view["features"])}
            for view in self.document["views"]
        ]
        return dict(self.document) | {"views": views, "shortened": True}

    @property
    def names(self) -> tuple[str, ...]:
        """`STORE/PROJECT/VIEW` of each view."""
        place = "/".join(part for part in (self.document["store"], self.document["project"]) if part)
        return tuple(f"{place}/{view['name']}" for view in self.document["views"])


@cache
def published() -> Mapping[str, Any]:
    """The JSON Schema of such files."""
    place = Path(__file__).with_name("feature-snapshot.schema.json")
    found: Mapping[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found


def read_snapshot(file: str, path: Path, files: Tree, as_of: str = "") -> Snapshot:
    """Read a snapshot's file and hold it against the dataset; `as_of` is the moment, for Feast's files alone.

    Raises UsageError, ConfigError with the place, and ArtifactError for a registry that is none.
    """
    place = Path(file)
    moment = None if not as_of else _moment(as_of, "--as-of")
    if place.suffix.lower() not in _WRITTEN:
        return _of_feast(of_registry(place, "", files), path, files, moment)
    try:
        if place.stat().st_size > MAX_BYTES:
            raise ConfigError(f"more than {MAX_BYTES} bytes", where=file)
        read = read_document(place.read_bytes(), place.name)
    except OSError as error:
        raise UsageError(f"the snapshot cannot be read: {error.strerror}", where=file) from error
    if is_store(read.value):
        return _of_feast(of_store(place, read, files), path, files, moment)
    if moment is not None:
        raise UsageError("--as-of is for Feast's own files; this one says its moment as `asOf`", where=file)
    return _of_document(read, place, path, files)


def _of_document(read: Read, place: Path, path: Path, files: Tree) -> Snapshot:
    check_document(read.value, published(), read.marks, place.name)
    said: Any = read.value
    moment = _moment(said["asOf"], str(read.marks.get("/asOf", Location(place.name))))
    found, findings, taken = [], list[Finding](), dict[str, str]()
    for index, view in enumerate(said["views"]):
        where = str(read.marks.get(f"/views/{index}", Location(place.name)))
        own = tuple(
            entry for entry in files.files if any(fnmatch.fnmatchcase(entry.path, pattern) for pattern in view["files"])
        )
        if not own:
            raise ConfigError(f"no file of the dataset belongs to the view {view['name']!r}", where=where)
        for entry in own:
            if entry.path in taken:
                both = f"{taken[entry.path]!r} and {view['name']!r}"
                raise ConfigError(f"{entry.path} is of two views: {both}", where=where)
            taken[entry.path] = view["name"]
        part = Tree(own, single=files.single)
        seen = _rows(layout(path, part), view, findings)
        findings += _late(view, seen.latest, moment)
        found.append(_row(view, part, seen) | {"version": view.get("version")})
    _require_few(len(found), place.name)
    document = {
        "store": said["store"],
        "project": said.get("project") or "",
        "asOf": to_rfc3339(moment),
        "views": sorted(found, key=lambda view: str(view["name"])),
    }
    return Snapshot(document, tuple(findings))


def _of_feast(taken: FeastSnapshot, path: Path, files: Tree, moment: datetime | None) -> Snapshot:
    """As of the moment that was said; of the newest row where none was, which may not be later than now."""
    found, findings, newest = [], list[Finding](), list[datetime]()
    pending: list[tuple[Mapping[str, Any], str]] = []
    for view, own in taken.views:
        part, asked = Tree(own, single=files.single), asked_of(view)
        seen = _rows(layout(path, part), asked, findings)
        found.append(_row(asked, part, seen) | told_of(view))
        pending.append((asked, seen.latest))
        with suppress(ValueError):
            newest += [moment_of(seen.latest)] if seen.latest else []
    _require_few(len(found), "the registry")
    now = wiring.clock().now()
    for looked_at, latest in pending:
        findings += _late(looked_at, latest, moment or now)
    at = moment or max(newest, default=_moment(taken.updated, "the registry") if taken.updated else now)
    document: dict[str, Any] = {
        "store": "feast",
        "project": taken.project,
        "asOf": to_rfc3339(at),
        "views": sorted(found, key=lambda view: str(view["name"])),
        "registry": dict(taken.registry),
    }
    return Snapshot(document, tuple(findings))


def _require_few(count: int, where: str) -> None:
    if count > MAX_VIEWS:
        hint = "register a dataset for each part of them"
        raise ConfigError(
            f"{count} views have files here; a snapshot has {MAX_VIEWS} at the most", where=where, hint=hint
        )


def _moment(text: str, where: str) -> datetime:
    try:
        return from_rfc3339(text)
    except ValueError as error:
        raise ConfigError(f"asOf: {error}", where=where, hint="as 2026-01-31T00:00:00Z") from error


@dataclass(slots=True)
class _Seen:
    """What was seen of a view's rows."""

    rows: int = 0
    latest: str = ""


def _row(view: Mapping[str, Any], part: Tree, seen: _Seen) -> dict[str, Any]:
    return {
        "name": view["name"],
        "version": None,
        "entities": sorted(view["entities"]),
        "features": sorted(view["features"]),
        "rows": seen.rows,
        "digest": part.digest,
    }


def _rows(found: Layout, view: Mapping[str, Any], findings: list[Finding]) -> _Seen:
    """A view's rows; what is wrong with them is found. A column may be called as `also` says in place of its name."""
    time = view.get("timestamp")
    wanted = {*view["entities"], *view["features"], *([time] if time else [])}
    also, numbers = view.get("also") or {}, frozenset(view.get("numbers") or ())
    reading = Reading(found)
    missing, seen, wrong = set[str](), _Seen(), dict[str, int]()
    for batch in reading.batches():
        at = {name: position for position, name in enumerate(batch.columns)}
        for name in wanted:
            here = at.get(name, at.get(also.get(name, "")))
            if here is None:
                missing.add(name)
            elif name == time:
                seen.latest = max(seen.latest, *(row[here] or "" for row in batch.cells))
            elif name in numbers:
                wrong[name] = wrong.get(name, 0) + _no_numbers([row[here] or "" for row in batch.cells])
    findings += [item for item in reading.findings if item.severity == "error"]
    for column in sorted(missing):
        message = f"The view {view['name']} has this column, and its files have not."
        findings.append(Finding("missing-column", "error", message, "Export the view again.", column))
    for column, count in sorted(wrong.items()):
        if count:
            message = f"The view {view['name']} says that it is a number; {count} values are none."
            findings.append(Finding("type", "error", message, "Correct the view, or export it again.", column,
                                    count=count))  # fmt: skip
    seen.rows = reading.rows
    return seen


def _no_numbers(cells: list[str]) -> int:
    """How many cells hold something that is no number."""
    some = [cell for cell in cells if cell not in NULLS]
    if not some or as_numbers(some) is not None:
        return 0
    return sum(not _is_number(cell) for cell in some)


def _is_number(cell: str) -> bool:
    try:
        return not math.isnan(float(cell))
    except ValueError:
        return False


def _late(view: Mapping[str, Any], latest: str, moment: datetime) -> list[Finding]:
    name, column = str(view["name"]), str(view.get("timestamp") or "")
    if not latest:
        return []
    try:
        newest = moment_of(latest)
    except ValueError:
        message = f"The view {name} has values here that are no time (ISO 8601)."
        return [Finding("leakage-by-time", "error", message, "Export times as ISO 8601.", column)]
    if newest <= moment:
        return []
    message = f"The view {name} has rows of {latest}, after the snapshot's {to_rfc3339(moment)}: from the future."
    return [Finding("leakage-by-time", "error", message, "Take the features as of that moment.", column)]
