"""The CSV of `cost forecast`: columns timestamp,value in; timestamp,mean,lo,hi out. Text only, no files."""

from __future__ import annotations

import csv
import io
import math
from datetime import UTC, datetime

from customhouse._kit.clock import to_rfc3339
from customhouse.optimisation.forecast import MAX_POINTS, Forecast, SeriesError


def read_series(text: str, where: str = "series") -> tuple[list[datetime], list[float]]:
    """The times (UTC; a time without a zone is taken as UTC) and values of a CSV with a header line.

    Other columns are ignored. Raises SeriesError with the line for anything else.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    if not {"timestamp", "value"} <= set(reader.fieldnames or ()):
        raise SeriesError("no columns timestamp and value", where=f"{where}:1", hint="begin with: timestamp,value")
    times: list[datetime] = []
    values: list[float] = []
    try:
        for row in reader:
            place = f"{where}:{reader.line_num}"
            if len(times) == MAX_POINTS:
                raise SeriesError(f"more than {MAX_POINTS} rows", where=place, hint="aggregate to a longer step")
            times.append(_time(row["timestamp"], place))
            values.append(_value(row["value"], place))
    except csv.Error as error:
        raise SeriesError(f"not CSV: {error}", where=f"{where}:{reader.line_num}") from error
    return times, values


def forecast_csv(found: Forecast) -> str:
    """`timestamp,mean,lo,hi`, a row per step; shortest decimal text that reads back as the same number."""
    rows = zip(found.times, found.mean, found.lo, found.hi, strict=True)
    lines = [f"{to_rfc3339(at)},{mean!r},{low!r},{high!r}" for at, mean, low, high in rows]
    return "\n".join(["timestamp,mean,lo,hi", *lines]) + "\n"


def _time(text: str | None, place: str) -> datetime:
    try:
        at = datetime.fromisoformat((text or "").strip())
    except ValueError as error:
        hint = "write 2026-01-31T10:00:00Z"
        raise SeriesError(f"{(text or '')[:60]!r} is not a time", where=place, hint=hint) from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _value(text: str | None, place: str) -> float:
    try:
        value = float(text or "")
    except ValueError as error:
        raise SeriesError(f"{(text or '')[:60]!r} is not a number", where=place) from error
    if not math.isfinite(value):
        raise SeriesError(f"{value} is not a finite number", where=place)
    return value
