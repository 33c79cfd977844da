"""A trace of requests from a CSV (also `.gz`), read with limits; an error names file and line.

Three forms, told apart by their columns: `timestamp,value` (requests in each interval, placed evenly at random in it),
`timestamp,seconds` (one request a row and how long it takes), `timestamp` with generated tokens (`GeneratedTokens`, as
the Azure traces have them, or `tokens`). Column names are read without regard to case.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from customhouse._kit.reading import absent
from customhouse.core.errors import UsageError
from customhouse.optimisation.serverless import Trace

MOST_BYTES = 256 << 20
MOST_REQUESTS = 5_000_000
_TOKENS = ("generatedtokens", "generated_tokens", "tokens")
_LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Durations:
    """How long a request takes: by its tokens, or `each` alike; None where the workload does not say so."""

    by_tokens: Callable[[float], float] | None = None
    each: float | None = None


def read_trace(path: str, durations: Durations, seed: int = 0) -> Trace:
    """Raises UsageError for what is no such table, is too large, or does not say how long requests take."""
    table = csv.DictReader(io.StringIO(_text(path)))
    names = {str(name).strip().lower(): name for name in table.fieldnames or ()}
    if "timestamp" not in names:
        raise UsageError(f"{path}:1: no column timestamp", hint="begin with: timestamp,value or timestamp,seconds")
    tokens = next((names[name] for name in _TOKENS if name in names), None)
    column = names.get("seconds") or tokens or names.get("value")
    rows = list(_rows(table, path, names["timestamp"], column))
    if not rows:
        raise UsageError(f"{path}: no requests", hint="a row a request, or a row an interval")
    rows.sort()
    if "seconds" in names:
        return _single(rows, lambda value: value)
    if tokens is not None and durations.by_tokens is not None:
        return _single(rows, durations.by_tokens)
    each = durations.each
    if each is None:
        raise UsageError(
            f"{path} does not say how long a request takes",
            hint="give --seconds, a column seconds, or annotate the workload with customhouse.dev/throughput-"
            "tokens-per-second (traces with tokens) or customhouse.dev/throughput-predictions-per-second",
        )
    if tokens is None and "value" in names:
        return _intervals(rows, each, seed, path)
    return _single(rows, lambda _: each)


def _text(path: str) -> str:
    place = Path(path)
    if not place.is_file():
        raise UsageError(absent(path), hint="--requests names a CSV, or one packed by gzip")
    try:
        with place.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            data = (gzip.GzipFile(fileobj=raw) if packed else raw).read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UsageError(f"{path} holds more than {MOST_BYTES >> 20} MiB", hint="cut it, or count by interval")
        return data.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path} is not whole: {error}", hint="pack it again") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error


def _rows(table: csv.DictReader[str], path: str, at: str, column: str | None) -> Iterator[tuple[float, float]]:
    try:
        for count, row in enumerate(table):
            if count >= MOST_REQUESTS:
                raise UsageError(f"{path}: more than {MOST_REQUESTS:,} rows", hint="count by interval: timestamp,value")
            place = f"{path}:{table.line_num}"
            yield _time(row.get(at), place), 0.0 if column is None else _number(row.get(column), column, place)
    except csv.Error as error:
        raise UsageError(f"{path}:{table.line_num}: not CSV: {error}", hint="save it as CSV") from error


def _time(text: str | None, place: str) -> float:
    try:
        at = datetime.fromisoformat((text or "").strip())
    except ValueError as error:
        said = f"{place}: {(text or '')[:60]!r} is not a time"
        raise UsageError(said, hint="write 2026-01-31T10:00:00.250Z") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _number(text: str | None, column: str, place: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1e9:
        raise UsageError(f"{place}: {column} is {(text or '')[:60]!r}", hint="write a number from 0 on")
    return value


def _single(rows: Sequence[tuple[float, float]], seconds: Callable[[float], float]) -> Trace:
    begun = rows[0][0]
    arrivals = [at - begun for at, _ in rows]
    # The mean gap follows the last one too, so that a trace of one burst has a length.
    gap = arrivals[-1] / max(1, len(arrivals) - 1)
    return Trace(arrivals, [min(_LONGEST_S, seconds(value)) for _, value in rows], max(1.0, arrivals[-1] + gap))


def _intervals(rows: Sequence[tuple[float, float]], each: float, seed: int, path: str) -> Trace:
    begun = rows[0][0]
    if len(rows) < 2 or rows[-1][0] == begun:
        raise UsageError(f"{path}: one interval alone has no length", hint="give two rows or more")
    steps = [after - before for (before, _), (after, _) in pairwise(rows)]
    wanted = sum(value for _, value in rows)
    if wanted > MOST_REQUESTS:
        raise UsageError(f"{path}: {wanted:,.0f} requests are more than {MOST_REQUESTS:,}", hint="cut it to some days")
    draw = random.Random(seed)  # noqa: S311 - places in an interval, no secret
    arrivals: list[float] = []
    carried = 0.0
    for (at, value), step in zip(rows, [*steps, steps[-1]], strict=True):
        carried += value
        whole = int(carried)
        carried -= whole
        arrivals.extend(sorted(at - begun + draw.random() * step for _ in range(whole)))
    return Trace(arrivals, [each] * len(arrivals), rows[-1][0] - begun + steps[-1])
