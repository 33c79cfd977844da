"""The real Prometheus on a small exporter: what is asked comes back as numbers, or as an error that says why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from customhouse.core.errors import TargetError
from customhouse.observability.adapters.prometheus import Prometheus
from prometheus_server import free_port, prometheus_of

pytestmark = pytest.mark.part("prometheus")

METRICS = """\
customhouse_requests_total{namespace="n",service="x",revision="a",code="200"} 40
customhouse_requests_total{namespace="n",service="x",revision="a",code="500"} 2
customhouse_request_duration_seconds_bucket{namespace="n",service="x",revision="a",le="0.1"} 30
customhouse_request_duration_seconds_bucket{namespace="n",service="x",revision="a",le="+Inf"} 42
broken_ratio NaN
"""


def until(asked: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if asked():
                return
        except TargetError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture(scope="module")
def address(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus_of(find_part("prometheus"), tmp_path_factory.mktemp("prometheus"), lambda: METRICS) as url:
        until(lambda: Prometheus(url).query("customhouse_requests_total", datetime.now(UTC)))
        yield url


def test_sums_and_histograms_come_back_by_label(address: str) -> None:
    server, now = Prometheus(address), datetime.now(UTC)
    (whole,) = server.query('sum(customhouse_requests_total{namespace="n",revision="a"})', now)
    assert (whole.value, dict(whole.labels)) == (42.0, {})
    buckets = server.query("sum by (le) (customhouse_request_duration_seconds_bucket)", now)
    assert {item.labels["le"]: item.value for item in buckets} == {"0.1": 30.0, "+Inf": 42.0}
    assert server.query("scalar(vector(3))", now)[0].value == 3.0
    assert server.query('customhouse_requests_total{revision="nobody"}', now) == ()
    assert server.query("broken_ratio", now) == ()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("sum(", "refuses 'sum\\('"),
        ("customhouse_requests_total[5m]", "gives matrix"),
        ("x" * 9000, "more than 8192 characters"),
    ],
)
def test_a_query_that_is_wrong_is_an_error_and_no_empty_answer(address: str, query: str, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        Prometheus(address).query(query, datetime.now(UTC))


def test_a_server_that_is_gone_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(TargetError, match="cannot be asked") as caught:
        Prometheus(f"http://127.0.0.1:{free_port()}").query("up", datetime.now(UTC))
    assert "metrics.prometheus" in str(caught.value.hint)
