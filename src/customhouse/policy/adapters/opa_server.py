"""Open Policy Agent as a server on a unix socket: exact as `opa eval`, without the 50 ms that a process takes.

The server is a child of ours, reached through a socket in a folder that nobody else may enter; it has an empty
environment and listens nowhere else. A bundle is checked by `opa check` with the capabilities of `opa eval` here before
the server is started with it, so that no built-in reaches out. A question that is not answered in time ends the server:
what it was doing cannot be stopped otherwise. The next question starts another one.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import json_digest
from customhouse._kit.process import ProgramError, ProgramMissingError, Running, start
from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.opa import OpaEngine
from customhouse.policy.adapters.opa_program import UnixConnection, refusal_of
from customhouse.policy.engine_input import input_bytes, rule_path

READY_S = 20.0
_PAUSE_S = 0.01
_LEASH = "setpriv"


class OpaServer:
    """`core.ports.PolicyEngine`. `timeout_s` bounds one evaluation. Threads may share it, and queue.

    One bundle at a time is loaded: another one starts the server anew, as a hot reload does.
    """

    name = "opa"

    def __init__(self, program: str = "opa", *, timeout_s: float = 10.0) -> None:
        self._program = program
        self._timeout_s = timeout_s
        self._checker = OpaEngine(program)
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._last: tuple[Mapping[str, str], Mapping[str, Any], str] | None = None

    @property
    def program(self) -> str:
        """The program that is run."""
        return self._program

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, Any], document: Mapping[str, Any], query: str
    ) -> Any:
        """The JSON value of `query` (`data.customhouse.findings`); sets are sorted lists. Raises PolicyError."""
        text = input_bytes(document)
        path = rule_path(query)
        with self._lock:
            child = self._serving(modules, data)
            try:
                answer = child.ask(path, text, self._timeout_s)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._end()
                late = isinstance(error, TimeoutError)
                what = f"no answer within {self._timeout_s:g} s; it was ended" if late else f"it failed: {error!r}"
                raise PolicyError(f"the policies could not be evaluated by opa: {what}"[:2000]) from error
        if "code" in answer:
            raise PolicyError(f"the policies could not be evaluated by opa: {refusal_of(answer)}")
        if "result" not in answer:
            raise PolicyError(f"{query} is undefined", hint="the bundle has to define it as a set")
        return answer["result"]

    def close(self) -> None:
        """End the server."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _serving(self, modules: Mapping[str, str], data: Mapping[str, Any]) -> _Child:
        if self._last is None or self._last[0] is not modules or self._last[1] is not data:
            self._last = (modules, data, json_digest({"modules": dict(modules), "data": dict(data)}))
        key = self._last[2]
        child = self._child
        if child is not None and (child.key != key or child.owner != os.getpid() or not child.alive):
            self._end()
        if self._child is None:
            self._checker.check(modules)
            self._child = _Child(self._program, key, modules, data)
        return self._child


class _Child:
    """One server with one bundle. Raises PolicyError when it does not come up."""

    def __init__(self, program: str, key: str, modules: Mapping[str, str], data: Mapping[str, Any]) -> None:
        self.key = key
        # Made with mode 0700: the socket in it is ours alone.
        self._folder = Path(tempfile.mkdtemp(prefix="customhouse-opa-"))
        place = self._folder / "socket"
        # Linux ends it with us even when we are killed; elsewhere an orphan is left that nobody can reach.
        leash = [_LEASH, "--pdeathsig", "KILL", "--"] if shutil.which(_LEASH) else []
        arguments = [*leash, program, "run", "--server", "--addr", f"unix://{place}", "--disable-telemetry"]
        arguments += ["--log-level", "error", "--max-errors", "5", "--skip-known-schema-check"]
        for index, name in enumerate(sorted(modules)):
            path = self._folder / f"module{index}.rego"
            path.write_text(modules[name], encoding="utf-8")
            arguments.append(f"{path}")
        if data:
            path = self._folder / "data.json"
            path.write_bytes(canonical_json(data))
            arguments.append(f"{path}")
        log = self._folder / "log"
        try:
            self._process = start(arguments, env={"HOME": str(self._folder)}, output=log)
        except ProgramMissingError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise PolicyError("the program opa is missing", hint="run `make parts`, or use engine: embedded") from error
        except ProgramError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise PolicyError(f"opa: {error}") from error
        # Also when whoever owns it forgets it, or leaves with an exception.
        self._connection = UnixConnection(str(place))
        self.owner = os.getpid()
        self._finish = weakref.finalize(self, _finish, self.owner, self._connection, self._process, self._folder)
        self._wait(log)

    @property
    def alive(self) -> bool:
        return self._process.alive

    def ask(self, path: str, document: bytes, timeout_s: float) -> Mapping[str, Any]:
        self._connection.timeout = timeout_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)
        body = b'{"input":' + document + b"}"
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", f"/v1/data/{path}?strict-builtin-errors=true", body, headers)
        answer = json.loads(self._connection.getresponse().read())
        if not isinstance(answer, dict):
            raise ValueError("the answer is no JSON object")  # noqa: TRY004 - what a server says, not how it is called
        return answer

    def end(self) -> None:
        self._finish()

    def _wait(self, log: Path) -> None:
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            try:
                self._connection.timeout = READY_S
                self._connection.request("GET", "/health")
                if self._connection.getresponse().read() is not None:
                    return
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if not self._process.alive:
                    break
                time.sleep(_PAUSE_S)
        said = log.read_text(errors="replace").strip()[-1000:]
        self.end()
        raise PolicyError(f"opa did not start: {said or 'it does not answer'}")


def _finish(owner: int, connection: http.client.HTTPConnection, process: Running, folder: Path) -> None:
    connection.close()
    if owner != os.getpid():
        return  # a fork of ours that goes: the server is its parent's
    process.end()
    shutil.rmtree(folder, ignore_errors=True)
