"""The places of what the quick reader reads: found by it again, in a third of the time that the whole reader takes.

As the values, places are those of the whole reader or none at all: for whatever is not sure it is asked.
"""

from __future__ import annotations

from typing import Any

from customhouse.control.yaml_limits import Limits
from customhouse.control.yaml_quick import QuickDocument, _Lines, _NotUnderstood, quoted_value_at
from customhouse.control.yaml_values import unescape


class UnsureError(Exception):
    """The whole reader has to say where it is: brackets, a value that is left out, a merge."""


class Places:
    """The places in one file: line and column, counted from 1, of each scalar, and of the key or dash of the rest."""

    def __init__(self, documents: list[QuickDocument], found: dict[tuple[int, object], tuple[int, int]]) -> None:
        self._documents, self._found = documents, found

    def of(self, number: int, pointer: str) -> tuple[int, int] | None:
        """Where a JSON pointer into a document leads; None where it leads nowhere. Raises UnsureError."""
        first, *parts = pointer.split("/")
        if first or number >= len(self._documents):
            return None
        document = self._documents[number]
        node: Any = document.value
        place = (document.line, document.column)
        for part in parts:
            key: str | int
            if type(node) is list:
                if not (part.isascii() and part.isdigit() and str(int(part[:9])) == part and int(part) < len(node)):
                    return None
                key = int(part)
            elif type(node) is dict:
                if "<<" in node:
                    raise UnsureError
                key = unescape(part)
                if key not in node:
                    return None
            else:
                return None
            known = self._found.get((id(node), key))
            if known is None:
                raise UnsureError
            node, place = node[key], known
        return place


def quick_places(text: str, limits: Limits) -> Places | None:
    """Of a file that the quick reader understands; None for another."""
    try:
        lines = _Placed(text, limits)
        return Places(lines.documents(), lines.places)
    except _NotUnderstood:
        return None


class _Placed(_Lines):
    """The same pass, and what it comes by. Collections are known by their ids: the documents hold them."""

    def __init__(self, text: str, limits: Limits) -> None:
        self.places: dict[tuple[int, object], tuple[int, int]] = {}
        self._left_open: tuple[int, int] = (0, 0)
        super().__init__(text, limits)

    def _pair(self, body: str, first: str) -> None:
        members, number = self._top, self._at
        column = len(self._lines[number - 1]) - len(body) + 1
        super()._pair(body, first)
        key = next(reversed(members))
        if self._pending is not None:  # what it is, a collection or nothing, is told by the next line
            self._left_open = (number, column)
            return
        if type(members[key]) in (dict, list):
            self.places[id(members), key] = (number, column)
            return
        at = quoted_value_at(body) if first in "\"'" else body.index(": ") + 2
        while body[at] == " ":
            at += 1
        self.places[id(members), key] = (number, column + at)

    def _dash(self, body: str, column: int) -> None:
        items, number = self._top, self._at
        width = len(self._lines[number - 1])
        super()._dash(body, column)
        at, rest = len(items) - 1, body[1:].lstrip(" ")
        while rest:
            self.places[id(items), at] = (number, width - len(rest) + 1)
            if not (rest[0] == "-" and (len(rest) == 1 or rest[1] == " ")):
                break
            items, at, rest = items[at], 0, rest[1:].lstrip(" ")

    def _open_pending(self, pending: tuple[Any, Any], column: int, dash: bool) -> None:
        super()._open_pending(pending, column, dash)
        holder, key = pending
        self.places[id(holder), key] = self._left_open if type(key) is str else (self._at, column + 1)
