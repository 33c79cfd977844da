"""The ledger over HTTP as C2SP tlog-tiles lays it out, below `/ledger/`: anybody who has the key can verify it.

/ledger/checkpoint              text, never kept by caches
/ledger/tile/<L>/<N>[.p/<W>]    bytes that never change, so caches may keep them
/ledger/tile/entries/<N>…       the same; gzip where it is asked for
"""

from __future__ import annotations

import gzip
from typing import Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_NOT_KEPT = {"cache-control": "no-cache"}


class Tiles(Protocol):
    """What is served. It may be called from several threads."""

    def note(self) -> str:
        """The signed checkpoint. Raises StateError before there is one, TamperError when it is not to be trusted."""

    def get(self, path: str) -> bytes | None:
        """The bytes of `tile/…`; None for what the checkpoint does not cover."""


def ledger_routes(tiles: Tiles) -> list[BaseRoute]:
    """The routes over a source of tiles."""

    async def checkpoint(_request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(tiles.note), headers=_NOT_KEPT)

    async def tile(request: Request) -> Response:
        path = f"tile/{request.path_params['path']}"
        content = await run_in_threadpool(tiles.get, path)
        if content is None:
            return PlainTextResponse("no such tile under the checkpoint\n", 404, headers=_NOT_KEPT)
        headers = dict(_FOREVER)
        if path.startswith("tile/entries/"):
            headers["vary"] = "accept-encoding"
            if _takes_gzip(request.headers.get("accept-encoding", "")):
                content = await run_in_threadpool(gzip.compress, content, 6, mtime=0)
                headers["content-encoding"] = "gzip"
        return Response(content, media_type="application/octet-stream", headers=headers)

    return [Route("/ledger/checkpoint", checkpoint), Route("/ledger/tile/{path:path}", tile)]


def _takes_gzip(accepted: str) -> bool:
    """Whether a list of codings (RFC 9110 section 12.5.3) has gzip, and not with a weight of nought."""
    for item in accepted.split(","):
        name, _, weight = item.strip().partition(";")
        if name.strip().lower() in ("gzip", "x-gzip", "*"):
            return weight.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
