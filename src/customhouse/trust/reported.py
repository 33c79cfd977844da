"""What a scanner of vulnerabilities said, as values of one form, and how a stranger's JSON becomes such.

Everything here is bounded: texts are cut, lists counted, and what has another type than it should is as good as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from customhouse._kit.clock import from_rfc3339

SEVERITIES = ("critical", "high", "medium", "low", "negligible", "unknown")
"""Worst first, but for `unknown`, which may be any of them."""
MAX_TEXT = 300
MAX_GAPS = 20
_WORDS = {
    **{name: name for name in SEVERITIES},
    "defcon1": "critical",
    "important": "high",
    "moderate": "medium",
    "minor": "low",
    "none": "negligible",
    "info": "negligible",
    "informational": "negligible",
}
_NUMBER = re.compile(r"\d{1,2}(\.\d{1,4})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reported:
    """One advisory about one package. `fixed` are the versions that have the fix; `score` is a CVSS base score."""

    id: str
    package: str
    version: str = ""
    purl: str = ""
    aliases: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    severity: str = "unknown"
    score: str = ""
    published: datetime | None = None
    place: str = ""
    reachable: bool | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the advisory is called, by anybody."""
        return (self.id, *self.aliases)


@dataclass(frozen=True, slots=True)
class ScannerReport:
    """What one scanner said at one time about one artifact.

    `subjects` are digests of what it says it looked at; `gaps` say why it is not the whole truth; `suppressed` counts
    what the scanner left out by rules of its own; `end_of_life` names a distribution that nobody fixes any more.
    """

    form: str
    scanner: str
    version: str = ""
    database: str = ""
    database_at: datetime | None = None
    scanned_at: datetime | None = None
    subjects: tuple[str, ...] = ()
    findings: tuple[Reported, ...] = ()
    packages: int | None = None
    gaps: tuple[str, ...] = ()
    suppressed: int = 0
    end_of_life: str = ""


class Gaps:
    """Collects what could not be read, up to a bound."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._more = 0

    def add(self, text: str) -> None:
        """One more."""
        if len(self._found) < MAX_GAPS:
            self._found.append(text[:MAX_TEXT])
        else:
            self._more += 1

    def all(self) -> tuple[str, ...]:
        """In the order in which they were found."""
        return (*self._found, *((f"and {self._more} more",) if self._more else ()))


def severity_of(words: Sequence[str] = (), scores: Sequence[str] = ()) -> str:
    """The worst of what words say; without any, what the worst CVSS score means (CVSS v3.1, table 14)."""
    named = [_WORDS[word.strip().lower()] for word in words if word.strip().lower() in _WORDS]
    rated = [name for name in named if name != "unknown"]
    if rated:
        return min(rated, key=SEVERITIES.index)
    values = [float(text) for text in scores if _NUMBER.fullmatch(text) and float(text) <= 10]
    if not values:
        return "unknown"
    worst = max(values)
    limits = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
    return next((name for least, name in limits if worst >= least), "negligible")


# What strangers wrote, by the type that it has to have.


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> Sequence[Any]:
    """A list, or an empty one."""
    return value if isinstance(value, (list, tuple)) else ()


def text(value: Any) -> str:
    """Text without what a terminal would act on, bounded; empty for anything else."""
    if not isinstance(value, str):
        return ""
    return "".join(character for character in value[:MAX_TEXT] if character.isprintable()).strip()


def strings(value: Any) -> list[str]:
    """The texts of a list, at most 100."""
    return [found for item in items(value)[:100] if (found := text(item))]


def number(value: Any) -> str:
    """A CVSS score as text; empty for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return ""
    found = str(value)
    return found if _NUMBER.fullmatch(found) and float(found) <= 10 else ""


def highest(scores: Sequence[str]) -> str:
    """The highest of several scores; empty for none."""
    return max((score for score in scores if score), key=float, default="")


def moment(value: Any) -> datetime | None:
    """An RFC 3339 time; None for what is none, and for the zero date that some write for `unknown`."""
    if not isinstance(value, str):
        return None
    try:
        found = from_rfc3339(value)
    except ValueError:
        return None
    return found if found.year > 1 else None
