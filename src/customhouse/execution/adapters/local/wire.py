"""HTTP/1.1 for the workers and the gateway: a small asyncio server and a pooled client, on httptools (llhttp).

Bodies are buffered whole and bounded; every message is written anew from its parsed form, so nothing that one side
reads differently from the other can be smuggled through.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

from customhouse.execution.adapters.local import tenancy

MAX_HEAD = 16 * 1024
MAX_HEADERS = 64
MAX_CONNECTIONS = 512
MAX_PIPELINED = 8
MAX_BUFFERED = 512 << 20
"""Bytes of bodies that a server keeps for all its connections together: of what arrives, waits and is answered."""
_BACKLOG = 4096
"""Connections that wait to be taken; the kernel's own bound (`somaxconn`) is the same."""
MAX_RESPONSE = 64 << 20
RECEIVE_S = 30.0
"""A request must be complete this long after its first byte; slower senders are cut off."""
IDLE_S = 75.0
LINGER_S = 2.0

_PHRASES = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(slots=True)
class Request:
    """One parsed request. Header names are lower case; `path` is as sent, without the query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool = True


@dataclass(slots=True)
class Response:
    """One response; `headers` are beside content-type and content-length."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


def encode_response(response: Response, *, close: bool) -> bytes:
    """The bytes of a response."""
    lines = [
        f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, 'Status')}",
        f"content-type: {response.content_type}",
        f"content-length: {len(response.body)}",
    ]
    lines.extend(f"{name}: {value}" for name, value in response.headers)
    if close:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + response.body


def encode_request(method: str, path: str, headers: tuple[tuple[str, str], ...], body: bytes) -> bytes:
    """The bytes of a request to a worker."""
    lines = [f"{method} {path} HTTP/1.1", "host: replica", f"content-length: {len(body)}"]
    lines.extend(f"{name}: {value}" for name, value in headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class _TooLargeError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server:
    """Serves `handler` on listening sockets until `drain`. Limits: connections, head, body, time to receive."""

    def __init__(self, handler: Handler, *, max_body: int, max_connections: int = MAX_CONNECTIONS) -> None:
        self.handler = handler
        self.max_body = max_body
        self.max_connections = max_connections
        self.connections: set[_Connection] = set()
        self.buffered = 0
        self.draining = False
        self._servers: list[asyncio.Server] = []

    async def listen(self, sock: object) -> None:
        """Accept on a bound and listening socket (loopback or unix)."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), sock=sock, backlog=_BACKLOG)  # type: ignore[call-overload]
        self._servers.append(server)

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, let requests in flight finish (at most `timeout_s`), close everything."""
        self.draining = True
        for server in self._servers:
            server.close()
        # A connection accepted by the kernel but not yet seen by the loop still gets its answer.
        await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.close_when_idle()
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while self.connections and loop.time() < end:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()


class _Connection(asyncio.Protocol):
    """One client connection: requests are answered in order, one at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._kept = 0
        self._reset()

    def _keep(self, size: int) -> None:
        """Count bytes of bodies that this connection keeps from now on, or (negative) no more."""
        size = max(size, -self._kept)
        self._kept += size
        self._server.buffered += size

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._head_size = 0
        self._body: list[bytes] = []
        self._body_size = 0
        self._receiving = False

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it when there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if len(self._server.connections) >= self._server.max_connections:
            self._refuse(503, "too many connections")
            return
        self._server.connections.add(self)
        self._arm(IDLE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; an answer that is still being made goes nowhere."""
        self._server.connections.discard(self)
        self._closing = True
        self._keep(-self._kept)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what came; a broken or too large request is answered and the connection closed."""
        if self._closing:
            return
        if not self._receiving and self._task is None:
            self._arm(RECEIVE_S)
        self._receiving = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, _TooLargeError):
                self._refuse(cause.status, str(cause))
            else:
                self._refuse(400, "the request cannot be read")
        except httptools.HttpParserUpgrade:
            self._refuse(400, "upgrades are not served")
        except httptools.HttpParserError:
            self._refuse(400, "the request is not HTTP/1.1")

    # httptools callbacks
    def on_url(self, url: bytes) -> None:
        """Part of the request target."""
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field; repeated ones are joined as RFC 9110 section 5.3 allows."""
        self._count(len(name) + len(value))
        if len(self._headers) >= MAX_HEADERS:
            raise _TooLargeError(431, f"more than {MAX_HEADERS} header fields")
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Refuse a body that is announced as too large before it is sent; answer `Expect`."""
        length = self._headers.get("content-length", "0")
        # llhttp has refused what is not a number; only its size is left to check.
        if len(length) > 18 or int(length) > self._server.max_body:
            raise _TooLargeError(413, f"the body is {length} bytes; the limit is {self._server.max_body}")
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._body_size += len(body)
        if self._body_size > self._server.max_body:
            raise _TooLargeError(413, f"the body is over {self._server.max_body} bytes")
        if self._server.buffered + len(body) > MAX_BUFFERED:
            raise _TooLargeError(503, "too much is waiting; try again")
        self._keep(len(body))
        self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request: answer it, or let it wait for those before it."""
        path = self._url.partition(b"?")[0].decode("latin-1")
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path, self._headers, b"".join(self._body), self._parser.should_keep_alive())
        self._reset()
        self._waiting.append(request)
        if len(self._waiting) > MAX_PIPELINED and self._transport is not None:
            self._transport.pause_reading()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        self._arm(None)
        while self._waiting and not self._closing:
            request = self._waiting.popleft()
            try:
                response = await self._server.handler(request)
            except Exception as error:  # noqa: BLE001 - a fault in one answer must not leave its client waiting
                tenancy.say("the handler failed", error=repr(error)[:500], path=request.path[:200])
                response = Response(500, b'{"error":"internal error; the log says which"}')
            close = self._server.draining or not request.keep_alive
            if self._transport is None or self._transport.is_closing():
                return
            if request.method == "HEAD":
                response.body = b""
            self._keep(-len(request.body))
            self._transport.write(encode_response(response, close=close))
            if close:
                self._closing = True
                self._transport.close()
                return
            self._transport.resume_reading()
        self._task = None
        self._arm(RECEIVE_S if self._receiving else IDLE_S)

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD:
            raise _TooLargeError(431, f"the request head is over {MAX_HEAD} bytes")

    def _refuse(self, status: int, message: str) -> None:
        self._closing = True
        if self._transport is not None and not self._transport.is_closing():
            body = b'{"error":"%s"}' % message.encode()
            again = (("retry-after", "1"),) if status == 503 else ()
            self._transport.write(encode_response(Response(status, body, headers=again), close=True))
            # Closing with unread bytes would reset the connection and the client would never see why; what it still
            # sends is read and dropped for a moment.
            self._transport.write_eof()
            self._receiving = False
            self._arm(LINGER_S)

    def _arm(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self._receiving:
            self._refuse(408, "the request took too long to arrive")
        elif self._transport is not None:
            self._transport.close()

    def close_when_idle(self) -> None:
        """Close now when nothing is in flight; else the answer in the making says `connection: close`."""
        if self._task is None and not self._receiving and self._transport is not None:
            self._closing = True
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class LostError(Exception):
    """The connection ended before the answer was whole. `answered`: some byte of the answer had come."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


@dataclass(slots=True)
class _Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: list[bytes] = field(default_factory=list)
    size: int = 0
    keep_alive: bool = True


class Channel(asyncio.Protocol):
    """One client connection to a unix socket; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer = _Answer()
        self._future: asyncio.Future[_Answer] | None = None
        self._begun = False
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for a request."""
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in flight, saying whether an answer had begun."""
        self.usable = False
        self._fail("the worker closed the connection")

    def data_received(self, data: bytes) -> None:
        """Parse part of an answer."""
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the worker's answer cannot be read: {error}")
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field."""
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._answer.size += len(body)
        if self._answer.size > MAX_RESPONSE:
            raise _TooLargeError(502, "the answer is too large")
        self._answer.body.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self._answer.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.usable = False
        if self._future is not None and not self._future.done():
            self._future.set_result(self._answer)

    def _fail(self, message: str) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_exception(LostError(message, answered=self._begun))

    async def exchange(self, data: bytes, timeout_s: float) -> tuple[int, dict[str, str], bytes]:
        """Send a request and wait for its whole answer. Raises LostError, TimeoutError."""
        if self._transport is None or not self.usable:
            raise LostError("the connection is closed", answered=False)
        self._answer = _Answer()
        self._parser = httptools.HttpResponseParser(self)
        self._begun = False
        loop = asyncio.get_running_loop()
        self._future = loop.create_future()
        timer = loop.call_later(timeout_s, self._expire)
        try:
            self._transport.write(data)
            answer = await self._future
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
            self._future = None
        return answer.status, answer.headers, b"".join(answer.body)

    def _expire(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_exception(TimeoutError("the worker did not answer in time"))

    def close(self) -> None:
        """Close the connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.close()


async def open_channel(path: str) -> Channel:
    """Connect to a unix socket. Raises LostError when nobody listens there."""
    try:
        _, channel = await asyncio.get_running_loop().create_unix_connection(Channel, path)
    except OSError as error:
        raise LostError(f"cannot connect: {error}", answered=False) from error
    return channel
