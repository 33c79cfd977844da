"""Blobs sent to an OCI registry in pieces, so that a connection that breaks costs a piece and not the whole model.

Distribution Specification v1.1, "Pushing a blob in chunks": POST begins, PATCH with Content-Range sends the next piece,
PUT with the digest ends it. After a broken connection GET of the upload's address says how much has come, and the rest
follows from there. A registry that takes no pieces is told so by its answer to the first one.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from customhouse._kit.http import Answer, Sending
from customhouse.core.errors import ArtifactError

LARGE = 64 << 20
"""Bytes from which on a blob is sent in pieces."""
CHUNK = 32 << 20
MOST_CHUNK = 256 << 20
"""A registry may ask for pieces of at least a size (OCI-Chunk-Min-Length); of no more than this."""
ATTEMPTS = 6
"""For one piece."""
BEGUN_ANEW = 5
"""Uploads of a blob that are begun again: distribution 2.8 forgets one that broke in the middle of a piece."""
_LONGEST_WAIT_S = 20.0
_REFUSED = (400, 404, 405, 411, 415, 501)
_AGAIN = "nothing names what was sent; register it again"
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Wire:
    """What is asked of a registry's client: each raises ArtifactError when there is no answer."""

    begin: Callable[[], Answer]
    """POST; the answer is checked to be 202."""
    place: Callable[[Answer], str]
    """Where the upload goes on, of the registry itself."""
    send: Callable[[str, str, bytes | None, Mapping[str, str]], Answer]
    """One request of the upload: method, address, body, headers."""


class NoChunksError(Exception):
    """The registry takes blobs whole alone."""


class _GoneError(Exception):
    """The registry has forgotten the upload, or less of it than it had."""


def upload(wire: Wire, data: Sending, where: str) -> str:
    """Send all pieces; the address that the closing PUT goes to. Raises NoChunksError before anything was taken.

    `data` is read from its beginning, and again from there when the registry has forgotten the upload; its check sees
    every byte. Raises ArtifactError when the registry does not take it, and what the check raises.
    """
    for anew in range(BEGUN_ANEW + 1):
        try:
            return _once(wire, data, where)
        except _GoneError as error:
            if anew == BEGUN_ANEW:
                message = f"the registry forgets what it was sent: {error}"
                raise ArtifactError(message, where=where, hint=_AGAIN) from error
    raise AssertionError("unreachable: the last upload returns or raises")


def _once(wire: Wire, data: Sending, where: str) -> str:
    answer = wire.begin()
    least = answer.headers.get("oci-chunk-min-length", "")
    size = max(CHUNK, int(least)) if least.isascii() and least.isdigit() and len(least) < 12 else CHUNK
    if size > MOST_CHUNK:
        raise NoChunksError
    url, start = wire.place(answer), 0
    for piece in _pieces(data, size):
        url = _piece(wire, url, piece, start, where)
        start += len(piece)
    return url


def _pieces(data: Sending, size: int) -> Iterator[bytes]:
    source = data.start(float("inf"))
    while piece := source.read(size):
        yield piece


def _piece(wire: Wire, url: str, piece: bytes, start: int, where: str) -> str:
    """Send one piece, as often as it takes; the address of the next one."""
    done, why = 0, ""
    for attempt in range(1, ATTEMPTS + 1):
        rest = piece[done:]
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{start + done}-{start + len(piece) - 1}",
        }
        try:
            answer = wire.send("PATCH", url, rest, headers)
        except ArtifactError as error:
            why = error.message
        else:
            if answer.status in (201, 202, 204):
                return wire.place(answer)
            if start == done == 0 and attempt == 1 and answer.status in _REFUSED:
                raise NoChunksError
            why = f"the registry answers {answer.status}"
            if answer.status in (401, 403):
                hint = "give credentials: `docker login`, or CUSTOMHOUSE_REGISTRY_USER and …_PASSWORD"
                raise ArtifactError(f"{why} for a piece of a blob", where=where, hint=hint)
        time.sleep(min(_LONGEST_WAIT_S, random.uniform(0.1, 0.25 * 2**attempt)))  # noqa: S311 - spreads load
        url, come = _come(wire, url)
        if come is not None:
            if not start <= come <= start + len(piece):
                raise _GoneError(f"{come} bytes are there, {start} were")
            done = come - start
            if done == len(piece):
                return url
    raise ArtifactError(
        f"a piece of a blob was not taken in {ATTEMPTS} attempts: {why}",
        where=where,
        hint=_AGAIN,
    )


def _come(wire: Wire, url: str) -> tuple[str, int | None]:
    """How many bytes have come, and where it goes on; None when that cannot be told now. Raises _GoneError."""
    try:
        answer = wire.send("GET", url, None, {})
    except ArtifactError:
        return url, None
    if answer.status == 404:
        raise _GoneError("it knows of no such upload")
    found = _RANGE.fullmatch(answer.headers.get("range", "").strip())
    if answer.status != 204 or found is None:
        return url, None
    last = int(found[1])
    # `0-0` is what registries say of nothing; of one single byte as well, which no piece is.
    return (wire.place(answer) if "location" in answer.headers else url), last + 1 if last else 0
