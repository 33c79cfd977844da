"""When something is tried again, and for how long: pauses that grow, and what one call has behind it."""

from __future__ import annotations

import random
from typing import Protocol

from customhouse.core.errors import TargetError
from customhouse.execution.adapters.kubernetes.errors import ApiError, UnreachableError
from customhouse.execution.adapters.kubernetes.pace import Pace

REQUEST_S = 60.0
DEADLINE_S = 120.0
"""One call with all its retries."""
UNKNOWN_S = 15.0
"""One call to an API that has never answered: more likely it is not where it is looked for than about to return."""
ALONE_S = 15.0
"""One call that finds its part of the API closed (503, 504) while the API answers others: a group whose own server is
down is not waited for as the whole API is."""
GONE_S = 20.0
"""One call to an API that reaches nobody: whoever asks for longer than a restart takes is told so, and asks again."""
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_BUSY = frozenset({429, 502, 503, 504})
_TRIES_AT_500 = 4
"""An internal error may be a change of etcd's leader, or an API server that has just started and cannot give addresses
to Services yet, which are over in seconds; a webhook that is down is not."""


class Backoff:
    """Pauses that double, each drawn between its half and its whole, so that many clients do not come back at once."""

    def __init__(self, first: float = _FIRST_PAUSE_S, longest: float = _LONGEST_PAUSE_S) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def pause(self, told: float | None = None) -> float:
        """Seconds to wait now; at least what the server told, which is bounded as well."""
        length, self._next = self._next, min(self._next * 2, self._longest)
        drawn = length * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        spread = random.uniform(1.0, 1.25)  # noqa: S311 - what is told to many at once is not to bring them all at once
        return max(drawn, min(told or 0.0, 60.0) * spread)

    def succeeded(self) -> None:
        """Begin again with the shortest pause."""
        self._next = self._first


class Answering(Protocol):
    """What is known of an API while it is asked."""

    def monotonic(self) -> float:
        """Seconds, to tell how long something took."""

    def answers_others(self, since: float) -> bool:
        """Whether the API has done what somebody asked, after that moment."""


class Tries:
    """What one call has behind it, and whether it is to be tried again."""

    def __init__(self, transport: Answering, path: str, again: bool, deadline_s: float, pace: Pace | None) -> None:
        self._transport = transport
        self._path = path
        self._again = again
        self._pace = pace
        self._backoff = Backoff()
        self._end = transport.monotonic() + deadline_s
        self._began = 0.0
        self._refused_at: float | None = None
        self._lost_at: float | None = None
        self._internal = 0
        self._sent = False
        self.renewed = False
        self.issue = 0

    def begin(self, issue: int) -> None:
        """It is sent now, with the credentials of that issue."""
        self._began = self._transport.monotonic()
        self.issue = issue

    def patience(self) -> float:
        """Seconds for this try."""
        return max(min(self._end - self._began, REQUEST_S), 0.001)

    def pause(self, problem: TargetError) -> float:
        """Seconds until the next try. Raises the problem when there is to be none."""
        status, told = (problem.status, problem.retry_after) if isinstance(problem, ApiError) else (0, None)
        now = self._transport.monotonic()
        pause = self._backoff.pause(told)
        if isinstance(problem, UnreachableError):
            # An earlier try may have been done, whatever became of this one.
            self._sent = problem.sent = problem.sent or self._sent
            self._lost_at = now if self._lost_at is None else self._lost_at
            if now - self._lost_at >= GONE_S and not self._transport.answers_others(self._lost_at):
                raise problem
        if not self._passing(problem, status, told) or now + pause >= self._end:
            raise problem
        if status in (503, 504):
            self._refused_at = now if self._refused_at is None else self._refused_at
            if self._transport.answers_others(self._refused_at) and now - self._refused_at >= ALONE_S:
                raise problem
        if status == 429 and self._pace is not None:
            self._pace.refused(self._began, pause)  # holds this one too
            return 0.0
        return pause

    def _passing(self, problem: TargetError, status: int, told: float | None) -> bool:
        if isinstance(problem, ApiError) and problem.by_budget:
            return False  # who asks knows better when to ask again: what is in the way may be minutes
        if status == 429:
            return True  # nothing was done
        if not self._again:
            return False
        if isinstance(problem, ApiError) and status == 500 and told is None:
            self._internal += 1
            return self._internal < _TRIES_AT_500 and "webhook" not in problem.message
        return isinstance(problem, UnreachableError) or status in _BUSY or told is not None
