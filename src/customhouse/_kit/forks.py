"""The same work on many items, in forked copies of this process: for Python that takes seconds, on machines with cores.

A fork has all that its parent has read and compiled, and shares its memory. It is a copy of one thread: nothing that it
does may wait for a thread of the parent. Answers are JSON values and come in the order of the items; whatever a fork
cannot answer is asked again here, so that errors are those of one process, at their place in the order.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

MAX_WORKERS = 4
"""Beyond that, memory and the reading of the answers cost more than they bring."""

_T = TypeVar("_T")
_AGAIN = b""
"""The frame of an item that the fork had an error with."""


class ForkError(Exception):
    """A fork could not be made, or ended before its last answer."""


def workers() -> int:
    """How many processes are of use here: the cores that this one may use, at most MAX_WORKERS."""
    return max(1, min(MAX_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1))


def in_order(
    work: Callable[[_T], Any], items: Sequence[_T], count: int, *, limit_s: float | None = None
) -> Iterator[Any]:
    """`work(item)` for each item, in order, by `count` processes of which this is one. The answers are JSON values.

    With `limit_s` this process only waits, and the kernel ends a fork that takes more processor seconds for one item:
    for native code that may never come back, and lets nothing else of its process run. Raises what `work` raises, when
    its turn comes, ForkError, and ForkEndedError with the place of the item. The forks end with the iterator.
    """
    count = min(count, len(items))
    first = 1 if limit_s is None else 0
    if count <= first or not hasattr(os, "fork"):
        yield from map(work, items)
        return
    forks: list[_Fork] = []
    try:
        # All are made before the first thread of ours is started.
        try:
            for place in range(first, count):
                forks.append(_Fork(work, items[place::count], forks, limit_s))
        except OSError as error:
            raise ForkError(f"no process could be made to share the work: {error.strerror}") from error
        for fork in forks:
            fork.listen()
        for number, item in enumerate(items):
            place = number % count
            answer = _AGAIN if place < first else forks[place - first].answer(number)
            yield work(item) if answer == _AGAIN else json.loads(answer)
    finally:
        for fork in forks:
            fork.end()


class ForkEndedError(ForkError):
    """A fork took too long for one item; `place` is that of the item."""

    def __init__(self, limit_s: float, place: int) -> None:
        super().__init__(f"no answer within {limit_s:g} s of processor time; the process was ended")
        self.place = place


class _Fork:
    """One fork and the pipe that it answers on."""

    def __init__(
        self, work: Callable[[_T], Any], items: Sequence[_T], before: Sequence[_Fork], limit_s: float | None
    ) -> None:
        self._limit_s = limit_s or 0.0
        self._signal = 0
        self._listener: threading.Thread | None = None
        self._answers: deque[bytes | None] = deque()
        self._come = threading.Semaphore(0)
        self._source, sink = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._source)
                for other in before:
                    other.close()
                _answer(work, items, sink, self._limit_s)
            finally:
                # Nothing of the parent is flushed, unwound or ended by its copy.
                os._exit(0)
        os.close(sink)

    def listen(self) -> None:
        """Take the answers as they come: a full pipe would hold the fork up."""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def answer(self, place: int) -> bytes:
        """The next answer, which is that of the item at `place`. Raises ForkError."""
        self._come.acquire()
        answer = self._answers.popleft()
        if answer is None:
            self.end()
            if self._signal == signal.SIGPROF:
                raise ForkEndedError(self._limit_s, place)
            raise ForkError("a process that shared the work ended before its time; too little memory may be why")
        return answer

    def close(self) -> None:
        """Leave the pipe, in a fork that was made later."""
        os.close(self._source)

    def end(self) -> None:
        """Kill it, whatever it is at."""
        with contextlib.suppress(ChildProcessError):
            # What has ended by itself, and of what, is told before it could be killed.
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if not ended:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
                _, status = os.waitpid(self._pid, 0)
            self._signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if self._listener is not None:
            self._listener.join()  # its pipe has ended; whoever forks next has no thread of ours

    def _listen(self) -> None:
        with open(self._source, "rb") as source:
            while len(header := source.read(8)) == 8:
                size = int.from_bytes(header, "big")
                answer = source.read(size)
                if len(answer) < size:
                    break
                self._put(answer)
        self._put(None)

    def _put(self, answer: bytes | None) -> None:
        self._answers.append(answer)
        self._come.release()


def _answer(work: Callable[[_T], Any], items: Sequence[_T], sink: int, limit_s: float) -> None:
    # The default action ends the process: a handler would have to wait for native code to come back.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with open(sink, "wb") as out:
        for item in items:
            signal.setitimer(signal.ITIMER_PROF, limit_s)
            try:
                answer = json.dumps(work(item)).encode()
            except Exception:  # noqa: BLE001 - the parent meets it itself
                answer = _AGAIN
            out.write(len(answer).to_bytes(8, "big") + answer)
            out.flush()
