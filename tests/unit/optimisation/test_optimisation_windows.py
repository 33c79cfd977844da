"""Observations become windows of use, and CSV becomes a series."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from customhouse.core.errors import UsageError
from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef
from customhouse.optimisation.forecast import forecast
from customhouse.optimisation.series import forecast_csv, read_series
from customhouse.optimisation.windows import CPU, MEMORY, usage_series

REF = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "fraud", "fraud-detection")
START = datetime(2026, 11, 22, tzinfo=UTC)


def seen(metric, second, value, *, instance="a", release="new", ref=REF):
    return Observation(START + timedelta(seconds=second), "local", ref, release, metric, "1", value, instance)


def test_memory_is_the_peak_of_each_window_and_the_last_window_waits():
    found = usage_series([seen(MEMORY, s, v) for s, v in ((0, 5), (4, 9), (10, 3), (19, 4), (20, 99))], REF, 10)
    assert found.memory_bytes == (9, 4)


def test_cpu_is_the_mean_rate_across_the_window():
    points = [(0, 1.0), (5, 2.0), (10, 3.0), (15, 3.5), (20, 3.5), (30, 3.5)]
    assert usage_series([seen(CPU, s, v) for s, v in points], REF, 10).cpu_millicores == (200, 150, 0)


def test_replicas_are_pooled_and_other_releases_and_workloads_left_out():
    other = ResourceRef("v1", "Pod", "fraud", "x")
    observations = [
        seen(MEMORY, 1, 5),
        seen(MEMORY, 1, 7, instance="b"),
        seen(MEMORY, 1, 100, release="old"),
        seen(MEMORY, 1, 200, ref=other),
        seen(MEMORY, 1, float("nan")),
        seen(MEMORY, 11, 1),
    ]
    assert usage_series(observations, REF, 10, release="new").memory_bytes == (5, 7)
    assert usage_series(observations, REF, 10).memory_bytes == (100, 7)


def test_a_restarted_process_is_not_negative_use():
    points = [(0, 50.0), (5, 51.0), (6, 0.1), (9, 0.4), (10, 0.5), (20, 0.6), (30, 0.6)]
    rates = usage_series([seen(CPU, s, v) for s, v in points], REF, 10).cpu_millicores
    assert rates == (200, 100, 10)


def test_order_of_arrival_does_not_matter():
    points = [(second, second * 0.1) for second in range(60)]
    forward = usage_series([seen(CPU, s, v) for s, v in points], REF, 10)
    assert usage_series([seen(CPU, s, v) for s, v in reversed(points)], REF, 10) == forward


def test_nothing_observed_is_an_empty_series():
    assert usage_series([], REF, 10).memory_bytes == ()
    with pytest.raises(ValueError, match="at least 1"):
        usage_series([], REF, 0)


def test_a_csv_is_forecast_and_written_back():
    text = "\ufefftimestamp,value,note\n" + "".join(f"2026-11-22T{hour:02}:00:00Z,{hour % 3},x\n" for hour in range(24))
    times, values = read_series(text)
    assert (times[0], values[2]) == (START, 2.0)
    lines = forecast_csv(forecast(times, values, 2)).splitlines()
    assert lines[0] == "timestamp,mean,lo,hi"
    assert lines[1].startswith("2026-11-23T00:00:00Z,")
    assert len(lines) == 3


def test_a_time_without_a_zone_is_utc_and_an_offset_is_turned():
    times, _ = read_series("timestamp,value\n2026-11-22 01:00:00,1\n2026-11-22T03:00:00+01:00,2\n")
    assert times == [START + timedelta(hours=1), START + timedelta(hours=2)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "s.csv:1: no columns timestamp and value (begin with: timestamp,value)"),
        ("time,value\n", "s.csv:1: no columns"),
        ("timestamp,value\nsoon,1\n", "s.csv:2: 'soon' is not a time"),
        ("timestamp,value\n2026-11-22,one\n", "s.csv:2: 'one' is not a number"),
        ("timestamp,value\n2026-11-22\n", "s.csv:2: '' is not a number"),
        ("timestamp,value\n2026-11-22,1\n2026-11-23,inf\n", "s.csv:3: inf is not a finite number"),
        ("timestamp,value\n2026-11-22,1\n2026-11-23," + "1" * 200_000, "s.csv:"),
    ],
)
def test_a_broken_csv_is_refused_with_its_line(text, says):
    with pytest.raises(UsageError) as caught:
        read_series(text, "s.csv")
    assert says in str(caught.value)
