"""The process in which the embedded engine runs: it may hang, panic or be killed, and takes nobody with it.

Frames (`_kit.companion`): `B` and a JSON document give a bundle a key; `E` and a JSON document ask for a query, `A` for
that of several inputs, each in its canonical form on a line of its own. Of policies of others: `P` gives a program a
number and `D` data, `F` asks for queries of one (`guarded_foreign`). `B`, `P` and `D` are not answered. Run as
`python -m customhouse.policy.adapters.evaluator`, by `policy.adapters.guarded` and `guarded_foreign` alone.
"""

from __future__ import annotations

import json
import resource
from collections import Counter, OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from customhouse._kit.canonical import Canonical
from customhouse._kit.companion import serve
from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.regorus import RegorusEngine

MEMORY = 4 * 1024**3
"""Bytes of address space: a rule that builds without end ends this process, not the machine."""
MANY = 150
"""Questions about one bundle from which on its program pays, which takes some hundred milliseconds to make."""


PROGRAMS, DATA = 256, 2
"""Of others, that are kept: whoever asks sends again what is not known."""


class _Evaluator:
    def __init__(self) -> None:
        self._foreign: _Foreign | None = None
        self._engines = {compiled: RegorusEngine(compile_packaged=compiled) for compiled in (False, True)}
        self._bundles: dict[str, tuple[Any, Any, bool]] = {}
        self._asked: Counter[str] = Counter()

    def answer(self, frame: bytes) -> bytes | None:
        if frame[:1] == b"A":
            head, *lines = frame[1:].split(b"\n")
            asked = json.loads(head)
            return json.dumps([self._one(asked, Canonical({}, line)) for line in lines]).encode()
        asked = json.loads(frame[1:])
        if frame[:1] in (b"P", b"D", b"F"):
            self._foreign = self._foreign or _Foreign()
            return self._foreign.answer(frame[:1], asked)
        if frame[:1] == b"B":
            self._bundles[asked["key"]] = (
                MappingProxyType(asked["modules"]),
                MappingProxyType(asked["data"]),
                asked["compiled"],
            )
            return None
        return json.dumps(self._one(asked, asked["document"])).encode()

    def _one(self, asked: Mapping[str, Any], document: Any) -> dict[str, Any]:
        modules, data, compiled = self._bundles[asked["key"]]
        self._asked[asked["key"]] += 1
        try:
            engine = self._engines[compiled or self._asked[asked["key"]] > MANY]
            return {"value": engine.evaluate(modules, data, document, asked["query"])}
        except PolicyError as error:
            return {"error": error.message, "where": error.where, "hint": error.hint}


class _Foreign:
    """What is asked of policies of others. Loaded when the first one comes."""

    def __init__(self) -> None:
        from customhouse.policy.adapters.regorus_foreign import EmbeddedForeign

        self._engine = EmbeddedForeign()
        self._programs: OrderedDict[int, Any] = OrderedDict()
        self._data: OrderedDict[int, Any] = OrderedDict()

    def answer(self, kind: bytes, asked: Mapping[str, Any]) -> bytes | None:
        from customhouse.policy.foreign import UNDEFINED, Program

        if kind == b"P":
            program = Program(MappingProxyType(asked["modules"]), v0=asked["v0"])
            _put(self._programs, asked["number"], program, PROGRAMS)
            return None
        if kind == b"D":
            _put(self._data, asked["number"], asked["data"], DATA)
            return None
        if asked["program"] not in self._programs or (asked["data"] and asked["data"] not in self._data):
            return b'{"unknown":true}'
        data = self._data[asked["data"]] if asked["data"] else {}
        try:
            rows = self._engine.ask(self._programs[asked["program"]], data, asked["documents"], asked["queries"])
        except PolicyError as error:
            return json.dumps({"error": error.message, "where": error.where, "hint": error.hint}).encode()
        return json.dumps({"rows": [[[] if cell is UNDEFINED else [cell] for cell in row] for row in rows]}).encode()


def _put(kept: OrderedDict[int, Any], number: int, value: Any, most: int) -> None:
    kept[number] = value
    while len(kept) > most:
        kept.popitem(last=False)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(_Evaluator().answer)
