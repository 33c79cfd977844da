"""Hints on libraries that may not be what they seem.

Names one slip away from a well-known one, and names that two indexes can answer for. A name alone proves nothing, so
these are no findings. No index is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from customhouse.trust.libraries import Library

IMITATED = 2000
"""So many of the most downloaded projects are looked at as what somebody would imitate."""
_SHORTEST = 5
"""Names of four letters and fewer are one slip from each other by nature."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-"


@dataclass(frozen=True, slots=True)
class Hint:
    """`kind` is `typosquat` or `dependency-confusion`; `library` the package URL, or empty for the whole list."""

    kind: str
    library: str
    message: str


def hints(libraries: Sequence[Library], indexes: Sequence[str] = ()) -> tuple[Hint, ...]:
    """All hints, in the order of the libraries; `indexes` are the package indexes that the list names besides PyPI."""
    found = [hint for item in libraries if item.purl.startswith("pkg:pypi/") for hint in _of(item)]
    if indexes and any(not item.files for item in libraries):
        named = ", ".join(indexes)
        why = "two indexes are asked, and what has no hash is taken from whichever has the higher version"
        found.append(Hint("dependency-confusion", "", f"{named}: {why}; lock with hashes, or name one index alone"))
    return tuple(found)


def _of(item: Library) -> Iterator[Hint]:
    known = _known()
    if item.note and item.name in known:
        why = f"comes from {item.note}, and PyPI has a well-known project of that name"
        yield Hint("dependency-confusion", item.purl, f"{item.name} {why}; give yours a name of its own")
    elif item.note and not item.files:
        why = f"comes from {item.note} without a hash; who registers the name on PyPI can take its place"
        yield Hint("dependency-confusion", item.purl, f"{item.name} {why}; lock it with a hash")
    if item.name not in known:
        meant = imitated(item.name)
        if meant:
            yield Hint("typosquat", item.purl, f"{item.name} is one slip from {meant}; is that what was meant?")


def imitated(name: str) -> str:
    """The best-known project that `name` is one slip from; empty if there is none, or it is well known itself."""
    known = _known()
    if name in known or len(name) < _SHORTEST:
        return ""
    near = [
        (known[other], other) for other in {*_slips(name), *_dressed(name)} if known.get(other, IMITATED) < IMITATED
    ]
    return min(near)[1] if near else ""


def _slips(name: str) -> Iterator[str]:
    """Every name that is one letter less, more or other, or two letters swapped."""
    for place in range(len(name) + 1):
        left, right = name[:place], name[place:]
        if right:
            yield left + right[1:]
        if len(right) > 1:
            yield left + right[1] + right[0] + right[2:]
        for letter in _ALPHABET:
            yield left + letter + right
            if right:
                yield left + letter + right[1:]


def _dressed(name: str) -> Iterable[str]:
    """Without the usual additions, and with dashes elsewhere."""
    for start in ("python-", "python3-", "py-"):
        if name.startswith(start):
            yield name.removeprefix(start)
    for end in ("-python", "-python3", "-py", "2", "3"):
        if name.endswith(end):
            yield name.removesuffix(end)
    bare = name.replace("-", "")
    yield _undashed().get(bare, "")


@cache
def _known() -> dict[str, int]:
    """Well-known names to their rank, from 0."""
    text = resources.files("customhouse.trust").joinpath("popular", "pypi.txt").read_text(encoding="utf-8")
    names = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: rank for rank, name in enumerate(names)}


@cache
def _undashed() -> dict[str, str]:
    return {name.replace("-", ""): name for name, rank in reversed(_known().items()) if rank < IMITATED}
