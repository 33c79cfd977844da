"""CSV: which dialect, and its rows with the lines that they begin on; ragged rows and broken quotes are named."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from customhouse.core.errors import ArtifactError
from customhouse.trust.dataset.batch import BATCH, MAX_FIELD, Batch, check_columns
from customhouse.trust.dataset.encoding import TextFile, lines_of
from customhouse.trust.dataset.finding import Places

DELIMITERS = ",;\t|"
_SAMPLE_LINES = 200
_HUGE_CHARACTERS = 1 << 22

csv.field_size_limit(MAX_FIELD)


@dataclass(slots=True)
class CsvFile:
    """How a file is written, and what is wrong with its shape. Rows that are ragged are left out of every statistic."""

    text: TextFile
    delimiter: str = ","
    columns: tuple[str, ...] = ()
    header_missing: bool = False
    ragged: Places = field(default_factory=Places)
    nul: Places = field(default_factory=Places)
    blank: int = 0
    rows: int = 0


def csv_batches(path: Path, told: CsvFile, *, first: int, delimiter: str = "", encoding: str = "") -> Iterator[Batch]:
    """Read a file in batches; `told` is filled on the way.

    Raises ArtifactError for what is no table: too many columns, a cell or a line beyond the limits, an open quote.
    """
    name = told.text.name
    source = lines_of(path, name, told.text, encoding)
    head = _head(source)
    if not head:
        raise ArtifactError("an empty file", where=name, hint="a table has a header and rows")
    told.delimiter = delimiter or sniff(head)
    reader = csv.reader(itertools.chain(head, source), delimiter=told.delimiter)
    told.columns = _header(reader, told, name)
    width, lines, cells = len(told.columns), [], []
    line = reader.line_num + 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ArtifactError(
                f"the row that begins here cannot be read: {error}; a cell holds {MAX_FIELD} characters at the most",
                where=f"{name}:{line}",
                hint="a quote that is opened and never closed reads to the end of the file",
            ) from error
        if row is None:
            break
        if len(row) == width and (width > 1 or row[0]):
            lines.append(line)
            cells.append(tuple(row))
            if len(cells) == BATCH:
                yield _batch(told, first, lines, cells)
                first, lines, cells = first + len(cells), [], []
        elif not row or (width == 1 and len(row) == 1):
            told.blank += 1
        else:
            told.ragged.add(f"{name}:{line}")
        line = reader.line_num + 1
    if cells:
        yield _batch(told, first, lines, cells)


def _batch(told: CsvFile, first: int, lines: list[int], cells: list[tuple[str, ...]]) -> Batch:
    told.rows += len(cells)
    made = Batch(told.text.name, first, told.columns, tuple(lines), tuple(cells))
    for index, row in enumerate(cells):
        if "\0" in "".join(row):
            told.nul.add(made.place(index))
    return made


def _head(source: Iterator[str]) -> list[str]:
    """The first lines, no more than some megabytes of them."""
    head, size = [], 0
    for line in source:
        head.append(line)
        size += len(line)
        if len(head) >= _SAMPLE_LINES or size > _HUGE_CHARACTERS:
            break
    return head


def sniff(head: list[str]) -> str:
    """The delimiter by which most of the first rows have as many cells as the header, more than one."""
    best, chosen = (0.0, 0), ","
    for delimiter in DELIMITERS:
        try:
            rows = [row for row in csv.reader(head[:50], delimiter=delimiter) if row]
        except csv.Error:
            continue
        width = len(rows[0]) if rows else 0
        if width > 1:
            agreeing = sum(len(row) == width for row in rows) / len(rows)
            if (agreeing, width) > best:
                best, chosen = (agreeing, width), delimiter
    return chosen


def _header(reader: Iterator[list[str]], told: CsvFile, name: str) -> tuple[str, ...]:
    try:
        header = next((row for row in reader if row), None)
    except csv.Error as error:
        raise ArtifactError(f"the header cannot be read: {error}", where=f"{name}:1") from error
    if header is None:
        raise ArtifactError("only empty lines", where=name, hint="a table has a header and rows")
    # What pandas writes before its index has no name; of a header that has none at all, nothing can be said.
    header = (
        [cell if cell.strip() else f"(column {at})" for at, cell in enumerate(header, 1)] if any(header) else header
    )
    check_columns(header, f"{name}:1")
    told.header_missing = any(_is_number(cell) for cell in header)
    return tuple(cell.strip() for cell in header)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
