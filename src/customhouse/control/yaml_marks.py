"""Places that are read when they are asked for, for objects that the quick reader gave without any."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Literal

from customhouse.control import yaml_nodes
from customhouse.control.yaml_nodes import Limits
from customhouse.control.yaml_places import Places, UnsureError, quick_places
from customhouse.control.yaml_values import Reader, unescape
from customhouse.core.resource import Location

_KEPT = 8
"""Files whose places are kept: they take more memory than what is in them, and are asked for file by file."""
_recent: deque[MarksLater] = deque()


class MarksLater:
    """The places in one file, read when somebody asks for the first of them: few objects have findings."""

    def __init__(self, file: str, data: bytes, limits: Limits, again: Callable[[], bytes] | None) -> None:
        self._file, self._limits = file, limits
        self._data, self._again = data if again is None else None, again
        self._digest = hashlib.blake2b(data, digest_size=16).digest()
        self._places: Places | Literal[False] | None = None
        """False where the quick reader knows none."""
        self._roots: list[yaml_nodes.Node] | None = None
        self._marks: list[Mapping[str, Location]] | None = None

    def of(self, number: int) -> Mapping[str, Location]:
        """Those of one document, counted from 0 without the empty ones."""
        return _MarksOf(self, number)

    def marks(self, number: int) -> Mapping[str, Location]:
        """All of them, read now. A file that has changed since has no places any more."""
        if self._marks is None:
            roots, reader = self._composed(), Reader(self._file, self._limits)
            self._marks = [reader.read(root).marks for root in roots]
        return self._marks[number] if number < len(self._marks) else {}

    def place(self, number: int, pointer: str) -> Location | None:
        """One of them: a finding asks for one or two of the hundreds that a file has."""
        if self._marks is None:
            with suppress(UnsureError):
                if places := self._quickly():
                    found = places.of(number, pointer)
                    return None if found is None else Location(self._file, *found)
            roots = self._composed()
            if number >= len(roots):
                return None
            with suppress(_NotPlainError):
                return _found(roots[number], pointer, self._file)
        return self.marks(number).get(pointer)

    def forget(self) -> None:
        """Drop what was read; it is read again when it is asked for."""
        self._marks = self._roots = self._places = None

    def _quickly(self) -> Places | Literal[False]:
        if self._places is None:
            text = self._text()
            self._places = (quick_places(text, self._limits) if text is not None else None) or False
            self._remember()
        return self._places

    def _composed(self) -> list[yaml_nodes.Node]:
        if self._roots is None:
            text = self._text()
            self._roots = [] if text is None else yaml_nodes.compose(text, self._file, self._limits)
            self._remember()
        return self._roots

    def _text(self) -> str | None:
        data = self._data if self._again is None else self._again()
        if data is None or hashlib.blake2b(data, digest_size=16).digest() != self._digest:
            return None
        return yaml_nodes.decode(data, self._file, self._limits)

    def _remember(self) -> None:
        with suppress(ValueError):
            _recent.remove(self)
        _recent.append(self)
        while len(_recent) > _KEPT:
            _recent.popleft().forget()


class _NotPlainError(Exception):
    """An alias or a merge: the whole reader has to say where things are."""


def _found(root: yaml_nodes.Node, pointer: str, file: str) -> Location | None:
    """Where `Reader` says that a pointer leads: to its scalar, or to the key or dash that a collection stands at."""
    first, *parts = pointer.split("/")
    if first:
        return None
    node = place = root
    for part in parts:
        if isinstance(node, yaml_nodes.Sequence):
            if not (part.isascii() and part.isdigit() and str(int(part[:9])) == part and int(part) < len(node.items)):
                return None
            node = place = node.items[int(part)]
        elif isinstance(node, yaml_nodes.Mapping):
            key = unescape(part)
            for key_node, value_node in node.items:
                if not isinstance(key_node, yaml_nodes.Scalar) or key_node.text == "<<":
                    raise _NotPlainError
                if key_node.text == key:
                    node = value_node
                    place = value_node if isinstance(value_node, yaml_nodes.Scalar) else key_node
                    break
            else:
                return None
        else:
            return None
        if isinstance(node, yaml_nodes.Alias):
            raise _NotPlainError
    return Location(file, place.line, place.column)


class _MarksOf(Mapping[str, Location]):
    __slots__ = ("_later", "_number")

    def __init__(self, later: MarksLater, number: int) -> None:
        self._later, self._number = later, number

    def __getitem__(self, pointer: str) -> Location:
        found = self._later.place(self._number, pointer)
        if found is None:
            raise KeyError(pointer)
        return found

    def __contains__(self, pointer: object) -> bool:
        return isinstance(pointer, str) and self._later.place(self._number, pointer) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._later.marks(self._number))

    def __len__(self) -> int:
        return len(self._later.marks(self._number))
