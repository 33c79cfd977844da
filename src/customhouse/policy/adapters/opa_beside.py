"""An Open Policy Agent that runs beside us, a sidecar, asked over its REST API: `core.ports.PolicyEngine`.

It is reached by a unix socket that the two containers share, or on loopback; nobody else may reach it, since who writes
policies into it decides. What it judges with is what we give it:

1. The bundle is linted here: what reaches out, reads a clock or is not known to both engines never gets there.
2. Its packages and its data get a root of their own, named by the digest of the bundle: several bundles lie side by
   side while one follows the other, and several processes of ours may give the same one at once.
3. Last comes its mark, a module that asks it. A question goes through the mark, which is undefined unless every module
   and the data are there: half a bundle answers nothing, also while another process of ours takes it out.

OPA ends an evaluation whose client has gone (its request's context is cancelled), so a rule without end costs one
question. A server that does not answer decides nothing: that is a PolicyError, and the gate stays shut.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import json_digest
from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.opa_program import UnixConnection, refusal_of
from customhouse.policy.engine_input import input_bytes, rule_path
from customhouse.policy.foreign_tokens import edited, path_at, tokens_of
from customhouse.policy.lint import check_modules

_PREFIX = "customhouse/"
"""Ids of the policies that are ours in that server."""
_POLICIES = "/v1/policies/"
_MARK = "customhouse_mark"
_HERE_DATA = "customhouse_here"
_HERE = "customhouse_here_"
"""In each module that is given, and in the data: the mark asks for all of them."""
_ATTEMPTS = 5
_KEPT = 3
"""Other bundles that stay: that of the generation before, and of one who judges by another revision (`policy try`)."""
_MAX_ANSWER = 64 * 1024 * 1024
_HINT = "see that the container of OPA runs, and what CUSTOMHOUSE_OPA names; or CUSTOMHOUSE_ENGINE=embedded"


class _NotTakenError(PolicyError):
    """OPA refused a module, perhaps because another one is not there yet."""


class OpaBeside:
    """`address` is `unix:///PATH` or `http://127.0.0.1:PORT`; `timeout_s` bounds one question. Threads queue."""

    name = "opa"

    def __init__(self, address: str, *, timeout_s: float = 10.0) -> None:
        """Raises PolicyError for an address that others than this machine could answer at."""
        self._address = checked_address(address)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._owner = os.getpid()
        self._last: tuple[Mapping[str, str], Mapping[str, Any], str] | None = None

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, Any], document: Mapping[str, Any], query: str
    ) -> Any:
        """The JSON value of `query` (`data.customhouse.findings`); sets are sorted lists. Raises PolicyError."""
        text = input_bytes(document)
        rule_path(query)
        with self._lock:
            root = self._root(modules, data)
            answer = self._judge(root, query, text)
            for _ in range(_ATTEMPTS):  # another process may have forgotten it meanwhile
                if "result" in answer or "code" in answer:
                    break
                self._give(modules, data, query, root)
                answer = self._judge(root, query, text)
        if "code" in answer:
            raise PolicyError(f"the policies could not be evaluated by opa: {refusal_of(answer)}")
        found = answer.get("result")
        if not isinstance(found, list):
            raise PolicyError(
                f"opa at {self._address} forgets the rules that it is given", hint="one OPA serves one installation"
            )
        if len(found) != 1:
            raise PolicyError(f"{query} is undefined", hint="the bundle has to define it as a set")
        return found[0]

    def close(self) -> None:
        """Leave it; what it was given stays there, marked."""
        with self._lock:
            self._drop()

    def _root(self, modules: Mapping[str, str], data: Mapping[str, Any]) -> str:
        if self._last is None or self._last[0] is not modules or self._last[1] is not data:
            digest = json_digest({"modules": dict(modules), "data": dict(data)})
            self._last = (modules, data, "c" + digest.removeprefix("sha256:"))
        return self._last[2]

    def _judge(self, root: str, query: str, document: bytes) -> Mapping[str, Any]:
        path = f"/v1/data/{_MARK}/{root}/{_word(query)}?strict-builtin-errors=true"
        return self._ask("POST", path, b'{"input":' + document + b"}", "application/json")

    def _give(self, modules: Mapping[str, str], data: Mapping[str, Any], query: str, root: str) -> None:
        """Put a bundle there, beside what is there. Raises PolicyError; then it has no mark."""
        check_modules(modules)
        known = canonical_json({**data, _HERE_DATA: root})
        self._written("PUT", f"/v1/data/{root}", known, "application/json")
        # What refers to little goes first: OPA refuses what calls a module that is not there yet.
        names = sorted(modules, key=lambda name: (modules[name].count("data."), name))
        made = {
            f"{_PREFIX}{root}/{index}": (name, rooted(modules[name], name, root) + f"\n{_HERE}{index} := true\n")
            for index, name in enumerate(names)
        }
        self._all("PUT", made)
        here = [f"data.{root}{_places(modules[name], name)}.{_HERE}{index}" for index, name in enumerate(names)]
        here.append(f'data.{root}.{_HERE_DATA} == "{root}"')
        asked = f"[value | value := data.{root}.{query.removeprefix('data.')}]"
        said = f"package {_MARK}.{root}\nimport rego.v1\n{_word(query)} := {asked} if {{\n" + "\n".join(here)
        self._written("PUT", f"{_POLICIES}{_PREFIX}mark/{root}/{_word(query)}", f"{said}\n}}\n".encode(), "text/plain")
        self._forget(root)

    def _forget(self, root: str) -> None:
        """Take out what others no longer ask. Who still does gives it again: its mark goes first."""
        listed = self._ask("GET", "/v1/policies", b"", "").get("result")
        ids = [str(item.get("id")) for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
        ours = sorted(place for place in ids if place.startswith(_PREFIX))
        roots = sorted({place.split("/")[1] for place in ours} - {root, "mark"})
        for gone in roots[_KEPT:]:
            for place in ours:
                if place.startswith(f"{_PREFIX}mark/{gone}/"):
                    self._written("DELETE", _POLICIES + place, b"", "")
            self._all("DELETE", {place: ("", "") for place in ours if place.startswith(f"{_PREFIX}{gone}/")})
            self._ask("DELETE", f"/v1/data/{gone}", b"", "")

    def _all(self, method: str, places: Mapping[str, tuple[str, str]]) -> None:
        """Write each: OPA compiles at every step, so a module that calls another waits for it. Raises PolicyError."""
        rest = dict(places)
        while rest:
            refused: dict[str, tuple[str, str]] = {}
            problem: PolicyError | None = None
            for place, (name, text) in rest.items():
                try:
                    self._written(method, _POLICIES + place, text.encode(), "text/plain" if text else "", label=name)
                except _NotTakenError as error:
                    refused[place], problem = (name, text), problem or error
            if problem is not None and len(refused) == len(rest):
                raise problem
            rest = refused

    def _written(self, method: str, path: str, body: bytes, kind: str, *, label: str = "") -> None:
        answer = self._ask(method, path, body, kind)
        gone = method == "DELETE" and answer.get("code") == "resource_not_found"  # another process was faster
        if "code" in answer and not gone:
            raise _NotTakenError(f"opa did not take the policies: {refusal_of(answer)}", where=label)

    def _ask(self, method: str, path: str, body: bytes, kind: str) -> Mapping[str, Any]:
        try:
            status, text = self._answer(method, path, body, kind)
            answer = json.loads(text) if text else {}
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop()
            late = isinstance(error, TimeoutError)
            what = f"no answer within {self._timeout_s:g} s" if late else f"it failed: {error!r}"
            raise PolicyError(f"opa at {self._address} cannot be asked: {what}"[:2000], hint=_HINT) from error
        if not isinstance(answer, dict) or (status >= 400 and "code" not in answer):
            raise PolicyError(f"what answers at {self._address} is no OPA (status {status})", hint=_HINT)
        return answer

    def _answer(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        kept = self._connection is not None and self._owner == os.getpid()
        if not kept:  # none yet, or a parent's of before the fork
            self._connection, self._owner = _connection(self._address), os.getpid()
        try:
            return self._sent(method, path, body, kind)
        except (ConnectionError, http.client.RemoteDisconnected):
            # A server that was started anew has closed what was kept; asking twice changes nothing.
            self._drop()
            if not kept:
                raise
        self._connection = _connection(self._address)
        return self._sent(method, path, body, kind)

    def _sent(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        assert self._connection is not None  # noqa: S101 - made by `_answer`
        self._connection.timeout = self._timeout_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(self._timeout_s)
        self._connection.request(method, path, body or None, {"Content-Type": kind} if kind else {})
        answer = self._connection.getresponse()
        text = answer.read(_MAX_ANSWER + 1)
        if len(text) > _MAX_ANSWER:
            raise ValueError("the answer is too large")
        return answer.status, text

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def rooted(source: str, name: str, root: str) -> str:
    """A module whose package, and all that it refers to by `data`, lie below `root`; lines stay where they are.

    `data` can mean nothing else in Rego: no variable, rule or argument may be called so.
    """
    tokens = tokens_of(source, name)
    if len(tokens) < 2 or tokens[0].text != "package":
        raise PolicyError("the module does not start with its package", where=f"{name}:1")
    edits = [(tokens[1].start, tokens[1].start, f"{root}.")]
    for before, token in pairwise(tokens):
        if token.kind == "name" and token.text == "data" and before.text != ".":
            edits.append((token.end, token.end, f".{root}"))
    return edited(source, edits)


def _places(source: str, name: str) -> str:
    """The package of a module as a reference after `data.root`."""
    path, _ = path_at(tokens_of(source, name), 1)
    return "".join(f"[{json.dumps(part)}]" for part in path)


def _word(query: str) -> str:
    return query.replace(".", "_")


def checked_address(address: str) -> str:
    """The address as given. Raises PolicyError: Facts and rules go there, unencrypted, and its word is taken."""
    parts = urlsplit(address)
    unix = parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/")
    try:
        local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost") and bool(parts.port)
    except ValueError:
        local = False
    if not (unix or (local and parts.path in ("", "/") and not parts.username)):
        raise PolicyError(
            f"{address[:200]!r} is no OPA of this machine", hint="unix:///run/opa/socket, or http://127.0.0.1:8181"
        )
    return address


def _connection(address: str) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return UnixConnection(parts.path)
    return http.client.HTTPConnection(str(parts.hostname), parts.port)
