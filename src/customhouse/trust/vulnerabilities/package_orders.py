"""Orders of versions of NuGet, RubyGems and Composer, each as a key that sorts."""

from __future__ import annotations

import re
from functools import total_ordering
from itertools import zip_longest
from typing import Any

_NUGET = re.compile(r"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-([0-9A-Za-z.-]+))?(?:\+.*)?")
_GEM = re.compile(r"[0-9]+(?:\.[0-9A-Za-z]+)*(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?")
_GEM_PARTS = re.compile(r"[0-9]+|[a-z]+", re.IGNORECASE)
_COMPOSER_PARTS = re.compile(r"[0-9]+|[a-z]+", re.IGNORECASE)
_COMPOSER = re.compile(r"v?[0-9][0-9A-Za-z.+_-]*", re.IGNORECASE)
_STAGES = {"dev": 1, "alpha": 2, "a": 2, "beta": 3, "b": 3, "rc": 4, "c": 4, "pl": 7, "p": 7, "patch": 7}
"""PHP's version_compare: any other word is before `dev`; the end is 5, a number 6."""


def nuget(text: str) -> tuple[Any, ...]:
    """NuGet's: up to four numbers, then Semantic Versioning's pre-release without regard to case."""
    match = _NUGET.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:80]!r} is no version of a NuGet package")
    numbers = tuple(int(part or 0) for part in match.group(1, 2, 3, 4))
    if match[5] is None:
        return (*numbers, (1,))
    words = tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in match[5].lower().split("."))
    return (*numbers, (0, words))


@total_ordering
class _Gem:
    """Gem::Version: a missing part is 0, and a word is before any number."""

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[int | str, ...]) -> None:
        self._parts = parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Gem) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __lt__(self, other: _Gem) -> bool:
        for left, right in zip_longest(self._parts, other._parts, fillvalue=0):
            if left == right:
                continue
            if isinstance(left, int) and isinstance(right, int):
                return left < right
            if isinstance(left, str) and isinstance(right, str):
                return left < right
            return isinstance(left, str)
        return False


def rubygems(text: str) -> _Gem:
    """RubyGems' own; `-` is `.pre.`, zeros at the end of the numbers, and at the very end, have no weight."""
    bare = text.strip()
    if not _GEM.fullmatch(bare):
        raise ValueError(f"{text[:80]!r} is no version of a gem")
    parts: list[int | str] = [
        int(part) if part.isdigit() else part for part in _GEM_PARTS.findall(bare.replace("-", ".pre."))
    ]
    first = next((index for index, part in enumerate(parts) if isinstance(part, str)), len(parts))
    return _Gem((*_trimmed(parts[:first]), *_trimmed(parts[first:])))


def _trimmed(parts: list[int | str]) -> list[int | str]:
    while parts and parts[-1] == 0:
        parts = parts[:-1]
    return parts


def composer(text: str) -> tuple[Any, ...]:
    """Composer's, which is PHP's version_compare over four numbers; branches (`dev-main`) have no order."""
    bare = text.strip().lower()
    if not _COMPOSER.fullmatch(bare):
        raise ValueError(f"{text[:80]!r} is no version of a Composer package")
    found = _COMPOSER_PARTS.findall(bare.partition("+")[0].removeprefix("v"))
    first = next((index for index, part in enumerate(found) if not part.isdigit()), len(found))
    numbers = [int(part) for part in found[:first]]
    key: list[Any] = [(6, number) for number in (numbers + [0] * 4)[: max(4, len(numbers))]]
    key += [(6, int(part)) if part.isdigit() else (_STAGES.get(part, 0), 0) for part in found[first:]]
    return (*key, (5, 0))
