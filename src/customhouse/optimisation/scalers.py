"""What scales a workload in a simulation: Knative's autoscaler, KEDA, a HorizontalPodAutoscaler, and nobody.

Sources: `core.kpa` for Knative; for KEDA its `pollingInterval` and `cooldownPeriod` (v2.21, `pkg/scaling`: between 0
and 1 KEDA itself, above 1 a HorizontalPodAutoscaler of its own making); for the latter Kubernetes'
`pkg/controller/podautoscaler`: every 15 s, tolerance 10 %, at most doubled or 4 more in 15 s, down by the largest of
the last 300 s. An autoscaler by CPU is modelled by requests at a time: its target is the same share of a replica.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Protocol

from customhouse.core.kpa import TICK_S, Scaler, ScaleRule

SYNC_S = 15
_TOLERANCE = 0.1
_STABILISED_S = 300


class Policy(Protocol):
    """How many replicas there should be. Times are whole seconds."""

    metric: str
    """`concurrency` (requests inside) or `rps` (requests a second): what `load` is given."""
    every: int
    """Seconds between two decisions; 0: none is made."""
    first: int
    """Replicas at the beginning."""

    def load(self, second: int, value: float) -> None:
        """The metric's average over the second before `second`."""

    def decide(self, second: int, ready: int, size: int, inside: int) -> int:
        """Replicas wanted; of `size` there should be `ready` are, and `inside` requests wait or are answered."""

    def woken(self, second: int) -> int:
        """A request came while there was no replica: replicas wanted at once; 0 where nobody sees it before `every`."""


class Always:
    """A fixed number of replicas."""

    metric = "concurrency"
    every = 0

    def __init__(self, replicas: int) -> None:
        self.first = replicas

    def load(self, second: int, value: float) -> None:
        """Nothing follows from it."""

    def decide(self, second: int, ready: int, size: int, inside: int) -> int:
        """Always as many."""
        return self.first

    def woken(self, second: int) -> int:
        """Always as many."""
        return self.first


class Knative:
    """Knative's autoscaler; its activator holds what comes at zero."""

    every = TICK_S

    def __init__(self, rule: ScaleRule) -> None:
        self.metric = rule.metric
        self.first = rule.minimum
        self._scaler = Scaler(rule, 0, rule.minimum)

    def load(self, second: int, value: float) -> None:
        """Into both windows."""
        self._scaler.load(second, value)

    def decide(self, second: int, ready: int, size: int, inside: int) -> int:
        """As Knative's reconciler: never zero while something is inside."""
        wanted = self._scaler.wanted(second, ready)
        return max(wanted, 1) if inside else wanted

    def woken(self, second: int) -> int:
        """The activator tells the autoscaler at once."""
        return self._scaler.woken(second)


class Autoscaler:
    """A HorizontalPodAutoscaler by the average of a metric per replica."""

    every = SYNC_S

    def __init__(self, rule: ScaleRule) -> None:
        self._rule = replace(rule, minimum=max(1, rule.minimum))
        self.metric = rule.metric
        self.first = self._rule.minimum
        self._value = 0.0
        self._seconds = 0
        self._down: deque[tuple[int, int]] = deque()

    def load(self, second: int, value: float) -> None:
        """Averaged since the last decision."""
        self._value += value
        self._seconds += 1

    def decide(self, second: int, ready: int, size: int, inside: int) -> int:
        """By the documented formula, tolerance, step and stabilisation."""
        value = self._value / max(1, self._seconds)
        self._value, self._seconds = 0.0, 0
        some = max(1, size)
        ratio = value / (self._rule.target * some)
        wanted = some if abs(ratio - 1) <= _TOLERANCE else math.ceil(value / self._rule.target)
        wanted = self._rule.bounded(min(wanted, max(2 * some, some + 4)))
        while self._down and self._down[0][0] <= second - _STABILISED_S:
            self._down.popleft()
        self._down.append((second, wanted))
        return wanted if wanted >= some else min(some, max(value for _, value in self._down))

    def woken(self, second: int) -> int:
        """It never has none."""
        return self.first


class Keda:
    """KEDA: to and from zero by itself, above one by an autoscaler.

    `holding` is the HTTP add-on, whose interceptor holds a request and tells at once that there is one. Without it the
    source of the events is asked every `polling_s`, and what comes at zero must lie in a queue: nobody else holds it.
    """

    def __init__(self, rule: ScaleRule, polling_s: float, cooldown_s: float, *, holding: bool) -> None:
        self._hpa = Autoscaler(rule)
        self._zero = rule.minimum == 0
        self._least = max(1, rule.minimum)
        self._polling = max(1, round(polling_s))
        self._cooldown = cooldown_s
        self._holding = holding
        self.metric = rule.metric
        self.first = rule.minimum
        self._active = 0
        self.every = math.gcd(SYNC_S, self._polling)

    def load(self, second: int, value: float) -> None:
        """For the autoscaler above one."""
        self._hpa.load(second, value)

    def decide(self, second: int, ready: int, size: int, inside: int) -> int:
        """At a poll: activity, and zero after the cooldown; at a sync: the autoscaler."""
        if inside and (self._holding or second % self._polling == 0):
            self._active = second
        if not size:
            return self._least if inside and self._active == second else 0
        if self._zero and not inside and second - self._active >= self._cooldown:
            return 0
        return self._hpa.decide(second, ready, size, inside) if second % SYNC_S == 0 else size

    def woken(self, second: int) -> int:
        """At once with the HTTP add-on, else at the next poll."""
        if not self._holding:
            return 0
        self._active = second
        return self._least
