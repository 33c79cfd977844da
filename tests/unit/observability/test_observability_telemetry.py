"""Statistics of a release over a window."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef
from customhouse.observability.telemetry import WindowStats, quantile, window

REF = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "ml", "fraud")
T0 = datetime(2026, 7, 1, tzinfo=UTC)


def seen(
    metric: str, second: float, value: float, release: str = "v1", instance: str = "g", **labels: str
) -> Observation:
    return Observation(T0 + timedelta(seconds=second), "test", REF, release, metric, "1", value, instance, labels)


def stats(observations: list[Observation], start: float = 0, end: float = 60, release: str = "v1") -> WindowStats:
    return window(observations, REF, release, T0 + timedelta(seconds=start), T0 + timedelta(seconds=end))


def traffic(second: float, requests: int, release: str = "v1", errors: int = 0) -> list[Observation]:
    name = "customhouse_request_duration_seconds_bucket"
    return [
        seen("customhouse_requests_total", second, requests - errors, release, code="200"),
        seen("customhouse_requests_total", second, errors, release, code="500"),
        seen("customhouse_request_errors_total", second, errors, release),
        seen(name, second, requests // 2, release, le="0.01"),
        seen(name, second, requests, release, le="0.1"),
        seen(name, second, requests, release, le="+Inf"),
        seen("customhouse_request_duration_seconds_sum", second, requests * 0.02, release),
    ]


def test_a_window_counts_what_happened_in_it_only() -> None:
    found = stats([*traffic(-1, 100), *traffic(30, 150, errors=10), *traffic(61, 900)])
    assert (found.requests, found.errors) == (50, 10)
    assert found.codes == {"200": 40, "500": 10}
    assert found.error_ratio == 0.2
    assert found.request_rate == pytest.approx(50 / 60)
    assert found.latency_mean == pytest.approx(0.02)


def test_two_releases_over_the_same_time_are_apart() -> None:
    both = [*traffic(30, 100), *traffic(30, 10, "v2", errors=5)]
    assert stats(both).error_ratio == 0
    assert stats(both, release="v2").error_ratio == 0.5


def test_a_window_without_traffic_claims_nothing() -> None:
    found = stats([])
    assert found.error_ratio is None
    assert found.p99 is None
    assert found.log_loss_mean is None
    assert found.log_loss_variance is None
    assert found.latency_mean is None


def test_latency_quantiles_are_interpolated_in_their_bucket() -> None:
    found = stats(traffic(30, 100))
    assert found.p50 == pytest.approx(0.01)
    assert found.p95 == pytest.approx(0.01 + 0.09 * 0.9)
    assert found.buckets == ((0.01, 50), (0.1, 100), (math.inf, 100))


def test_quantiles_of_odd_histograms() -> None:
    assert quantile([], 0.5) is None
    assert quantile([(1.0, 0), (math.inf, 0)], 0.5) is None
    assert quantile([(1.0, 0), (2.0, 10), (math.inf, 10)], 0.0) == 1.0
    assert quantile([(1.0, 5), (math.inf, 10)], 0.99) == 1.0
    assert quantile([(math.inf, 10)], 0.5) == 0.0
    with pytest.raises(ValueError, match="not a quantile"):
        quantile([(1.0, 1)], 95)


def test_buckets_of_several_instances_add_up() -> None:
    name = "customhouse_request_duration_seconds_bucket"
    both = [
        seen(name, 10, value, instance=instance, le=le)
        for instance in "ab"
        for le, value in (("0.1", 3), ("1", 5), ("+Inf", 5))
    ]
    assert stats(both).buckets == ((0.1, 6), (1.0, 10), (math.inf, 10))


def test_a_bucket_with_a_broken_bound_is_left_out() -> None:
    name = "customhouse_request_duration_seconds_bucket"
    found = stats([seen(name, 10, 3, le="0.1"), seen(name, 10, 3, le="fast"), seen(name, 10, 3, le="nan")])
    assert found.buckets == ((0.1, 3),)


def test_prediction_quality_has_mean_and_variance() -> None:
    losses = [0.1, 0.3, 0.5, 0.9]
    found = stats(
        [
            seen("customhouse_predictions_labelled_total", 10, 4),
            seen("customhouse_prediction_log_loss_sum", 10, sum(losses)),
            seen("customhouse_prediction_log_loss_squares_sum", 10, sum(x * x for x in losses)),
            seen("customhouse_prediction_outcomes_total", 10, 3, outcome="tp"),
            seen("customhouse_prediction_outcomes_total", 10, 1, outcome="fn"),
        ]
    )
    mean = sum(losses) / 4
    assert found.log_loss_mean == pytest.approx(mean)
    assert found.log_loss_variance == pytest.approx(sum((x - mean) ** 2 for x in losses) / 3)
    assert found.outcomes == {"fn": 1, "tp": 3}


def test_a_gateway_that_restarts_loses_no_requests_and_counts_none_twice() -> None:
    found = stats([*traffic(-1, 100), *traffic(20, 120), *traffic(40, 15)])
    assert found.requests == 35


def test_a_restart_that_one_counter_shows_counts_for_those_that_hide_it() -> None:
    found = stats(
        [
            seen("customhouse_requests_total", -1, 50, code="200"),
            seen("customhouse_requests_total", 30, 20, code="200"),
            seen("customhouse_request_errors_total", -1, 1),
            seen("customhouse_request_errors_total", 30, 4),
        ]
    )
    assert (found.requests, found.errors) == (20, 4)


def test_buckets_never_fall_though_instances_are_scraped_apart() -> None:
    name = "customhouse_request_duration_seconds_bucket"
    found = stats([seen(name, 10, 9, le="0.1"), seen(name, 10, 7, le="1"), seen(name, 10, 9, le="+Inf")])
    assert found.buckets == ((0.1, 9), (1.0, 9), (math.inf, 9))


def test_processes_give_cpu_and_the_largest_memory() -> None:
    found = stats(
        [
            seen("process_cpu_seconds_total", 10, 1.5, instance="a"),
            seen("process_cpu_seconds_total", 10, 2.5, instance="b"),
            seen("process_resident_memory_bytes", 10, 5_000_000, instance="a"),
            seen("process_resident_memory_bytes", 20, 9_000_000, instance="b"),
            seen("process_resident_memory_bytes", 70, 99_000_000, instance="b"),
        ]
    )
    assert (found.cpu_seconds, found.memory_peak, found.instances) == (4.0, 9_000_000, 2)
