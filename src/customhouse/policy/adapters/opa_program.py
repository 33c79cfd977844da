"""One call of the program `opa`, or of its server, and what it says when it fails: what the engines on it share."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from customhouse._kit.process import ProgramError, ProgramMissingError, run
from customhouse.core.errors import PolicyError


def call_opa(
    program: str,
    arguments: Sequence[str],
    stdin: bytes,
    timeout_s: float,
    *,
    labels: Mapping[str, str] | None = None,
    missing: str,
    silent: str,
) -> bytes:
    """Its stdout; the environment is empty. Raises PolicyError.

    `labels` are the modules' names by the paths that opa was given, `missing` is what to do where there is no such
    program, `silent` what failed when it gives no reason.
    """
    try:
        done = run([program, *arguments], env={}, stdin=stdin, timeout_s=timeout_s, accept=(0, 1, 2))
    except ProgramMissingError as error:
        raise PolicyError("the program opa is missing", hint=missing) from error
    except ProgramError as error:
        raise PolicyError(f"opa: {error}") from error
    if done.status != 0:
        reason = _problem(done.stdout, done.stderr, labels or {}, silent)
        raise PolicyError(f"the policies could not be evaluated by opa: {reason}")
    return done.stdout


def written(path: Path, content: bytes) -> Path:
    """The path, with that content."""
    path.write_bytes(content)
    return path


def _problem(stdout: bytes, stderr: str, labels: Mapping[str, str], silent: str) -> str:
    """What opa said, with the names of the modules instead of those of temporary files."""
    try:
        listed = json.loads(stdout or stderr).get("errors", [])  # `opa check` says it on stderr
    except (ValueError, AttributeError):
        listed = []
    parts = []
    for item in listed[:5]:
        place = item.get("location") or {}
        parts.append(f"{place.get('file', '')}:{place.get('row', '')}: {item.get('message', '')}".lstrip(": "))
    text = "; ".join(parts) or stderr.strip() or silent
    for path, module in labels.items():
        text = text.replace(path, module)
    return " ".join(text.split())[:2000]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, place: str) -> None:
        super().__init__("localhost")
        self._place = place

    def connect(self) -> None:
        """Open it, within the limit of time that the connection has."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._place)


def refusal_of(answer: Mapping[str, Any]) -> str:
    """What an answer of OPA's REST API that has a `code` says, its first errors."""
    errors = answer.get("errors") or [answer]
    return "; ".join(str(item.get("message", "")) for item in errors[:5] if isinstance(item, dict))[:2000]
