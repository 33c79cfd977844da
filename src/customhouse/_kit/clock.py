"""The one place that reads the clock. Every time is UTC-aware; durations are measured on the monotonic clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for records, monotonic seconds for durations; callers never subtract two wall times."""

    def now(self) -> datetime:
        """The wall time, UTC-aware."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""


class SystemClock:
    """The machine's clock, except that wall time never runs backwards within one process.

    A clock that steps back (NTP, a resumed virtual machine) would order a deployment before its own decision; the last
    time handed out is repeated instead, until the machine's clock has caught up.
    """

    def __init__(self) -> None:
        self._latest = datetime.min.replace(tzinfo=UTC)

    def now(self) -> datetime:
        """The wall time, UTC, never earlier than an answer already given."""
        self._latest = max(self._latest, datetime.now(UTC))
        return self._latest

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin."""
        return time.monotonic()


class FixedClock:
    """A clock that moves only when told; for tests and replays."""

    def __init__(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("a FixedClock needs an aware datetime")
        self._at = at.astimezone(UTC)
        self._elapsed = 0.0

    def now(self) -> datetime:
        """The time that was set."""
        return self._at

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        from datetime import timedelta

        self._at += timedelta(seconds=seconds)
        self._elapsed += seconds


def to_rfc3339(at: datetime) -> str:
    """`2026-01-31T10:00:00Z`, microseconds only when there are any (RFC 3339 section 5.6).

    Raises ValueError for a naive datetime: a time without a zone is not a time.
    """
    if at.tzinfo is None:
        raise ValueError("a time needs a zone; use datetime.now(UTC)")
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def from_rfc3339(text: str) -> datetime:
    """The inverse of `to_rfc3339`; any offset is taken and turned into UTC. Raises ValueError for anything else."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no zone; write 2026-01-31T10:00:00Z")
    return at.astimezone(UTC)
