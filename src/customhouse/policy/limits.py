"""A quick look at whether a document keeps its limits; where it may not, the careful way finds and says the place."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

from customhouse._kit.digest import bytes_digest, json_digest

_LEAVES = frozenset({str, int, bool, type(None)})
_PLAIN = _LEAVES | {dict, list}
# UTF-8 of what RFC 8785 sorts in another order than by code points (section 3.2.3).
_BEYOND = re.compile(rb"[\xee-\xff]")


def written(value: Any, *, depth: int) -> bytes | None:
    """The canonical JSON of an object that surely has one and is no deeper than `depth`, many times faster; else None.

    The writer is in C and knows no canonical form: it gets what it writes as RFC 8785 does, and refuses by itself
    keys that are no text, lone surrogates and numbers beyond 2^53-1.
    """
    import orjson

    if type(value) is not dict:
        return None
    objects: list[dict[str, Any]] = [value]
    lists: list[list[Any]] = []
    while objects or lists:
        if not depth:
            return None
        depth -= 1
        members = [*chain.from_iterable(map(dict.values, objects)), *chain.from_iterable(lists)]
        kinds = set(map(type, members))
        if not kinds <= _PLAIN:
            return None  # a float is written in another way, a type of somebody else's has to be looked at
        objects = [item for item in members if type(item) is dict] if dict in kinds else []
        lists = [item for item in members if type(item) is list] if list in kinds else []
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    except TypeError:
        return None
    return text if text.isascii() or not _BEYOND.search(text) else None


def digest_of(value: Any, *, depth: int = 100) -> str:
    """`json_digest` of an object, by the quick writer where it writes it. Raises CanonicalError as that does."""
    text = written(value, depth=depth)
    return json_digest(value) if text is None else bytes_digest(text)


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
