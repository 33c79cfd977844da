"""The embedded engine under a time limit: in a process of its own, which is killed when it does not answer in time.

Nothing in the engine can be interrupted from inside, and it holds the interpreter while it runs. What ends the process
(a hang, a crash of native code, too much memory) is "could not decide" here, and the next question starts another one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from customhouse._kit.companion import Companion, CompanionError
from customhouse._kit.digest import json_digest
from customhouse.core.errors import PolicyError
from customhouse.policy.engine_input import batches, input_bytes

TIMEOUT_S = 10.0
"""Of one evaluation, the compilation of its bundle included; the packaged rules take about a millisecond."""
_BATCH = 50
_BATCH_BYTES = 4 * 1024 * 1024
"""Documents of one question, and their bytes: each waits for the process once, and it holds them all."""
_MODULE = "customhouse.policy.adapters.evaluator"


class GuardedEngine:
    """`core.ports.PolicyEngine`. Threads may share it, and queue; the child starts with the first question."""

    name = "regorus"
    beside = True

    def __init__(self, *, timeout_s: float = TIMEOUT_S, compile_packaged: bool = False) -> None:
        self._timeout_s = timeout_s
        self._compiled = compile_packaged
        self._companion = Companion(_MODULE)
        self._known: tuple[int, set[str]] = (0, set())
        self._last: tuple[Mapping[str, str], Mapping[str, Any], str] | None = None

    def start(self) -> None:
        """Start the process now, beside other work."""
        self._companion.start()

    def close(self) -> None:
        """End the process."""
        self._companion.close()

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, Any], document: Mapping[str, Any], query: str
    ) -> Any:
        """The JSON value of `query`. Raises PolicyError, also when there is no answer in time."""
        key = self._key(modules, data)
        asked = b"E" + b'{"key":%s,"query":%s,"document":%s}' % (_text(key), _text(query), input_bytes(document))
        return _value(self._answer(key, modules, data, asked))

    def evaluate_all(
        self, modules: Mapping[str, str], data: Mapping[str, Any], documents: Sequence[Mapping[str, Any]], query: str
    ) -> list[Any]:
        """The value of `query` for each document, in order: some of them a question, in the time limit of one.

        Raises PolicyError when one has no answer; which one it is is found by asking one by one.
        """
        key = self._key(modules, data)
        values: list[Any] = []
        for texts in batches([input_bytes(document) for document in documents], _BATCH, _BATCH_BYTES):
            # A line each: what is canonical has no line ends, and is handed to the engine as it is.
            asked = b"\n".join([b'A{"key":%s,"query":%s}' % (_text(key), _text(query)), *texts])
            values += map(_value, self._answer(key, modules, data, asked))
        return values

    def _answer(self, key: str, modules: Mapping[str, str], data: Mapping[str, Any], asked: bytes) -> Any:
        for attempt in (1, 2):
            self._companion.start()
            generation = self._companion.generation
            frames = [] if self._knows(generation, key) else [self._bundle(key, modules, data)]
            try:
                answer = json.loads(
                    self._companion.ask([*frames, asked], generation=generation, timeout_s=self._timeout_s)
                )
                break
            except CompanionError as error:
                # One that died between two questions is no fault of this one.
                if attempt == 1 and generation != self._companion.generation:
                    continue
                raise PolicyError(f"the policies could not be evaluated: {error}") from error
        self._known = (generation, {*(self._known[1] if self._known[0] == generation else ()), key})
        return answer

    def _knows(self, generation: int, key: str) -> bool:
        return self._known[0] == generation and key in self._known[1]

    def _key(self, modules: Mapping[str, str], data: Mapping[str, Any]) -> str:
        last = self._last  # looked at once: another thread may ask about other rules meanwhile
        if last is None or last[0] is not modules or last[1] is not data:
            last = self._last = (modules, data, json_digest({"modules": dict(modules), "data": dict(data)}))
        return last[2]

    def _bundle(self, key: str, modules: Mapping[str, str], data: Mapping[str, Any]) -> bytes:
        said = {"key": key, "modules": dict(modules), "data": dict(data), "compiled": self._compiled}
        return b"B" + json.dumps(said).encode()


def _value(answer: Mapping[str, Any]) -> Any:
    if "error" in answer:
        raise PolicyError(answer["error"], where=answer["where"], hint=answer["hint"])
    return answer["value"]


def _text(value: str) -> bytes:
    return json.dumps(value).encode()
