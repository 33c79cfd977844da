"""The gateway's process as the target sees it: start, adopt, ask, tell, restart."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Mapping
from typing import Any

import orjson

from customhouse._kit.clock import Clock
from customhouse.core.errors import TargetError
from customhouse.execution.adapters.local import processes
from customhouse.execution.adapters.local.dial import DialError, call
from customhouse.execution.adapters.local.places import Places
from customhouse.execution.adapters.local.records import Records, write_atomic

_NAME = "gateway"
_HUNG_S = 5.0


class Front:
    """One gateway process.

    The listening socket is bound here and inherited, so that a port in use is known at once, and connections made
    while a crashed gateway restarts wait instead of being refused.
    """

    def __init__(self, records: Records, places: Places, clock: Clock, port: int, limits: Mapping[str, Any]) -> None:
        self._records = records
        self._places = places
        self._clock = clock
        self._wanted_port = port
        self._limits = limits
        self._admin = str(places.socket(_NAME))
        self._listener: socket.socket | None = None
        self.process: processes.Identity | None = None
        self._pushed: bytes = b""
        self._answered = clock.monotonic()

    def adopt(self) -> bool:
        """Take a gateway that already runs on the right port; one on another port is ended. Whether one was taken."""
        found = processes.find(self._places.root / "run").get(self._places.config(_NAME))
        if found is None:
            return False
        if self._wanted_port not in (0, self._records.port):
            processes.send(found, signal.SIGTERM)
            return False
        self.process = found
        self._answered = self._clock.monotonic()
        return True

    def bind(self) -> socket.socket:
        """Take the port (last time's when none is asked for); which. Raises TargetError when it is in use."""
        wanted = self._wanted_port or self._records.port
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            try:
                sock.bind(("127.0.0.1", wanted))
            except OSError as error:
                if error.errno != errno.EADDRINUSE or self._wanted_port:
                    raise
                sock.bind(("127.0.0.1", 0))  # nobody asked for last time's port by name; another one will do
            sock.listen(4096)
        except OSError as error:
            sock.close()
            raise TargetError(
                f"port {wanted} of 127.0.0.1 cannot be taken: {error.strerror}",
                where="the local target's gateway",
                hint="stop what listens there, or set another port for the target in customhouse.yaml (0 picks one)",
            ) from error
        self._listener = sock
        self._records.port = int(sock.getsockname()[1])
        return sock

    def start(self, routing: Mapping[str, Any]) -> None:
        """Start the process with a routing. Raises TargetError, StateError."""
        descriptor = (self._listener or self.bind()).fileno()
        config = {
            **self._limits,
            "fd": descriptor,
            "port": self._records.port,
            "admin": self._admin,
            "routing": dict(routing),
        }
        path = self._places.config(_NAME)
        write_atomic(path, orjson.dumps(config))
        log = self._places.root / "logs" / "gateway.log"
        self.process = processes.launch(_NAME, path, log=log, cwd=self._places.root / "run", keep=(descriptor,))
        self._answered = self._clock.monotonic()
        self._pushed = orjson.dumps(routing)

    def ensure(self, routing: Mapping[str, Any]) -> None:
        """Restart a gateway that has gone or hangs."""
        if self.process is not None and processes.is_alive(self.process):
            if self._clock.monotonic() - self._answered < _HUNG_S:
                return
            processes.send(self.process, signal.SIGKILL)
        self.start(routing)

    def state(self) -> Mapping[str, Any] | None:
        """What it says of itself; None when it does not answer (yet)."""
        try:
            status, body = call(self._admin, "GET", "/state")
        except DialError:
            return None
        if status != 200:
            return None
        self._answered = self._clock.monotonic()
        document: Mapping[str, Any] = orjson.loads(body)
        return document

    def push(self, routing: Mapping[str, Any], *, force: bool = False) -> bool:
        """Make it route so; whether it does. Without `force` only when the routing differs from the last one told."""
        data = orjson.dumps(routing)
        if data == self._pushed and not force:
            return True
        try:
            status, body = call(self._admin, "PUT", "/config", data)
        except DialError:
            return False
        if status != 200:
            raise TargetError(f"the gateway refused its routing: {body.decode(errors='replace')}")
        self._pushed = data
        return True

    def told(self, key: str) -> dict[str, Any] | None:
        """Weights and replicas of one service as last told; None when nothing of it was."""
        if not self._pushed:
            return None
        service = orjson.loads(self._pushed)["services"].get(key)
        if service is None:
            return None
        return {
            release: {"weight": revision["weight"], "replicas": sorted(revision["replicas"])}
            for release, revision in service["revisions"].items()
        }

    def end(self) -> None:
        """Ask it to end."""
        if self.process is not None:
            processes.send(self.process, signal.SIGTERM)
            processes.send(self.process, signal.SIGCONT)

    def close(self) -> None:
        """Give the listening socket back (a running gateway keeps its own)."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
