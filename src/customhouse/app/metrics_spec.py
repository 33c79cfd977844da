"""The part `metrics` of customhouse.yaml: where what was measured of releases is asked for, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_ARM = 'namespace="$namespace",service="$name",revision="$revision"'
QUERIES: Mapping[str, str] = MappingProxyType(
    {
        "requests": f"sum(customhouse_requests_total{{{_ARM}}})",
        "errors": f"sum(customhouse_request_errors_total{{{_ARM}}})",
        "latency": f"sum by (le) (customhouse_request_duration_seconds_bucket{{{_ARM}}})",
        "seconds": f"sum(customhouse_request_duration_seconds_sum{{{_ARM}}})",
        "answered": f"sum(customhouse_request_duration_seconds_count{{{_ARM}}})",
        "labelled": f"sum(customhouse_predictions_labelled_total{{{_ARM}}})",
        "logLoss": f"sum(customhouse_prediction_log_loss_sum{{{_ARM}}})",
        "logLossSquares": f"sum(customhouse_prediction_log_loss_squares_sum{{{_ARM}}})",
        "outcomes": f"sum by (outcome) (customhouse_prediction_outcomes_total{{{_ARM}}})",
        "scores": f"sum by (bin) (customhouse_prediction_scores_total{{{_ARM}}})",
    }
)
"""What is asked where customhouse.yaml says nothing else: the metrics of Customhouse's own server, by revision."""


@dataclass(frozen=True, slots=True)
class MetricsSpec:
    """A Prometheus, and a query for each counter. `$namespace`, `$name` and `$revision` are put in as label values."""

    prometheus: str = ""
    queries: Mapping[str, str] = field(default_factory=lambda: QUERIES)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> MetricsSpec:
        """From a checked document."""
        return cls(document.get("prometheus") or "", {**QUERIES, **(document.get("queries") or {})})

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml says it, with every query that is asked."""
        return {"prometheus": self.prometheus or None, "queries": dict(self.queries)}
