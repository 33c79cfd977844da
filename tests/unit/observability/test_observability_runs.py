"""How often a schedule starts in a month."""

from __future__ import annotations

from fractions import Fraction

import pytest

from customhouse.observability.runs import runs_per_month

HOURS = Fraction(730)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("* * * * *", HOURS * 60),
        ("@hourly", HOURS),
        ("0 * * * *", HOURS),
        ("*/15 * * * *", HOURS * 4),
        ("0 0-23/6 * * *", HOURS / 6),
        ("@daily", HOURS / 24),
        ("30 2,14 * * *", HOURS / 12),
        ("0 0 1 * *", HOURS / 24 * 48 / 1461),
        ("@yearly", HOURS / 24 * 4 / 1461),
        ("0 0 29 2 *", HOURS / 24 * 1 / 1461),
        ("0 0 * jan-mar *", HOURS / 24 * (31 * 4 + 28 * 3 + 29 + 31 * 4) / 1461),
        ("0 0 31 feb *", Fraction(0)),
    ],
)
def test_a_schedule_starts_as_often_as_its_fields_say(schedule: str, expected: Fraction) -> None:
    assert runs_per_month(schedule) == expected


def test_weekdays_are_names_or_numbers_and_sunday_is_zero_and_seven() -> None:
    assert runs_per_month("0 0 * * mon-fri") == runs_per_month("0 0 * * 1-5")
    assert runs_per_month("0 0 * * 0") == runs_per_month("0 0 * * 7") == runs_per_month("@weekly")
    assert abs(runs_per_month("0 0 * * 1-5") - HOURS / 24 * 5 / 7) < 1


def test_day_of_month_and_day_of_week_are_alternatives_when_both_are_restricted() -> None:
    either = runs_per_month("0 0 1 * 1")
    assert either > runs_per_month("0 0 * * 1")
    assert either > runs_per_month("0 0 1 * *")
    assert either < runs_per_month("0 0 * * 1") + runs_per_month("0 0 1 * *")


@pytest.mark.parametrize(
    "schedule",
    [
        *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "*/0 * * * *", "*/x * * * *"),
        *("5-1 * * * *", "@sometimes", "a * * * *", "1, * * * *", "²  * * * *", "* * * 13 *", "* * * * 8"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        runs_per_month(schedule)
