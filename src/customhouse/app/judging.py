"""Judging many changes: the engine is asked about some of them at a time, by forks of this process on all its cores.

What a fork gives is JSON: the Facts in their canonical form, what the engine said of them, where its pointers are. The
Decision is made of that here, by the one `Gate`, in the order of the changes: it has the bytes that one process gives.
Without forks an engine that is a process of its own judges some while the Facts of the next ones are made.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, overload

import orjson

from customhouse._kit import progress
from customhouse._kit.canonical import Canonical
from customhouse._kit.forks import ForkError, in_order
from customhouse.app.stopwatch import Stopwatch
from customhouse.core.change import Change
from customhouse.core.errors import CannotDecideError
from customhouse.core.facts import Facts
from customhouse.core.resource import Location
from customhouse.policy.gate import Gate

MANY = 200
"""Changes from which on that pays: each fork starts an engine of its own."""
SLICE = 25
_AHEAD = 8
"""Slices whose Facts are made before the engine has answered about the first of them."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that the Decision on one Change is made of. `seen` is the Change with the places that were asked for."""

    seen: Change
    facts: Facts
    answer: Any = None
    """What the engine said; None: it was not asked yet."""


class FactsKept(Sequence[Facts]):
    """Facts of many changes, packed, which takes a fiftieth of the memory; read when asked for, best in their order."""

    def __init__(self, facts: Iterable[Facts] = ()) -> None:
        self._packed: list[bytes] = []
        """Canonical forms, SLICE by SLICE: what stands side by side is alike."""
        self._last: list[bytes] = []
        self._size = SLICE
        self._read: tuple[int, list[bytes]] = (-1, [])
        for item in facts:
            self.append(item)

    def append(self, facts: Facts) -> None:
        """Keep one more."""
        self._last.append(facts.canonical.text)
        if len(self._last) == self._size:
            self._packed.append(zlib.compress(b"\n".join(self._last), 1))  # RFC 8785 has no line ends
            self._last = []

    def __len__(self) -> int:
        return len(self._packed) * self._size + len(self._last)

    @overload
    def __getitem__(self, index: int) -> Facts: ...

    @overload
    def __getitem__(self, index: slice) -> list[Facts]: ...

    def __getitem__(self, index: int | slice) -> Facts | list[Facts]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(index)
        text = self._text(at)
        return Facts.of(orjson.loads(text), text)  # RFC 8785: no number in it that JSON readers differ about

    def texts(self, some: slice) -> list[bytes]:
        """Canonical forms, unread."""
        return [self._text(at) for at in range(*some.indices(len(self)))]

    def _text(self, at: int) -> bytes:
        part, place = divmod(at, self._size)
        if part == len(self._packed):
            return self._last[place]
        if self._read[0] != part:
            self._read = (part, zlib.decompress(self._packed[part]).split(b"\n"))
        return self._read[1][place]


def canonical(facts: Sequence[Facts], some: slice) -> list[Canonical]:
    """The canonical forms of some, for who stores them; where they are kept packed, nothing but those."""
    if isinstance(facts, FactsKept):
        return [Canonical({}, text) for text in facts.texts(some)]
    return [item.canonical for item in facts[some]]


def room_for(count: int) -> list[Facts] | FactsKept:
    """Where the Facts of so many changes are kept."""
    return [] if count < MANY else FactsKept()


class Preparing:
    """Gives what each Change is judged by, one after another; by `processes` where there are many."""

    def __init__(
        self, gate: Gate, facts_of: Callable[[Change], Facts], stopwatch: Stopwatch, *, processes: int = 1
    ) -> None:
        self._gate, self._facts_of, self._stopwatch, self._processes = gate, facts_of, stopwatch, processes

    def of(self, changes: Sequence[Change]) -> Iterator[Prepared]:
        """In order. Raises what making Facts and asking the engine raise, when the turn of that Change comes."""
        if len(changes) < MANY:
            for number, change in enumerate(changes):
                progress.tell("judging", number, len(changes))
                yield Prepared(change, self._made(change))
            return
        parts = [changes[start : start + SLICE] for start in range(0, len(changes), SLICE)]
        if self._processes == 1 and self._gate.beside:
            yield from self._beside(parts, len(changes))
            return
        try:
            number = 0
            for part, rows in zip(parts, in_order(self._rows, parts, self._processes), strict=True):
                for change, row in zip(part, rows, strict=True):
                    progress.tell("judging", number, len(changes))
                    yield self._prepared(change, row)
                    number += 1
        except ForkError as error:
            raise CannotDecideError(f"the changes could not be judged: {error}") from error

    def _beside(self, parts: Sequence[Sequence[Change]], total: int) -> Iterator[Prepared]:
        """An engine in a process of its own works while the next Facts are made: on two cores, without a fork."""
        from concurrent.futures import Future, ThreadPoolExecutor  # of no use to those who judge few

        asked: deque[tuple[Sequence[Change], list[Facts], Future[tuple[list[Any], float]]]] = deque()
        pool = ThreadPoolExecutor(1, "judging")
        number = 0
        try:
            for part in [*parts, *[()] * _AHEAD]:
                try:
                    facts = [self._made(change) for change in part]
                except BaseException:  # of several errors the first in the order of the changes is told
                    for *_, before in asked:
                        before.result()
                    raise
                if facts:
                    asked.append((part, facts, pool.submit(self._asked, facts)))
                if asked and (len(asked) > _AHEAD or not part):
                    changes, documents, answering = asked.popleft()
                    answers, took = answering.result()
                    for change, document, answer in zip(changes, documents, answers, strict=True):
                        progress.tell("judging", number, total)
                        self._stopwatch.add(change.ref, "rules", took / len(changes))
                        yield Prepared(change, document, answer)
                        number += 1
        finally:
            pool.shutdown(cancel_futures=True)

    def _made(self, change: Change) -> Facts:
        with self._stopwatch.measure(change.ref, "facts"):
            return self._facts_of(change)

    def _asked(self, facts: Sequence[Facts]) -> tuple[list[Any], float]:
        began = self._stopwatch.moment()
        return self._gate.answers(facts), self._stopwatch.moment() - began

    def _rows(self, part: Sequence[Change]) -> list[dict[str, Any]]:
        moments = [self._stopwatch.moment()]
        facts = []
        for change in part:
            facts.append(self._facts_of(change))
            moments.append(self._stopwatch.moment())
        answers = self._gate.answers(facts)
        # They were asked together: each took its part of it.
        asked = (self._stopwatch.moment() - moments[-1]) / len(part)
        return [
            {
                "facts": document.canonical.text.decode(),
                "answer": answer,
                "places": _places(change, answer),
                "took": [end - begin, asked],
            }
            for change, document, answer, (begin, end) in zip(part, facts, answers, pairwise(moments), strict=True)
        ]

    def _prepared(self, change: Change, row: Mapping[str, Any]) -> Prepared:
        for check, seconds in zip(("facts", "rules"), row["took"], strict=True):
            self._stopwatch.add(change.ref, check, seconds)
        text: str = row["facts"]
        marks = {pointer: Location(*place) for pointer, place in row["places"].items()}
        after = None if change.after is None else replace(change.after, marks=marks)
        before = None if change.before is None else replace(change.before, marks=marks)
        return Prepared(
            replace(change, before=before, after=after), Facts.of(orjson.loads(text), text.encode()), row["answer"]
        )


def _places(change: Change, answer: Any) -> dict[str, list[Any]]:
    """Where the pointers of an answer are in the file: file, line and column of each."""
    side = change.after or change.before
    places: dict[str, list[Any]] = {}
    for item in answer if isinstance(answer, list) else ():
        pointer = item.get("pointer") if isinstance(item, Mapping) else None
        if side is not None and isinstance(pointer, str) and pointer not in places:
            found = side.locate(pointer)
            places[pointer] = [found.file, found.line, found.column]
    return places
