"""Requests: one session, limits on time and size, and patience with an API that is busy.

What is sent through `request` may be sent twice, unless `again` is False: reads, server-side applies and deletions by
uid change nothing the second time.
"""

from __future__ import annotations

import asyncio
import io
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from customhouse._kit.clock import Clock
from customhouse.core.errors import TargetError
from customhouse.execution.adapters.kubernetes.credentials import Credentials, Identity, tls_context
from customhouse.execution.adapters.kubernetes.errors import ApiError, UnreachableError, api_error
from customhouse.execution.adapters.kubernetes.kubeconfig import Access
from customhouse.execution.adapters.kubernetes.lane import Lane, NotSentError, Reply, TooLongError
from customhouse.execution.adapters.kubernetes.pace import Pace
from customhouse.execution.adapters.kubernetes.retries import DEADLINE_S, REQUEST_S, UNKNOWN_S, Tries

MAX_BODY = 256 * 1024 * 1024
"""Bytes of one page of a list, unpacked: 500 objects at etcd's limit of 1.5 MB would be more, and no honest one is."""
MAX_OBJECT = 32 * 1024 * 1024
"""Bytes of one object, of which many are read at a time: JSON may be several times as long as what etcd keeps."""
CONNECT_S = 10.0
_AGENT = "customhouse"
_LARGE = 512 * 1024
"""Bytes that aiohttp would hold up the event loop with: more is given to it in pieces."""
# A peer that vanished without a word (a node lost, a firewall that forgot the connection) is noticed within a minute.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
_PROXY_HINT = "proxy-url of the kubeconfig, or HTTPS_PROXY and NO_PROXY, say what goes through a proxy"
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
_MAX_WARNINGS = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """The JSON value of a success, and what the API warns of (RFC 9111 section 5.5 as Kubernetes uses it)."""

    value: Any
    warnings: tuple[str, ...] = ()


class _Session:
    """The connections of one client certificate, and how many requests are on them."""

    def __init__(self, tls: ssl.SSLContext | bool, access: Access) -> None:
        self.users = 0
        secure = None if isinstance(tls, bool) else tls
        self.lane = None if access.proxy else Lane(access.server, secure, access.server_name, _guard)
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls, socket_factory=_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            trust_env=False,
            max_line_size=65_536,
        )
        # aiohttp would send a DELETE again on its own when a kept connection breaks. It may have been done, and what
        # has the name by then is another object: whether to try again is decided in `Tries` alone.
        self.http._retry_connection = False  # noqa: SLF001 - there is no public way

    async def end(self) -> None:
        """Cut them all."""
        if self.lane is not None:
            self.lane.close()
        if isinstance(self.http.connector, aiohttp.TCPConnector):
            await self.http.connector.close(abort_ssl=True)
        await self.http.close()


class Transport:
    """Talks to one API from one event loop."""

    def __init__(self, access: Access, environment: Mapping[str, str], clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._credentials = Credentials(access, environment, clock)
        self._session: _Session | None = None
        self._retired: list[_Session] = []
        self._identity: Identity | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._answered_at = float("-inf")
        self._reached = False
        self._fixed = [("User-Agent", _AGENT), ("Accept-Encoding", "gzip")]
        self._fixed += [(name, value) for name, values in access.impersonate.items() for value in values]
        self._headers = self._fixed

    def monotonic(self) -> float:
        """Seconds, to tell how long something took."""
        return self._clock.monotonic()

    def answers_others(self, since: float) -> bool:
        """Whether the API has done what somebody asked, after that moment."""
        return self._answered_at > since

    async def close(self) -> None:
        """Cut all connections; nothing that waits for an answer gets one."""
        self._closed = True
        session, self._session = self._session, None
        for item in [*self._retired, *([session] if session is not None else [])]:
            await item.end()

    async def _open(self) -> _Session:
        """The session to use now, with the headers that every request has."""
        if self._session is not None and self._credentials.settled:
            return self._session
        async with self._opening:
            identity = await self._credentials.identity()
            self._headers = [*self._fixed, *(await self._credentials.headers()).items()]
            if self._session is not None and identity == self._identity:
                return self._session
            if self._closed:
                raise UnreachableError("the connection is closed", where=self._access.server)
            tls: ssl.SSLContext | bool = False
            if self._access.server.startswith("https:"):
                tls = tls_context(self._access, identity)
            if self._session is not None:
                # Connections carry the old certificate; what is under way on them is answered there.
                self._retired.append(self._session)
            self._identity = identity
            self._session = _Session(tls, self._access)
            await self._sweep()
            return self._session

    async def _sweep(self) -> None:
        for session in [item for item in self._retired if not item.users]:
            self._retired.remove(session)
            await session.end()

    @asynccontextmanager
    async def _ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = await self._open()
        session.users += 1
        try:
            query = _query(*parameters.items()) if parameters else ""
            async with session.http.request(
                method,
                # Every part of it has been quoted: to read and quote it all again takes as long as to send it.
                URL(self._access.server + path + query, encoded=True),
                headers=[*self._headers, *headers.items()] if headers else self._headers,
                data=io.BytesIO(body) if body is not None and len(body) > _LARGE else body,
                # A redirect would carry the credentials to wherever it points.
                allow_redirects=False,
                proxy=self._access.proxy,
                server_hostname=self._access.server_name,
            ) as response:
                try:
                    yield response
                except BaseException:
                    # Half an answer: a polite end of TLS would wait for a server that may say nothing any more.
                    if response.connection is not None and response.connection.transport is not None:
                        response.connection.transport.abort()
                    raise
        finally:
            session.users -= 1
            if self._retired:
                await self._sweep()

    async def request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Any:
        """The JSON value of a successful answer to a question. Raises as `send` does."""
        answer = await self.send(
            method, path, parameters=parameters, headers=headers, deadline_s=deadline_s, largest=MAX_BODY
        )
        return answer.value

    async def send(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        again: bool = True,
        deadline_s: float = DEADLINE_S,
        pace: Pace | None = None,
        largest: int | None = None,
    ) -> Answer:
        """A successful answer, of at most `largest` bytes (those of one object).

        Busy answers and broken connections are tried again until the deadline; without `again` only what was surely
        not done. Raises ApiError, UnreachableError.
        """
        if not self._reached:
            deadline_s = min(deadline_s, UNKNOWN_S)
        tries = Tries(self, path, again, deadline_s, pace)
        while True:
            try:
                if pace is not None:
                    await pace.enter()
                try:
                    tries.begin(self._credentials.issue)
                    async with asyncio.timeout(tries.patience()):
                        answer = await self._once(method, path, parameters, headers, body, largest or MAX_OBJECT)
                    if pace is not None:
                        pace.answered()
                    return answer
                finally:
                    if pace is not None:
                        pace.leave()
            except ApiError as error:
                if error.status == 401 and self._credentials.renewable and not tries.renewed:
                    tries.renewed = True
                    self._credentials.refused(tries.issue)
                    continue
                problem: TargetError = error
            except (aiohttp.ClientError, OSError) as error:
                problem = self._broken(error, path)
            await asyncio.sleep(tries.pause(problem))

    async def _once(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        largest: int,
    ) -> Answer:
        reply = None
        if body is not None and len(body) <= _LARGE:
            reply = await self._quickly(method, path, parameters, headers, body, largest)
        if reply is not None:
            self._reached = True
            return self._answer(path, reply.status, reply.body, reply.header("retry-after"), reply.all("warning"))
        async with self._ask(method, path, parameters, headers, body) as response:
            self._reached = True
            data = await _body(response, self._where(path), largest)
            told = response.headers
            return self._answer(path, response.status, data, told.get("Retry-After"), told.getall("Warning", ()))

    def _answer(self, path: str, status: int, data: bytes, later: str | None, warned: Sequence[str]) -> Answer:
        if status < 500 and status not in (401, 429):
            self._answered_at = self._clock.monotonic()
        if not 200 <= status < 300:
            raise api_error(status, data, self._where(path), later)
        try:
            value = orjson.loads(data)
        except ValueError as error:
            raise ApiError("the answer is not JSON", status=status, where=self._where(path)) from error
        return Answer(value, _warnings(warned) if warned else ())

    async def _quickly(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes,
        largest: int,
    ) -> Reply | None:
        """The answer by the short way; None where a request has to take the long one."""
        session = await self._open()
        if session.lane is None:
            return None
        told = [item for item in self._headers if item[0] != "Accept-Encoding"] + list((headers or {}).items())
        query = _query(*parameters.items()) if parameters else ""
        request = session.lane.written(method, path + query, told, body)
        if request is None:
            return None
        session.users += 1
        try:
            return await session.lane.ask(request, CONNECT_S, largest)
        except TooLongError as error:
            raise ApiError(str(error), status=200, where=self._where(path)) from error
        finally:
            session.users -= 1
            if self._retired:
                await self._sweep()

    async def lines(
        self, path: str, parameters: Mapping[str, str], *, silence_s: Callable[[], float], longest: int
    ) -> AsyncGenerator[list[Any], None]:
        """The JSON values of a stream, one a line, as many at a time as have arrived. It ends when the server ends it.

        Nothing, first, when the server has agreed. A last line without its end was cut off, and is not told. Raises
        ApiError, and UnreachableError when the stream breaks or says nothing for as long as `silence_s` gives.
        """
        buffer = bytearray()
        issue = self._credentials.issue
        try:
            async with self._ask("GET", path, parameters, {"Accept": "application/json"}, None) as response:
                if response.status != 200:
                    async with asyncio.timeout(REQUEST_S):
                        data = await _body(response, self._where(path), MAX_OBJECT)
                    if response.status == 401:
                        self._credentials.refused(issue)
                    raise api_error(response.status, data, self._where(path), response.headers.get("Retry-After"))
                yield []
                chunks = response.content.iter_any()
                while True:
                    async with asyncio.timeout(silence_s()):
                        chunk = await anext(chunks, b"")
                    if not chunk:
                        return
                    start = len(buffer)
                    buffer += chunk
                    if b"\n" in chunk:
                        end = buffer.rindex(b"\n", start)
                        whole = bytes(buffer[:end])
                        del buffer[: end + 1]
                        yield [orjson.loads(line) for line in whole.split(b"\n") if line]
                    if len(buffer) > longest:
                        raise UnreachableError(f"an event of more than {longest} bytes", where=self._where(path))
        except TimeoutError as error:
            raise UnreachableError("the stream fell silent", where=self._where(path)) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._distrust(error.certificate_error) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(_said(error), where=self._where(path)) from error

    def _broken(self, error: Exception, path: str) -> UnreachableError:
        """What a connection that did not bring an answer comes to. Raises TargetError where another try is no use."""
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            raise self._distrust(error.certificate_error) from error
        if isinstance(error, ssl.SSLCertVerificationError):
            raise self._distrust(error) from error
        said, hint = _said(error), "is the API up, and its address right?"
        unsent = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, NotSentError)
        sent = not isinstance(error, unsent)
        if isinstance(error, TimeoutError):
            said, hint = "no answer in time", ""
        elif isinstance(error, aiohttp.ClientHttpProxyError):
            said, hint = f"the proxy answered {error.status}", _PROXY_HINT
        problem = UnreachableError(said, where=self._where(path), hint=hint, sent=sent)
        problem.__cause__ = error
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in (401, 403, 407):
            raise problem
        return problem

    def _where(self, path: str) -> str:
        return self._access.server + path

    def _distrust(self, error: Exception) -> TargetError:
        self._credentials.distrusted()
        return TargetError(
            f"its certificate does not verify: {_said(error)}",
            where=self._access.server,
            hint="name its authority in the kubeconfig (certificate-authority-data)",
        )


async def _body(response: aiohttp.ClientResponse, where: str, largest: int) -> bytes:
    """The whole answer, unpacked; a small packed one may be a huge one."""
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > largest:
            raise ApiError(f"the answer has more than {largest} bytes", status=response.status, where=where)
        parts.append(chunk)
    return b"".join(parts)


@lru_cache(maxsize=256)
def _query(*parameters: tuple[str, str]) -> str:
    """A batch asks with the same few again and again."""
    return "?" + urlencode(parameters)


def _warnings(headers: Sequence[str]) -> tuple[str, ...]:
    found = [match[1].replace('\\"', '"') for header in headers for match in _WARNING.finditer(header[:10_000])]
    return tuple(found[:_MAX_WARNINGS])


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket whose peer's silence is noticed by the system, where it can do that."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    _guard(made)
    return made


def _guard(made: socket.socket) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)


def _said(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text[:500]
