"""Requests of a service that scales by them: each waits, in its order, until a replica of its revision has a place.

At zero there is no replica at all: what comes is held, which the control process sees as load, and starts one. Nothing
is sent to a replica beyond what it takes at a time, so that a burst waits here and is not refused there.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from customhouse.execution.adapters.local.wire import LostError

HOLD_S = 120.0
"""How long a request is held: as long as two starts of a worker may take (`fleet.STARTING_S`)."""
MAX_HELD = 5_000
MAX_HELD_BYTES = 256 << 20
ATTEMPTS = 4
"""An inference that ended this many workers is not given to another."""


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """No replica in time, or too many wait; the message is for the client."""


class Replica(Protocol):
    """A worker, as `routing` has it."""

    id: str
    release: str
    in_flight: int

    async def exchange(self, data: bytes, timeout_s: float) -> tuple[int, dict[str, str], bytes]:
        """One request and its answer. Raises LostError, TimeoutError."""

    def suspect(self) -> None:
        """Nobody listens there."""


class Revision(Protocol):
    """A release with what it has to do."""

    @property
    def load(self) -> Load:
        """What it had to do."""

    @property
    def places(self) -> Places:
        """The places of its replicas."""


class Service(Protocol):
    """What chooses the revision of a request."""

    def assign(self) -> Revision | None:
        """The revision whose turn it is; None without any."""


Pick = Callable[[set[str], int], Replica | None]
"""The best ready replica that is not one of those named and has fewer requests than the number; None without one."""


class Load:
    """What a revision had to do: requests inside (waiting or being answered), and that number summed over time."""

    __slots__ = ("_since", "arrived", "busy", "inside")

    def __init__(self) -> None:
        self.inside = 0
        self.arrived = 0
        self.busy = 0.0
        self._since = time.monotonic()

    def change(self, by: int) -> None:
        """A request came (1) or went (-1)."""
        now = time.monotonic()
        self.busy += self.inside * (now - self._since)
        self._since = now
        self.inside += by
        self.arrived += max(by, 0)

    def to_json(self) -> dict[str, Any]:
        """`busy` in request-seconds since the gateway started, `inside` now, `arrived` since the gateway started."""
        self.change(0)
        return {"busy": self.busy, "inside": self.inside, "arrived": self.arrived}


class Places:
    """The places of one revision's replicas, `limit` each, given out in the order of asking."""

    def __init__(self, pick: Pick) -> None:
        self._pick = pick
        self._waiting: deque[asyncio.Future[Replica | None]] = deque()
        self.limit = 0

    def _free(self, without: set[str]) -> Replica | None:
        return self._pick(without, self.limit)

    async def take(self, without: set[str], timeout_s: float) -> Replica | None:
        """A replica with a place, which is then taken; None when the revision has gone. Raises TimeoutError."""
        replica = None if self._waiting else self._free(without)
        if replica is not None:
            replica.in_flight += 1
            return replica
        waiter: asyncio.Future[Replica | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.hand_out()
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                return await asyncio.shield(waiter)
        except BaseException:
            # The client has gone, or waited long enough, perhaps at the moment in which its place came.
            if waiter.done() and not waiter.cancelled():
                given = waiter.result()
                if given is not None:
                    self.give_back(given)
            else:
                waiter.cancel()
            raise

    def give_back(self, replica: Replica) -> None:
        """A place is free again."""
        replica.in_flight -= 1
        self.hand_out()

    def hand_out(self) -> None:
        """Give every free place to who waits longest."""
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
                continue
            replica = self._free(set())
            if replica is None:
                return
            replica.in_flight += 1
            self._waiting.popleft().set_result(replica)

    def release(self) -> None:
        """The revision has gone: who waits chooses another."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)


class Holder:
    """All requests that are inside services which scale by them: bounded in number and bytes."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self.held = 0
        self._bytes = 0

    async def send(self, service: Service, data: bytes, timeout_s: float) -> tuple[Replica, Any]:
        """Who answered, and the answer. Numbered: (1) revision by weight, (2) a place, (3) send, (4) retry.

        Raises Refused, TimeoutError when a worker did not answer, LostError when its answer broke off.
        """
        if self.held >= MAX_HELD or self._bytes + len(data) > MAX_HELD_BYTES:
            raise Refused("too many requests wait; try again")
        self.held += 1
        self._bytes += len(data)
        try:
            return await self._send(service, data, timeout_s)
        finally:
            self.held -= 1
            self._bytes -= len(data)

    async def _send(self, service: Service, data: bytes, timeout_s: float) -> tuple[Replica, Any]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._hold_s
        tried: set[str] = set()
        lost = 0
        while lost < ATTEMPTS:
            revision = service.assign()  # (1)
            if revision is None:
                raise Refused("no release of it takes requests; try again")
            revision.load.change(1)
            try:
                try:
                    replica = await revision.places.take(tried, end - loop.time())  # (2)
                except TimeoutError:
                    raise Refused(f"no replica had a place within {self._hold_s:g} s; try again") from None
                if replica is None:
                    continue
                try:
                    return replica, await replica.exchange(data, timeout_s)  # (3)
                except LostError as error:
                    if error.answered:
                        raise
                    # (4) An inference changes nothing, so another may be asked as long as no byte has come back.
                    lost += 1
                    tried.add(replica.id)
                    replica.suspect()
                finally:
                    revision.places.give_back(replica)
            finally:
                revision.load.change(-1)
        raise Refused(f"{lost} replicas ended while they had this request")
