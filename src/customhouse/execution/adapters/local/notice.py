"""The notice that this machine will be taken away, for the local target: a file that a handler or a person writes.

Its JSON is what AWS' metadata service answers (`spot/instance-action`: `{"action": "terminate", "time": "…Z"}`), or
`{"seconds": 30}` from when it was written. It stands until it is removed, or the machine has outlived it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.execution.adapters.local.records import write_atomic

DEFAULT_S = 30
"""What the clouds give at least: a notice that cannot be read is one all the same, and has no more time than that."""
OUTLIVED = timedelta(seconds=60)
"""After that a notice is no longer believed: the machine stayed, or this is the next one with the same disk."""
MARGIN_S = 1.0
_MOST_BYTES = 4096
_MOST_S = 86_400


@dataclass(frozen=True, slots=True)
class MachineNotice:
    """Until when there is time, and who says so. `key` is the same for as long as nothing else is said."""

    key: str
    deadline: datetime
    reason: str

    def left(self, now: datetime) -> float:
        """Seconds that a Job may use to end; 0 or less when the time is over."""
        return (self.deadline - now).total_seconds() - MARGIN_S


def write_notice(path: Path, seconds: int, reason: str, now: datetime) -> None:
    """Say that this machine goes in so many seconds. Raises StateError."""
    document = {"action": reason, "time": to_rfc3339(now + timedelta(seconds=seconds))}
    write_atomic(path, orjson.dumps(document))


def read_notice(path: Path, now: datetime) -> MachineNotice | None:
    """What the file says; None without one, and for one that the machine has outlived."""
    try:
        with path.open("rb") as file:
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            data = file.read(_MOST_BYTES)
    except OSError:
        return None
    try:
        document = orjson.loads(data)
    except ValueError:
        document = None
    document = document if isinstance(document, dict) else {}
    deadline = _deadline(document, written)
    if now > deadline + OUTLIVED:
        return None
    return MachineNotice(to_rfc3339(deadline), deadline, str(document.get("action") or "an unreadable notice")[:100])


def _deadline(document: dict[str, Any], written: datetime) -> datetime:
    stamp, seconds = document.get("time"), document.get("seconds")
    if isinstance(stamp, str):
        try:
            return from_rfc3339(stamp)
        except ValueError:
            return written + timedelta(seconds=DEFAULT_S)
    whole = seconds if type(seconds) is int and 0 < seconds <= _MOST_S else DEFAULT_S
    return written + timedelta(seconds=whole)
