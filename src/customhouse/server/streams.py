"""Server-sent events: tells open pages that the picture changed, and that the server still lives.

An event carries a version, never the data: a page that is slow or was away fetches what is newest and misses nothing.
A beat says when the control plane last looked: a server that answers beside a loop that hangs must not seem alive.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

PULSE_S = 0.2
"""How often an open stream looks for a new version; a push must be seen within two seconds."""
BEAT_S = 5.0
"""How often a stream says something when nothing changed. The page takes three missed beats for a dead server."""
RECONNECT_MS = 1000
MOST = 32
"""Streams at once: a page has one. More is a program that leaks them."""


@dataclass(frozen=True, slots=True)
class Looked:
    """When the control plane last looked (RFC 3339; empty: never), and how many seconds ago that was."""

    at: str
    age_s: float


class Streams:
    """Counts the open streams and ends them all when the server ends."""

    def __init__(self, version: Callable[[], int], looked: Callable[[], Looked], ending: Callable[[], bool]) -> None:
        self._version = version
        self._looked = looked
        self._ending = ending
        self.open = 0

    @property
    def full(self) -> bool:
        """Whether one more would be too many."""
        return self.open >= MOST

    async def follow(self) -> AsyncIterator[bytes]:
        """The version at once, then whenever it changes; a beat when nothing does.

        Ends when the server ends. A client that is gone ends it from outside (the response is cancelled); one that
        reads slowly holds it back at `yield`, so that nothing piles up here.
        """
        self.open += 1
        try:
            yield f"retry: {RECONNECT_MS}\n\n".encode()
            seen: int | None = None
            quiet = 0.0
            while not self._ending():
                version = self._version()
                if version != seen:
                    seen, quiet = version, 0.0
                    yield _event("changed", version=version)
                elif quiet >= BEAT_S:
                    quiet = 0.0
                    looked = self._looked()
                    yield _event("beat", version=version, at=looked.at, age=looked.age_s)
                await asyncio.sleep(PULSE_S)
                quiet += PULSE_S
        finally:
            self.open -= 1


def _event(name: str, **data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
