"""Snapshots of a feature store, by digest: which views, as of when, and the very files that hold them.

A snapshot is a file beside an export (docs/data.md). Its digest binds store, moment, views and the digests of their
files, so that a model can be traced to the features that it was trained on whatever the store says tomorrow.

1. Every view has files in the dataset, and no file is of two views. 2. They have the view's columns. 3. No row is later
than the snapshot: a feature from the future is a leak.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import Tree, json_digest
from customhouse.app.configuration import check_document
from customhouse.app.governance import read_document
from customhouse.core.errors import ConfigError, UsageError
from customhouse.core.resource import Location
from customhouse.trust.dataset.checks import moment_of
from customhouse.trust.dataset.finding import Finding
from customhouse.trust.dataset.layout import Layout, layout
from customhouse.trust.dataset.source import Reading

MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is entered of it. `names` are the views as the graph calls them."""

    document: Mapping[str, Any]
    findings: tuple[Finding, ...]

    @property
    def digest(self) -> str:
        """The digest over store, moment, views and the digests of their files."""
        return json_digest(dict(self.document))

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


def read_snapshot(file: str, path: Path, files: Tree) -> Snapshot:
    """Read a snapshot's file and hold it against the dataset. Raises UsageError and ConfigError with the place."""
    place = Path(file)
    try:
        if place.stat().st_size > MAX_BYTES:
            raise ConfigError(f"more than {MAX_BYTES} bytes", where=file)
        read = read_document(place.read_bytes(), place.name)
    except OSError as error:
        raise UsageError(f"the snapshot cannot be read: {error.strerror}", where=file) from error
    check_document(read.value, published(), read.marks, place.name)
    said: Any = read.value
    try:
        moment = from_rfc3339(said["asOf"])
    except ValueError as error:
        raise ConfigError(f"asOf: {error}", where=str(read.marks.get("/asOf", Location(place.name)))) from error
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
        rows = _rows(layout(path, part), view, moment, findings)
        found.append(
            {
                "name": view["name"],
                "version": view.get("version"),
                "entities": sorted(view["entities"]),
                "features": sorted(view["features"]),
                "rows": rows,
                "digest": part.digest,
            }
        )
    document = {
        "store": said["store"],
        "project": said.get("project") or "",
        "asOf": to_rfc3339(moment),
        "views": sorted(found, key=lambda view: str(view["name"])),
    }
    return Snapshot(document, tuple(findings))


def _rows(found: Layout, view: Mapping[str, Any], moment: datetime, findings: list[Finding]) -> int:
    """How many rows a view has; what is wrong with them is found."""
    wanted = {*view["entities"], *view["features"], *([view["timestamp"]] if "timestamp" in view else [])}
    reading = Reading(found)
    missing: set[str] = set()
    latest, time = "", view.get("timestamp")
    for batch in reading.batches():
        missing |= wanted - set(batch.columns)
        if time in batch.columns:
            at = batch.columns.index(time)
            latest = max(latest, *(row[at] or "" for row in batch.cells))
    findings += [item for item in reading.findings if item.severity == "error"]
    for column in sorted(missing):
        message = f"The view {view['name']} has this column, and its files have not."
        findings.append(Finding("missing-column", "error", message, "Export the view again.", column))
    if time is not None and time not in missing and reading.rows:
        findings += _late(str(view["name"]), str(time), latest, moment)
    return reading.rows


def _late(view: str, column: str, latest: str, moment: datetime) -> list[Finding]:
    try:
        newest = moment_of(latest)
    except ValueError:
        message = f"The view {view} has values here that are no time (ISO 8601)."
        return [Finding("leakage-by-time", "error", message, "Export times as ISO 8601.", column)]
    if newest <= moment:
        return []
    message = f"The view {view} has rows of {latest}, after the snapshot's {to_rfc3339(moment)}: from the future."
    return [Finding("leakage-by-time", "error", message, "Take the features as of that moment.", column)]
