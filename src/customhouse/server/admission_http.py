"""HTTP/1.1 of the webhook: one asyncio protocol over httptools, bounded in bytes, connections and seconds.

A framework would cost more processor time than the decision; there are six paths, and every limit is here.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

MAX_BODY = 8 * 1024 * 1024
"""The API server sends at most 3 MiB of request plus the old object."""
MAX_HEADER = 32 * 1024
MAX_PIPELINED = 16
REQUEST_S = 10.0
"""From the first byte of a request to its last."""
IDLE_S = 120.0
MAX_CONNECTIONS = 1024
MAX_BUFFERED = 96 * 1024 * 1024
"""Bytes of bodies of all connections together."""
_READ = 1 << 16
"""Bytes read at once, into one place for all connections: what is read is parsed before anything else is."""
_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_DURATION = re.compile(rb"(?:^|&)timeout=(?:(\d{1,4})m)?(?:(\d{1,6})(?:\.\d+)?s)?(?:(\d{1,7})ms)?(?:&|$)")


@dataclass(slots=True)
class Request:
    """One request; `respond` may be called once, at any later time."""

    method: str
    path: str
    query: bytes
    body: bytes
    content_type: str
    known: bool
    """Whether the client showed a certificate that the configured authority issued."""
    respond: Callable[[int, bytes, str], None]

    @property
    def timeout_s(self) -> float | None:
        """What the API server says it will wait (`?timeout=10s`)."""
        return _timeout(self.query)


@lru_cache(maxsize=64)  # an API server says the same with every review
def _timeout(query: bytes) -> float | None:
    match = _DURATION.search(query)
    if match is None or not any(match.groups()):
        return None
    minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    return minutes * 60 + seconds + milliseconds / 1000


class Handler(Protocol):
    """Who answers."""

    def handle(self, request: Request) -> None:
        """Take a whole request; `request.respond` is called now or later."""


@dataclass(slots=True)
class Connections:
    """All that are open, and what they hold."""

    handler: Handler
    clock: Callable[[], float]
    open: set[Connection] = field(default_factory=set)
    buffered: int = 0
    refused: int = 0
    place: memoryview = field(default_factory=lambda: memoryview(bytearray(_READ)))
    """Where every connection's bytes are read to; a fresh buffer for each read costs more than the parsing."""

    def sweep(self) -> None:
        """End those that send too slowly or have been silent too long. Called once a second."""
        now = self.clock()
        for connection in tuple(self.open):
            connection.check(now)

    def close_idle(self) -> None:
        """End those that wait for nothing; the others end with their answer."""
        for connection in tuple(self.open):
            connection.finish()


class Connection(asyncio.BufferedProtocol):
    """One client. Requests are answered in order; the next is only read when the last has its answer."""

    def __init__(self, connections: Connections) -> None:
        self._all = connections
        self._parser: Any = HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[list[Any]] = deque()
        self._since = 0.0
        self._receiving = False
        self._closing = False
        self._known = False
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._body: list[bytes] = []
        self._size = 0
        self._head = 0
        self._type = ""
        self._continue = False
        self._problem: tuple[int, str] | None = None

    # asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client, its TLS handshake done."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._since = self._all.clock()
        self._known = bool(transport.get_extra_info("peercert"))  # empty unless it was asked for, and verified
        if len(self._all.open) >= MAX_CONNECTIONS:
            self._all.refused += 1
            self._refuse(503, "too many connections")
        self._all.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client, or the network, went."""
        self._all.open.discard(self)
        self._all.buffered -= self._size
        self._size = 0
        self._transport = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read to."""
        return self._all.place

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes of requests were read."""
        self._received(self._all.place[:nbytes])

    def _received(self, data: memoryview) -> None:
        if self._closing:
            return
        self._since = self._all.clock() if not self._receiving else self._since
        if not self._size:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._refuse(400, "no protocol is switched to here")
        except HttpParserError:
            if not self._closing:
                self._refuse(400, "this is not HTTP/1.1")
        if not self._closing and self._receiving and not self._size and self._head > MAX_HEADER + 65536:
            self._refuse(431, "the header is too large")

    def eof_received(self) -> bool:
        """The client sends no more; what it waits for is still written."""
        return False

    # httptools
    def on_message_begin(self) -> None:
        """A request starts."""
        self._reset()
        self._receiving = True

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self._url += url
        if len(self._url) > 4096:
            self._problem = (431, "the path is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        lower = name.lower()
        if lower == b"content-type":
            self._type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif lower == b"content-length":
            if not value.isdigit() or len(value) > 15 or int(value) > MAX_BODY:
                self._problem = (413, f"the body is larger than {MAX_BODY} bytes")
        elif lower == b"expect" and value.lower() == b"100-continue":
            self._continue = True

    def on_headers_complete(self) -> None:
        """Before the body: what cannot be taken is refused without reading it."""
        if self._problem is not None:
            self._refuse(*self._problem)
        elif self._continue and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._closing:
            return
        self._size += len(body)
        self._all.buffered += len(body)
        if self._size > MAX_BODY:
            self._refuse(413, f"the body is larger than {MAX_BODY} bytes")
        elif self._all.buffered > MAX_BUFFERED:
            self._refuse(503, "too much is being received at once")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request."""
        self._receiving = False
        if self._closing:
            return
        path, _, query = self._url.partition(b"?")
        slot: list[Any] = [None, self._parser.should_keep_alive(), self._size]
        self._queue.append(slot)
        if len(self._queue) > MAX_PIPELINED:
            self._refuse(503, "too many requests before their answers")
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)

        def respond(status: int, content: bytes, content_type: str) -> None:
            if slot[0] is None:
                slot[0] = (status, content, content_type)
                self._flush()

        request = Request(
            self._parser.get_method().decode("latin-1"),
            path.decode("latin-1"),
            query,
            body,
            self._type,
            self._known,
            respond,
        )
        # From here on the body is the request's; it is counted until its answer is written.
        self._size, self._body = 0, []
        if self._transport is not None:
            self._transport.pause_reading()
        self._all.handler.handle(request)

    def _flush(self) -> None:
        while self._queue and self._queue[0][0] is not None:
            (status, content, content_type), keep, size = self._queue.popleft()
            self._all.buffered -= size
            if self._transport is None:
                continue
            keep = keep and not self._closing
            self._transport.write(_response(status, content, content_type, keep=keep))
            self._since = self._all.clock()
            if not keep:
                self._closing = True
                self._transport.close()
                return
        if not self._queue and self._transport is not None and not self._closing:
            self._transport.resume_reading()

    def _refuse(self, status: int, text: str) -> None:
        self._closing = True
        self._all.buffered -= self._size
        self._size, self._body = 0, []
        if self._transport is not None:
            self._transport.write(_response(status, f"{text}\n".encode(), "text/plain", keep=False))
            self._transport.close()

    def check(self, now: float) -> None:
        """End a client that is too slow, or has nothing to say any more."""
        if self._closing or self._queue or self._transport is None:
            return
        if self._receiving and now - self._since > REQUEST_S:
            self._refuse(408, f"the request did not come within {REQUEST_S:g} seconds")
        elif not self._receiving and now - self._since > IDLE_S:
            self._closing = True
            self._transport.close()

    def finish(self) -> None:
        """The server ends: close now when idle, else after the answer."""
        if self._queue or self._receiving:
            # `_flush` says `connection: close` with the last answer.
            for slot in self._queue:
                slot[1] = False
            return
        self._closing = True
        if self._transport is not None:
            self._transport.close()


def _response(status: int, content: bytes, content_type: str, *, keep: bool) -> bytes:
    close = b"" if keep else b"connection: close\r\n"
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: {content_type}\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + close + b"\r\n" + content
