"""Runs the application beside the control loop: uvicorn on a thread, a port of the loopback, a clean end."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from types import TracebackType

from starlette.types import ASGIApp

from customhouse.core.errors import TargetError
from customhouse.server.application import Board, application
from customhouse.server.door import LOOPBACK
from customhouse.server.ledger_tiles import Tiles

_MOST_CONNECTIONS = 128
"""More get 503: a client that leaks connections must not take the control plane's memory."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As a browser takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"


def _bracketed(name: str) -> str:
    """An IPv6 address as a Host header has it."""
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


class Server:
    """A context manager: listens when entered (TargetError: the port is taken), ends within two seconds."""

    def __init__(
        self,
        board: Board | None,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        app: ASGIApp | None = None,
        ledger: Tiles | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        """Serves the dashboard over `board` and the ledger's files, or `app` instead.

        It answers to the loopback's names and to `names` (a pod's address, a Service's name), never to any name.
        """
        self._ending = threading.Event()
        if app is None:
            assert board is not None  # noqa: S101 - one of the two is given
            app = application(board, (*LOOPBACK, *map(_bracketed, names)), ending=self._ending.is_set, ledger=ledger)
        self._app = app
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            # From here on a browser that is told the address is let in, however long the thread takes to start.
            self._socket.listen(_MOST_CONNECTIONS)
        except OSError as error:
            self._socket.close()
            raise TargetError(
                f"cannot listen on {host}:{port}: {error.strerror}",
                where="dashboard",
                hint="choose another port with --port, or 0 for a free one",
            ) from error
        self.address = Address(host, int(self._socket.getsockname()[1]))

    def __enter__(self) -> Server:
        import uvicorn

        config = uvicorn.Config(
            self._app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            http="httptools",
            ws="none",
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="dashboard", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._server.should_exit = True
        self._thread.join(timeout=3)
        self._socket.close()
