"""Entries of the ledger read and written many times faster where they are plain; where they may not be, nothing.

The reader and writer in C know no canonical form (RFC 8785). They write it all the same for texts, whole numbers,
truth values and nulls in objects and lists whose keys sort alike by code points and by UTF-16. Whatever else there is
(fractions, numbers beyond 2^53-1, deep nesting, types of others) is left to the careful way, which has the words.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

import orjson

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.core.ledger import Entry

_FIELDS = {"key", "kind", "at", "actor", "subjects", "body"}
_PLAIN = frozenset({str, int, bool, type(None), dict, list})
_MAX_DEPTH = 64
_FRACTION = re.compile(rb"[\[,:]-?[0-9]+[.eE]")
"""A number that is no whole one, in canonical JSON; or a text that looks so, which is then looked at."""
_WRITING = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_SUBCLASS
# UTF-8 of what RFC 8785 sorts in another order than by code points (section 3.2.3).
_BEYOND = re.compile(rb"[\xee-\xff]")


def quick_entry(data: bytes) -> Entry | None:
    """The Entry whose canonical form `data` surely is; None where that has to be looked at."""
    try:
        document = orjson.loads(data)
        if type(document) is not dict or document.keys() != _FIELDS:
            return None
        # What was read has plain types; fractions and depth are all that the writer would not refuse by itself.
        simple = data.count(b"{") + data.count(b"[") <= _MAX_DEPTH and not _FRACTION.search(data)
        if (_dumped if simple else _written)(document) != data:
            return None
        at, subjects, body = document["at"], document["subjects"], document["body"]
        if type(subjects) is not list or type(body) is not dict or type(at) is not str:
            return None
        time = from_rfc3339(at)
        if to_rfc3339(time) != at:  # another way to write it is not the one that is written here
            return None
        return Entry(document["key"], document["kind"], time, document["actor"], tuple(subjects), body)
    except ValueError:
        return None


def entry_text(item: Entry) -> str:
    """What `Entry.to_bytes` writes, as text. Raises CanonicalError as it does."""
    document = {
        "key": item.key,
        "kind": item.kind,
        "at": to_rfc3339(item.at),
        "actor": item.actor,
        "subjects": list(item.subjects),
        "body": item.body,
    }
    return (_written(document) or item.to_bytes()).decode()


def _written(document: dict[str, Any]) -> bytes | None:
    """The canonical JSON of what surely has one; else None."""
    level: list[Any] = [document]
    depth = _MAX_DEPTH
    while level:
        if not depth:
            return None
        depth -= 1
        members = [*chain.from_iterable(item.values() if type(item) is dict else item for item in level)]
        kinds = set(map(type, members))
        if not kinds <= _PLAIN:
            return None
        level = [item for item in members if type(item) is dict or type(item) is list]
    return _dumped(document)


def _dumped(document: dict[str, Any]) -> bytes | None:
    try:
        text = orjson.dumps(document, option=_WRITING)
    except TypeError:  # a key that is no text, a number beyond 2^53-1, half of a character
        return None
    return text if text.isascii() or not _BEYOND.search(text) else None
