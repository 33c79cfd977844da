"""Ranges of versions as Helm and Flux write them (github.com/Masterminds/semver, v3): `6.x`, `^1.2`, `>= 1.0.0, < 2`.

Semantic Versioning 2.0.0. A pre-release fits only a comparison that names one itself, as there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

MAX_LENGTH = 256
_NUMBER = r"(0|[1-9]\d{0,17})"
_TAIL = r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?"
_VERSION = re.compile(rf"v?{_NUMBER}(?:\.{_NUMBER})?(?:\.{_NUMBER})?{_TAIL}", re.ASCII)
_ANY = r"(\d{1,18}|[xX*])"
_COMPARISON = re.compile(rf"(=|==|!=|>|<|>=|=>|<=|=<|~|~>|\^)?\s*v?{_ANY}(?:\.{_ANY})?(?:\.{_ANY})?{_TAIL}", re.ASCII)
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")
_SAME = {"": "=", "==": "=", "=>": ">=", "=<": "<=", "~>": "~"}


class Version(NamedTuple):
    """Sorts by precedence: three numbers, then a release after its pre-releases."""

    numbers: tuple[int, int, int]
    pre: tuple[Any, ...]

    @property
    def is_pre(self) -> bool:
        """Whether it comes before a release."""
        return self.pre != (1,)


def version_of(text: str) -> Version | None:
    """A version; parts that are left out are 0, build metadata has no weight. None for what is none."""
    match = _VERSION.fullmatch(text) if len(text) <= MAX_LENGTH else None
    return None if match is None else Version(_numbers(match.group(1, 2, 3)), _pre(match[4]))


def fits(asked: str, version: str) -> bool:
    """Whether a version is in a range. Raises ValueError for what is no range; what is no version fits none."""
    groups = [_comparisons(part) for part in _bounded(asked).split("||")]
    found = version_of(version)
    return found is not None and any(all(one.holds(found) for one in group) for group in groups)


def newest(asked: str, versions: Iterable[str]) -> str | None:
    """The newest of some versions that is in a range; None when none is. Raises ValueError for what is no range."""
    found = [text for text in versions if fits(asked, text)]
    return max(found, key=lambda text: (version_of(text), text)) if found else None


class _Comparison(NamedTuple):
    """`given` counts the numbers that were written: `1.2` is a range of its own."""

    how: str
    version: Version
    given: int

    def holds(self, found: Version) -> bool:
        """Whether a version is what is asked for."""
        if found.is_pre and not self.version.is_pre:
            return False
        low, whole = self.version, self.given == 3
        match self.how:
            case "=":
                return found == low if whole else self._within(found, self.given)
            case "!=":
                return found != low if whole else not self._within(found, self.given)
            case ">":
                return found > low and (whole or not self._within(found, self.given))
            case "<":
                return found < low
            case "<=":
                return found <= low or (not whole and self._within(found, self.given))
            case "~":
                return found >= low and self._within(found, min(self.given, 2))
            case "^":
                return found >= low and self._within(found, self._leading())
        return found >= low

    def _within(self, found: Version, count: int) -> bool:
        return found.numbers[:count] == self.version.numbers[:count]

    def _leading(self) -> int:
        """How many numbers a caret keeps: up to the first that is not 0, of those that were written."""
        nonzero = next((index for index, number in enumerate(self.version.numbers) if number), 2)
        return min(nonzero + 1, self.given)


def _comparisons(text: str) -> list[_Comparison]:
    text = text.strip()
    hyphen = _HYPHEN.fullmatch(text)
    if hyphen is not None:
        text = f">={hyphen[1]} <={hyphen[2]}"
    found, place = [], 0
    while place < len(text):
        match = _COMPARISON.match(text, place)
        if match is None:
            raise ValueError(f"{text[:80]!r} is no range of versions")
        words = match.group(2, 3, 4)
        given = next((index for index, word in enumerate(words) if word is None or not word.isdigit()), 3)
        how = match[1] or ""
        how = _SAME.get(how, how)
        # `*` in any comparison is any version but with `!=`, which then holds for none.
        found.append(_Comparison(how, Version(_numbers(words[:given]), _pre(match[5])), given))
        rest = text[match.end() :]
        gap = re.match(r"\s*,\s*|\s+|$", rest)
        if gap is None or (gap.end() == len(rest) and "," in gap[0]):
            raise ValueError(f"{text[:80]!r} is no range of versions")
        place = match.end() + gap.end()
    if not found:
        raise ValueError("no range of versions is written")
    return found


def _bounded(text: str) -> str:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a range of {len(text)} characters")
    return text


def _numbers(words: Iterable[str | None]) -> tuple[int, int, int]:
    major, minor, patch = [int(word or 0) for word in (*words, None, None, None)][:3]
    return major, minor, patch


def _pre(text: str | None) -> tuple[Any, ...]:
    if text is None:
        return (1,)
    return (0, tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in text.split(".")))
