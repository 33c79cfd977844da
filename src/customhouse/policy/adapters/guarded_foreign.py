"""The embedded engine for policies of others under a time limit: in a process of its own, as `guarded` has it.

A template that loops, or takes too much memory, ends that process and decides nothing. Programs and data are sent once
a process: an inventory is as large as all that is judged together. What the process has forgotten is sent again.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from customhouse._kit.companion import MAX_FRAME, Companion, CompanionError
from customhouse.core.errors import PolicyError
from customhouse.policy.engine_input import batches, input_bytes
from customhouse.policy.foreign import UNDEFINED, EndedError, Program

TIMEOUT_S = 10.0
"""For one question, and a second more for each whole MiB sent with it; compiling a program is part of its first."""
_MIB = 1024 * 1024
_BATCH, _BATCH_BYTES = 20, 4 * _MIB
"""Documents of one question, and their bytes."""
_MAX_DATA = MAX_FRAME - _MIB
_REMEMBERED = 1024
_MODULE = "customhouse.policy.adapters.evaluator"


class GuardedForeign:
    """`policy.foreign.ForeignEngine`. Threads may share it, and queue; the child starts with the first question."""

    name = "embedded"

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._companion = Companion(_MODULE)
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._programs: OrderedDict[int, tuple[Program, int]] = OrderedDict()
        self._data: tuple[Mapping[str, Any], int] = ({}, 0)

    def ask(
        self, program: Program, data: Mapping[str, Any], documents: Sequence[Any], queries: Sequence[str]
    ) -> list[list[Any]]:
        """See `policy.foreign.ForeignEngine`. Raises EndedError where there is no answer in time."""
        told = {"program": self._number(program), "data": self._data_number(data), "queries": list(queries)}
        head = json.dumps(told).encode()[:-1]
        rows: list[list[Any]] = []
        for texts in batches([input_bytes(document) for document in documents], _BATCH, _BATCH_BYTES):
            answer = self._answer(b'F%s,"documents":[%s]}' % (head, b",".join(texts)), program, data, told)
            rows += [[cell[0] if cell else UNDEFINED for cell in row] for row in answer]
        return rows

    def close(self) -> None:
        """End the process."""
        self._companion.close()

    def _answer(self, asked: bytes, program: Program, data: Mapping[str, Any], told: Mapping[str, Any]) -> Any:
        frames = [asked]
        for _ in range(3):
            answer = self._exchange(frames)
            if "unknown" not in answer:
                break
            # Of a process that has just been started, or that has forgotten it.
            frames = [_program(told["program"], program), asked]
            if told["data"]:
                frames.insert(0, _of_data(told["data"], data))
        if "error" in answer:
            raise PolicyError(answer["error"], where=answer["where"], hint=answer["hint"])
        if "rows" not in answer:
            raise PolicyError("the policies could not be evaluated: the process forgets what it is told")
        return answer["rows"]

    def _exchange(self, frames: Sequence[bytes]) -> Mapping[str, Any]:
        limit = self._timeout_s + sum(map(len, frames)) // _MIB
        for attempt in (1, 2):
            self._companion.start()
            generation = self._companion.generation
            try:
                answer = self._companion.ask(frames, generation=generation, timeout_s=limit)
            except CompanionError as error:
                # One that died between two questions is no fault of this one.
                if attempt == 1 and generation != self._companion.generation:
                    continue
                raise EndedError(
                    f"the policies could not be evaluated: {error}",
                    hint="a rule that takes so long loops, or looks at everything for everything: make it end sooner",
                ) from error
            told: Mapping[str, Any] = json.loads(answer)
            return told
        raise AssertionError("unreachable: the second attempt answers or raises")

    def _number(self, program: Program) -> int:
        with self._lock:
            known = self._programs.get(id(program))
            if known is None or known[0] is not program:
                known = self._programs[id(program)] = (program, next(self._numbers))
                while len(self._programs) > _REMEMBERED:
                    self._programs.popitem(last=False)
            return known[1]

    def _data_number(self, data: Mapping[str, Any]) -> int:
        """0 for none. Compared by identity: nobody changes data after it was given."""
        if not data:
            return 0
        with self._lock:
            last = self._data[0]
            if last.keys() != data.keys() or any(last[name] is not data[name] for name in data):
                self._data = (dict(data), next(self._numbers))
            return self._data[1]


def _program(number: int, program: Program) -> bytes:
    return b"P" + json.dumps({"number": number, "modules": dict(program.modules), "v0": program.v0}).encode()


def _of_data(number: int, data: Mapping[str, Any]) -> bytes:
    return b'D{"number":%d,"data":%s}' % (number, input_bytes(data, _MAX_DATA))
