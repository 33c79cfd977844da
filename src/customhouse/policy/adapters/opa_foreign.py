"""OPA itself for policies of others: both versions of Rego; a built-in's error is undefined, as Gatekeeper runs it.

One process an `ask`, whatever the number of documents; it ends with the answer, or is ended at the time limit. Its
capabilities lack what reaches out (`REFUSED`), its environment is empty.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.opa_program import call_opa, written
from customhouse.policy.engine_input import input_bytes
from customhouse.policy.foreign import UNDEFINED, Program
from customhouse.policy.foreign_builtins import REFUSED

MAX_INPUT = 256 * 1024 * 1024


class OpaForeign:
    """`ForeignEngine` on the program `opa`, 1.0 or later. `timeout_s` bounds one call.

    `whole` leaves OPA all its built-ins: for its own conformance cases, never for policies.
    """

    name = "opa"

    def __init__(self, program: str = "opa", *, timeout_s: float = 60.0, whole: bool = False) -> None:
        self._program = program
        self._timeout_s = timeout_s
        self._refused = frozenset() if whole else frozenset(REFUSED)
        self._capabilities: bytes | None = None

    def ask(
        self, program: Program, data: Mapping[str, Any], documents: Sequence[Any], queries: Sequence[str]
    ) -> list[list[Any]]:
        """See `policy.foreign.ForeignEngine`."""
        # A cell is a list of the query's value: empty where it is undefined, so that no row gets lost.
        cells = ", ".join(f"[v | v := {query} with input as document]" for query in queries)
        text = input_bytes({"documents": list(documents)}, MAX_INPUT)
        answer = self.evaluate(program, data, text, f"[row | document := input.documents[_]; row := [{cells}]]")
        rows: list[list[list[Any]]] = answer[0]["expressions"][0]["value"] if answer else []
        if len(rows) != len(documents):
            raise PolicyError(f"opa answered for {len(rows)} of {len(documents)} documents")
        return [[cell[0] if cell else UNDEFINED for cell in row] for row in rows]

    def evaluate(
        self, program: Program, data: Mapping[str, Any], document: bytes | None, query: str, *, strict: bool = False
    ) -> list[dict[str, Any]]:
        """The result of `opa eval`: bindings and expressions of each solution. `strict`: built-in errors are errors."""
        with tempfile.TemporaryDirectory(prefix="customhouse-opa-") as name:
            folder = Path(name)
            arguments = ["eval", "--format", "json", "--v0-compatible" if program.v0 else "--v1-compatible"]
            arguments += ["--capabilities", str(written(folder / "capabilities.json", self._known()))]
            arguments += ["--stdin-input"] if document is not None else []
            arguments += ["--strict-builtin-errors"] if strict else []
            labels = {}
            for index, module in enumerate(sorted(program.modules)):
                path = written(folder / f"module{index}.rego", program.modules[module].encode())
                labels[str(path)] = module
                arguments += ["--data", str(path)]
            if data:
                arguments += ["--data", str(written(folder / "data.json", input_bytes(data, MAX_INPUT)))]
            answer = self._call([*arguments, "--", query], document or b"", labels)
        try:
            found: list[dict[str, Any]] = json.loads(answer).get("result", [])
        except ValueError as error:
            raise PolicyError("opa answered with something that is no JSON") from error
        return found

    def _known(self) -> bytes:
        if self._capabilities is None:
            known = json.loads(self._call(["capabilities", "--current"], b"", {}))
            known["builtins"] = [item for item in known["builtins"] if item["name"] not in self._refused]
            if self._refused:
                known["allow_net"] = []
            self._capabilities = json.dumps(known).encode()
        return self._capabilities

    def _call(self, arguments: Sequence[str], stdin: bytes, labels: Mapping[str, str]) -> bytes:
        return call_opa(
            self._program,
            arguments,
            stdin,
            self._timeout_s,
            labels=labels,
            missing="run `make parts`",
            silent="no reason given",
        )
