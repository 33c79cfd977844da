"""How long the batch workloads of a month run: a Job's run time, and how often a CronJob starts.

1. Runs a month: annotation `customhouse.dev/runs-per-month`; else the schedule of a CronJob; else an assumption.
2. Hours a run: annotation `customhouse.dev/expected-duration` (a Go duration); else `activeDeadlineSeconds` (the most
   that Kubernetes lets it run, retries included); else an assumption. The upper bound is the deadline where there is
   one.
Every assumption is said in `how`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from customhouse._kit.quantity import QuantityError, parse_duration
from customhouse.core.cost import HOURS_PER_MONTH
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import PREFIX, Manifest

RUNS_PER_MONTH = PREFIX + "runs-per-month"
EXPECTED_DURATION = PREFIX + "expected-duration"
_HOUR_NS = 3600 * 10**9
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MACROS: Mapping[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True, slots=True)
class RunTime:
    """Hours that one replica of a batch workload runs in a month: expected, and at most."""

    hours: Fraction
    hours_high: Fraction
    how: str


def run_time(manifest: Manifest, *, assumed_hours: Fraction, assumed_runs: int) -> RunTime:
    """The run time of a Job or CronJob a month. Raises DeclarationError for a broken annotation or schedule."""
    runs, how_often = _runs(manifest, assumed_runs)
    spec = _at(manifest, "spec")
    job = _at(_at(spec, "jobTemplate"), "spec") if manifest.get("kind") == "CronJob" else spec
    deadline = _deadline(job)
    expected = _expected(manifest)
    if expected is not None:
        each, how_long = expected, f"{_text(expected)} h each ({EXPECTED_DURATION})"
    elif deadline is not None:
        each, how_long = deadline, f"{_text(deadline)} h each (activeDeadlineSeconds)"
    else:
        each, how_long = assumed_hours, f"{_text(assumed_hours)} h each (assumed: no activeDeadlineSeconds)"
    high = max(each, deadline or each)
    return RunTime(runs * each, runs * high, f"{_text(runs)} runs a month ({how_often}), {how_long}")


def runs_per_month(schedule: str) -> Fraction:
    """How often a cron schedule (five fields or `@daily` and the like) starts in 730 hours, on average.

    Averaged exactly over four years with their leap day. Day of month and day of week are alternatives when both are
    restricted (crontab(5)). Raises ValueError for anything else.
    """
    fields = _MACROS.get(schedule.strip().lower(), schedule).split()
    if len(fields) != 5:
        raise ValueError(f"{schedule!r} is not a cron schedule of five fields")
    minutes, hours = _field(fields[0], 0, 59), _field(fields[1], 0, 23)
    days, months = _field(fields[2], 1, 31), _field(fields[3], 1, 12, _MONTHS, 1)
    weekdays = {day % 7 for day in _field(fields[4], 0, 7, _DAYS, 0)}
    either = not (fields[2].startswith(("*", "?")) or fields[4].startswith(("*", "?")))
    first, last = date(2025, 1, 1), date(2029, 1, 1)
    matching, day = 0, first
    while day < last:
        of_month, of_week = day.day in days, day.isoweekday() % 7 in weekdays
        if day.month in months and ((of_month or of_week) if either else (of_month and of_week)):
            matching += 1
        day += timedelta(days=1)
    return Fraction(matching * len(minutes) * len(hours) * HOURS_PER_MONTH, (last - first).days * 24)


def _field(text: str, low: int, high: int, names: tuple[str, ...] = (), base: int = 0) -> set[int]:
    found: set[int] = set()
    for item in text.lower().split(","):
        span, slash, step_text = item.partition("/")
        step = int(step_text) if step_text.isdigit() else 0
        if slash and step < 1:
            raise ValueError(f"{item!r} has no step")
        if span in ("*", "?"):
            start, end = low, high
        else:
            left, dash, right = span.partition("-")
            start = _number(left, names, base)
            end = _number(right, names, base) if dash else (high if slash else start)
        if not low <= start <= end <= high:
            raise ValueError(f"{item!r} is not within {low}-{high}")
        found.update(range(start, end + 1, step or 1))
    return found


def _number(text: str, names: tuple[str, ...], base: int) -> int:
    if text in names:
        return names.index(text) + base
    if not text.isdecimal() or len(text) > 2:
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def _runs(manifest: Manifest, assumed: int) -> tuple[Fraction, str]:
    value = _annotation(manifest, RUNS_PER_MONTH)
    if value is not None:
        if not value.isdecimal() or len(value) > 9:
            raise DeclarationError(
                f"{RUNS_PER_MONTH} is {value[:40]!r}",
                where="/metadata/annotations",
                hint="write how many runs a month, for example 30",
            )
        return Fraction(int(value)), RUNS_PER_MONTH
    if manifest.get("kind") == "CronJob":
        schedule = _at(manifest, "spec").get("schedule")
        try:
            return runs_per_month(str(schedule)[:200]), f"schedule {schedule}"
        except ValueError as error:
            raise DeclarationError(f"schedule: {error}", where="/spec/schedule") from error
    return Fraction(assumed), f"assumed: no {RUNS_PER_MONTH}"


def _deadline(job: Mapping[str, Any]) -> Fraction | None:
    value = job.get("activeDeadlineSeconds")
    if value is None:
        value = _at(_at(job, "template"), "spec").get("activeDeadlineSeconds")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DeclarationError(f"activeDeadlineSeconds is {value!r}; write whole seconds", where="/spec")
    return Fraction(value, 3600)


def _expected(manifest: Manifest) -> Fraction | None:
    value = _annotation(manifest, EXPECTED_DURATION)
    if value is None:
        return None
    try:
        nanoseconds = parse_duration(value)
    except QuantityError as error:
        raise DeclarationError(f"{EXPECTED_DURATION}: {error}", where="/metadata/annotations") from error
    if nanoseconds < 0:
        raise DeclarationError(f"{EXPECTED_DURATION} is negative", where="/metadata/annotations")
    return Fraction(nanoseconds, _HOUR_NS)


def _annotation(manifest: Manifest, name: str) -> str | None:
    value = _at(_at(manifest, "metadata"), "annotations").get(name)
    return None if value is None else str(value)


def _at(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(value: Fraction) -> str:
    return f"{float(value):.6g}"
