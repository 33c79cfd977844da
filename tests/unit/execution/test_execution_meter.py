"""Counters of the local target: latency buckets, quality of labelled predictions, Prometheus text."""

from __future__ import annotations

import math

import pytest

from customhouse.execution.adapters.local.meter import Traffic, exposition, samples


def test_latency_buckets_are_cumulative_and_bounds_belong_to_their_bucket() -> None:
    traffic = Traffic()
    for seconds in (0.001, 0.0011, 99.0):
        traffic.record(200, seconds)
    counts = traffic.cumulative()
    assert counts[:2] == [1, 2]
    assert counts[-2:] == [2, 3]


def test_only_the_servers_own_failures_are_errors() -> None:
    traffic = Traffic()
    for status in (200, 400, 500, 503):
        traffic.record(status, 0.01)
    assert traffic.errors == 2
    assert traffic.to_json()["requests"] == {"200": 1, "400": 1, "500": 1, "503": 1}


@pytest.mark.parametrize(
    ("row", "label", "outcome", "share"),
    [
        ([0.9], 1, "tp", 0.9),
        ([0.9], 0, "fp", 0.1),
        ([0.1], 0, "tn", 0.9),
        ([0.1], 1, "fn", 0.1),
        ([0.3, 0.7], 1, "tp", 0.7),
        ([0.2, 0.7, 0.1], 1, "correct", 0.7),
        ([0.2, 0.7, 0.1], 2, "wrong", 0.1),
    ],
)
def test_quality_of_a_labelled_prediction(row: list[float], label: int, outcome: str, share: float) -> None:
    traffic = Traffic()
    traffic.label(row, label)
    assert traffic.outcomes == {outcome: 1}
    assert traffic.log_loss == pytest.approx(-math.log(share))
    assert traffic.log_loss_squares == pytest.approx(math.log(share) ** 2)


def test_a_certain_wrong_answer_costs_much_but_not_everything() -> None:
    traffic = Traffic()
    traffic.label([1.0], 0)
    assert traffic.log_loss == pytest.approx(-math.log(1e-7))
    with pytest.raises(ValueError, match="not one of the classes"):
        traffic.label([0.5], 2)


def test_the_exposition_groups_a_metric_once_and_escapes_labels() -> None:
    traffic = Traffic()
    traffic.record(200, 0.02)
    traffic.label([0.9], 1)
    rows = [(name, {"service": 'a"b\\c\n', **labels}, value) for name, _, labels, value in samples(traffic.to_json())]
    text = exposition(rows).decode()
    assert text.count("# TYPE customhouse_request_duration_seconds histogram") == 1
    assert text.count("# TYPE customhouse_requests_total counter") == 1
    assert 'service="a\\"b\\\\c\\n",code="200"} 1\n' in text
    assert 'le="+Inf"} 1\n' in text
