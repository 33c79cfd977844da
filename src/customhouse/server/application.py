"""The HTTP face: the dashboard's first page, the same numbers as JSON, live events, metrics and health.

Loopback by default. Nothing is loaded from elsewhere: the page's one script and one style sheet are served from here,
under a Content-Security-Policy that allows nothing else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from customhouse.app.overview import Overview

_HERE = Path(__file__).parent
_PULSE_S = 0.2
"""How often an open event stream looks for a new version; a push must be seen within two seconds."""
_HEARTBEAT_S = 15.0
_PARTS = ("releases", "decisions", "costs", "events", "proposals")

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Board(Protocol):
    """What the server shows: the control plane as seen from outside. Callers may use any thread."""

    def overview(self) -> Overview:
        """The current picture."""

    def version(self) -> int:
        """A number that grows whenever the picture may have changed."""

    def metrics(self) -> str:
        """Prometheus text exposition format 0.0.4."""


class _SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)


def application(board: Board, allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")) -> Starlette:
    """The ASGI application over a Board.

    `allowed_hosts` guards a loopback server against DNS rebinding: a page elsewhere cannot read it through a name of
    its own.
    """
    pages = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )

    def rendered(template: str) -> Callable[[Request], Response]:
        def page(_request: Request) -> Response:
            text = pages.get_template(template).render(view=board.overview(), version=board.version())
            return HTMLResponse(text)

        return page

    def overview(_request: Request) -> Response:
        return JSONResponse(board.overview().to_json())

    def part(name: str) -> Callable[[Request], Response]:
        def read(_request: Request) -> Response:
            document = board.overview().to_json()
            return JSONResponse({"at": document["at"], name: document[name]})

        return read

    def metrics(_request: Request) -> Response:
        return PlainTextResponse(board.metrics(), media_type="text/plain; version=0.0.4")

    async def events(request: Request) -> Response:
        return StreamingResponse(_events(board, request), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/", rendered("index.html")),
            Route("/fragment", rendered("fragment.html")),
            Route("/events", events),
            Route("/healthz", lambda _request: PlainTextResponse("ok\n")),
            Route("/metrics", metrics),
            Route("/api/v1/overview", overview),
            *(Route(f"/api/v1/{name}", part(name)) for name in _PARTS),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts)), Middleware(_SecurityHeaders)],
    )


async def _events(board: Board, request: Request) -> AsyncIterator[bytes]:
    """Server-sent events: the version at once, then whenever it changes; a comment as heartbeat."""
    seen = -1
    quiet = 0.0
    while not await request.is_disconnected():
        version = board.version()
        if version != seen:
            seen = version
            quiet = 0.0
            yield f"event: changed\ndata: {json.dumps({'version': version})}\n\n".encode()
        elif quiet >= _HEARTBEAT_S:
            quiet = 0.0
            yield b": still here\n\n"
        await asyncio.sleep(_PULSE_S)
        quiet += _PULSE_S
