"""A dataset's schema from its file in Git, and the one that is inferred from data to begin with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse._kit.reading import open_regular
from customhouse.app.configuration import check_document
from customhouse.app.governance import read_document
from customhouse.core.errors import ConfigError, UsageError
from customhouse.core.resource import Location
from customhouse.trust.dataset.schema import Schema, SchemaError, schema_of
from customhouse.trust.dataset.validation import Validated

MAX_BYTES = 4 << 20


@cache
def published() -> Mapping[str, Any]:
    """The JSON Schema of such files."""
    found: Mapping[str, Any] = json.loads(Path(__file__).with_name("dataset.schema.json").read_text(encoding="utf-8"))
    return found


def read_schema(path: Path) -> Schema:
    """Read a schema. Raises UsageError when it cannot be read, ConfigError with file, line, column and the fix."""
    try:
        with open_regular(path) as handle:
            data = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the schema cannot be read: {error.strerror}", where=str(path)) from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"more than {MAX_BYTES} bytes", where=str(path))
    read = read_document(data, path.name)
    check_document(read.value, published(), read.marks, path.name)
    document: Any = read.value
    try:
        return schema_of(document, bytes_digest(data))
    except SchemaError as error:
        place = error.pointer
        while place and place not in read.marks:
            place = place.rpartition("/")[0]
        raise ConfigError(str(error), where=str(read.marks.get(place, Location(path.name)))) from error


def inferred(found: Validated, schema: Schema) -> str:
    """A schema (YAML) that the data meet, as a beginning: somebody has to read it, and to say what ought to be.

    No value of a sensitive column is in it.
    """
    hidden = {item.column: item.kind for item in found.sensitive}
    lines = ["# Inferred from data: read every line, and write what ought to be instead of what happens to be."]
    lines += ["schema: customhouse.dev/dataset/v1", f"rows: {{min: {max(1, found.rows // 2)}}}"]
    for key, value in (("label", schema.label), ("id", schema.id), ("time", schema.time)):
        if value:
            lines.append(f"{key}: {_quoted(value)}")
    shares = _balance(found.labels)
    if shares:
        lines += ["labels:", "  balance:", *(f"    {_quoted(name)}: [{low}, {high}]" for name, low, high in shares)]
    lines.append("columns:")
    for row in found.columns:
        lines.append(f"  {_quoted(row['name'])}:")
        lines += [f"    {line}" for line in _column(row, hidden.get(row["name"], ""))]
    if hidden:
        lines.append("# Sensitive columns are here: say what is known of their storage.")
        lines.append("# storage: {encrypted: true, accessControlled: true, evidence: …}")
    return "\n".join(lines) + "\n"


def _balance(labels: Mapping[str, int]) -> list[tuple[str, float, float]]:
    total = sum(labels.values())
    if not 2 <= len(labels) <= 50:
        return []
    return [
        (name, round(count / total * 0.5, 4), round(min(1.0, count / total * 1.5), 4)) for name, count in labels.items()
    ]


def _column(row: Mapping[str, Any], sensitive: str) -> list[str]:
    lines = [f"type: {row['type']}"]
    if sensitive:
        lines.append(f"sensitive: {sensitive}")
    if not row["nulls"]:
        lines.append("nullable: false")
    else:
        lines.append(f"maxNullShare: {min(1.0, round(row['nulls'] / max(1, row['rows']) * 1.5 + 0.001, 4))}")
    if sensitive:
        return lines
    if "min" in row:
        lines += [f"{key}: {row[key]!r}" for key in ("min", "max") if row[key] is not None]
    top = row.get("top")
    if row["type"] in ("text", "boolean") and isinstance(top, Mapping) and row["distinct"] == len(top):
        lines.append(f"values: [{', '.join(_quoted(value) for value in top)}]")
    return lines


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
