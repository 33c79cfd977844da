"""The webhook's own metrics, Prometheus text format 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_POINTS = ("validate", "mutate", "validate-image")


@dataclass(slots=True)
class Metrics:
    """Counters of one front. Durations are seconds from the last byte of a request to its answer."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0
    reloads: int = 0
    reload_failures: int = 0
    certificate_reloads: int = 0
    certificate_failures: int = 0
    restarts: int = 0
    late: int = 0
    unrecorded: int = 0

    def observe(self, kind: int, label: str, seconds: float) -> None:
        """Count one answer."""
        self.answers[_POINTS[kind], label] += 1
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1

    def text(self, *, generation: int, sound: bool, alerts: int, ends: float, evaluators: int, connections: int) -> str:
        """All of it; `sound` False: the newest rules could not be taken over. `ends`: seconds since 1970."""
        name = "customhouse_admission"
        lines = [f"# HELP {name}_answers_total Answers by path and verdict.", f"# TYPE {name}_answers_total counter"]
        lines += [
            f'{name}_answers_total{{path="/{path}",verdict="{verdict}"}} {count}'
            for (path, verdict), count in sorted(self.answers.items())
        ]
        lines += [f"# HELP {name}_seconds Time to an answer.", f"# TYPE {name}_seconds histogram"]
        running = 0
        for bound, count in zip((*BUCKETS, "+Inf"), self.buckets, strict=True):
            running += count
            lines.append(f'{name}_seconds_bucket{{le="{bound}"}} {running}')
        lines += [f"{name}_seconds_sum {self.seconds:.6f}", f"{name}_seconds_count {running}"]
        for key, kind, text, value in (
            ("reloads_total", "counter", "New generations that were taken over.", self.reloads),
            ("reload_failures_total", "counter", "New generations that were refused.", self.reload_failures),
            ("certificate_reloads_total", "counter", "Certificates that were taken over.", self.certificate_reloads),
            ("certificate_failures_total", "counter", "Certificates that were refused.", self.certificate_failures),
            ("evaluator_restarts_total", "counter", "Evaluators that died or were ended.", self.restarts),
            ("late_total", "counter", "Reviews refused because a decision would have come too late.", self.late),
            ("unrecorded_total", "counter", "Answers that are not in the ledger.", self.unrecorded),
            ("generation", "gauge", "Number of the generation that judges.", generation),
            ("rules_current", "gauge", "0 while the newest rules could not be taken over.", int(sound)),
            ("policy_alerts", "gauge", "Bundles that are a last good one, since their source cannot be used.", alerts),
            ("certificate_end_seconds", "gauge", "When the certificate ends.", round(ends)),
            ("evaluators", "gauge", "Evaluators that judge.", evaluators),
            ("connections", "gauge", "Open connections.", connections),
        ):
            lines += [f"# HELP {name}_{key} {text}", f"# TYPE {name}_{key} {kind}", f"{name}_{key} {value}"]
        return "\n".join(lines) + "\n"
