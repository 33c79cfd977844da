"""What a check found: a rule, how bad it is, where, how much of the data, why it matters and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SEVERITIES = ("error", "warning", "note")
"""Worst first: data with an error fails."""
ROWS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth a look. It never holds a value of the data, which may be personal.

    `rows` are places of data rows, `FILE:LINE` (or `FILE#ITEM`), at most ROWS_SHOWN; `count` says how many there are.
    """

    rule: str
    severity: str
    message: str
    fix: str = ""
    column: str = ""
    file: str = ""
    rows: tuple[str, ...] = ()
    count: int = 0
    share: float | None = None
    """`count` as a part of the rows that were looked at."""

    def to_json(self) -> dict[str, Any]:
        """The finding with numbers as numbers."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "message": self.message,
            "fix": self.fix,
            "column": self.column,
            "file": self.file,
            "rows": list(self.rows),
            "count": self.count,
            "share": None if self.share is None else round(self.share, 6),
        }


@dataclass(slots=True)
class Places:
    """Where something was seen: the first rows, and how many there are."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: str, times: int = 1) -> None:
        """One more place."""
        self.count += times
        if len(self.first) < ROWS_SHOWN:
            self.first.append(place)


def ordered(findings: Iterable[Finding], strictness: Mapping[str, str]) -> tuple[Finding, ...]:
    """Worst first, as strict as the schema wants each rule; `off` leaves a finding out."""
    found = []
    for item in findings:
        wanted = strictness.get(item.rule, item.severity)
        if wanted != "off":
            found.append(replace(item, severity=wanted))
    return tuple(sorted(found, key=lambda one: (SEVERITIES.index(one.severity), one.rule, one.file, one.column)))


def plural(count: int, word: str) -> str:
    """`1 row is`, `2 rows are`."""
    return f"{count} {word} is" if count == 1 else f"{count} {word}s are"
