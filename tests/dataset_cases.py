"""Datasets that tests write, and what the validator says of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from customhouse._kit.digest import tree
from customhouse.trust.dataset.finding import Finding
from customhouse.trust.dataset.layout import layout
from customhouse.trust.dataset.schema import schema_of
from customhouse.trust.dataset.validation import Validated, validate

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def written(folder: Path, **files: str | bytes) -> Path:
    """Files by name (two underscores stand for the dot)."""
    for name, content in files.items():
        place = folder / name.replace("__", ".")
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def looked_at(path: Path, document: dict[str, Any] | None = None, reference: dict[str, Any] | None = None) -> Validated:
    """Validate a path under a schema's document."""
    schema = schema_of(document or {})
    return validate(layout(path, tree(path), schema.files, schema.splits), schema, NOW, reference=reference)


def found(report: Validated, rule: str) -> Finding:
    """The one finding of a rule."""
    (item,) = [one for one in report.findings if one.rule == rule]
    return item


def rules(report: Validated) -> set[str]:
    """Rules that were found, but for remarks."""
    return {item.rule for item in report.findings if item.severity != "note"}


def table(rows: int, *, header: str = "a,b,label", line: str = "{i},{j},{k}") -> str:
    """A plain table in which no two rows are equal."""
    return header + "\n" + "".join(line.format(i=i, j=i * 7 % 101, k=i % 2) + "\n" for i in range(rows))
