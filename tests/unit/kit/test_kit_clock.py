"""Time: never backwards, always with a zone, RFC 3339 and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from customhouse._kit import clock
from customhouse._kit.clock import FixedClock, SystemClock, from_rfc3339, to_rfc3339

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_clock_that_steps_back_repeats_itself_until_the_machine_has_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = [NOON + timedelta(seconds=offset) for offset in (0, 5, -3600, 4, 6)]

    class Stepping(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return told.pop(0)

    monkeypatch.setattr(clock, "datetime", Stepping)
    system = SystemClock()
    seconds = [(system.now() - NOON).total_seconds() for _ in range(5)]
    assert seconds == [0, 5, 5, 5, 6]


def test_the_machines_clock_has_a_zone_and_its_durations_do_not_go_back() -> None:
    system = SystemClock()
    times = [system.now() for _ in range(50)]
    assert times == sorted(times)
    assert times[0].utcoffset() == timedelta(0)
    ticks = [system.monotonic() for _ in range(50)]
    assert ticks == sorted(ticks)


def test_a_fixed_clock_moves_only_when_told() -> None:
    fixed = FixedClock(datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1))))
    assert (fixed.now(), fixed.monotonic()) == (NOON, 0.0)
    fixed.advance(90)
    assert (fixed.now(), fixed.monotonic()) == (NOON + timedelta(seconds=90), 90.0)
    with pytest.raises(ValueError, match="aware"):
        FixedClock(NOON.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31t12:00:00z", NOON),
        ("2026-01-31T13:30:00+01:30", NOON),
        ("2026-01-31T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        # Kubernetes and Go write nanoseconds; what is finer than a microsecond is cut off.
        ("2026-01-31T12:00:00.123456789Z", NOON + timedelta(microseconds=123_456)),
        ("1937-01-01T12:00:27.87+00:20", datetime(1937, 1, 1, 11, 40, 27, 870_000, tzinfo=UTC)),
    ],
)
def test_rfc_3339_is_read_with_any_offset(text: str, at: datetime) -> None:
    assert from_rfc3339(text) == at
    assert from_rfc3339(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-01-31", "2026-01-31T12:00:00", "20260131T120000Z", "2026-W05-6T12:00:00Z", "2026-01-31T12:00Z",
     "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-31T25:00:00Z", "2026-01-31T12:00:00+0100",
     "2026-01-31T12:00:00Z ", "٢٠٢٦-01-31T12:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"],
)  # fmt: skip
def test_what_is_not_rfc_3339_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_rfc3339(text)


def test_a_time_without_a_zone_is_not_written() -> None:
    with pytest.raises(ValueError, match="zone"):
        to_rfc3339(NOON.replace(tzinfo=None))
    assert to_rfc3339(NOON.replace(microsecond=5)) == "2026-01-31T12:00:00.000005Z"
