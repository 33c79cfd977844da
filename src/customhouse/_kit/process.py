"""The one place that starts other programs: argument lists only, never a shell; a limit on time and output."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MAX_OUTPUT = 256 * 1024 * 1024
"""Bytes that a program may write, each of stdout and stderr, unless the caller says otherwise."""
_CHUNK = 1 << 16


class ProgramMissingError(Exception):
    """The program is not installed; `program` says which."""

    def __init__(self, program: str) -> None:
        super().__init__(f"the program {program!r} is not on PATH")
        self.program = program


class ProgramError(Exception):
    """The program failed, or had to be ended; carries what it said on stderr. `status` is None when it was ended."""

    def __init__(self, arguments: Sequence[str], status: int | None, stderr: str, what: str = "") -> None:
        what = what or ("ran past its time limit" if status is None else f"ended with status {status}")
        super().__init__(f"{' '.join(arguments[:3])[:500]} {what}: {stderr.strip()[-2000:]}")
        self.status = status
        self.stderr = stderr


def without_core_files() -> None:
    """For who holds values that are to be in memory alone: a crash of it, or of what it starts, leaves no file."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended: exit status and what it wrote."""

    status: int
    stdout: bytes
    stderr: str


def find_program(name: str) -> str:
    """The absolute path of a program on PATH. Raises ProgramMissingError."""
    found = shutil.which(name)
    if found is None:
        raise ProgramMissingError(name)
    return os.path.abspath(found)


def run(
    arguments: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout_s: float = 60.0,
    accept: Sequence[int] = (0,),
    max_output: int = MAX_OUTPUT,
    max_memory: int | None = None,
) -> Finished:
    """Run a program to its end. `env` replaces the whole environment when given.

    `max_memory` limits its address space in bytes, where the system can (Linux).
    Raises ProgramMissingError; FileNotFoundError or NotADirectoryError when there is no folder `cwd`; ProgramError when
    it cannot be started, when its status is not in `accept`, and when it outlives `timeout_s` or writes more than
    `max_output` bytes: then it is ended with all its children.
    """
    program = find_program(arguments[0])
    try:
        process = subprocess.Popen(
            [program, *arguments[1:]],
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A group of its own: a child that holds a pipe open is ended with it, and Ctrl-C is ours to handle.
            start_new_session=True,
        )
    except (FileNotFoundError, NotADirectoryError):
        raise  # `cwd`: the program itself was found
    except (OSError, ValueError) as error:
        raise ProgramError(arguments, None, str(error), "could not be started") from error
    if max_memory is not None and hasattr(resource, "prlimit"):
        # From outside: code between fork and exec is not safe where there are threads. Suppressed: it ended already.
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (max_memory, max_memory))
    exchange = _Exchange(process, stdin, max_output, time.monotonic() + timeout_s)
    try:
        problem = exchange.run()
        if problem:
            raise ProgramError(arguments, None, exchange.stderr, problem.format(limit=max_output, seconds=timeout_s))
    finally:
        exchange.end()
    if process.returncode not in accept:
        raise ProgramError(arguments, process.returncode, exchange.stderr)
    return Finished(process.returncode, bytes(exchange.written["stdout"]), exchange.stderr)


class Running:
    """A program that goes on running; ended with all its children by `end`, which may be called twice."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill it and what it started."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def start(arguments: Sequence[str], *, env: Mapping[str, str], output: Path) -> Running:
    """Start a program that goes on running; what it says goes to the file `output`.

    Raises ProgramMissingError, and ProgramError when it cannot be started.
    """
    program = find_program(arguments[0])
    try:
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [program, *arguments[1:]],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
    except OSError as error:
        raise ProgramError(arguments, None, str(error), "could not be started") from error
    return Running(process)


class _Exchange:
    """Feeds a process and reads it, until both its outputs are at their end or a limit is passed."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, limit: int, deadline: float) -> None:
        self._process = process
        self._input = memoryview(stdin)
        self._limit = limit
        self._deadline = deadline
        self.written = {"stdout": bytearray(), "stderr": bytearray()}

    @property
    def stderr(self) -> str:
        """What it said on stderr so far."""
        return self.written["stderr"].decode(errors="replace")

    def run(self) -> str:
        """Empty when the process ended by itself, else which limit it passed."""
        with selectors.DefaultSelector() as selector:
            for name in ("stdin", "stdout", "stderr"):
                stream: IO[bytes] = getattr(self._process, name)
                os.set_blocking(stream.fileno(), False)
                selector.register(
                    stream, selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ, (name, stream)
                )
            while selector.get_map():
                left = self._deadline - time.monotonic()
                ready = selector.select(left) if left > 0 else []
                if left <= 0:
                    return "ran past its time limit of {seconds:g} s"
                for key, _ in ready:
                    name, stream = key.data
                    if self._feed(stream) if name == "stdin" else self._read(name, stream):
                        selector.unregister(stream)
                        stream.close()
                    elif len(self.written.get(name, b"")) > self._limit:
                        return "wrote more than {limit} bytes"
        try:
            self._process.wait(max(self._deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            return "ran past its time limit of {seconds:g} s"
        return ""

    def _feed(self, stream: IO[bytes]) -> bool:
        """Write some of the input; True when there is no more, or nobody reads it."""
        try:
            sent = os.write(stream.fileno(), self._input[:_CHUNK]) if self._input else 0
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        self._input = self._input[sent:]
        return not self._input

    def _read(self, name: str, stream: IO[bytes]) -> bool:
        """Read some; True at the end."""
        try:
            data = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        self.written[name] += data
        return not data

    def end(self) -> None:
        """Leave nothing behind: unless it ended by itself, end it and what it started; close the pipes."""
        if self._process.returncode is None:
            # Before anybody asks for its status: until then its number, and so its group's, cannot be another's.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None and not stream.closed:
                stream.close()
