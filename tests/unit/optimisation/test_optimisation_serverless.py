"""A request trace against what scales: each way's time, cost and delays, worked out by hand where that is possible."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.core.kpa import ScaleRule
from customhouse.optimisation.scalers import Always, Autoscaler, Keda, Knative, Policy
from customhouse.optimisation.serverless import DAY_S, Pod, Trace, fewest, scaled, simulate

RULE = ScaleRule(target=0.7, maximum=8)
SINGLE = ScaleRule(target=1.0, maximum=8)


def test_always_on_costs_its_replicas_for_the_whole_time_and_waits_only_in_a_crowd() -> None:
    trace = Trace([0.0, 0.0, 0.0, 50.0], [10.0] * 4, 100.0)
    done = simulate(trace, Always(2), Pod(cold_s=30, at_a_time=1))
    assert done.replica_ms == 200_000
    assert (done.late, done.delay_max, done.delay_p50) == (1, 10.0, 0.0)
    assert (done.at_zero, done.starts_from_zero, done.zero_s) == (0, 0, 0.0)


def test_one_request_at_zero_waits_for_a_cold_start_and_the_replica_goes_after_a_window() -> None:
    done = simulate(Trace([100.0], [2.0], 1000.0), Knative(SINGLE), Pod(cold_s=20, at_a_time=1))
    assert (done.delay_max, done.at_zero, done.starts_from_zero, done.peak) == (20.0, 1, 1, 1)
    # Until 122 something is inside; a window of 60 s later it is gone, at the next even second or two.
    assert 80_000 <= done.replica_ms <= 86_000
    assert done.zero_s == 1000 - done.replica_ms / 1000


def test_kedas_source_is_asked_every_half_minute_and_its_cooldown_is_paid() -> None:
    trace = Trace([61.0], [2.0], 1000.0)
    polled = simulate(trace, Keda(SINGLE, 30, 300, holding=False), Pod(cold_s=20, at_a_time=1))
    assert polled.delay_max == 49.0, "seen at 90, ready at 110"
    held = simulate(trace, Keda(SINGLE, 30, 300, holding=True), Pod(cold_s=20, at_a_time=1))
    assert held.delay_max == 20.0
    assert 300_000 <= held.replica_ms <= 340_000


def test_an_autoscaler_keeps_one_and_comes_down_late() -> None:
    burst = Trace([100.0 + index / 10 for index in range(200)], [3.0] * 200, 1200.0)
    done = simulate(burst, Autoscaler(RULE), Pod(cold_s=5, at_a_time=1))
    assert done.peak == 8
    assert done.zero_s == 0.0
    assert done.replica_ms > 1_200_000 + 7 * 300_000, "it stays up for five minutes"


def test_what_is_not_begun_at_the_end_waits_until_then_and_nothing_is_paid_after_it() -> None:
    done = simulate(Trace([1.0, 2.0], [5000.0, 1.0], 100.0), Always(1), Pod(cold_s=0, at_a_time=1))
    assert (done.delay_max, done.replica_ms) == (98.0, 100_000)
    nothing = simulate(Trace([], [], 50.0), Knative(RULE), Pod(cold_s=1))
    assert (nothing.replica_ms, nothing.requests, nothing.delay_p99, nothing.zero_s) == (0, 0, 0.0, 50.0)


def test_days_add_up_to_the_whole() -> None:
    draw = random.Random(3)
    arrivals = sorted(draw.random() * 3 * DAY_S for _ in range(400))
    done = simulate(Trace(arrivals, [2.0] * 400, 3.0 * DAY_S), Knative(RULE), Pod(cold_s=9, at_a_time=2))
    assert len(done.daily_ms) == 3
    assert sum(done.daily_ms) == done.replica_ms
    assert all(done.daily_ms)


def test_the_fewest_that_keep_a_wait_and_no_fewer() -> None:
    trace = Trace([index / 10 for index in range(1000)], [0.95] * 1000, 101.0)
    pod = Pod(cold_s=1, at_a_time=1)
    need = fewest(trace, pod, 0.5)
    assert need == 10
    assert simulate(trace, Always(need - 1), pod).delay_p99 > 0.5
    assert fewest(trace, Pod(cold_s=1), 0.5) == 1, "one that takes any number at a time is enough"


def test_a_trace_is_made_smaller_and_larger_evenly() -> None:
    trace = Trace([float(index) for index in range(10)], [1.0] * 10, 10.0)
    assert list(scaled(trace, 0.5).arrivals) == [1.0, 3.0, 5.0, 7.0, 9.0]
    assert len(scaled(trace, 3).arrivals) == 30


def _policies(rule: ScaleRule) -> list[Policy]:
    return [
        Always(max(1, rule.minimum)),
        Knative(rule),
        Keda(rule, 30, 300, holding=True),
        Keda(rule, 30, 60, holding=False),
        Autoscaler(rule),
    ]


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.floats(0, 120, allow_nan=False), min_size=1, max_size=40),
    taken=st.floats(0.01, 30),
    at_a_time=st.integers(0, 4),
    cold=st.floats(0, 90),
    low=st.integers(0, 2),
)
def test_every_request_begins_once_and_time_is_paid_for_what_there_was(
    gaps: list[float], taken: float, at_a_time: int, cold: float, low: int
) -> None:
    arrivals = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    span = arrivals[-1] + 4000.0
    trace = Trace(arrivals, [taken] * len(arrivals), span)
    for policy in _policies(ScaleRule(target=0.7, minimum=low, maximum=low + 3)):
        first = policy.first
        done = simulate(trace, policy, Pod(cold, at_a_time))
        assert done.requests == len(arrivals)
        assert done.delay_max < span - arrivals[-1], "each began before the end, none was lost"
        assert first * span * 1000 - 1 <= done.replica_ms <= max(done.peak, 1) * span * 1000 + len(arrivals) * 1000
        assert done.peak <= max(low + 3, 1)
        assert 0.0 <= done.zero_s <= span
        assert done.zero_s == pytest.approx(0.0) or first == 0
        if done.at_zero and not first:
            assert done.delay_max >= cold - 1e-6
