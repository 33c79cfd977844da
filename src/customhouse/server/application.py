"""The HTTP face: the dashboard's first page, the same numbers as JSON, live events, metrics and health.

Loopback by default, and it only reads: there is no request that changes anything. Nothing is loaded from elsewhere: the
page's one script and one style sheet are served from here, under a Content-Security-Policy that allows nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from customhouse._kit.clock import Clock, SystemClock, from_rfc3339
from customhouse.app.overview import Overview
from customhouse.core.errors import CustomhouseError
from customhouse.server.door import HEADERS, LOOPBACK, Door
from customhouse.server.ledger_tiles import Tiles, ledger_routes
from customhouse.server.page import Page
from customhouse.server.streams import Looked, Streams

PARTS = ("releases", "decisions", "costs", "events", "proposals")
"""What `/api/v1/PART` gives of the overview."""
_STATIC = Path(__file__).parent / "static"
_WAIT = {"retry-after": "1"}
_Endpoint = Callable[[Request], Response]


class Board(Protocol):
    """What the server shows: the control plane as seen from outside. Callers may use any thread."""

    def overview(self) -> Overview:
        """The current picture. Raises StateError before there is one."""

    def version(self) -> int:
        """A number that grows whenever the picture may have changed."""

    def metrics(self) -> str:
        """Prometheus text exposition format 0.0.4."""


def application(
    board: Board,
    allowed_hosts: tuple[str, ...] = LOOPBACK,
    ending: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
    ledger: Tiles | None = None,
) -> Starlette:
    """The ASGI application over a Board.

    `allowed_hosts` are the names it answers to (see `door`). When `ending` says so, open event streams end. `clock`
    tells how old the picture is. `ledger` is served below /ledger/ for whoever wants to verify it.
    """
    page = Page()
    streams = Streams(board.version, _looked(board, clock or SystemClock()), ending)
    return Starlette(
        routes=[
            Route("/", _html(board, page, "index.html")),
            Route("/fragment", _html(board, page, "fragment.html")),
            Route("/events", _events(streams)),
            Route("/healthz", lambda _request: PlainTextResponse("ok\n")),
            Route("/readyz", _text(lambda: f"ready: {board.overview().state}\n")),
            Route("/metrics", _text(board.metrics, "text/plain; version=0.0.4")),
            Route("/api/v1/overview", _json(board)),
            *(Route(f"/api/v1/{name}", _json(board, name)) for name in PARTS),
            *(ledger_routes(ledger) if ledger is not None else ()),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[Middleware(Door, hosts=allowed_hosts)],
        exception_handlers={HTTPException: _refused, CustomhouseError: _unready, Exception: _broken},
    )


def _looked(board: Board, clock: Clock) -> Callable[[], Looked]:
    def look() -> Looked:
        try:
            at = board.overview().at
        except CustomhouseError:
            return Looked("", 0.0)
        return Looked(at, max(0.0, round((clock.now() - from_rfc3339(at)).total_seconds(), 1)))

    return look


def _html(board: Board, page: Page, template: str) -> _Endpoint:
    def answer(_request: Request) -> Response:
        try:
            view = board.overview()
        except CustomhouseError:
            # The page itself comes at once: it waits for the first picture on its event stream.
            return HTMLResponse(page.render(template, None), status_code=503, headers=_WAIT)
        return HTMLResponse(page.render(template, view))

    return answer


def _json(board: Board, part: str | None = None) -> _Endpoint:
    def answer(_request: Request) -> Response:
        document = board.overview().to_json()
        return JSONResponse(document if part is None else {"at": document["at"], part: document[part]})

    return answer


def _text(text: Callable[[], str], kind: str = "text/plain") -> _Endpoint:
    def answer(_request: Request) -> Response:
        return PlainTextResponse(text(), media_type=kind)

    return answer


def _events(streams: Streams) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        kind = "text/event-stream"
        if request.method == "HEAD":
            return Response(media_type=kind)
        if streams.full:
            return _problem(request, 503, "too many event streams are open")
        return StreamingResponse(streams.follow(), media_type=kind, headers={"x-accel-buffering": "no"})

    return answer


def _problem(request: Request, status: int, message: str, code: str = "") -> Response:
    headers = _WAIT if status == 503 else {}
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": {"status": status, "code": code, "message": message}}, status, headers)
    return PlainTextResponse(message + "\n", status, headers)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    answer = _problem(request, error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


def _unready(request: Request, error: Exception) -> Response:
    assert isinstance(error, CustomhouseError)  # noqa: S101 - registered for this class
    return _problem(request, 503, error.message, error.code)


def _broken(request: Request, _error: Exception) -> Response:
    """A bug. What it was goes to the log of the process, never to whoever asked."""
    answer = _problem(request, 500, "this is a bug of Customhouse; its log says more", "CH000")
    # Starlette answers this one outside of the middleware.
    answer.headers.update(HEADERS)
    return answer
