"""Knative's pod autoscaler (KPA) as arithmetic: how many replicas a load asks for. Nothing here starts anything.

The local target scales with it, and the price of a request trace is simulated with it. Source: knative.dev/serving
v0.51.0, `pkg/autoscaler/aggregation` (windows), `pkg/autoscaler/scaling` (the decision) and
`pkg/reconciler/autoscaling/kpa/scaler.go` (bounds and zero). The golden vectors in `tests/golden/kpa.json` were made by
that code itself. Times are whole seconds of any clock that does not jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TICK_S = 2
"""Knative decides every two seconds."""


@dataclass(frozen=True, slots=True)
class ScaleRule:
    """What a revision declares of its scaling, Knative's defaults filled in."""

    target: float
    """What one replica should carry: requests at a time, or requests a second (`metric`); utilisation is in it."""
    minimum: int = 0
    maximum: int = 0
    """0: no bound."""
    metric: str = "concurrency"
    """`concurrency` or `rps`."""
    stable_s: float = 60.0
    panic_percent: float = 10.0
    panic_threshold: float = 2.0
    """Panic begins when the panic window asks for this many times the ready replicas."""
    up_rate: float = 1000.0
    down_rate: float = 2.0
    scale_down_delay_s: float = 0.0
    activation: int = 1
    """The fewest replicas when there are any."""
    initial: int = 1
    """Replicas of a new revision until it was ready once."""
    retention_s: float = 0.0
    """How long the last replica stays after nothing more came for a window."""

    @property
    def panic_s(self) -> float:
        """Length of the panic window."""
        return self.stable_s * self.panic_percent / 100

    def bounded(self, wanted: int) -> int:
        """`wanted` within the declared bounds."""
        wanted = max(wanted, self.minimum)
        return min(wanted, self.maximum) if self.maximum else wanted


class Window:
    """Averages of a value over the last seconds, a bucket a second; a window not yet full is averaged as it is."""

    __slots__ = ("_buckets", "_first", "_last", "_total", "_window")

    def __init__(self, window_s: float) -> None:
        self._window = window_s
        self._buckets = [0.0] * math.ceil(window_s)
        self._first: int | None = None
        self._last: int | None = None
        self._total = 0.0

    def record(self, second: int, value: float) -> None:
        """Add a value to its second; a second before the last one of a whole window is ignored."""
        size, last = len(self._buckets), self._last
        if last != second:
            if last is not None and second + self._window <= last:
                return
            if self._first is None or self._first > second:
                self._first = second
            if last is None or second - last >= self._window:
                self._first, self._total = second, 0.0
                self._buckets = [0.0] * size
                self._last = second
            elif second > last:
                for index in range(last + 1, second + 1):
                    self._total -= self._buckets[index % size]
                    self._buckets[index % size] = 0.0
                self._last = second
        self._buckets[second % size] += value
        self._total += value

    def average(self, second: int) -> float:
        """The average at `second`, to six places; 0 after a window without a value."""
        if self._last is None or self._first is None:
            return 0.0
        size, gone = len(self._buckets), second - self._last
        known = self._last - self._first + 1
        if gone <= 0:
            return _six(self._total / min(known, size))
        if gone >= self._window:
            return 0.0
        total = self._total
        for index in range(self._last + 1, second + 1):
            total -= self._buckets[index % size]
        left = min(known, size - gone)
        return _six(total / left) if left else 0.0


class Delay:
    """The largest of the last decisions: scaling down waits until all of them are lower."""

    __slots__ = ("_held", "_size")

    def __init__(self, delay_s: float) -> None:
        self._size = math.ceil(delay_s / TICK_S)
        self._held: list[tuple[int, int]] = []

    def largest(self, second: int, wanted: int) -> int:
        """Take a decision in; the largest one that still counts."""
        index = second // TICK_S
        self._held = [(at, value) for at, value in self._held if index - at < self._size and value > wanted]
        self._held.append((index, wanted))
        return self._held[0][1]


class Decider:
    """One revision's decisions. It remembers since when it panics, and the most replicas since."""

    __slots__ = ("_delay", "_most", "_panicking", "_rule")

    def __init__(self, rule: ScaleRule, ready: int = 0, second: int = 0) -> None:
        """`ready` above 1 (a restart): it begins in panic, so that it does not scale down before it knows the load."""
        self._rule = rule
        self._panicking: int | None = second if ready > 1 else None
        self._most = ready
        self._delay = Delay(rule.scale_down_delay_s) if rule.scale_down_delay_s > 0 else None

    @property
    def panicking(self) -> bool:
        """Whether it scales by the panic window, and never down."""
        return self._panicking is not None

    def decide(self, second: int, ready: int, stable: float, panic: float) -> int:
        """Replicas wanted, before the declared bounds. Numbered: (1) rates, (2) activation, (3) panic, (4) delay."""
        rule, some = self._rule, max(1, ready)
        by_stable, by_panic = math.ceil(stable / rule.target), math.ceil(panic / rule.target)
        most, least = math.ceil(rule.up_rate * some), math.floor(some / rule.down_rate)
        wanted, urgent = min(max(by_stable, least), most), min(max(by_panic, least), most)  # (1)
        if rule.activation > 1:  # (2)
            wanted = max(wanted, rule.activation) if by_stable > 0 else wanted
            urgent = max(urgent, rule.activation) if by_panic > 0 else urgent
        if by_panic / some >= rule.panic_threshold:  # (3)
            self._panicking = second
        elif self._panicking is not None and self._panicking + rule.stable_s < second:
            self._panicking, self._most = None, 0
        if self._panicking is not None:
            self._most = wanted = max(wanted, urgent, self._most)
        return wanted if self._delay is None else self._delay.largest(second, wanted)  # (4)


class Scaler:
    """Windows, decision, bounds and the way to zero of one revision.

    `load` once a second, `wanted` every `TICK_S` seconds, and at once when something comes while there is no replica.
    """

    __slots__ = ("_active", "_decider", "_idle", "_panic", "_rule", "_stable")

    def __init__(self, rule: ScaleRule, second: int, ready: int = 0) -> None:
        self._rule = rule
        self._decider = Decider(rule, ready, second)
        self._stable, self._panic = Window(rule.stable_s), Window(max(1.0, rule.panic_s))
        self._active = second
        """Since when there has been something to do; zero comes a whole stable window after it at the earliest."""
        self._idle: int | None = None

    def load(self, second: int, value: float) -> None:
        """The average of the metric over the second before `second`."""
        self._stable.record(second, value)
        self._panic.record(second, value)

    def woken(self, second: int) -> int:
        """Something came while nothing ran: replicas wanted at once."""
        self._active, self._idle = second, None
        return self._rule.bounded(max(1, self._rule.activation))

    def wanted(self, second: int, ready: int) -> int:
        """Replicas wanted now, within the bounds."""
        rule = self._rule
        asked = self._decider.decide(second, ready, self._stable.average(second), self._panic.average(second))
        wanted = rule.bounded(asked)
        if wanted > 0:
            self._idle = None
            return wanted
        if second - self._active < rule.stable_s:
            return 1
        if self._idle is None:
            self._idle = second
        return 1 if second - self._idle < rule.retention_s else 0


def _six(value: float) -> float:
    return math.floor(value * 1e6 + 0.5) / 1e6
