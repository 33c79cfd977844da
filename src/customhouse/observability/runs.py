"""How long the batch workloads of a month run: a run's time, retries, and how often it starts.

1. Runs a month: annotation `customhouse.dev/runs-per-month`; else the schedule of a CronJob or a CronWorkflow; else an
   assumption.
2. Hours a run: annotation `customhouse.dev/expected-duration` (a Go duration); else the deadline of the run
   (`activeDeadlineSeconds`: the most that Kubernetes lets it run, retries included); else the deadline of a pod or an
   assumption, as often one after another as completions need.
3. At most: the deadline of the run. Without one every pod may fail: a run of C pods with `backoffLimit` B starts up to
   C + B, so its hours grow by (C + B) / C; a kind that starts the whole run again grows by 1 + B.
Every assumption is said in `how`. A suspended run may cost nothing at all: `suspended`.
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
from customhouse.core.fields import count, look, matches
from customhouse.core.kinds import Kind, kind_of
from customhouse.core.resource import PREFIX, Manifest

RUNS_PER_MONTH = PREFIX + "runs-per-month"
EXPECTED_DURATION = PREFIX + "expected-duration"
_HOUR_NS = 3600 * 10**9
_MOST_RETRIES = 1000
"""More are counted as so many: a limit that is meant as none would make every figure absurd."""
_PLAIN = Kind(batch=True, deadline=("/spec/activeDeadlineSeconds",))
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
    suspended: bool = False


def run_time(manifest: Manifest, *, assumed_hours: Fraction, assumed_runs: int) -> RunTime:
    """The run time of a Job or CronJob a month. Raises DeclarationError for a broken annotation or schedule."""
    row = kind_of(str(manifest.get("apiVersion", "")), str(manifest.get("kind", ""))) or _PLAIN
    runs, how_often = _runs(manifest, row, assumed_runs)
    deadline, retries = _deadline(manifest, row), _retries(manifest, row)
    pods, slots = _pods(manifest, row)
    expected = _expected(manifest)
    # Without a deadline of the run the pods follow one another: so many turns a slot.
    turns = Fraction(-(-pods // slots))
    pod_deadline = _pod_deadline(manifest)
    if expected is not None:
        each, how_long = expected, f"{_text(expected)} h each ({EXPECTED_DURATION})"
    elif deadline is not None:
        each, how_long = deadline, f"{_text(deadline)} h each (activeDeadlineSeconds)"
    elif pod_deadline is not None:
        each, how_long = (
            turns * pod_deadline,
            f"{_text(turns * pod_deadline)} h each (activeDeadlineSeconds of its pods)",
        )
    else:
        each = turns * assumed_hours
        how_long = f"{_text(each)} h each (assumed: no activeDeadlineSeconds)"
    if deadline is not None:
        high = max(each, deadline)
    else:
        high = each * Fraction(pods + retries, pods)
        if retries:
            how_long += f", up to {retries} retries"
    suspended = bool(row.suspend) and look(manifest, row.suspend) is True
    how = f"{_text(runs)} runs a month ({how_often}), {how_long}"
    return RunTime(runs * each, runs * high, how + (", suspended" if suspended else ""), suspended)


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


def _runs(manifest: Manifest, row: Kind, assumed: int) -> tuple[Fraction, str]:
    value = _annotation(manifest, RUNS_PER_MONTH)
    if value is not None:
        if not value.isdecimal() or len(value) > 9:
            raise DeclarationError(
                f"{RUNS_PER_MONTH} is {value[:40]!r}",
                where="/metadata/annotations",
                hint="write how many runs a month, for example 30",
            )
        return Fraction(int(value)), RUNS_PER_MONTH
    for pointer in row.schedule:
        found = look(manifest, pointer)
        if found is None and pointer != row.schedule[0]:
            continue
        if found is None and len(row.schedule) > 1:
            continue
        schedules = found if isinstance(found, (list, tuple)) else [found]
        try:
            total = sum((runs_per_month(_without_zone(str(one)[:200])) for one in schedules[:50]), Fraction(0))
        except ValueError as error:
            raise DeclarationError(f"schedule: {error}", where=pointer) from error
        return total, f"schedule {', '.join(str(one)[:200] for one in schedules[:3])}"
    return Fraction(assumed), f"assumed: no {RUNS_PER_MONTH}"


def _without_zone(schedule: str) -> str:
    """Argo writes the time zone before the fields: how often it starts does not hang on it."""
    head, _, rest = schedule.strip().partition(" ")
    return rest if head.startswith(("CRON_TZ=", "TZ=")) else schedule


def _deadline(manifest: Manifest, row: Kind) -> Fraction | None:
    """The longest that the whole run may last; None when any part of it has no bound."""
    for pattern in row.deadline:
        found = list(matches(manifest, pattern))
        if found and (
            "*" not in pattern or len(found) == len(list(matches(manifest, pattern.partition("/*")[0] + "/*")))
        ):
            return max(_seconds(value, pointer) for pointer, value in found)
    return None


def _pod_deadline(manifest: Manifest) -> Fraction | None:
    spec = _at(manifest, "spec")
    job = _at(_at(spec, "jobTemplate"), "spec") if manifest.get("kind") == "CronJob" else spec
    value = _at(_at(job, "template"), "spec").get("activeDeadlineSeconds")
    return None if value is None else _seconds(value, "/spec")


def _seconds(value: Any, pointer: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DeclarationError(f"activeDeadlineSeconds is {value!r}; write whole seconds", where=pointer)
    return Fraction(value, 3600)


def _retries(manifest: Manifest, row: Kind) -> int:
    for pointer in row.retries:
        value = look(manifest, pointer)
        if value is not None:
            return min(count(value, pointer.rpartition("/")[2], pointer), _MOST_RETRIES)
    return row.default_retries


def _pods(manifest: Manifest, row: Kind) -> tuple[int, int]:
    """(pods that have to succeed, pods at a time), each at least 1."""
    if not row.completions:
        return 1, 1
    parent = row.completions.rpartition("/")[0]
    slots = look(manifest, f"{parent}/parallelism")
    at_once = 1 if slots is None else count(slots, "parallelism", f"{parent}/parallelism")
    given = look(manifest, row.completions)
    wanted = at_once if given is None else count(given, "completions", row.completions)
    return max(1, wanted), max(1, min(at_once, wanted or 1))


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
