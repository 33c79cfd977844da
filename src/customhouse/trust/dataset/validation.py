"""A dataset, validated: every row read once, every check made, and the whole told as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from customhouse._kit.progress import Meter
from customhouse.core.errors import ArtifactError
from customhouse.trust.dataset import checks, near, picture_checks, poisoning, sensitive
from customhouse.trust.dataset.features import features
from customhouse.trust.dataset.finding import Finding, ordered
from customhouse.trust.dataset.layout import Layout
from customhouse.trust.dataset.rowtree import RowTree
from customhouse.trust.dataset.schema import Schema
from customhouse.trust.dataset.source import PICTURE_COLUMNS, Reading
from customhouse.trust.dataset.table import Sample, Table

VALIDATOR = "customhouse-data/1"
"""The version of the checks: evidence says by which it was made."""


@dataclass(frozen=True, slots=True)
class Validated:
    """What was found. `passed` is False when there is an error."""

    findings: tuple[Finding, ...]
    rows: int
    columns: tuple[dict[str, Any], ...]
    labels: Mapping[str, int]
    splits: tuple[str, ...]
    files: tuple[dict[str, object], ...]
    others: tuple[str, ...]
    sensitive: tuple[sensitive.Sensitive, ...]
    tree: RowTree
    sampled: int
    """How many rows the statistical checks looked at."""
    schema: str
    """The digest of the schema, empty without one."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong by the schema and the checks."""
        return not any(item.severity == "error" for item in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Numbers as numbers; no value of the data but the labels' and those of columns with few values."""
        return {
            "passed": self.passed,
            "rows": self.rows,
            "validator": VALIDATOR,
            "schema": self.schema or None,
            "findings": [item.to_json() for item in self.findings],
            "columns": list(self.columns),
            "labels": dict(self.labels),
            "splits": list(self.splits),
            "files": list(self.files),
            "not_read": list(self.others),
            "sensitive": [item.to_json() for item in self.sensitive],
            "row_tree": self.tree.to_json(),
            "sampled": self.sampled,
        }


def validate(
    found: Layout,
    schema: Schema,
    now: datetime,
    *,
    reference: Mapping[str, Any] | None = None,
    known: Mapping[str, Any] | None = None,
) -> Validated:
    """Read every row of a layout, and make every check. `known` has the values that foreign keys may have, hashed."""
    reading = Reading(found, schema, pixels=True)
    table = Table(schema, keep=[rule.name for rule in schema.columns if rule.references is not None])
    meter = Meter("rows", max(1, sum(part.size for part in found.parts)))
    for batch in reading.batches():
        table.update(batch)
        meter(sum(len(cell or "") + 1 for cell in batch.cells[0]) * len(batch.cells))
    results = list(reading.findings)
    results += checks.shape(table)
    typed = {item.column for item in results if item.rule == "mixed-type"}
    results += [item for item in table.value_findings() if not (item.rule == "mixed-type" and item.column in typed)]
    sample = table.sample()
    named = sensitive.sensitive(sample, schema) if sample.cells else ()
    table.secret_label = table.label in {item.column for item in named}
    for check in (checks.unique, checks.duplicates, checks.labels, checks.leakage, checks.outliers):
        if table.rows:
            results += check(table)
    results += checks.foreign_keys(table, known or {})
    results += checks.freshness(table, now)
    if reference is not None:
        results += checks.drift(table, reference)
    results += sensitive.findings(named, schema)
    pictures = set(PICTURE_COLUMNS) <= set(sample.columns)
    if pictures:  # their sizes and lengths tell nothing of likeness
        results += picture_checks.findings(table, reading.looks)
    elif sample.cells:
        results += _statistical(table, sample)
    hidden = {item.column for item in named}
    return Validated(
        ordered(results, schema.checks),
        table.rows,
        tuple(_shown(profile.to_json(), hidden) for profile in table.columns.values()),
        {} if table.label in hidden else checks.label_counts(table),
        tuple(name for name in table.splits if name),
        tuple(reading.files),
        found.others,
        named,
        table.tree(),
        len(reading.looks) if pictures else len(sample.cells),
        schema.digest,
    )


def _shown(row: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
    """A column's statistics; of a sensitive one none that is somebody's value."""
    if row["name"] in hidden:
        return {key: value for key, value in row.items() if key in ("name", "type", "rows", "nulls", "distinct")}
    return row


def _statistical(table: Table, sample: Sample) -> list[Finding]:
    """What a sample is enough for, and what would take too long on all rows."""
    results = []
    if not sample.whole:
        message = f"{len(sample.cells)} of {sample.of} rows were looked at for near-duplicates and signs of poisoning."
        results.append(Finding("sampled", "note", message, "", count=len(sample.cells)))
    with np.errstate(all="ignore"):
        made = features(sample, table, table.schema, table.label)
        results += near.findings(table, made.texts, made.numbers, made.groups, sample.rows)
        if table.label and table.label in table.columns:
            seen = poisoning.scene(table, made, table.label_codes()[sample.rows], sample.rows)
            if seen is not None:
                results += poisoning.findings(seen)
    return results


def hashes_of_column(found: Layout, column: str) -> Any:
    """The hashes of one column's values, for those that refer to them. Raises ArtifactError when it is not there."""
    kept = []
    reading = Reading(found)
    for batch in reading.batches():
        if column in batch.columns:
            at = batch.columns.index(column)
            kept.append(np.fromiter((hash(row[at]) for row in batch.cells), np.int64, len(batch.cells)))
    if not kept:
        shown = ", ".join(part.name for part in found.parts) or "no file"
        raise ArtifactError(f"no column {column!r}", where=shown, hint="correct `references` of the schema")
    return np.unique(np.concatenate(kept))
