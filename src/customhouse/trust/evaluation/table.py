"""Rows of a CSV file (also .csv.gz), streamed: numbers where features are, text where labels and groups are.

The digest is of the bytes that were read. Everything that is wrong is an ArtifactError that names file and line.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import io
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn, TextIO

import numpy as np
from numpy.typing import NDArray

from customhouse.core.errors import ArtifactError

Array = NDArray[np.float64]
MAX_ROWS = 20_000_000
MAX_COLUMNS = 10_000
MAX_LINE = 4 * 1024 * 1024
MAX_UNPACKED = 16 << 30
CHUNK = 8192
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows: `x` [rows, features] or the texts of the one feature, and other columns as text."""

    first: int
    x: Array | list[str]
    columns: dict[str, list[str]]


class _Hashed(io.RawIOBase):
    """A file whose bytes are hashed as they are read."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._hash = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self._handle.read(len(view))
        view[: len(data)] = data
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def close(self) -> None:
        self._handle.close()
        super().close()

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


class Table:
    """One file, read once from its beginning to its end: `header`, then `chunks`, then `digest` and `rows`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        try:
            if not path.is_file():
                raise ArtifactError("there is no such file", where=str(path), hint="name a CSV file with a header")
            self._raw = _Hashed(path.open("rb"))
        except OSError as error:
            raise ArtifactError(f"the data cannot be read: {error.strerror}", where=str(path)) from error
        buffered = io.BufferedReader(self._raw, 1 << 18)
        packed = path.suffix == ".gz"
        source = gzip.GzipFile(fileobj=buffered) if packed else buffered
        self._buffered = buffered
        self._text = io.TextIOWrapper(source, encoding="utf-8-sig", newline="")
        self._line = 0
        try:
            lines = self._lines(self._text)
            first = next(lines, "")
            if not first.strip():
                self._fail("the file is empty: it needs a header and rows")
            self.delimiter = max(_DELIMITERS, key=first.count)
            self._reader = csv.reader(_chained(first, lines), delimiter=self.delimiter, strict=True)
            self.header = tuple(name.strip() for name in next(self._reader))
            self._check_header()
        except (csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
            self.close()
            self._broken(error)
        except ArtifactError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._text.close()
        self._buffered.close()  # what unpacks does not close what it reads from

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def digest(self) -> str:
        """Of the file's bytes, once all rows were read."""
        return self._raw.digest

    def require(self, columns: Iterable[str], what: str) -> None:
        """Raises ArtifactError that names the nearest column for one that is not there."""
        for column in columns:
            if column not in self.header:
                near = difflib.get_close_matches(column, self.header, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(self.header[:20])}"
                raise ArtifactError(f"there is no column {column!r} ({what})", where=str(self.path), hint=hint)

    def chunks(self, features: Sequence[str], others: Sequence[str], *, text: bool, missing: bool) -> Iterator[Chunk]:
        """All rows. `text`: the one feature is text; `missing`: empty cells are NaN and no error."""
        places = [self.header.index(name) for name in features]
        named = [(name, self.header.index(name)) for name in others]
        try:
            for lines, rows in self._batches():
                columns = list(zip(*rows, strict=True))
                x: Array | list[str]
                if text:
                    x = list(columns[places[0]])
                else:
                    x = np.empty((len(rows), len(places)))
                    for index, place in enumerate(places):
                        x[:, index] = self._numbers(columns[place], features[index], lines, missing=missing)
                yield Chunk(self.rows, x, {name: list(columns[place]) for name, place in named})
                self.rows += len(rows)
        except (csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
            self._broken(error)
        finally:
            self._finish()
        if self.rows == 0:
            raise ArtifactError("there are no rows below the header", where=str(self.path), hint="name the holdout")

    def _finish(self) -> None:
        """Read what is left of the file (a packed one's trailer), so that the digest is of all of it; then close."""
        try:
            while not self._buffered.closed and self._buffered.read(1 << 18):
                pass
        finally:
            self.close()

    def numbers(self, cells: Sequence[str], name: str, first: int) -> Array:
        """A column of the rows from `first` on as numbers; the line in an error is right where no cell spans lines."""
        return self._numbers(cells, name, list(range(first + 2, first + 2 + len(cells))), missing=False)

    def _batches(self) -> Iterator[tuple[list[int], list[list[str]]]]:
        width = len(self.header)
        rows: list[list[str]] = []
        lines: list[int] = []
        for row in self._reader:
            if not row:
                continue
            if len(row) != width:
                self._fail(f"the row has {len(row)} cells and the header {width}")
            rows.append(row)
            lines.append(self._reader.line_num)
            if len(rows) == CHUNK:
                yield lines, rows
                rows, lines = [], []
            if self.rows + len(rows) > MAX_ROWS:
                self._fail(f"more than {MAX_ROWS} rows", "evaluate on a sample of them")
        if rows:
            yield lines, rows

    def _numbers(self, cells: Sequence[str], name: str, lines: Sequence[int], *, missing: bool) -> Array:
        try:
            values = np.array(cells, dtype=np.float64)
            if bool(np.isfinite(values).all()) and "_" not in "".join(cells):
                return values
        except ValueError:
            pass
        return np.array([self._number(c, name, n, missing=missing) for c, n in zip(cells, lines, strict=True)])

    def _number(self, cell: str, name: str, line: int, *, missing: bool) -> float:
        if cell.strip().lower() in _MISSING:
            if missing:
                return math.nan
            self._fail(f"{name} is missing", "fill it as training did, or declare `missing: nan`", line=line)
        try:
            value = float(cell) if "_" not in cell else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._fail(f"{name} is {cell[:60]!r}, and a number is expected", line=line)
        return value

    def _lines(self, handle: TextIO) -> Iterator[str]:
        total = 0
        while line := handle.readline(MAX_LINE):
            self._line += 1
            total += len(line)
            if len(line) >= MAX_LINE:
                self._fail(f"a line is longer than {MAX_LINE} characters", line=self._line)
            if total > MAX_UNPACKED:
                self._fail(f"more than {MAX_UNPACKED >> 30} GiB of text", line=self._line)
            yield line

    def _check_header(self) -> None:
        if len(self.header) > MAX_COLUMNS:
            self._fail(f"{len(self.header)} columns; {MAX_COLUMNS} are read", line=1)
        seen: set[str] = set()
        for name in self.header:
            if not name:
                self._fail("a column has no name", line=1)
            if name in seen:
                self._fail(f"the column {name!r} stands twice", line=1)
            seen.add(name)

    def _broken(self, error: Exception) -> NoReturn:
        if isinstance(error, UnicodeDecodeError):
            self._fail("the file is not UTF-8", "convert it, and register what came out", line=self._line + 1)
        self._fail(f"it cannot be read: {error}", line=self._line)

    def _fail(self, message: str, hint: str = "", *, line: int = 0) -> NoReturn:
        raise ArtifactError(message, where=f"{self.path}:{line or self._line}", hint=hint)


def _chained(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def fingerprints(x: Array | Sequence[str]) -> NDArray[np.uint64]:
    """64 bits of each row, by which the same row is found again in another file."""
    if not isinstance(x, np.ndarray):
        found = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") for text in x]
        return np.array(found, dtype=np.uint64)
    state = np.full(len(x), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for index in range(x.shape[1]):
        # Adding zero makes negative zero the other one, which is the same number.
        bits = np.ascontiguousarray(x[:, index] + 0.0).view(np.uint64)
        # splitmix64 (Steele, Lea and Flood 2014): every bit of every column reaches every bit of the result.
        state = (state ^ bits) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return state


class Reservoir:
    """A seeded sample of rows of a stream, in their order; all of them while there are no more than `size`."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._size, self._rng = size, rng
        self._priority = np.empty(0)
        self._index = np.empty(0, dtype=np.int64)
        self._rows: Array | None = None
        self._texts: dict[int, str] = {}

    def add(self, first: int, x: Array | Sequence[str]) -> None:
        """Some more rows, whose first has this number."""
        priority = np.concatenate([self._priority, self._rng.random(len(x))])
        index = np.concatenate([self._index, np.arange(first, first + len(x))])
        kept = np.sort(np.argsort(priority, kind="stable")[: self._size])
        if isinstance(x, np.ndarray):
            self._rows = (x if self._rows is None else np.concatenate([self._rows, x]))[kept]
        else:
            self._texts |= {first + place: text for place, text in enumerate(x)}
            self._texts = {int(number): self._texts[int(number)] for number in index[kept]}
        self._priority, self._index = priority[kept], index[kept]

    @property
    def rows(self) -> Array | list[str]:
        """The rows that were kept."""
        return list(self._texts.values()) if self._rows is None else self._rows

    @property
    def index(self) -> NDArray[np.int64]:
        """Their numbers in the stream."""
        return self._index
