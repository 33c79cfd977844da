"""Requests: one session, limits on time and size, and patience with an API that is busy.

What is sent through `request` may be sent twice, unless `again` is False: reads, server-side applies and deletions by
uid change nothing the second time.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from customhouse._kit.clock import Clock
from customhouse.core.errors import TargetError
from customhouse.execution.adapters.kubernetes.credentials import Credentials, tls_context
from customhouse.execution.adapters.kubernetes.errors import ApiError, UnreachableError, api_error
from customhouse.execution.adapters.kubernetes.kubeconfig import Access

MAX_BODY = 256 * 1024 * 1024
"""Bytes of one answer, unpacked: 500 objects at etcd's limit of 1.5 MB would be more, and no honest page is."""
CONNECT_S = 10.0
REQUEST_S = 60.0
DEADLINE_S = 120.0
"""One call with all its retries."""
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0
_BUSY = frozenset({429, 502, 503, 504})
_AGENT = "customhouse"


class Backoff:
    """Pauses that double, each drawn between its half and its whole, so that many clients do not come back at once."""

    def __init__(self, first: float = _FIRST_PAUSE_S, longest: float = _LONGEST_PAUSE_S) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def pause(self, told: float | None = None) -> float:
        """Seconds to wait now; at least what the server told, which is bounded as well."""
        length, self._next = self._next, min(self._next * 2, self._longest)
        drawn = length * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        return max(drawn, min(told or 0.0, 60.0))

    def succeeded(self) -> None:
        """Begin again with the shortest pause."""
        self._next = self._first


class Transport:
    """Talks to one API from one event loop."""

    def __init__(self, access: Access, environment: Mapping[str, str], clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._credentials = Credentials(access, environment, clock)
        self._session: aiohttp.ClientSession | None = None
        self._certificate: tuple[bytes, bytes] | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._fixed = [("User-Agent", _AGENT), ("Accept-Encoding", "gzip")]
        self._fixed += [(name, value) for name, values in access.impersonate.items() for value in values]

    def monotonic(self) -> float:
        """Seconds, to tell how long something took."""
        return self._clock.monotonic()

    async def close(self) -> None:
        """Cut all connections; nothing that waits for an answer gets one."""
        self._closed = True
        await self._discard()

    async def _discard(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            if isinstance(session.connector, aiohttp.TCPConnector):
                await session.connector.close(abort_ssl=True)
            await session.close()

    async def _open(self) -> aiohttp.ClientSession:
        async with self._opening:
            certificate = await self._credentials.certificate()
            if self._session is not None and certificate == self._certificate:
                return self._session
            if self._closed:
                raise UnreachableError("the connection is closed", where=self._access.server)
            await self._discard()  # a plugin issued another certificate: connections carry the old one
            tls: ssl.SSLContext | bool = False
            if self._access.server.startswith("https:"):
                tls = tls_context(self._access, certificate)
            self._certificate = certificate
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
                trust_env=False,
                max_line_size=65_536,
            )
            return self._session

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
        sent = [*self._fixed, *(await self._credentials.headers()).items(), *(headers or {}).items()]
        async with session.request(
            method,
            self._access.server + path,
            params=parameters,
            headers=sent,
            data=body,
            # A redirect would carry the credentials to wherever it points.
            allow_redirects=False,
            proxy=self._access.proxy,
            server_hostname=self._access.server_name,
        ) as response:
            yield response

    async def request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        again: bool = True,
        deadline_s: float = DEADLINE_S,
    ) -> Any:
        """The JSON value of a successful answer.

        Busy answers and broken connections are tried again until the deadline. Raises ApiError, UnreachableError.
        """
        backoff = Backoff()
        end = self._clock.monotonic() + deadline_s
        renewed = False
        while True:
            told: float | None = None
            try:
                left = end - self._clock.monotonic()
                async with asyncio.timeout(max(min(left, REQUEST_S), 0.001)):
                    return await self._once(method, path, parameters, headers, body)
            except ApiError as error:
                if error.status == 401 and self._credentials.renewable and not renewed:
                    renewed = True
                    self._credentials.refused()
                    continue
                if error.status not in _BUSY and error.retry_after is None:
                    raise
                problem: TargetError = error
                told = error.retry_after
            except ssl.SSLCertVerificationError as error:
                raise self._distrust(error) from error
            except aiohttp.ClientConnectorCertificateError as error:
                raise self._distrust(error.certificate_error) from error
            except TimeoutError as error:
                problem = UnreachableError("no answer in time", where=self._where(path))
                problem.__cause__ = error
            except (aiohttp.ClientError, OSError) as error:
                hint = "is the API up, and its address right?"
                problem = UnreachableError(_said(error), where=self._where(path), hint=hint)
                problem.__cause__ = error
            pause = backoff.pause(told)
            if not again and not (isinstance(problem, ApiError) and problem.status == 429):
                raise problem
            if self._clock.monotonic() + pause >= end:
                raise problem
            await asyncio.sleep(pause)

    async def _once(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> Any:
        async with self._ask(method, path, parameters, headers, body) as response:
            data = await _body(response, self._where(path))
            if not 200 <= response.status < 300:
                raise api_error(response.status, data, self._where(path), response.headers.get("Retry-After"))
        try:
            return orjson.loads(data)
        except ValueError as error:
            raise ApiError("the answer is not JSON", status=response.status, where=self._where(path)) from error

    async def lines(
        self, path: str, parameters: Mapping[str, str], *, silence_s: float, longest: int
    ) -> AsyncIterator[Any]:
        """The JSON values of a stream, one a line. It ends when the server ends it.

        Raises ApiError, and UnreachableError when it breaks or says nothing for `silence_s`.
        """
        buffer = bytearray()
        try:
            async with self._ask("GET", path, parameters, {"Accept": "application/json"}, None) as response:
                if response.status != 200:
                    data = await _body(response, self._where(path))
                    if response.status == 401:
                        self._credentials.refused()
                    raise api_error(response.status, data, self._where(path), response.headers.get("Retry-After"))
                chunks = response.content.iter_any()
                while True:
                    async with asyncio.timeout(silence_s):
                        chunk = await anext(chunks, b"")
                    if not chunk:
                        return
                    start = len(buffer)
                    buffer += chunk
                    if b"\n" in chunk:
                        end = buffer.rindex(b"\n", start)
                        for line in bytes(buffer[:end]).split(b"\n"):
                            if line:
                                yield orjson.loads(line)
                        del buffer[: end + 1]
                    if len(buffer) > longest:
                        raise UnreachableError(f"an event of more than {longest} bytes", where=self._where(path))
        except TimeoutError as error:
            raise UnreachableError("the stream fell silent", where=self._where(path)) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._distrust(error.certificate_error) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(_said(error), where=self._where(path)) from error

    def _where(self, path: str) -> str:
        return self._access.server + path

    def _distrust(self, error: Exception) -> TargetError:
        return TargetError(
            f"its certificate does not verify: {_said(error)}",
            where=self._access.server,
            hint="name its authority in the kubeconfig (certificate-authority-data)",
        )


async def _body(response: aiohttp.ClientResponse, where: str) -> bytes:
    """The whole answer, unpacked; a small packed one may be a huge one."""
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY:
            raise ApiError(f"the answer has more than {MAX_BODY} bytes", status=response.status, where=where)
        parts.append(chunk)
    return b"".join(parts)


def _said(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text[:500]
