"""Judging many changes: the engine is asked about some of them at a time, by forks of this process on all its cores.

What a fork gives is JSON: the Facts in their canonical form, what the engine said of them, where its pointers are. The
Decision is made of that here, by the one `Gate`, in the order of the changes: it has the bytes that one process gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, overload

import orjson

from customhouse._kit import progress
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


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that the Decision on one Change is made of. `seen` is the Change with the places that were asked for."""

    seen: Change
    facts: Facts
    answer: Any = None
    """What the engine said; None: it was not asked yet."""


class FactsKept(Sequence[Facts]):
    """Facts of many changes in their canonical form, which takes a fifth of the memory; read when asked for."""

    def __init__(self, facts: Iterable[Facts] = ()) -> None:
        self._texts = [item.canonical.text for item in facts]

    @classmethod
    def of(cls, texts: list[bytes]) -> FactsKept:
        """Of canonical forms."""
        made = cls()
        made._texts = texts
        return made

    def append(self, facts: Facts) -> None:
        """Keep one more."""
        self._texts.append(facts.canonical.text)

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> Facts: ...

    @overload
    def __getitem__(self, index: slice) -> FactsKept: ...

    def __getitem__(self, index: int | slice) -> Facts | FactsKept:
        if isinstance(index, slice):
            return FactsKept.of(self._texts[index])
        text = self._texts[index]
        return Facts.of(orjson.loads(text), text)  # RFC 8785: no number in it that JSON readers differ about


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
                with self._stopwatch.measure(change.ref, "facts"):
                    facts = self._facts_of(change)
                yield Prepared(change, facts)
            return
        parts = [changes[start : start + SLICE] for start in range(0, len(changes), SLICE)]
        try:
            number = 0
            for part, rows in zip(parts, in_order(self._rows, parts, self._processes), strict=True):
                for change, row in zip(part, rows, strict=True):
                    progress.tell("judging", number, len(changes))
                    yield self._prepared(change, row)
                    number += 1
        except ForkError as error:
            raise CannotDecideError(f"the changes could not be judged: {error}") from error

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
