"""The HTTP face of a witness (C2SP tlog-witness): one call, `POST /add-checkpoint`, bounded in size and time."""

from __future__ import annotations

import asyncio
from typing import Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

_BODY_S = 10.0
"""How long a request may take to arrive; it is 4 KB as a rule."""


class Answer(Protocol):
    """An HTTP answer."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def body(self) -> str:
        """The text."""

    @property
    def content_type(self) -> str:
        """Its type."""


class Answering(Protocol):
    """What stands behind the call. It may be called from several threads."""

    @property
    def max_bytes(self) -> int:
        """How large a request may be."""

    def add_checkpoint(self, body: bytes) -> Answer:
        """The answer to one request."""


def witness_application(witness: Answering) -> Starlette:
    """The ASGI application of a witness."""

    async def add_checkpoint(request: Request) -> Response:
        try:
            async with asyncio.timeout(_BODY_S):
                body = await _body(request, witness.max_bytes)
        except TimeoutError:
            return PlainTextResponse("the request did not arrive in time\n", 408)
        except ClientDisconnect:
            return PlainTextResponse("", 400)
        if body is None:
            return PlainTextResponse(f"more than {witness.max_bytes} bytes\n", 413)
        found = await run_in_threadpool(witness.add_checkpoint, body)
        return Response(found.body, found.status, {"content-type": found.content_type, "cache-control": "no-store"})

    async def broken(_request: Request, _error: Exception) -> Response:
        return PlainTextResponse("the witness cannot answer; its log says more\n", 500)

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/healthz", lambda _request: PlainTextResponse("ok\n")),
        ],
        exception_handlers={Exception: broken},
    )


async def _body(request: Request, most: int) -> bytes | None:
    """The body, None when it is larger than `most`."""
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > most:
            return None
    return bytes(found)
