"""Places that are read when they are asked for, for objects that the quick reader gave without any."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from customhouse.control import yaml_nodes
from customhouse.control.yaml_nodes import Limits
from customhouse.control.yaml_values import Reader
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
        self._marks: list[Mapping[str, Location]] | None = None

    def of(self, number: int) -> Mapping[str, Location]:
        """Those of one document, counted from 0 without the empty ones."""
        return _MarksOf(self, number)

    def marks(self, number: int) -> Mapping[str, Location]:
        """Read now. A file that has changed since has no places any more."""
        marks = self._marks
        if marks is None:
            marks = self._marks = self._read()
            _recent.append(self)
            while len(_recent) > _KEPT:
                _recent.popleft().forget()
        return marks[number] if number < len(marks) else {}

    def forget(self) -> None:
        """Drop what was read; it is read again when it is asked for."""
        self._marks = None

    def _read(self) -> list[Mapping[str, Location]]:
        data = self._data if self._again is None else self._again()
        if data is None or hashlib.blake2b(data, digest_size=16).digest() != self._digest:
            return []
        reader = Reader(self._file, self._limits)
        text = yaml_nodes.decode(data, self._file, self._limits)
        return [reader.read(root).marks for root in yaml_nodes.compose(text, self._file, self._limits)]


class _MarksOf(Mapping[str, Location]):
    __slots__ = ("_later", "_number")

    def __init__(self, later: MarksLater, number: int) -> None:
        self._later, self._number = later, number

    def __getitem__(self, pointer: str) -> Location:
        return self._later.marks(self._number)[pointer]

    def __contains__(self, pointer: object) -> bool:
        return pointer in self._later.marks(self._number)

    def __iter__(self) -> Iterator[str]:
        return iter(self._later.marks(self._number))

    def __len__(self) -> int:
        return len(self._later.marks(self._number))
