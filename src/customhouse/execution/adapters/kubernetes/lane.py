"""A short way for small writes: HTTP/1.1 on kept connections, with a request written at once and an answer read whole.

A general client spends more on a request than the API's answer takes to be read, and a fleet is thousands of them. What
is not small, goes through a proxy or comes as a stream takes the general way (`transport`). Nothing is sent again here,
and a connection of which anything was unexpected is cut: what is read is never that of another request.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from asyncio import sslproto
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from yarl import URL

# asyncio gives each TLS connection a buffer of 256 KiB to read into, touched whole when it is made: thirty connections
# are 8 MB. A record of TLS has 16 KiB at most (RFC 8446 section 5.1).
sslproto.SSLProtocol.max_size = 32 * 1024

MAX_HEAD = 64 * 1024
KEPT_S = 15.0
"""How long an unused connection is kept: servers and what stands before them cut idle ones."""
_MOST_CHUNK_LINE = 1024
_CLEAN = re.compile(r"[\x20-\x7e]*")
_TARGET = re.compile(r"[\x21-\x7e]+")
_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: [^\r\n]*)?")


class NotSentError(OSError):
    """No connection came about, so nothing was asked."""


class BadAnswerError(OSError):
    """What came is no answer in HTTP, or more than was allowed."""


class TooLongError(BadAnswerError):
    """The answer has more bytes than the asker takes."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; names of headers are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first of a name."""
        return next((value for key, value in self.headers if key == name), None)

    def all(self, name: str) -> list[str]:
        """Every one of a name."""
        return [value for key, value in self.headers if key == name]


class Lane:
    """The kept connections to one server under one identity. Belongs to one event loop."""

    def __init__(
        self, server: str, tls: ssl.SSLContext | None, server_name: str | None, prepare: Callable[[socket.socket], None]
    ) -> None:
        """`prepare` is given each new socket."""
        url = URL(server)
        self._host, self._port = url.host or "", url.port or (443 if tls is not None else 80)
        self._prefix = url.raw_path.rstrip("/")
        shown = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host or ""
        self._authority = shown if url.is_default_port() else f"{shown}:{self._port}"
        self._tls, self._server_name, self._prepare = tls, server_name, prepare
        self._idle: deque[tuple[float, _Connection]] = deque()
        self._closed = False

    def written(self, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> bytes | None:
        """The bytes of a request; None where a part of it cannot be written down as it is."""
        lines = [f"{method} {self._prefix}{target} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines.append(f"Content-Length: {len(body)}")
        if _TARGET.fullmatch(target) is None or not all(map(_CLEAN.fullmatch, lines)):
            return None
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body

    async def ask(self, request: bytes, connect_s: float, largest: int) -> Reply:
        """The answer to a request, of at most `largest` bytes. Raises OSError: NotSentError where nothing was asked."""
        connection = self._kept() or await self._connected(connect_s)
        try:
            reply = await connection.ask(request, largest)
        except BaseException:
            connection.cut()
            raise
        if connection.reusable and not self._closed:
            self._idle.append((asyncio.get_running_loop().time(), connection))
        else:
            connection.cut()
        return reply

    def close(self) -> None:
        """Cut what is kept; what is under way is cut when its answer has come."""
        self._closed = True
        while self._idle:
            self._idle.pop()[1].cut()

    def _kept(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle and now - self._idle[0][0] > KEPT_S:
            self._idle.popleft()[1].cut()
        while self._idle:
            _, connection = self._idle.pop()
            if connection.reusable:
                return connection
            connection.cut()
        return None

    async def _connected(self, connect_s: float) -> _Connection:
        name = (self._server_name or self._host) if self._tls is not None else None
        try:
            async with asyncio.timeout(connect_s):
                transport, made = await asyncio.get_running_loop().create_connection(
                    _Connection,
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=name,
                    happy_eyeballs_delay=0.25,
                )
        except (ssl.SSLCertVerificationError, ssl.CertificateError):
            raise
        except TimeoutError as error:
            raise NotSentError("no connection in time") from error
        except OSError as error:
            raise NotSentError(str(error)) from error
        with suppress(OSError):
            self._prepare(transport.get_extra_info("socket"))
        return made


class _Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._buffer = bytearray()
        self._reading = _Reading(0)
        self._lost = False
        self._keep = True

    @property
    def reusable(self) -> bool:
        """Whether another request may go over it."""
        return self._keep and not self._lost and not self._buffer and self._answer is None

    async def ask(self, request: bytes, largest: int) -> Reply:
        """Send one and wait for its answer."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the connection was closed")
        self._reading = _Reading(largest)
        self._answer = asyncio.get_running_loop().create_future()
        transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def cut(self) -> None:
        """End it at once: a polite end of TLS would wait for a server that may say nothing any more."""
        self._lost = True
        if self._transport is not None:
            self._transport.abort()

    # what the event loop calls
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream socket it is
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what came; with nothing asked, nothing is expected."""
        if self._answer is None or self._answer.done():
            self._keep = False
            self.cut()
            return
        self._buffer += data
        try:
            reply = self._reading.read(self._buffer)
        except BadAnswerError as error:
            self._keep = False
            self._answer.set_exception(error)
            return
        if reply is not None:
            self._keep = self._reading.keeps and not self._buffer
            self._answer.set_result(reply)

    def eof_received(self) -> None:
        """The other side says no more; `connection_lost` follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone: an answer that ends with the connection is whole now, any other never will be."""
        self._lost = True
        if self._answer is None or self._answer.done():
            return
        reply = self._reading.ended(self._buffer) if exc is None else None
        if reply is not None:
            self._answer.set_result(reply)
        else:
            said = exc if isinstance(exc, OSError) else ConnectionResetError("the connection was cut before an answer")
            self._answer.set_exception(said)


class _Reading:
    """Reads one answer out of a buffer (RFC 9112)."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._status = 0
        self._headers: tuple[tuple[str, str], ...] = ()
        self._length: int | None = None
        self._chunked = False
        self._parts: list[bytes] = []
        self._size = 0
        self._wanted = -1
        """Bytes of the current chunk that are missing, with its line end; -1: its length comes next; -2: trailers."""
        self.keeps = False

    def read(self, buffer: bytearray) -> Reply | None:
        """The answer when it is whole; what belongs to it is taken out of the buffer. Raises BadAnswerError."""
        while not self._status:
            if not self._head(buffer):
                return None
        if self._chunked:
            return self._chunks(buffer)
        if self._length is None:
            self._bounded(len(buffer))
            return None  # until the connection ends
        if len(buffer) < self._length:
            return None
        body = bytes(buffer[: self._length])
        del buffer[: self._length]
        return Reply(self._status, self._headers, body)

    def ended(self, buffer: bytearray) -> Reply | None:
        """The answer whose end is that of the connection; None where another end was announced."""
        if not self._status or self._chunked or self._length is not None:
            return None
        return Reply(self._status, self._headers, bytes(buffer))

    def _bounded(self, size: int) -> None:
        if size > self._largest:
            raise TooLongError(f"the answer has more than {self._largest} bytes")

    def _head(self, buffer: bytearray) -> bool:
        """Read the status line and headers, if they are there; one of an interim answer (1xx) is passed over."""
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD:
            if max(end, len(buffer)) > MAX_HEAD:
                raise BadAnswerError(f"the head of the answer has more than {MAX_HEAD} bytes")
            return False
        first, *lines = bytes(buffer[:end]).split(b"\r\n")
        del buffer[: end + 4]
        said = _STATUS.fullmatch(first)
        if said is None:
            raise BadAnswerError("what answers does not speak HTTP/1.1")
        status = int(said[2])
        if 100 <= status < 200:
            if status == 101:
                raise BadAnswerError("it answers by another protocol, which nobody asked for")
            return True
        headers = []
        for line in lines:
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not name or name != name.strip():
                raise BadAnswerError("a header of the answer is none")
            headers.append((name.lower(), value.strip()))
        self._headers, self._status = tuple(headers), status
        self._framed(said[1] == b"1")
        return True

    def _framed(self, modern: bool) -> None:
        """Find out where the answer ends (RFC 9112 section 6.3)."""
        codings = [value.lower() for name, value in self._headers if name == "transfer-encoding"]
        lengths = {value for name, value in self._headers if name == "content-length"}
        options = ",".join(value for name, value in self._headers if name == "connection").lower()
        if any(value.lower() not in ("", "identity") for name, value in self._headers if name == "content-encoding"):
            raise BadAnswerError("the answer is packed, which nobody asked for")
        if codings and (codings != ["chunked"] or lengths):
            raise BadAnswerError(f"the answer has the transfer encoding {', '.join(codings)[:60]!r}, or a length too")
        self._chunked = bool(codings)
        if self._status in (204, 304):
            self._chunked, self._length = False, 0
        elif lengths:
            (length, *others) = lengths
            if others or not (length.isascii() and length.isdigit() and len(length) < 16):
                raise BadAnswerError("the answer has a length that is none")
            self._length = int(length)
            self._bounded(self._length)
        ends = self._chunked or self._length is not None
        self.keeps = modern and ends and "close" not in options

    def _chunks(self, buffer: bytearray) -> Reply | None:
        while True:
            if self._wanted >= 0:
                if len(buffer) < self._wanted:
                    return None
                if buffer[self._wanted - 2 : self._wanted] != b"\r\n":
                    raise BadAnswerError("a chunk of the answer has another length than it says")
                self._parts.append(bytes(buffer[: self._wanted - 2]))
                del buffer[: self._wanted]
                self._wanted = -1
            end = buffer.find(b"\r\n", 0, _MOST_CHUNK_LINE)
            if end < 0:
                if len(buffer) >= _MOST_CHUNK_LINE:
                    raise BadAnswerError("a line between the chunks of the answer has no end")
                return None
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            if self._wanted == -2:
                if not line:
                    return Reply(self._status, self._headers, b"".join(self._parts))
                continue  # a trailer: nothing is made of those
            digits = line.partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,12}", digits):
                raise BadAnswerError("a chunk of the answer has a length that is none")
            size = int(digits, 16)
            self._size += size
            self._bounded(self._size)
            self._wanted = size + 2 if size else -2
