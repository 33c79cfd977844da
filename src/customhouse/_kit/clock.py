"""The one place that reads the clock. Every time is UTC-aware; durations are measured on the monotonic clock."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Protocol

# Python's fromisoformat takes weeks, dates without dashes and offsets without a colon as well; RFC 3339 does not.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


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
    """The inverse of `to_rfc3339`; any offset is taken and turned into UTC, nanoseconds are cut to microseconds.

    Raises ValueError for anything that RFC 3339 section 5.6 does not allow.
    """
    if not _RFC3339.fullmatch(text.upper()):
        raise ValueError(f"{text[:64]!r} is not a time with a zone; write 2026-01-31T10:00:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is before the year 1 or after the year 9999 in UTC") from error
