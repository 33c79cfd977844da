"""The processes behind the webhook's front: a nursery that forks, generations that load, evaluators that judge.

    front (asyncio, TLS) ── nursery ── generation N ── evaluator, evaluator …
                                  └── clerk (store, ledger, watching for changes)

A generation reads everything once and forks its evaluators from that: the price book and the compiled rules are shared
memory, and a new bundle that is bad never comes as far as an evaluator. The front closes a channel, and what is at its
other end goes. No process outlives the one that started it for longer than one review.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from customhouse.app.settings import Settings

LOAD_LIMIT_S = 60.0
"""Processor seconds for reading a generation; the kernel ends it after that, and the last good one stays."""
_PATIENCE_S = 0.05
"""The pause after an evaluator died before the next is forked, so that a poisoned one does not take the machine."""


class Nursery:
    """The front's handle of the process that forks. Made before the front has threads, sockets or an event loop."""

    def __init__(self, settings: Settings, repo: str | None, meeting: Path, *, workers: int, dry: bool) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _run(lambda: _nursery(theirs, settings, repo, str(meeting), workers, dry=dry))
        theirs.close()
        ours.setblocking(False)
        self._channel, self.pid = ours, pid

    def load(self, generation: int) -> None:
        """Ask for a new generation; it comes to the meeting place by itself, or says why not."""
        self._channel.send(f"load {generation}\n".encode())

    def clerk(self) -> None:
        """Ask for a clerk."""
        self._channel.send(b"clerk 0\n")

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._channel.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _run(work: Callable[[], None]) -> NoReturn:
    """Run the work of a forked process and leave without the parent's exit handlers."""
    status = 70
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # often sent to the whole group; the front says when it is over
        work()
        status = 0
    except BaseException as error:  # noqa: BLE001 - the last frame of a process
        if not isinstance(error, (ConnectionError, KeyboardInterrupt)):
            sys.excepthook(type(error), error, error.__traceback__)
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(status)


def _nursery(
    channel: socket.socket, settings: Settings, repo: str | None, meeting: str, workers: int, *, dry: bool
) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    pending = b""
    while data := channel.recv(4096):
        pending += data
        *lines, pending = pending.split(b"\n")
        for line in lines:
            verb, number = line.decode().split()
            if os.fork():
                continue
            channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if verb == "clerk":
                _run(lambda: _clerk(settings, repo, meeting, dry=dry))
            generation = int(number)
            _run(lambda: _generation(settings, repo, meeting, generation, workers, dry=dry))  # noqa: B023 - this process's own


def _clerk(settings: Settings, repo: str | None, meeting: str, *, dry: bool) -> None:
    from customhouse.app.admission_clerk import keep

    os.nice(10)  # what is asked now goes before what was answered
    keep(_meet(meeting, {"role": "clerk"}), settings, repo, dry=dry)


def _generation(settings: Settings, repo: str | None, meeting: str, number: int, workers: int, *, dry: bool) -> None:
    import gc

    from customhouse.app import wiring
    from customhouse.app.admission import Admission
    from customhouse.app.admission_context import load_context
    from customhouse.app.admission_evaluator import Evaluator, serve
    from customhouse.app.admission_image import DEFAULT_PREFIX, VARIABLE
    from customhouse.core.errors import CustomhouseError

    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, LOAD_LIMIT_S)
    hello: dict[str, Any] = {"role": "generation", "generation": number, "pid": os.getpid()}
    try:
        context = load_context(settings, repo)
        prefix = settings.environment.get(VARIABLE, DEFAULT_PREFIX)
        admission = Admission(context, wiring.admission_engine(settings), wiring.clock())
        admission.rehearse()
    except CustomhouseError as error:
        _meet(meeting, {**hello, "problem": str(error), "code": error.code}).close()
        return
    except Exception as error:  # noqa: BLE001 - a generation that cannot be read is said, and the last good one stays
        _meet(meeting, {**hello, "problem": f"internal error: {type(error).__name__}: {error}"}).close()
        return
    signal.setitimer(signal.ITIMER_PROF, 0.0)
    gc.collect()
    gc.freeze()  # what is loaded stays shared between the evaluators
    told = {
        "bundle": admission.bundle_digest,
        "revision": context.revision,
        "workers": workers,
        "alerts": [*context.alerts, *context.governing.alerts],
        # Of a repository elsewhere nothing tells that it moved: it is asked as often as a bundle's source.
        "floating": context.governing.floating or (repo is not None and "://" in repo),
    }
    channel = _meet(meeting, {**hello, **told})

    def evaluate() -> None:
        channel.close()
        judge = admission
        if settings.engine == "opa":  # a child process and its socket cannot be shared by those who are forked
            judge = Admission(context, wiring.admission_engine(settings), wiring.clock())
        own = _meet(meeting, {"role": "evaluator", "generation": number, "pid": os.getpid()})
        serve(own, Evaluator(judge, context, prefix, dry=dry))

    _tend(channel, evaluate, workers)


def _tend(channel: socket.socket, evaluate: Callable[[], None], workers: int) -> None:
    """Keep so many evaluators until the front closes the channel; then no new ones, and those that are left drain."""
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    alive: set[int] = set()

    def start() -> None:
        pid = os.fork()
        if pid:
            alive.add(pid)
            return
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        woken.close()
        wake.close()
        _run(evaluate)

    for _ in range(workers):
        start()
    open_ = True
    while open_ or alive:
        watched = [channel, woken] if open_ else [woken]
        ready, _, _ = select.select(watched, [], [], 5.0)
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                woken.recv(4096)
        if open_ and channel in ready and not channel.recv(4096):
            open_ = False
        dead = 0
        with contextlib.suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                alive.discard(pid)
                dead += 1
        if open_ and dead:
            time.sleep(_PATIENCE_S)
            for _ in range(workers - len(alive)):
                start()


def _meet(meeting: str, hello: dict[str, Any]) -> socket.socket:
    """Connect to the front and say who this is."""
    import json

    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.connect(meeting)
    except FileNotFoundError as error:
        raise ConnectionAbortedError("the front has gone") from error
    channel.sendall(json.dumps(hello).encode() + b"\n")
    return channel
