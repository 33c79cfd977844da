"""Counters of requests, latency and prediction quality, and their Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram, in seconds."""
MOST_BINS = 32
"""Classes that are counted apart; those beyond are counted with the last."""
_CLIP = 1e-7
"""A probability of exactly 0 or 1 would make one wrong answer an infinite loss; float32 resolves about 6e-8."""


class Traffic:
    """What one revision served: requests by status code, errors (5xx), latency, quality of labelled predictions."""

    __slots__ = (
        "counts", "errors", "labelled", "log_loss", "log_loss_squares", "observed", "outcomes", "requests", "scores",
        "seconds", "squares",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests: dict[int, int] = {}
        self.errors = 0
        self.counts = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.squares = 0.0
        self.observed = 0
        self.labelled = 0
        self.log_loss = 0.0
        self.log_loss_squares = 0.0
        self.outcomes: dict[str, int] = {}
        self.scores: dict[str, int] = {}

    def record(self, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests[status] = self.requests.get(status, 0) + 1
        if status >= 500:
            self.errors += 1
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds
        self.squares += seconds * seconds
        self.observed += 1

    def said(self, rows: Sequence[Sequence[float]]) -> None:
        """Count predictions by what they say: tenths of the probability of class 1, of many classes the largest."""
        for row in rows:
            if len(row) <= 2:
                place = min(max(int(row[-1] * 10), 0), 9)
            else:
                place = min(list(row).index(max(row)), MOST_BINS - 1)
            name = str(place)
            self.scores[name] = self.scores.get(name, 0) + 1

    def label(self, row: Sequence[float], label: int) -> None:
        """Count the true label of one prediction.

        `row` is one row of the model's output: one value is the probability of class 1 (outcomes tp, fp, tn, fn at
        0.5), two are the probabilities of both classes, more are those of many (outcomes correct, wrong by the
        largest). Log-loss is clipped at 1e-7. Raises ValueError when the label is not one of the classes.
        """
        classes = max(2, len(row))
        if not 0 <= label < classes:
            raise ValueError(f"label {label} is not one of the classes 0 to {classes - 1}")
        if len(row) <= 2:
            positive = row[-1] >= 0.5
            share = row[-1] if label else 1.0 - row[-1]
            outcome = ("t" if positive == bool(label) else "f") + ("p" if positive else "n")
        else:
            best = max(range(len(row)), key=lambda index: row[index])
            share = row[label]
            outcome = "correct" if best == label else "wrong"
        loss = -math.log(min(max(share, _CLIP), 1.0))
        self.labelled += 1
        self.log_loss += loss
        self.log_loss_squares += loss * loss
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def to_json(self) -> dict[str, Any]:
        """The counters as JSON; `buckets` are cumulative, as Prometheus has them."""
        return {
            "requests": {str(code): count for code, count in sorted(self.requests.items())},
            "errors": self.errors,
            "buckets": self.cumulative(),
            "seconds": self.seconds,
            "squares": self.squares,
            "scores": dict(self.scores),
            "observed": self.observed,
            "labelled": self.labelled,
            "log_loss": self.log_loss,
            "log_loss_squares": self.log_loss_squares,
            "outcomes": dict(self.outcomes),
        }

    def cumulative(self) -> list[int]:
        """Requests at or under each bound of BUCKETS, and in all."""
        total, result = 0, []
        for count in self.counts:
            total += count
            result.append(total)
        return result


def samples(traffic: Mapping[str, Any]) -> Iterable[tuple[str, str, dict[str, str], float]]:
    """The metrics of a `Traffic.to_json`: name, unit, labels, value."""
    for code, count in traffic["requests"].items():
        yield "customhouse_requests_total", "1", {"code": code}, count
    yield "customhouse_request_errors_total", "1", {}, traffic["errors"]
    for bound, count in zip((*BUCKETS, "+Inf"), traffic["buckets"], strict=True):
        yield "customhouse_request_duration_seconds_bucket", "1", {"le": str(bound)}, count
    yield "customhouse_request_duration_seconds_sum", "s", {}, traffic["seconds"]
    yield "customhouse_request_duration_seconds_count", "1", {}, traffic["observed"]
    yield "customhouse_request_duration_squares_total", "s2", {}, traffic["squares"]
    for place, count in traffic["scores"].items():
        yield "customhouse_prediction_scores_total", "1", {"bin": place}, count
    if traffic["labelled"]:
        yield "customhouse_predictions_labelled_total", "1", {}, traffic["labelled"]
        yield "customhouse_prediction_log_loss_sum", "1", {}, traffic["log_loss"]
        yield "customhouse_prediction_log_loss_squares_sum", "1", {}, traffic["log_loss_squares"]
        for outcome, count in traffic["outcomes"].items():
            yield "customhouse_prediction_outcomes_total", "1", {"outcome": outcome}, count


def exposition(rows: Iterable[tuple[str, Mapping[str, str], float]]) -> bytes:
    """Prometheus text of samples, grouped by metric in order of first sight."""
    groups: dict[str, list[str]] = {}
    for name, labels, value in rows:
        inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        groups.setdefault(_family(name), []).append(f"{name}{{{inner}}} {_number(value)}\n")
    lines: list[str] = []
    for family, rows_of in groups.items():
        kind = "histogram" if family.endswith("_seconds") and "duration" in family else "gauge"
        if family.endswith("_total"):
            kind = "counter"
        lines.append(f"# TYPE {family} {kind}\n")
        lines.extend(rows_of)
    return "".join(lines).encode()


def _family(name: str) -> str:
    for suffix in ("_bucket", "_sum", "_count"):
        if name.endswith(suffix) and "duration" in name:
            return name.removesuffix(suffix)
    return name


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
