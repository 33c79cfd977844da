"""Forecasts with intervals that cover what they say."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from customhouse._kit.money import Money, MoneyError
from customhouse.optimisation.forecast import SeriesError, forecast
from customhouse.optimisation.monthforecast import month_bounds, month_forecast

START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def times(count, step=HOUR):
    return [START + step * index for index in range(count)]


def daily(rng, count):
    return 100 + 30 * np.sin(np.arange(count) * 2 * np.pi / 24) + rng.normal(0, 5, count)


def walk(rng, count):
    return 100 + np.cumsum(rng.normal(0, 1, count))


def rising(rng, count):
    return 10 + 0.5 * np.arange(count) + rng.normal(0, 3, count)


@pytest.mark.parametrize("series", [daily, walk, rising])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_cover_about_what_they_say(series, level):
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(60):
        y = series(rng, 240 + 12)
        found = forecast(times(240), y[:240], 12, level)
        inside.append(np.mean((y[240:] >= found.lo) & (y[240:] <= found.hi)))
    assert level - 0.08 <= np.mean(inside) <= min(level + 0.14, 1.0)


def test_a_daily_season_is_found_and_followed():
    rng = np.random.default_rng(2)
    y = daily(rng, 264)
    found = forecast(times(240), y[:240], 24)
    assert found.season == 24
    assert np.abs(np.array(found.mean) - y[240:]).mean() < 8
    assert found.times[0] == START + 240 * HOUR


def test_a_short_series_gets_a_wide_interval_and_says_so():
    found = forecast(times(4), [10, 11, 9, 10], 3)
    assert "too short for a back-test" in found.method
    assert found.hi[0] - found.lo[0] >= 10


def test_what_was_never_negative_is_not_forecast_negative():
    assert min(forecast(times(30), [max(0, 5 - index) for index in range(30)], 20).lo) >= 0


def test_intervals_do_not_shrink_with_distance():
    found = forecast(times(100), walk(np.random.default_rng(3), 100), 40)
    widths = np.array(found.hi) - np.array(found.lo)
    assert (np.diff(widths) >= -1e-9).all()


def test_a_constant_is_forecast_as_itself():
    found = forecast(times(60), [7.0] * 60, 5)
    for line in (found.mean, found.lo, found.hi):
        assert line == pytest.approx((7.0,) * 5)


def test_gaps_are_bridged_on_the_same_step():
    kept = [index for index in range(240) if index % 50 not in (7, 8, 9)]
    y = daily(np.random.default_rng(4), 240)
    found = forecast([times(240)[index] for index in kept], y[kept], 2)
    assert found.times == (START + 240 * HOUR, START + 241 * HOUR)
    assert found.season == 24


@pytest.mark.parametrize(
    ("when", "values", "horizon", "level", "says"),
    [
        (times(2), [1, 2], 1, 0.9, "2 points; between 3"),
        (times(3), [1, 2], 1, 0.9, "3 times and 2 values"),
        (times(3), [1, float("nan"), 2], 1, 0.9, "value 2 is not a finite number"),
        ([START, START, START + HOUR], [1, 2, 3], 1, 0.9, "time 2 is not after"),
        (times(3)[::-1], [1, 2, 3], 1, 0.9, "is not after"),
        (times(3), [1, 2, 3], 0, 0.9, "horizon 0"),
        (times(3), [1, 2, 3], 10**9, 0.9, "horizon 1000000000"),
        (times(3), [1, 2, 3], 1, 90, "write 0.9 for 90 %"),
        ([START, START + timedelta(microseconds=1), START + timedelta(microseconds=2), START + timedelta(days=9)],
         [1, 2, 3, 4], 1, 0.9, "steps between the first and the last time"),
    ],
)  # fmt: skip
def test_a_series_that_cannot_be_forecast_is_refused_with_the_place(when, values, horizon, level, says):
    with pytest.raises(SeriesError, match=says):
        forecast(when, values, horizon, level)


def test_real_request_load_is_forecast_better_than_by_its_mean(shared_data):
    """Azure LLM chat trace (CC-BY-4.0), requests per 30 s, walking forward."""
    with gzip.open(shared_data / "load" / "azure_llm_2023_conv.csv.gz", "rt") as handle:
        stamps = [datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC) for row in csv.DictReader(handle)]
    step = timedelta(seconds=30)
    counts = Counter(int((at - stamps[0]) / step) for at in stamps)
    y = [float(counts.get(index, 0)) for index in range(max(counts))]  # the last one is not complete
    errors, naive, inside = [], [], []
    for origin in range(len(y) // 2, len(y) - 3):
        found = forecast(times(origin, step), y[:origin], 3)
        for index in range(3):
            errors.append(abs(found.mean[index] - y[origin + index]))
            naive.append(abs(np.mean(y[:origin]) - y[origin + index]))
            inside.append(found.lo[index] <= y[origin + index] <= found.hi[index])
    assert np.mean(errors) < 1.05 * np.mean(naive)
    assert np.mean(inside) > 0.75


def hours(count, amount="0.10", end=START + 20 * 24 * HOUR):
    return {end - HOUR * (index + 1): Money.parse(amount) for index in range(count)}


NOW = START + 20 * 24 * HOUR


def test_without_history_the_declared_estimate_is_the_forecast_and_the_range_is_wide():
    found = month_forecast({}, Money.parse("73"), NOW)
    assert found.spent == Money.zero()
    assert found.rest == Money.parse("24")  # ten days of 0.10 an hour
    assert (found.rest_low, found.rest_high) == (Money.parse("16.8"), Money.parse("31.2"))
    assert "no complete hour" in found.method


def test_history_takes_over_from_the_declared_estimate():
    found = month_forecast(hours(480), Money.parse("730"), NOW)
    assert found.spent == Money.parse("48")
    assert Money.parse("24") < found.rest < Money.parse("36")
    narrow = found.rest_high - found.rest_low
    wide = month_forecast(hours(6), Money.parse("730"), NOW)
    assert narrow < wide.rest_high - wide.rest_low
    assert found.low < found.total < found.high


def test_a_month_of_bursts_has_a_wider_range_than_a_steady_one():
    bursts = {at: Money.parse("4.8") if at.hour == 7 else Money.zero() for at in hours(480)}
    steady = month_forecast(hours(480, "0.20"), Money.parse("146"), NOW)
    found = month_forecast(bursts, Money.parse("146"), NOW)
    assert found.rest == steady.rest
    assert found.rest_high - found.rest > (steady.rest_high - steady.rest).scale(4)


def test_the_hour_that_is_not_over_counts_as_spent_and_not_as_a_rate():
    now = NOW + timedelta(minutes=10)
    found = month_forecast({NOW: Money.parse("0.02")}, Money.parse("73"), now)
    assert (found.spent, found.hours) == (Money.parse("0.02"), 0)


def test_charges_of_another_month_are_not_spent_in_this_one():
    found = month_forecast({START - HOUR: Money.parse("5")}, Money.parse("73"), START + HOUR)
    assert found.spent == Money.zero()
    assert found.hours == 1


def test_the_last_moment_of_a_month_has_nothing_left():
    found = month_forecast({}, Money.parse("73"), datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    assert found.rest < Money.parse("0.0001")


def test_months_are_calendar_months_in_utc():
    assert month_bounds(datetime(2028, 2, 29, 23, tzinfo=UTC)) == (
        datetime(2028, 2, 1, tzinfo=UTC),
        datetime(2028, 3, 1, tzinfo=UTC),
    )
    assert month_bounds(datetime(2026, 12, 31, tzinfo=UTC))[1] == datetime(2027, 1, 1, tzinfo=UTC)


def test_two_currencies_are_not_added():
    with pytest.raises(MoneyError):
        month_forecast(hours(3), Money.parse("73", "EUR"), NOW)


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match=r"known are 0\.8"):
        month_forecast({}, Money.parse("73"), NOW, 0.5)


def test_a_noisy_month_is_covered_about_as_often_as_stated():
    rng = np.random.default_rng(6)
    inside = 0
    for _ in range(200):
        amounts = np.maximum(rng.normal(0.1, 0.03, 720), 0)
        month = [Money(int(value * 10**12)) for value in amounts]
        seen = {START + HOUR * index: month[index] for index in range(240)}
        found = month_forecast(seen, Money.parse("73"), START + 240 * HOUR)
        rest = Money(sum(amount.pico for amount in month[240:]))
        inside += found.rest_low <= rest <= found.rest_high
    assert inside >= 180
