"""A request trace against something that scales: replica time paid for, and how long each request waited.

    outcome = simulate(Trace(times, seconds, span), Knative(rule), Pod(cold_s=20, at_a_time=4))

Numbered as in the code: (1) the next event is an arrival, an answer, a replica that is ready, or the end of a second;
(2) what waits is given to the replica with the fewest requests, in order of arrival; (3) each second the policy is told
the load, and asked when its time comes; (4) a replica is paid from its creation (it is pulled and loaded on a machine
that is there) to its end, and ends when what it had is answered. While there is nothing at all, time jumps.

A request takes as long as the trace says, however many others its replica has: declare `at_a_time` and the seconds as
they were measured together.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from customhouse.optimisation.scalers import Policy

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order: arrival and duration in seconds, both from the beginning of `span` seconds."""

    arrivals: Sequence[float]
    seconds: Sequence[float]
    span: float


@dataclass(frozen=True, slots=True)
class Pod:
    """A replica: seconds from its creation until it answers, and requests that it takes at a time (0: any number)."""

    cold_s: float
    at_a_time: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy did with a trace. Delays in seconds: from the arrival to the beginning of the answer."""

    replica_ms: int
    daily_ms: tuple[int, ...]
    """The same by day of the trace; the last day may be a part of one."""
    requests: int
    at_zero: int
    """Requests that came while no replica was ready."""
    delay_p50: float
    delay_p99: float
    delay_max: float
    late: int
    """Requests that waited at all (more than a millisecond)."""
    starts_from_zero: int
    peak: int
    zero_s: float
    """Seconds without any replica."""


@dataclass(slots=True)
class _Replica:
    begun: float
    ready_at: float
    inside: int = 0
    going: bool = False


@dataclass(slots=True)
class _State:
    pod: Pod
    ready: list[_Replica] = field(default_factory=list)
    coming: deque[_Replica] = field(default_factory=deque)
    queue: deque[int] = field(default_factory=deque)
    answers: list[tuple[float, int, _Replica]] = field(default_factory=list)
    paid: list[tuple[float, float]] = field(default_factory=list)
    inside: int = 0
    peak: int = 0
    from_zero: int = 0
    draining: int = 0

    @property
    def some(self) -> bool:
        return bool(self.ready or self.coming or self.draining)

    @property
    def size(self) -> int:
        """Replicas that there should be."""
        return len(self.ready) + len(self.coming)

    def resize(self, now: float, wanted: int) -> None:
        """(4) More replicas from now on, or fewer: first those that are not ready, then those with the least to do."""
        while len(self.ready) + len(self.coming) < wanted:
            if not self.size:
                self.from_zero += 1
            self.coming.append(_Replica(now, now + self.pod.cold_s))
        self.peak = max(self.peak, len(self.ready) + len(self.coming))
        while self.coming and len(self.ready) + len(self.coming) > wanted:
            self.paid.append((self.coming.pop().begun, now))
        while len(self.ready) > wanted:
            spare = min(self.ready, key=lambda replica: replica.inside)
            self.ready.remove(spare)
            spare.going = True
            if spare.inside:
                self.draining += 1
            else:
                self.paid.append((spare.begun, now))

    def place(self) -> _Replica | None:
        """(2) The replica with the fewest requests that has room."""
        if not self.ready:
            return None
        best = min(self.ready, key=lambda replica: replica.inside) if len(self.ready) > 1 else self.ready[0]
        return None if self.pod.at_a_time and best.inside >= self.pod.at_a_time else best

    def answered(self, now: float, replica: _Replica) -> None:
        replica.inside -= 1
        self.inside -= 1
        if replica.going and not replica.inside:
            self.draining -= 1
            self.paid.append((replica.begun, now))


class _Play:
    """One trace against one policy, event by event."""

    def __init__(self, trace: Trace, policy: Policy, pod: Pod) -> None:
        self.trace, self.policy = trace, policy
        self.state = _State(pod, ready=[_Replica(0.0, 0.0) for _ in range(policy.first)], peak=policy.first)
        self.delays = [-1.0] * len(trace.arrivals)
        self.at_zero, self.empty = 0, 0.0
        self._index, self._second, self._now = 0, 1, 0.0
        self._area, self._came = 0.0, 0

    def due(self) -> float:
        """(1) When something happens next."""
        state, arrivals = self.state, self.trace.arrivals
        due = arrivals[self._index] if self._index < len(arrivals) else math.inf
        if state.answers and state.answers[0][0] < due:
            due = state.answers[0][0]
        if state.coming and state.coming[0].ready_at < due:
            due = state.coming[0].ready_at
        if self.policy.every and self._second < due and (state.some or state.queue):
            due = float(self._second)
        return due

    def pass_to(self, now: float) -> None:
        """Let time go by."""
        state = self.state
        if not state.some:
            self.empty += now - self._now
            if self.policy.every and not state.queue:
                self._second, self._area = math.floor(now) + 1, 0.0
        self._area += state.inside * (now - self._now)
        self._now = now

    def happen(self) -> None:
        """What is due now."""
        state, now = self.state, self._now
        while state.answers and state.answers[0][0] <= now:
            state.answered(now, heapq.heappop(state.answers)[2])
        while state.coming and state.coming[0].ready_at <= now:
            state.ready.append(state.coming.popleft())
        self._arrive()
        if self.policy.every and now >= self._second:
            self._tick()
        self._hand_out()

    def _arrive(self) -> None:
        state, arrivals = self.state, self.trace.arrivals
        while self._index < len(arrivals) and arrivals[self._index] <= self._now:
            if not state.ready:
                self.at_zero += 1
                if not state.size:
                    state.resize(self._now, self.policy.woken(math.floor(self._now)))
            state.queue.append(self._index)
            state.inside += 1
            self._came += 1
            self._index += 1

    def _tick(self) -> None:
        """(3) A second has ended."""
        state, policy, second = self.state, self.policy, self._second
        policy.load(second, self._area if policy.metric == "concurrency" else float(self._came))
        self._area, self._came = 0.0, 0
        if second % policy.every == 0:
            state.resize(self._now, policy.decide(second, len(state.ready), state.size, state.inside))
        self._second += 1

    def _hand_out(self) -> None:
        state, now = self.state, self._now
        while state.queue:
            replica = state.place()
            if replica is None:
                return
            which = state.queue.popleft()
            self.delays[which] = now - self.trace.arrivals[which]
            replica.inside += 1
            heapq.heappush(state.answers, (now + self.trace.seconds[which], which, replica))


def simulate(trace: Trace, policy: Policy, pod: Pod) -> Outcome:
    """Play a trace. What is still waiting at the end of `span` waits until then; cost is counted up to it."""
    play = _Play(trace, policy, pod)
    while (due := play.due()) < trace.span:
        play.pass_to(due)
        play.happen()
    play.pass_to(trace.span)
    return _outcome(trace, play.state, play.delays, play.at_zero, play.empty)


def _outcome(trace: Trace, state: _State, delays: list[float], at_zero: int, empty: float) -> Outcome:
    span = trace.span
    left = {id(entry[2]): entry[2] for entry in state.answers if entry[2].going}
    running = [*state.ready, *state.coming, *left.values()]
    paid = state.paid + [(replica.begun, span) for replica in running]
    waited = sorted(delay if delay >= 0 else span - trace.arrivals[which] for which, delay in enumerate(delays))
    days = [0] * max(1, math.ceil(span / DAY_S))
    for begun, ended in paid:
        for day in range(int(begun // DAY_S), min(len(days) - 1, int(ended // DAY_S)) + 1):
            low, high = max(begun, day * DAY_S), min(ended, (day + 1) * DAY_S)
            days[day] += max(0, round(high * 1000) - round(low * 1000))
    return Outcome(
        replica_ms=sum(days),
        daily_ms=tuple(days),
        requests=len(delays),
        at_zero=at_zero,
        delay_p50=_quantile(waited, 0.5),
        delay_p99=_quantile(waited, 0.99),
        delay_max=waited[-1] if waited else 0.0,
        late=sum(delay > 1e-3 for delay in waited),
        starts_from_zero=state.from_zero,
        peak=state.peak,
        zero_s=empty,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share is not above."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def fewest(trace: Trace, pod: Pod, longest_s: float, most: int = 512) -> int:
    """The fewest replicas, always on, with which 99 of 100 requests begin within `longest_s`."""
    from customhouse.optimisation.scalers import Always

    if not pod.at_a_time:
        return 1
    low, high = 1, 1
    while high < most and simulate(trace, Always(high), pod).delay_p99 > longest_s:
        low, high = high + 1, high * 2
    while low < high:
        middle = (low + high) // 2
        if simulate(trace, Always(middle), pod).delay_p99 > longest_s:
            low = middle + 1
        else:
            high = middle
    return high


def scaled(trace: Trace, factor: float) -> Trace:
    """The trace with `factor` times its requests, at the same times: each is kept that often, spread evenly."""
    arrivals: list[float] = []
    seconds: list[float] = []
    carried = 0.0
    for at, taken in zip(trace.arrivals, trace.seconds, strict=True):
        carried += factor
        while carried >= 1:
            arrivals.append(at)
            seconds.append(taken)
            carried -= 1
    return Trace(arrivals, seconds, trace.span)
