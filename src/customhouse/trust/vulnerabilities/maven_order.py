"""Maven's order of versions, as its own ComparableVersion has it (tests compare with the class itself)."""

from __future__ import annotations

import re
from functools import total_ordering
from itertools import zip_longest
from typing import Any

_TOKENS = re.compile(r"[0-9]+|[.-]|[^0-9.-]+")
_QUALIFIERS = {"alpha": 0, "beta": 1, "milestone": 2, "rc": 3, "cr": 3, "snapshot": 4, "sp": 6}
_SHORT = {"a": "alpha", "b": "beta", "m": "milestone"}
_RELEASE = (5, "")
_NAMES_OF_IT = frozenset({"", "ga", "final", "release"})
_MAX_DEPTH = 100

_Word = tuple[int, str]
_List = list[Any]
"""Numbers, words as their places, and lists: what follows a hyphen, or a change from letters to digits and back."""


@total_ordering
class _Version:
    __slots__ = ("_items",)

    def __init__(self, items: _List) -> None:
        self._items = items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and _lists(self._items, other._items) == 0

    def __lt__(self, other: _Version) -> bool:
        return _lists(self._items, other._items) < 0

    __hash__ = None  # type: ignore[assignment]  # equal versions may be spelt in many ways


def maven(text: str) -> _Version:
    """A key. Any text has a place in Maven's order; what is blank, or nested beyond reason, is refused."""
    if not text.strip():
        raise ValueError("no version")
    lists: list[_List] = [[]]
    before = ""
    parts = _TOKENS.findall(text.strip().lower())
    for index, part in enumerate(parts):
        if part in ".-":
            if before in ("", ".", "-"):
                lists[-1].append(0)
            if part == "-":
                lists.append([])
        else:
            if before and before not in ".-":  # from letters to digits, or back
                lists.append([])
            following = parts[index + 1] if index + 1 < len(parts) else ""
            if not part.isdigit() and following not in (".", "-") and lists[-1]:  # `1.x` is `1-x`, `1.x.2` is not
                lists.append([])
            lists[-1].append(int(part) if part.isdigit() else _word(part, followed=following.isdigit()))
        before = part
    if len(lists) > _MAX_DEPTH:
        raise ValueError(f"a version of {len(lists)} parts")
    return _Version(_folded(lists))


def _word(token: str, *, followed: bool) -> _Word:
    name = _SHORT.get(token, token) if followed else token
    if name in _NAMES_OF_IT:
        return _RELEASE
    return (_QUALIFIERS[name], "") if name in _QUALIFIERS else (7, name)


def _folded(lists: list[_List]) -> _List:
    """Each list at the end of the one before, without the zeros and empty words that end it."""
    inner: _List = []
    for outer in reversed(lists):
        whole = [*outer, inner] if inner else list(outer)
        place = len(whole) - 1
        while place >= 0:
            if whole[place] in (0, _RELEASE):
                del whole[place]
            elif not isinstance(whole[place], list):
                break
            place -= 1
        inner = whole
    return inner


def _lists(left: _List, right: _List) -> int:
    for one, other in zip_longest(left, right):
        result = -_items(other, None) if one is None else _items(one, other)
        if result:
            return result
    return 0


def _items(one: Any, other: Any) -> int:
    """−1, 0 or 1; `other` may be None: nothing stands there."""
    if isinstance(one, list):
        if other is None:
            return next((result for item in one if (result := _items(item, None))), 0)
        if isinstance(other, list):
            return _lists(one, other)
        return -1 if isinstance(other, int) else 1
    if isinstance(one, int):
        other = 0 if other is None else other
        return _sign(one, other) if isinstance(other, int) else 1
    other = _RELEASE if other is None else other
    return _sign(one, other) if isinstance(other, tuple) else -1


def _sign(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)
