"""Advisories as values: what somebody published of a vulnerability (the Open Source Vulnerability format, 1.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from customhouse._kit.frozen import quickly_made
from customhouse.core.vulnerability import Rating


@quickly_made
@dataclass(frozen=True, slots=True)
class Range:
    """`type` is SEMVER, ECOSYSTEM or GIT; an event is (`introduced`, `fixed`, `last_affected` or `limit`, version)."""

    type: str
    events: tuple[tuple[str, str], ...]


@quickly_made
@dataclass(frozen=True, slots=True)
class Affected:
    """One package that an advisory is about.

    `ecosystem` is as published, `family` and `key` are what it is looked up by: the ecosystem without its release, and
    the name in the one spelling that the ecosystem takes for equal.
    """

    ecosystem: str
    name: str
    family: str
    key: str
    ranges: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    """CVSS vectors of this package alone."""
    rating: Rating = Rating.UNKNOWN
    """What is said in a word where no vector is."""
    imports: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Import paths, each with the symbols that are vulnerable (none named: all of it)."""
    note: str = ""
    """What the range leaves out, in the advisory's own terms."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Advisory:
    """One record. `affected` holds the packages of it that were asked about, or all."""

    id: str
    modified: datetime | None = None
    published: datetime | None = None
    """Each None where the record has none, or the year 1, which is how some databases write that."""
    withdrawn: datetime | None = None
    aliases: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    summary: str = ""
    vectors: tuple[str, ...] = ()
    rating: Rating = Rating.UNKNOWN
    url: str = ""
    affected: tuple[Affected, ...] = ()

    @property
    def group(self) -> str:
        """The database that it is of: what stands before the first dash of its id."""
        return self.id.partition("-")[0]


Known = Mapping[tuple[str, str], Sequence[Advisory]]
"""What is asked about packages: (family, key) → the advisories of it, each with that package alone in `affected`."""


def affected_to_json(item: Affected) -> dict[str, Any]:
    """Small: what is empty is left out."""
    shown: dict[str, Any] = {"e": item.ecosystem, "n": item.name}
    if item.ranges:
        shown["r"] = [[one.type, *(text for event in one.events for text in event)] for one in item.ranges]
    if item.versions:
        shown["v"] = item.versions
    if item.vectors:
        shown["c"] = item.vectors
    if item.rating is not Rating.UNKNOWN:
        shown["s"] = item.rating.value
    if item.imports:
        shown["i"] = item.imports
    if item.note:
        shown["o"] = item.note
    return shown


def affected_from_json(shown: Mapping[str, Any], family: str, key: str) -> Affected:
    """The inverse."""
    ranges = tuple(Range(row[0], tuple(zip(row[1::2], row[2::2], strict=True))) for row in shown.get("r", ()))
    return Affected(
        shown["e"],
        shown["n"],
        family,
        key,
        ranges,
        tuple(shown.get("v", ())),
        tuple(shown.get("c", ())),
        Rating(shown.get("s", "unknown")),
        tuple((path, tuple(symbols)) for path, symbols in shown.get("i", ())),
        shown.get("o", ""),
    )
