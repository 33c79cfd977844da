"""The shim of one Job: runs its command, holds it to its limits, and writes the outcome even when nobody watches.

The outcome file is what makes a Job run once: it is written whole before the shim ends, with the exit status, CPU
seconds (wait4) and peak memory of the last attempt and of all together.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess  # noqa: TID251 - the local target is the one other home of child processes
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from customhouse._kit.clock import SystemClock, to_rfc3339
from customhouse.execution.adapters.local import tenancy
from customhouse.execution.adapters.local.processes import children, consumption
from customhouse.execution.adapters.local.records import write_atomic

_POLL_S = 0.05
_GRACE_S = 5.0
"""How long a Job has to end that is over its deadline, or whose control plane ends."""


@dataclass(slots=True)
class Attempt:
    """One try: exit status (negative: the signal), why it was ended by us, what it used."""

    status: int
    reason: str
    cpu_s: float
    peak: int


class _Stop:
    """Whether we were told to end, and by what."""

    def __init__(self) -> None:
        self.reason = ""
        signal.signal(signal.SIGTERM, self._take)
        signal.signal(signal.SIGINT, self._take)

    def _take(self, number: int, _: Any) -> None:
        self.reason = "Stopped"


def main(path: str) -> int:
    """Run the Job of a configuration file to its outcome. Values of secrets come over stdin as a JSON object."""
    config = tenancy.read_config(path)
    secrets: dict[str, str] = orjson.loads(sys.stdin.buffer.read() or b"{}")
    stop = _Stop()
    clock = SystemClock()
    begun, started = time.monotonic(), to_rfc3339(clock.now())
    write_atomic(Path(config["status"]), orjson.dumps({"pid": os.getpid(), "child": None}))
    attempts: list[Attempt] = []
    while not stop.reason:
        attempt = _attempt(config, secrets, stop, begun)
        attempts.append(attempt)
        tenancy.say("attempt ended", status=attempt.status, reason=attempt.reason, number=len(attempts))
        if attempt.status == 0 or attempt.reason == "DeadlineExceeded" or len(attempts) > config["retries"]:
            break
        _sleep(min(10.0, 0.5 * 2 ** (len(attempts) - 1)), stop)
    last = attempts[-1] if attempts else Attempt(-1, "Stopped", 0.0, 0)
    if stop.reason and (last.status != 0 or last.reason == "Stopped"):
        # Neither completed nor failed by itself: without a status file it is run again by the next start.
        Path(config["status"]).unlink(missing_ok=True)
        return 1
    reason = last.reason or ("" if last.status == 0 else "BackoffLimitExceeded")
    outcome = {
        "succeeded": last.status == 0 and not last.reason,
        "status": last.status,
        "reason": reason,
        "attempts": len(attempts),
        "cpu_s": sum(attempt.cpu_s for attempt in attempts),
        "peak_bytes": max(attempt.peak for attempt in attempts),
        "seconds": time.monotonic() - begun,
        "started": started,
        "finished": to_rfc3339(clock.now()),
    }
    write_atomic(Path(config["outcome"]), orjson.dumps(outcome))
    return 0


def _attempt(config: dict[str, Any], secrets: dict[str, str], stop: _Stop, begun: float) -> Attempt:
    used_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    affinity = sorted(os.sched_getaffinity(0))[: config["threads"]] if config["cpu_limit"] else None
    try:
        process = subprocess.Popen(
            config["words"],
            cwd=config["cwd"],
            env={**config["environment"], **secrets},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        tenancy.say("cannot start", program=config["words"][0], error=error.strerror)
        return Attempt(127, "StartError", 0.0, 0)
    write_atomic(Path(config["status"]), orjson.dumps({"pid": os.getpid(), "child": process.pid}))
    if affinity is not None:
        try:
            os.sched_setaffinity(process.pid, affinity)
        except ProcessLookupError:
            tenancy.say("ended before its CPUs were set")
    reason, peak = _watch(process, config, stop, begun)
    status = process.wait()
    _kill_group(process.pid)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - used_before.ru_utime - used_before.ru_stime
    # ru_maxrss is in KiB and that of the largest child so far, which also covers what polling missed.
    return Attempt(status, reason, cpu, max(peak, used.ru_maxrss * 1024))


def _watch(process: subprocess.Popen[bytes], config: dict[str, Any], stop: _Stop, begun: float) -> tuple[str, int]:
    peak = 0
    reason = ""
    asked: float | None = None
    grace = _GRACE_S
    while process.poll() is None:
        resident = _resident(process.pid)
        peak = max(peak, resident)
        if not reason:
            if config["memory_limit"] and resident > config["memory_limit"]:
                reason = "OOMKilled"
                _kill_group(process.pid)
            elif config["deadline_s"] is not None and time.monotonic() - begun > config["deadline_s"]:
                reason = "DeadlineExceeded"
            elif stop.reason:
                reason = stop.reason
            if reason in ("DeadlineExceeded", "Stopped"):
                grace = _grace(config) if reason == "Stopped" else _GRACE_S
                _kill_group(process.pid, signal.SIGTERM)
                asked = time.monotonic()
        elif asked is not None and time.monotonic() - asked > grace:
            _kill_group(process.pid)
        time.sleep(_POLL_S)
    return reason, peak


def _grace(config: dict[str, Any]) -> float:
    """Of a Job that is told to end because its machine goes: what there is time for, as the supervisor wrote."""
    try:
        return max(0.0, float(orjson.loads(Path(config["grace"]).read_bytes())["grace_s"]))
    except (OSError, ValueError, KeyError, TypeError):
        return _GRACE_S


def _resident(pid: int) -> int:
    total = 0
    for member in (pid, *children(pid)):
        used = consumption(member)
        total += used.resident if used is not None else 0
    return total


def _kill_group(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal the Job's session; a Job's own children never outlive it."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _sleep(seconds: float, stop: _Stop) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop.reason:
        time.sleep(_POLL_S)
