"""Observations: measured numbers with time, source and unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from customhouse.core.resource import ResourceRef


@dataclass(frozen=True, slots=True)
class Observation:
    """One number about one workload.

    `metric` follows Prometheus naming (base unit in the name, `_total` for counters that only grow and start again at
    0 with a new process); `unit` is UCUM-like (`1`, `s`, `By`). `release` names the revision of the workload that was
    measured (the predictor's digest), `instance` the process or pod. `labels` are small and bounded.
    """

    at: datetime
    source: str
    resource: ResourceRef
    release: str
    metric: str
    unit: str
    value: float
    instance: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
