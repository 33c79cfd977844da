"""A child process that answers requests one after another and can be killed: for work that may hang, or bring down.

Frames on its stdin and stdout: four bytes of length (big-endian), then that many bytes. It has no terminal, an empty
environment but for what is given, limits on its memory, and ends when its parent does (end of file on stdin).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import IO

MAX_FRAME = 64 * 1024 * 1024


class CompanionError(Exception):
    """The child ended, or did not answer in time and was killed. The next request starts another one."""


class Companion:
    """One child at a time, started with the first request (or `start`). May be used by several threads: they queue.

    `module` is run as `python -P -m MODULE` and calls `serve`. It gets no environment but the one given.
    """

    def __init__(self, module: str, *, environment: Mapping[str, str] | None = None) -> None:
        # -P: the working directory may be a checkout of strangers, and must not decide what is imported.
        self._command = [sys.executable, "-P", "-m", module]
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._finish: weakref.finalize[..., Companion] | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self.generation = 0
        """Grows with every new child: what an older one was told is forgotten."""

    def start(self) -> None:
        """Start the child now, so that its imports run beside the parent's work."""
        with self._lock:
            self._living()

    def ask(self, frames: Sequence[bytes], *, generation: int, timeout_s: float) -> bytes:
        """Send frames to the child of that generation; the one frame that it answers.

        Raises CompanionError, also when that child is gone: then ask again with what it has to be told first.
        """
        with self._lock:
            child = self._living()
            if generation != self.generation:
                raise CompanionError("the process that was meant is gone")
            try:
                return _exchange(child, frames, time.monotonic() + timeout_s)
            except TimeoutError as error:
                self._kill()
                raise CompanionError(f"no answer within {timeout_s:g} s; it was ended") from error
            except (OSError, EOFError) as error:
                status = self._kill()
                raise CompanionError(f"it ended with status {status}") from error
            except BaseException:
                self._kill()  # interrupted between a request and its answer: the next would get the wrong one
                raise

    def close(self) -> None:
        """End the child."""
        with self._lock:
            if self._child is not None:
                self._kill()

    def _living(self) -> subprocess.Popen[bytes]:
        if self._child is not None and (self._owner != os.getpid() or self._child.poll() is not None):
            self._kill()
        if self._child is None:
            self._owner = os.getpid()
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                close_fds=True,
                start_new_session=True,  # ^C at the terminal is for the parent, which closes it
            )
            self.generation += 1
            # Also when whoever owns it forgets it.
            self._finish = weakref.finalize(self, _end, os.getpid(), self._child)
        return self._child

    def _kill(self) -> int | None:
        child, self._child = self._child, None
        if child is None or self._finish is None:
            return None
        self._finish()
        return child.returncode


def _end(owner: int, child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.close()
    if owner == os.getpid():  # a fork of ours that goes leaves its parent's child alone
        with contextlib.suppress(OSError):
            child.kill()
        child.wait()


def _exchange(child: subprocess.Popen[bytes], frames: Sequence[bytes], deadline: float) -> bytes:
    assert child.stdin is not None  # noqa: S101 - both were asked for
    assert child.stdout is not None  # noqa: S101
    writer = threading.Thread(target=_write, args=(child.stdin, frames), daemon=True)
    small = sum(map(len, frames)) < 1 << 15  # a pipe holds 64 KiB: this cannot block
    if small:
        _write(child.stdin, frames)
    else:
        writer.start()
    header = _read(child.stdout, 4, deadline)
    size = int.from_bytes(header, "big")
    if size > MAX_FRAME:
        raise OSError("an answer of impossible size")
    return _read(child.stdout, size, deadline)


def _write(stream: IO[bytes], frames: Sequence[bytes]) -> None:
    # What cannot be written is seen where the answer is waited for.
    with contextlib.suppress(OSError, ValueError):
        for frame in frames:
            stream.write(len(frame).to_bytes(4, "big"))
            stream.write(frame)
        stream.flush()


def _read(stream: IO[bytes], size: int, deadline: float) -> bytes:
    """Exactly `size` bytes. Raises TimeoutError, EOFError."""
    parts: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while size:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise TimeoutError
            chunk = stream.read1(size)  # type: ignore[attr-defined]  # one read, nothing kept back from `select`
            if not chunk:
                raise EOFError
            parts.append(chunk)
            size -= len(chunk)
    return b"".join(parts)


def serve(answer: Callable[[bytes], bytes | None]) -> None:
    """The child's side: answer frames of stdin on stdout until it ends; None answers nothing."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(header := source.read(4)) == 4:
        size = int.from_bytes(header, "big")
        if size > MAX_FRAME:
            return
        said = answer(source.read(size))
        if said is not None:
            sink.write(len(said).to_bytes(4, "big") + said)
            sink.flush()
