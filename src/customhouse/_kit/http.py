"""One HTTP request at a time: TLS verified, sizes and times bounded, credentials never sent to another host.

Plain http is spoken with loopback alone. Redirects are followed by hand: at most five, never from https to http, and
`Authorization` stays behind when the origin changes (RFC 9110 section 15.4 leaves that to the client).
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from customhouse._kit.single_keys import each_once

MAX_BYTES = 16 * 1024 * 1024
MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (429, 502, 503, 504)
_LONGEST_WAIT_S = 30.0


class HttpError(Exception):
    """The request failed: no connection, no valid certificate, too large, too late, or a plain http address.

    `url` is without query and user, so that it can be printed.
    """

    def __init__(self, url: str, message: str) -> None:
        super().__init__(f"{shown(url)}: {message}")
        self.url = shown(url)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status. Names of headers are in lower case; `url` is that of the last request."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def json(self) -> Any:
        """The body as JSON. Raises HttpError when it is none, or nested too deep."""
        try:
            return json.loads(self.body, object_pairs_hook=each_once)
        except (ValueError, RecursionError) as error:
            raise HttpError(self.url, f"the answer is no JSON: {error}") from error


class Sending:
    """A body that is read piece by piece while it is sent: `size` bytes of `source`, from its beginning each time.

    `checks` makes what is told each piece before it is sent, and an empty one at the end; it may raise to end the
    request with its body incomplete.
    """

    def __init__(
        self, source: IO[bytes], size: int, checks: Callable[[], Callable[[bytes], object]] | None = None
    ) -> None:
        self.size = size
        self._source, self._checks = source, checks
        self._check: Callable[[bytes], object] | None = None
        self._deadline = 0.0

    def start(self, deadline: float) -> Sending:
        """Begin, again if need be; `deadline` is of the monotonic clock."""
        self._source.seek(0)
        self._check = None if self._checks is None else self._checks()
        self._deadline = deadline
        return self

    def read(self, size: int = -1) -> bytes:
        """A piece, as http.client asks for it."""
        if time.monotonic() > self._deadline:
            raise TimeoutError
        piece = self._source.read(max(size, 1 << 16))
        if self._check is not None:
            self._check(piece)
        return piece


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | Sending | None = None,
    timeout_s: float = 30.0,
    max_bytes: int = MAX_BYTES,
    retries: int = 2,
    authority: str | None = None,
    redirects: Callable[[str, str], bool] | None = None,
    sink: Callable[[bytes], object] | None = None,
) -> Answer:
    """Send one request and read the whole answer.

    `redirects` is asked, with the address before and after, whether a redirect to another origin may be followed; by
    default it may. `sink` takes the body of a 200 or 206 piece by piece (the Answer's is then empty, and the request is
    sent once: half a body cannot be taken back). A body that is `Sending` is read while it is sent.

    `timeout_s` bounds all of it, redirects and retries included. A GET or HEAD that meets 429, 502, 503, 504 or a
    broken connection is sent again up to `retries` times, after what Retry-After says (at most 30 s). `authority` is a
    file of certificates to trust instead of the system's. Raises HttpError.
    """
    deadline = time.monotonic() + timeout_s
    attempts = retries + 1 if method in ("GET", "HEAD") and sink is None else 1
    bounds = _Bounds(deadline, max_bytes, authority, redirects, sink)
    for attempt in range(1, attempts + 1):
        try:
            answer = _follow(method, url, dict(headers or {}), body, bounds)
        except HttpError as error:
            if attempt == attempts or not isinstance(error.__cause__, (OSError, http.client.HTTPException)):
                raise
            wait = _pause(attempt)
        else:
            if answer.status not in _BUSY or attempt == attempts:
                return answer
            wait = _retry_after(answer, attempt)
        if time.monotonic() + wait > deadline:
            raise HttpError(url, f"no answer within {timeout_s:g} s")
        time.sleep(wait)
    raise AssertionError("unreachable: the last attempt returns or raises")


def shown(url: str) -> str:
    """A URL without what may be secret: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its written form; names are not resolved."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def to_a_store(before: str, after: str) -> bool:
    """For `redirects`: https, and a host that not only this machine or its network can reach.

    By its written form: names are not resolved. `127.1`, `0x7f.1`, `2130706433` and `0` are addresses to the C library
    and none to `ipaddress`; no public name has a last label without a letter. Loopback may lead to loopback (a registry
    that is tried out here).
    """
    try:
        host, own = urlsplit(after).hostname or "", is_loopback(urlsplit(before).hostname or "")
    except ValueError:
        return False
    if is_loopback(host):
        return own
    if urlsplit(after).scheme != "https":
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        last = host.rpartition(".")[2]
        local = last == "localhost" or last.startswith("0x") or not any("a" <= letter <= "z" for letter in last)
        return not local and host.isascii()
    # An IPv6 address may hold an IPv4 one; a multicast address is "global" to ipaddress.
    held = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    return all(one.is_global and not one.is_multicast for one in (address, held) if one is not None)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What holds for every request of one call."""

    deadline: float
    max_bytes: int
    authority: str | None
    redirects: Callable[[str, str], bool] | None
    sink: Callable[[bytes], object] | None


def _follow(method: str, url: str, headers: dict[str, str], body: bytes | Sending | None, bounds: _Bounds) -> Answer:
    for _ in range(MAX_REDIRECTS + 1):
        answer = _once(method, url, headers, body, bounds)
        place = answer.headers.get("location")
        if answer.status not in _REDIRECTS or not place:
            return answer
        if method not in ("GET", "HEAD"):
            raise HttpError(url, f"a {method} was redirected")
        try:
            following = urljoin(url, place)
            before, after = urlsplit(url), urlsplit(following)
            _ = after.port
        except ValueError as error:
            raise HttpError(url, "redirected to an address that cannot be read") from error
        if before.scheme == "https" and after.scheme != "https":
            raise HttpError(url, "redirected from https to something else")
        if (before.scheme, before.hostname, before.port) != (after.scheme, after.hostname, after.port):
            if bounds.redirects is not None and not bounds.redirects(url, following):
                raise HttpError(url, f"redirected to {shown(following)}, which is not followed")
            headers = {key: value for key, value in headers.items() if key.lower() not in ("authorization", "cookie")}
        url = following
    raise HttpError(url, f"more than {MAX_REDIRECTS} redirects")


def _once(method: str, url: str, headers: Mapping[str, str], body: bytes | Sending | None, bounds: _Bounds) -> Answer:
    connection, path = _connection(url, bounds.deadline, bounds.authority)
    fields: dict[str, str] = {"User-Agent": "customhouse", "Accept-Encoding": "identity", **headers}
    try:
        if isinstance(body, Sending):
            fields["Content-Length"] = str(body.size)
            connection.request(method, path, body.start(bounds.deadline), fields)
        else:
            connection.request(method, path, body, fields)
        with connection.getresponse() as response:
            content = _read(response, connection, url, bounds)
            told = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, told, content, url)
    except TimeoutError as error:
        raise HttpError(url, "no answer in time") from error
    except (OSError, http.client.HTTPException) as error:
        raise HttpError(url, str(error) or type(error).__name__) from error
    except ValueError:
        # http.client's message shows the value of the header that it refuses, which may be a password.
        raise HttpError(url, "a header or the address holds a line break or a letter that cannot be sent") from None
    finally:
        connection.close()


def _connection(url: str, deadline: float, authority: str | None) -> tuple[http.client.HTTPConnection, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise HttpError(url, str(error)) from error
    if not host or parts.username is not None or parts.password is not None:
        raise HttpError(url, "the address has no host, or carries a password: give credentials apart")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    left = max(deadline - time.monotonic(), 0.001)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=authority)
        return http.client.HTTPSConnection(host, port, timeout=left, context=context), path
    if parts.scheme == "http" and is_loopback(host):
        return http.client.HTTPConnection(host, port, timeout=left), path
    raise HttpError(url, "only https is spoken, and http with this machine")


def _read(
    response: http.client.HTTPResponse, connection: http.client.HTTPConnection, url: str, bounds: _Bounds
) -> bytes:
    chunks: list[bytes] = []
    take = bounds.sink if bounds.sink is not None and response.status in (200, 206) else chunks.append
    size = 0
    while True:
        left = bounds.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if connection.sock is not None:
            connection.sock.settimeout(left)
        chunk = response.read1(1 << 16)
        if not chunk:
            if response.length:  # Content-Length promised more
                raise http.client.IncompleteRead(b"".join(chunks), response.length)
            return b"".join(chunks)
        size += len(chunk)
        if size > bounds.max_bytes:
            raise HttpError(url, f"the answer is larger than {bounds.max_bytes} bytes")
        take(chunk)


def _retry_after(answer: Answer, attempt: int) -> float:
    given = answer.headers.get("retry-after", "")
    return min(float(given), _LONGEST_WAIT_S) if given.isdigit() else _pause(attempt)


def _pause(attempt: int) -> float:
    """Exponential, with full jitter, from a quarter of a second."""
    return random.uniform(0.05, 0.25 * 2**attempt)  # noqa: S311 - spreads load, decides nothing
