"""The door: what every request meets first, and what every answer carries.

A server on the loopback is reached by any page that the machine's browser has open: under a name of its own that it
points at 127.0.0.1 (DNS rebinding), the browser would let that page read. So the Host is checked before anything else.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


class Door:
    """ASGI middleware: refuses hosts that are not ours with 400, puts the headers on every answer."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = LOOPBACK) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on. Anything but HTTP (a WebSocket) is passed on and refused by the routes."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["type"] == "http" and host_name(Headers(scope=scope).getlist("host")) not in self._hosts:
            refusal = PlainTextResponse("this server does not answer to that host name\n", status_code=400)
            await refusal(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def host_name(values: list[str]) -> str | None:
    """The host of a Host header without its port, lower case; None when there is not exactly one that can be read.

    An IPv6 address keeps its brackets (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
    """
    if len(values) != 1:
        return None
    value = values[0].strip().lower()
    if value.startswith("["):
        host, bracket, port = value.partition("]")
        host, port = host + bracket, port.removeprefix(":") if port.startswith(":") else (port and "?")
    else:
        host, _, port = value.partition(":")
    return host if host and (not port or (port.isascii() and port.isdigit())) else None
