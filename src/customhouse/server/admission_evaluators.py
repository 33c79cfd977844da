"""The front's side of the processes behind it: who judges, who waits for whom, and what a death means.

A review is given to the evaluator with the fewest before it. One that dies is taken to have died of the review that it
held: that one is refused with the reason, the others are given to somebody else.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from customhouse.app.admission_clerk import RECORD, STORED
from customhouse.app.admission_evaluator import LABELS, REQUEST, RESPONSE

AHEAD = 2
"""Reviews that an evaluator holds at once: one that is judged, and the next so that it need not wait for the front."""
MAX_WAITING = 4096
MAX_BACKLOG = 32 * 1024 * 1024
"""Bytes of records that may wait for the clerk before they are only counted."""


@dataclass(eq=False, slots=True)
class Task:
    """One review on its way. `done` gets (body, label, HTTP status), once."""

    number: int
    kind: int
    body: bytes
    began: float
    deadline: float
    done: Callable[[bytes, str, int], None]
    finished: bool = False


class Watcher(Protocol):
    """Who hears of what happens behind the front."""

    def generation(self, hello: dict[str, Any]) -> None:
        """A generation is ready, or says its `problem`."""

    def taken_over(self, generation: int) -> None:
        """A generation judges from now on."""

    def changed(self) -> None:
        """There is something new to read, or the generation in use can fork no more evaluators."""

    def died(self, task: Task | None) -> None:
        """An evaluator of a generation in use died, of this review."""

    def unrecorded(self) -> None:
        """A record could not be taken."""


class Evaluators:
    """All channels to the processes behind the front. Belongs to the event loop."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.current = 0
        self.pending = 0
        """The generation that is taken over when its first evaluator comes."""
        self.waiting: deque[Task] = deque()
        self._channels: dict[int, set[Evaluating]] = {}
        self._homes: dict[int, asyncio.Transport] = {}
        self.clerk: Clerk | None = None

    def meeting(self) -> asyncio.Protocol:
        """A protocol for somebody who has just connected and not yet said who it is."""
        return _Meeting(self)

    @property
    def count(self) -> int:
        """Evaluators of the generation in use."""
        return len(self._channels.get(self.current, ()))

    def give(self, task: Task) -> bool:
        """Have a review judged; False when too many wait."""
        best = None
        for channel in self._channels.get(self.current, ()):
            if len(channel.held) < AHEAD and (best is None or len(channel.held) < len(best.held)):
                best = channel
                if not channel.held:
                    break
        if best is not None:
            best.send(task)
        elif len(self.waiting) < MAX_WAITING:
            self.waiting.append(task)
        else:
            return False
        return True

    def next_for(self, channel: Evaluating) -> None:
        """An evaluator has room again."""
        while self.waiting and len(channel.held) < AHEAD and channel.generation == self.current:
            task = self.waiting.popleft()
            if not task.finished:
                channel.send(task)
        if channel.generation != self.current and not channel.held:
            channel.close()

    def use(self, generation: int) -> None:
        """Take a generation over: from now on it judges, and those before it go when they have answered."""
        before, self.current = self.current, generation
        for channel in tuple(self._channels.get(before, ())):
            self.next_for(channel)
        self.retire(before)
        for channel in tuple(self._channels.get(generation, ())):
            self.next_for(channel)

    def retire(self, generation: int) -> None:
        """A generation forks no more evaluators."""
        home = self._homes.pop(generation, None)
        if home is not None:
            home.close()

    def joined(self, channel: Evaluating) -> None:
        """An evaluator has come."""
        self._channels.setdefault(channel.generation, set()).add(channel)
        if channel.generation == self.pending:
            self.pending = 0
            self.use(channel.generation)
            self._watcher.taken_over(channel.generation)
        elif channel.generation < self.current:
            channel.close()
        else:
            self.next_for(channel)

    def left(self, channel: Evaluating) -> None:
        """An evaluator has gone."""
        group = self._channels.get(channel.generation, set())
        group.discard(channel)
        if not group and channel.generation != self.current:
            self._channels.pop(channel.generation, None)
        held = [task for task in channel.held.values() if not task.finished]
        if channel.closing and not held:
            return
        # It judges one at a time, in order: of the first it died; the others it has not begun.
        culprit = next(iter(channel.held.values()), None)
        self._watcher.died(None if culprit is None or culprit.finished else culprit)
        for task in held:
            if task is not culprit and not self.give(task):
                self._watcher.died(task)

    def home(self, hello: dict[str, Any], transport: asyncio.Transport) -> None:
        """A generation has read everything, or could not."""
        if "problem" in hello:
            transport.close()
        else:
            self._homes[int(hello["generation"])] = transport
            self.pending = int(hello["generation"])
        self._watcher.generation(hello)

    def home_lost(self, generation: int) -> None:
        """A generation's own process went; unless it was let go, somebody else has to fork evaluators."""
        if self._homes.pop(generation, None) is not None:
            self._watcher.changed()

    def heard(self, what: int, number: int) -> None:
        """The clerk says something."""
        if what == 3:
            self._watcher.changed()
        elif self.clerk is not None:
            self.clerk.stored(number, good=what == 1)

    def record(self, data: bytes, number: int = 0, then: Callable[[bool], None] | None = None) -> None:
        """Hand a record to the clerk; with `then`, hear whether it was stored."""
        if self.clerk is None or not self.clerk.take(data, number, then):
            self._watcher.unrecorded()
            if then is not None:
                then(False)

    def unrecorded_many(self, count: int) -> None:
        """The clerk went with so many that wait for it."""
        for _ in range(count):
            self._watcher.unrecorded()

    def overdue(self, now: float, patience_s: float) -> None:
        """End evaluators that hold a review long after its deadline: the kernel's limit counts processor time only."""
        for group in tuple(self._channels.values()):
            for channel in tuple(group):
                first = next(iter(channel.held.values()), None)
                if first is not None and now > first.deadline + patience_s:
                    channel.kill()

    def close(self) -> None:
        """Let everybody go."""
        for group in tuple(self._channels.values()):
            for channel in tuple(group):
                channel.close()
        for generation in tuple(self._homes):
            self.retire(generation)
        if self.clerk is not None:
            self.clerk.transport.write_eof()  # it writes down what it has, and goes


class Evaluating(asyncio.Protocol):
    """The channel to one evaluator. `held` are the reviews that it has, in the order given."""

    def __init__(self, evaluators: Evaluators, hello: dict[str, Any], transport: asyncio.Transport) -> None:
        self._evaluators, self._transport = evaluators, transport
        self.generation, self.pid = int(hello["generation"]), int(hello["pid"])
        self.held: OrderedDict[int, Task] = OrderedDict()
        self.closing = False
        self._rest = b""

    def send(self, task: Task) -> None:
        """Give it a review."""
        self.held[task.number] = task
        self._transport.write(REQUEST.pack(len(task.body), task.number, task.kind, task.deadline) + task.body)

    def data_received(self, data: bytes) -> None:
        """Replies."""
        if self._rest:
            data = self._rest + data
        at, held = 0, len(data)
        while held - at >= RESPONSE.size:
            size, record, instead, number, status, label = RESPONSE.unpack_from(data, at)
            start = at + RESPONSE.size
            end = start + size + record + instead
            if held < end:
                break
            at = end
            task = self.held.pop(number, None)
            self._evaluators.next_for(self)  # before the answer: it need not wait for that
            if task is not None and not task.finished:
                middle = start + size
                written, other = data[middle : middle + record], data[middle + record : end]
                self._answer(task, data[start:middle], written, other, LABELS[label], status)
        self._rest = data[at:]

    def _answer(self, task: Task, body: bytes, record: bytes, instead: bytes, label: str, status: int) -> None:
        if not status:  # it came too late to be judged
            return
        if not instead:
            task.done(body, label, status)
            if record:
                self._evaluators.record(record)
            return

        def then(stored: bool) -> None:
            if not task.finished:
                task.done(body if stored else instead, label if stored else "deny", status)

        self._evaluators.record(record, task.number, then)

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        self._evaluators.left(self)

    def close(self) -> None:
        """Let it go."""
        self.closing = True
        self._transport.close()

    def kill(self) -> None:
        """End it: it is a process of ours for as long as the channel is open."""
        os.kill(self.pid, signal.SIGKILL)


class Clerk(asyncio.Protocol):
    """The channel to the clerk."""

    def __init__(self, evaluators: Evaluators, transport: asyncio.Transport) -> None:
        self._evaluators, self.transport = evaluators, transport
        self._asked: dict[int, Callable[[bool], None]] = {}
        self._buffer = bytearray()

    def take(self, data: bytes, number: int, then: Callable[[bool], None] | None) -> bool:
        """Send a record; False when too many wait."""
        if self.transport.is_closing() or self.transport.get_write_buffer_size() > MAX_BACKLOG:
            return False
        if then is not None:
            self._asked[number] = then
        self.transport.write(RECORD.pack(len(data), number if then is not None else 0) + data)
        return True

    def stored(self, number: int, *, good: bool) -> None:
        """What became of a record that is waited for."""
        then = self._asked.pop(number, None)
        if then is not None:
            then(good)

    def data_received(self, data: bytes) -> None:
        """It speaks."""
        self._buffer += data
        while len(self._buffer) >= STORED.size:
            what, number = STORED.unpack_from(self._buffer)
            del self._buffer[: STORED.size]
            self._evaluators.heard(what, number)

    def connection_lost(self, exc: Exception | None) -> None:
        """It went; who waits for it is told."""
        self._evaluators.clerk = None
        self._evaluators.unrecorded_many(len(self._asked))
        for then in tuple(self._asked.values()):
            then(False)
        self._asked.clear()


class _Home(asyncio.Protocol):
    """The channel to a generation's own process: it says nothing more, but it is there."""

    def __init__(self, evaluators: Evaluators, generation: int) -> None:
        self._evaluators, self._generation = evaluators, generation

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        self._evaluators.home_lost(self._generation)


@dataclass(eq=False)
class _Meeting(asyncio.Protocol):
    """Waits for the line in which a process says who it is, and hands the connection over."""

    evaluators: Evaluators
    line: bytearray = field(default_factory=bytearray)
    transport: asyncio.Transport | None = None
    protocol: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody comes."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """What it says."""
        if self.protocol is not None:
            self.protocol.data_received(data)
            return
        self.line += data
        head, newline, rest = bytes(self.line).partition(b"\n")
        transport = self.transport
        if not newline or transport is None:
            return
        hello = json.loads(head)
        if hello["role"] == "evaluator":
            channel = Evaluating(self.evaluators, hello, transport)
            self.protocol = channel
            self.evaluators.joined(channel)
        elif hello["role"] == "clerk":
            self.evaluators.clerk = Clerk(self.evaluators, transport)
            self.protocol = self.evaluators.clerk
        else:
            self.protocol = _Home(self.evaluators, int(hello["generation"]))
            self.evaluators.home(hello, transport)
        if rest and self.protocol is not None:
            self.protocol.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """It goes."""
        if self.protocol is not None:
            self.protocol.connection_lost(exc)
