"""A batch of rows, as every reader gives them, and what no reader lets pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from customhouse.core.errors import ArtifactError

BATCH = 4096
"""Rows that are looked at together: columns of this length fit the caches, and calls into numpy pay."""
MAX_COLUMNS = 16_384
"""What spreadsheets hold. Wider data is a matrix: give it as .npy, or one row per value."""
MAX_FIELD = 1 << 20
"""Characters of one cell."""
MAX_NAME = 256

Cells = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one file: cells as text (None where JSON or Parquet has a null), and the line each row begins on."""

    file: str
    first: int
    """The number of the first of them over the whole dataset, from 0."""
    columns: tuple[str, ...]
    lines: Sequence[int]
    cells: tuple[Cells, ...]
    by: str = ":"
    """Between file and number in a place: `:` for lines, `#` for items."""
    raw: tuple[bytes, ...] = ()
    """A row's own bytes, where they are not its cells (see `rowtree`)."""
    split: str = ""

    def place(self, index: int) -> str:
        """Where a row of the batch is, for people."""
        return f"{self.file}{self.by}{self.lines[index]}" if self.by else self.cells[index][0] or self.file

    def row_bytes(self) -> Iterable[bytes]:
        """What the tree over rows hashes."""
        return self.raw or map(orjson.dumps, self.cells)


def check_columns(names: Sequence[str], where: str) -> None:
    """Raises ArtifactError for more columns than are read, and for names that are none, or are there twice."""
    if len(names) > MAX_COLUMNS:
        raise ArtifactError(
            f"{len(names)} columns; {MAX_COLUMNS} are read at the most",
            where=where,
            hint="a matrix that wide is given as .npy; a table with so many columns is a broken or transposed export",
        )
    seen: set[str] = set()
    for position, cell in enumerate(names, 1):
        text = cell.strip()
        if not text or len(text) > MAX_NAME:
            problem = "has no name" if not text else f"has a name of {len(text)} characters"
            raise ArtifactError(f"column {position} {problem}", where=where, hint="name every column in the header")
        if text in seen:
            raise ArtifactError(f"the column {text[:80]!r} is there twice", where=where, hint="rename one of them")
        seen.add(text)
