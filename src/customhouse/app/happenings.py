"""What happened lately: the newest entries of the ledger in words, runs of alike entries as one line.

A control plane that charges every second and notes five kinds of evidence for each model would otherwise show nothing
else. Entries never change, so each is read once.
"""

from __future__ import annotations

import re
from collections import deque
from datetime import datetime

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.money import Money
from customhouse.app.overview import EventRow
from customhouse.core.ledger import Entry
from customhouse.trust.ledger import Ledger

SHOWN = 30
_LOOKED_AT = 1000
"""How many entries are read at the first call: enough that a day of charges does not hide what was deployed."""
_UNTOLD = ("usage", "charge-part", "decision-basis")
"""What stands beside an entry that is told: a charge and what was used for it would take turns, and hide the rest."""
_CHARGED = re.compile(r"(-?[0-9.]+) ([A-Z]{3}) for ")
_EVIDENCE = re.compile(r"([\w, -]+) of ([0-9a-f]{12}), (.+)", re.DOTALL)


class Happenings:
    """The newest lines, read from one ledger by one thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read = 0
        self._rows: deque[EventRow] = deque(maxlen=SHOWN)
        self._charged: list[datetime] = []

    def newest(self, size: int) -> tuple[EventRow, ...]:
        """The newest first. `size` is how many entries there are. Raises TamperError for one that is not an entry."""
        start = self._read or max(0, size - _LOOKED_AT)
        if start < size:
            for index, entry in self._ledger.entries(start, size):
                if entry.kind in _UNTOLD:
                    continue
                self._add(_row(index, entry))
                if entry.kind == "charge":
                    self._charged.append(_interval_start(entry))
            self._read = size
        return tuple(reversed(self._rows))

    def charged(self) -> datetime | None:
        """The earliest start of the intervals whose charge was read since this was last asked; None without any."""
        found = min(self._charged, default=None)
        self._charged.clear()
        return found

    def _add(self, row: EventRow) -> None:
        before = self._rows[-1] if self._rows else None
        joined = None if before is None else _joined(before, row)
        if joined is None:
            self._rows.append(row)
        else:
            self._rows[-1] = joined


def _interval_start(entry: Entry) -> datetime:
    """`app.journal.charged` names the interval in the key: `charge:START/END`."""
    return from_rfc3339(entry.key.removeprefix("charge:").partition("/")[0])


def _row(index: int, entry: Entry) -> EventRow:
    text = str(entry.body.get("text", "")) or ", ".join(entry.subjects)[:200]
    return EventRow(index, to_rfc3339(entry.at), entry.kind, entry.actor.partition(" <")[0], text, first=index)


def _joined(before: EventRow, row: EventRow) -> EventRow | None:
    """Both as one line; None when they are not alike."""
    if (before.kind, before.actor) != (row.kind, row.actor):
        return None
    text = None
    if row.kind == "charge":
        text = _sum(before, row)
    elif row.kind == "evidence":
        text = _kinds(before.text, row.text)
    if text is None:
        return None
    return EventRow(row.index, row.at, row.kind, row.actor, text, first=before.first, count=before.count + 1)


def _sum(before: EventRow, row: EventRow) -> str | None:
    one, other = _CHARGED.match(before.text), _CHARGED.match(row.text)
    if one is None or other is None or one[2] != other[2]:
        return None
    amount = Money.parse(one[1], one[2]) + Money.parse(other[1], one[2])
    return f"{amount} {one[2]} for {before.count + 1} intervals"


def _kinds(before: str, text: str) -> str | None:
    one, other = _EVIDENCE.fullmatch(before), _EVIDENCE.fullmatch(text)
    if one is None or other is None or one.groups()[1:] != other.groups()[1:]:
        return None
    return f"{one[1]}, {other[1]} of {one[2]}, {one[3]}"
