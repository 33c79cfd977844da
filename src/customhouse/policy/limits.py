"""A quick look at whether a document keeps its limits; where it may not, the careful way finds and says the place."""

from __future__ import annotations

from typing import Any


def surely_within(value: Any, *, depth: int, longest: int | None, largest: int) -> bool:  # noqa: C901 - one hot loop
    """Whether no level is deeper than `depth`, no text may have more than `longest` bytes, no number is beyond.

    False means only that it has to be looked at carefully: a text is judged by its characters here, four bytes each.
    """
    level: list[Any] = [value]
    left = depth + 1
    while level:
        if left == 0:
            return False
        left -= 1
        inner: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                if longest is not None and 4 * len(item) > longest:
                    return False
            elif kind is dict:
                for key in item:
                    if type(key) is not str or (longest is not None and 4 * len(key) > longest):
                        return False
                inner.extend(item.values())
            elif kind is list:
                inner.extend(item)
            elif kind is int:
                if not -largest <= item <= largest:
                    return False
            elif item is not None and kind is not bool and kind is not float:
                return False
        level = inner
    return True
