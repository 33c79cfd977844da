"""The process in which the embedded engine runs: it may hang, panic or be killed, and takes nobody with it.

Frames (`_kit.companion`): `B` and a JSON document give a bundle a key; `E` and a JSON document ask for a query, `A` for
that of several inputs. A `B` is not answered. Run as `python -m customhouse.policy.adapters.evaluator`, by
`policy.adapters.guarded` alone.
"""

from __future__ import annotations

import json
import resource
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from customhouse._kit.companion import serve
from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.regorus import RegorusEngine

MEMORY = 4 * 1024**3
"""Bytes of address space: a rule that builds without end ends this process, not the machine."""
MANY = 150
"""Questions about one bundle from which on its program pays, which takes some hundred milliseconds to make."""


class _Evaluator:
    def __init__(self) -> None:
        self._engines = {compiled: RegorusEngine(compile_packaged=compiled) for compiled in (False, True)}
        self._bundles: dict[str, tuple[Any, Any, bool]] = {}
        self._asked: Counter[str] = Counter()

    def answer(self, frame: bytes) -> bytes | None:
        asked = json.loads(frame[1:])
        if frame[:1] == b"B":
            self._bundles[asked["key"]] = (
                MappingProxyType(asked["modules"]),
                MappingProxyType(asked["data"]),
                asked["compiled"],
            )
            return None
        if frame[:1] == b"A":
            return json.dumps([self._one(asked, document) for document in asked["documents"]]).encode()
        return json.dumps(self._one(asked, asked["document"])).encode()

    def _one(self, asked: Mapping[str, Any], document: Any) -> dict[str, Any]:
        modules, data, compiled = self._bundles[asked["key"]]
        self._asked[asked["key"]] += 1
        try:
            engine = self._engines[compiled or self._asked[asked["key"]] > MANY]
            return {"value": engine.evaluate(modules, data, document, asked["query"])}
        except PolicyError as error:
            return {"error": error.message, "where": error.where, "hint": error.hint}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(_Evaluator().answer)
