"""A quick look at whether a document keeps its limits; where it may not, the careful way finds and says the place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from customhouse._kit.digest import bytes_digest, json_digest
from customhouse.core.decision import Decision

_LEAVES = frozenset({str, int, bool, type(None)})
_PLAIN = _LEAVES | {dict, list}
PLAIN = 2
# UTF-8 of what RFC 8785 sorts in another order than by code points (section 3.2.3).
_BEYOND = re.compile(rb"[\xee-\xff]")


def written(value: Any, *, depth: int, plain: Sequence[Any] = ()) -> bytes | None:
    """The canonical JSON of an object that surely has one and is no deeper than `depth`, many times faster; else None.

    The writer is in C and knows no canonical form: it gets what it writes as RFC 8785 does, and refuses by itself
    keys that are no text, lone surrogates, types of others and numbers beyond 2^53-1. `plain` are parts of the object
    that are known to have no fractions and to be flat: they are not walked through again.
    """
    if type(value) is not dict:
        return None
    left = {id(part) for part in plain}  # they are held by the object
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
        if left and objects:
            unknown = [item for item in objects if id(item) not in left]
            left = left if len(unknown) == len(objects) else left - {id(item) for item in objects}
            objects = unknown
        lists = [item for item in members if type(item) is list] if list in kinds else []
    return _dumped(value)


def _dumped(value: dict[str, Any]) -> bytes | None:
    import orjson

    try:
        text = orjson.dumps(
            value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_SUBCLASS
        )
    except TypeError:
        return None
    return text if text.isascii() or not _BEYOND.search(text) else None


def body_digest(decision: Decision) -> str:
    """`Decision.digest`. By their types bodies hold texts and nulls alone, so they are not walked through first."""
    body = decision.body()
    text = _dumped(body)
    return json_digest(body) if text is None else bytes_digest(text)


def surely_within(value: Any, *, depth: int, longest: int | None, largest: int) -> int:  # noqa: C901, PLR0912 - one hot loop
    """Whether no level is deeper than `depth`, no text may have more than `longest` bytes, no number is beyond.

    0 means only that it has to be looked at carefully: a text is judged by its characters here, four bytes each.
    PLAIN (2): there is no fraction in it either.
    """
    found = PLAIN
    level: list[Any] = [value]
    left = depth + 1
    while level:
        if left == 0:
            return 0
        left -= 1
        inner: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                if longest is not None and 4 * len(item) > longest:
                    return 0
            elif kind is dict:
                for key in item:
                    if type(key) is not str or (longest is not None and 4 * len(key) > longest):
                        return 0
                inner.extend(item.values())
            elif kind is list:
                inner.extend(item)
            elif kind is int:
                if not -largest <= item <= largest:
                    return 0
            elif kind is float:
                found = 1
            elif item is not None and kind is not bool:
                return 0
        level = inner
    return found
