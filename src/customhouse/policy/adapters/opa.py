"""Open Policy Agent itself behind `core.ports.PolicyEngine`: exact by definition, a child process an evaluation.

`opa eval` and not a server: the process ends with the answer or is killed at the time limit, so a hang cannot outlive
it, nothing is kept between calls and nothing listens. It costs some 50 ms a call; `evaluate_all` judges many documents
in one. The child gets an empty environment, no network built-ins (capabilities), and stops at the first built-in error.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.opa_program import call_opa, written
from customhouse.policy.engine_input import input_bytes

REFUSED = ("http.send", "net.lookup_ip_addr", "opa.runtime", "time.now_ns", "rand.intn", "uuid.rfc4122", "trace")
"""Left out of the capabilities, so that not even a bundle that was never linted can call them."""


class OpaEngine:
    """`program` is a name on PATH or a path; `timeout_s` bounds one call. May be used by any thread."""

    name = "opa"

    def __init__(self, program: str = "opa", *, timeout_s: float = 30.0) -> None:
        self._program = program
        self._timeout_s = timeout_s
        self._capabilities: bytes | None = None

    @property
    def program(self) -> str:
        """The program that is started."""
        return self._program

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, Any], document: Mapping[str, Any], query: str
    ) -> Any:
        """The JSON value of `query`; sets are sorted lists. Raises PolicyError, never gives a part."""
        return self._run(modules, data, input_bytes(document), query)

    def evaluate_all(
        self, modules: Mapping[str, str], data: Mapping[str, Any], documents: Sequence[Mapping[str, Any]], query: str
    ) -> list[Any]:
        """The value of `query` for each document, in order, by one process. Raises PolicyError."""
        joined = b'{"documents":[' + b",".join(input_bytes(document) for document in documents) + b"]}"
        each = f"[value | some document in input.documents; value := {query} with input as document]"
        # A document for which the query is undefined would be left out of the comprehension.
        values = self._run(modules, data, joined, each)
        if not isinstance(values, list) or len(values) != len(documents):
            raise PolicyError(f"{query} is undefined for some of {len(documents)} documents")
        return values

    def check(self, modules: Mapping[str, str]) -> None:
        """Compile modules with the capabilities that `evaluate` allows. Raises PolicyError."""
        with tempfile.TemporaryDirectory(prefix="customhouse-opa-") as name:
            folder = Path(name)
            arguments = ["check", "--format", "json", "--capabilities"]
            arguments.append(str(written(folder / "capabilities.json", self._known_capabilities())))
            labels = {}
            for index, module in enumerate(sorted(modules)):
                path = written(folder / f"module{index}.rego", modules[module].encode())
                labels[str(path)] = module
                arguments.append(str(path))
            self._call(arguments, b"", labels)

    def version(self) -> str:
        """What `opa version` calls itself, its first line. Raises PolicyError when there is no program."""
        return self._call(["version"], b"").decode(errors="replace").partition("\n")[0].strip()

    def speaks_v1(self) -> bool:
        """Whether the program is OPA 1.0 or later, whose language is Rego v1; False when it does not answer."""
        try:
            major = re.fullmatch(r"Version: (\d+)\..*", self.version())
        except PolicyError:
            return False
        return major is not None and int(major[1]) >= 1

    def _run(self, modules: Mapping[str, str], data: Mapping[str, Any], document: bytes, query: str) -> Any:
        with tempfile.TemporaryDirectory(prefix="customhouse-opa-") as name:
            folder = Path(name)
            arguments = ["eval", "--format", "json", "--stdin-input", "--strict-builtin-errors", "--fail"]
            arguments += ["--capabilities", str(written(folder / "capabilities.json", self._known_capabilities()))]
            labels = {}
            for index, module in enumerate(sorted(modules)):
                # Names of modules come from a repository: they label errors and never become paths.
                path = written(folder / f"module{index}.rego", modules[module].encode())
                labels[str(path)] = module
                arguments += ["--data", str(path)]
            if data:
                arguments += ["--data", str(written(folder / "data.json", canonical_json(data)))]
            answer = self._call([*arguments, "--", query], document, labels)
        try:
            return json.loads(answer)["result"][0]["expressions"][0]["value"]
        except (ValueError, LookupError, TypeError) as error:
            raise PolicyError(f"{query} is undefined", hint="the bundle has to define it as a set") from error

    def _known_capabilities(self) -> bytes:
        if self._capabilities is None:
            known = json.loads(self._call(["capabilities", "--current"], b""))
            known["builtins"] = [item for item in known["builtins"] if item["name"] not in REFUSED]
            known["allow_net"] = []
            self._capabilities = json.dumps(known).encode()
        return self._capabilities

    def _call(self, arguments: Sequence[str], stdin: bytes, labels: Mapping[str, str] | None = None) -> bytes:
        return call_opa(
            self._program,
            arguments,
            stdin,
            self._timeout_s,
            labels=labels,
            missing="run `make parts`, or use engine: embedded",
            silent="the query is undefined",
        )
