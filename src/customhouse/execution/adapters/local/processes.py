"""Processes of this machine: start, find again, measure, end. A pid names nothing without its start time."""

from __future__ import annotations

import os
import signal
import subprocess  # noqa: TID251 - the local target is the one other home of child processes
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from customhouse.core.errors import TargetError
from customhouse.execution.adapters.local.launch import MODULE

_TICKS = os.sysconf("SC_CLK_TCK")
_STARTED: dict[int, subprocess.Popen[bytes]] = {}
"""Children of this process that have not been waited for; whoever of us ends, `reap` sees it."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: pid and start time in clock ticks since boot (/proc/PID/stat field 22), so a reused pid differs."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Consumption:
    """CPU seconds since the start, and resident bytes now."""

    cpu_s: float
    resident: int


def identify(pid: int) -> Identity | None:
    """The identity of a live process; None when there is none, or only its zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in ("Z", "X") else Identity(pid, int(fields[19]))


def is_alive(identity: Identity) -> bool:
    """Whether this very process still runs."""
    return identify(identity.pid) == identity


def consumption(pid: int) -> Consumption | None:
    """What a process uses; None when it is gone."""
    fields = _stat(pid)
    if fields is None:
        return None
    return Consumption((int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE)


def proportional(pid: int) -> int:
    """The proportional set size in bytes (shared pages divided by their users); 0 when it cannot be read."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return 0
    return 0


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
    return text[text.rindex(")") + 2 :].split()


def working_folder(pid: int) -> Path | None:
    """The working directory of a process; None when it is gone."""
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return None


def children(pid: int) -> list[int]:
    """The pids of a process's descendants."""
    parents: dict[int, list[int]] = {}
    for other in _pids():
        fields = _stat(other)
        if fields is not None:
            parents.setdefault(int(fields[1]), []).append(other)
    found: list[int] = []
    queue = [pid]
    while queue:
        below = parents.get(queue.pop(), [])
        found.extend(below)
        queue.extend(below)
    return found


def find(prefix: Path) -> dict[Path, Identity]:
    """Our processes whose configuration file lies under `prefix`, by that file; the user's own processes only."""
    found: dict[Path, Identity] = {}
    for pid in _pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
                continue
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if MODULE.encode() in words:
            config = Path(os.fsdecode(words[words.index(MODULE.encode()) + 2])) if len(words) > 4 else None
            identity = identify(pid)
            if config is not None and identity is not None and config.is_relative_to(prefix):
                found[config] = identity
    return found


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def launch(
    role: str, config: Path, *, log: Path, cwd: Path, threads: int = 1, keep: Sequence[int] = (), stdin: bytes = b""
) -> Identity:
    """Start one of our roles in a session of its own (it outlives us), its output appended to `log`.

    `keep` are descriptors that it inherits; `stdin` (secrets) goes through a pipe and touches no disk. Raises
    TargetError when it cannot be started.
    """
    environment = {
        "PATH": PATH,
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        # numpy's BLAS and OpenMP would start a thread a core; a second malloc arena costs megabytes a worker.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": str(threads),
        "MALLOC_ARENA_MAX": "1",
    }
    try:
        with open(log, "ab") as output:
            process = subprocess.Popen(
                # -I: neither the working directory nor PYTHON* variables decide what is imported.
                [sys.executable, "-I", "-m", MODULE, role, str(config)],
                cwd=cwd,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=tuple(keep),
            )
    except OSError as error:
        raise TargetError(f"cannot start a {role} process: {error}", where=str(log)) from error
    _STARTED[process.pid] = process
    try:
        if process.stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
    except BrokenPipeError:  # it ended at once; its log says why, and the supervisor sees that it is gone
        process.stdin = None
    return Identity(process.pid, _started(process.pid))


def _started(pid: int) -> int:
    fields = _stat(pid)  # readable until we wait for it, even when it has ended already
    return int(fields[19]) if fields is not None else 0


def reap() -> dict[int, int]:
    """Take the exit status of our own children that have ended (no zombies stay): status by pid, negative by signal."""
    ended: dict[int, int] = {}
    for pid, process in list(_STARTED.items()):
        status = process.poll()
        if status is not None:
            ended[pid] = status
            del _STARTED[pid]
    return ended


def environment_of(literals: Mapping[str, str], home: Path, threads: int) -> dict[str, str]:
    """The whole environment of a Job's process: nothing is inherited from the control process."""
    return {
        "PATH": PATH,
        "HOME": str(home),
        "TMPDIR": str(home),
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        **literals,
    }


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal this very process (through a pidfd, so a reused pid is never hit); False when it is gone."""
    try:
        handle = os.pidfd_open(identity.pid)
    except OSError:
        return False
    try:
        if not is_alive(identity):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True
