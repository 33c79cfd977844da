"""JSON Lines: one object a line; Parquet beside it, since both give typed values.

A row's bytes for the tree are its object with sorted keys (JSON without spaces, UTF-8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson

from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust import strict_json
from customhouse.trust.dataset.batch import BATCH, MAX_FIELD, Batch, check_columns
from customhouse.trust.dataset.encoding import TextFile, lines_of
from customhouse.trust.dataset.finding import Places


@dataclass(slots=True)
class JsonFile:
    """What is wrong with a file of objects; such rows are left out of every statistic."""

    text: TextFile
    columns: dict[str, Counter[str]] = field(default_factory=dict)
    """Column to how many values are of which JSON type."""
    broken: Places = field(default_factory=Places)
    doubled: Places = field(default_factory=Places)
    """Objects that name a key twice: two readers take two values."""
    blank: int = 0
    rows: int = 0


def json_batches(path: Path, told: JsonFile, *, first: int, encoding: str = "") -> Iterator[Batch]:
    """Read a file of JSON objects, one a line. Raises ArtifactError beyond the limits."""
    name = told.text.name
    lines: list[int] = []
    objects: list[dict[str, Any]] = []
    for number, line in enumerate(lines_of(path, name, told.text, encoding), 1):
        text = line.strip()
        if not text:
            told.blank += 1
            continue
        found = _object(text, told, f"{name}:{number}")
        if found is None:
            continue
        lines.append(number)
        objects.append(found)
        if len(objects) == BATCH:
            yield _batch(told, first, lines, objects)
            first, lines, objects = first + len(objects), [], []
    if objects:
        yield _batch(told, first, lines, objects)


def _object(text: str, told: JsonFile, place: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        told.broken.add(place)
        return None
    # Each key has its colon: as many colons as keys, and no key can be there twice; else it is looked at.
    if text.count(":") != len(found) and _has_twin(text):
        told.doubled.add(place)
        return None
    return found


def _has_twin(text: str) -> bool:
    try:
        strict_json.parse_many(text.encode())
    except ValueError:
        return True
    return False


def _batch(told: JsonFile, first: int, lines: Sequence[int], objects: Sequence[Mapping[str, Any]]) -> Batch:
    name = told.text.name
    for item in objects:
        for key in item:
            if key not in told.columns:
                told.columns[key] = Counter()
                check_columns(tuple(told.columns), f"{name}:{lines[0]}")
    columns = tuple(told.columns)
    cells = []
    for item, line in zip(objects, lines, strict=True):
        row = []
        for column in columns:
            text, kind = as_text(item.get(column))
            told.columns[column][kind] += 1
            if text is not None and len(text) > MAX_FIELD:
                raise ArtifactError(f"{column}: a value of more than {MAX_FIELD} characters", where=f"{name}:{line}")
            row.append(text)
        cells.append(tuple(row))
    told.rows += len(objects)
    raw = tuple(orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in objects)
    return Batch(name, first, columns, tuple(lines), tuple(cells), raw=raw)


def as_text(value: Any) -> tuple[str | None, str]:
    """A typed value as a cell, and the name of its type: null, text, bool, number, nested, bytes."""
    if value is None:
        return None, "null"
    if isinstance(value, str):
        return value, "text"
    if isinstance(value, bool):
        return ("true" if value else "false"), "bool"
    if isinstance(value, (int, float)):
        return repr(value), "number"
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex(), "bytes"
    if isinstance(value, (list, dict, tuple)):
        return orjson.dumps(value, default=str).decode(), "nested"
    return str(value), "text"  # dates, times and decimals say themselves in ISO 8601 and digits


def parquet_batches(path: Path, told: JsonFile, *, first: int) -> Iterator[Batch]:
    """Read a Parquet file. Raises UsageError when pyarrow is not installed, ArtifactError for a file that is none."""
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError(
            f"{told.text.name} is Parquet, which needs pyarrow", hint="pip install 'customhouse[parquet]'"
        ) from error
    name = told.text.name
    try:
        with parquet.ParquetFile(path, memory_map=False, thrift_string_size_limit=1 << 26) as file:
            check_columns(file.schema_arrow.names, name)
            for column in file.schema_arrow.names:
                told.columns.setdefault(column, Counter())
            for part in file.iter_batches(batch_size=BATCH):
                made = _typed_batch(part.to_pylist(), told, first)
                first += len(made.cells)
                yield made
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise ArtifactError(
            f"cannot be read as Parquet: {' '.join(str(error).split())[:300]}", where=name, hint="write it again"
        ) from error


def _typed_batch(objects: Sequence[Mapping[str, Any]], told: JsonFile, first: int) -> Batch:
    columns = tuple(told.columns)
    cells = []
    for item in objects:
        row = []
        for column in columns:
            text, kind = as_text(item[column])
            told.columns[column][kind] += 1
            row.append(text)
        cells.append(tuple(row))
    start = told.rows
    told.rows += len(objects)
    return Batch(told.text.name, first, columns, range(start, told.rows), tuple(cells), by="#")
