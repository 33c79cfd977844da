"""How many requests are under way at a time, as many as the API has time for.

Each answer lets in a little more, each "too many requests" (429, Kubernetes' API priority and fairness) half as many,
and nobody before the time that it named: additive increase and multiplicative decrease, as TCP does it.
"""

from __future__ import annotations

import asyncio
from collections import deque

from customhouse._kit.clock import Clock

FIRST = 8
MOST = 24
"""A kube-apiserver takes 200 changes at a time from everybody (--max-mutating-requests-inflight)."""
LONGEST_HOLD_S = 60.0


class Pace:
    """Slots for requests; used from one event loop."""

    def __init__(self, clock: Clock, *, first: int = FIRST, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._limit = float(min(first, most))
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._held_until = float("-inf")
        self._cut_at = float("-inf")

    @property
    def limit(self) -> int:
        """How many may be under way now."""
        return int(self._limit)

    async def enter(self) -> None:
        """Wait for a slot and take it; `leave` gives it back, whatever happens in between."""
        while self._under_way >= self.limit:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()  # it was our turn: somebody else's now
                raise
        self._under_way += 1
        try:
            while (hold := self._held_until - self._clock.monotonic()) > 0:
                await asyncio.sleep(hold)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Give the slot back."""
        self._under_way -= 1
        self._next()

    def answered(self) -> None:
        """The API had time for one. Only who uses the whole limit learns that there may be more."""
        if self._under_way >= self.limit:
            self._limit = min(self._limit + 1 / self._limit, float(self._most))

    def refused(self, began: float, hold_s: float) -> None:
        """The API had no time for one that was sent at `began`, and wants none before `hold_s` have passed.

        What was under way when the limit was last cut says nothing about the new limit.
        """
        now = self._clock.monotonic()
        self._held_until = max(self._held_until, now + min(hold_s, LONGEST_HOLD_S))
        if began > self._cut_at:
            self._cut_at = now
            self._limit = max(self._limit / 2, 1.0)

    def _next(self) -> None:
        free = self.limit - self._under_way
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
