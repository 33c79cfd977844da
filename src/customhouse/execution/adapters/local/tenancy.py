"""What workers and the gateway share: their configuration file, the lease that ends orphans, and log lines."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from customhouse._kit.clock import SystemClock, to_rfc3339

PREDICTION_HEADER = "customhouse-prediction"
"""From worker to gateway only: the prediction's rows, so that the gateway need not read the body."""
REQUEST_HEADER = "customhouse-request-id"
DRAIN_S = 30.0
_CLOCK = SystemClock()


def read_config(path: str) -> dict[str, Any]:
    """The JSON object of a configuration file. Raises OSError, ValueError, TypeError."""
    document = orjson.loads(Path(path).read_bytes())
    return dict(document)


def say(event: str, **fields: Any) -> None:
    """One JSON line to the log (stderr); never a value that a client sent beyond names and sizes."""
    line = {"at": to_rfc3339(_CLOCK.now()), "event": event, "pid": os.getpid(), **fields}
    sys.stderr.write(orjson.dumps(line, default=str).decode() + "\n")
    sys.stderr.flush()


def write_fault(path: str, error: str, *, hint: str = "") -> None:
    """Leave the reason of a failed start where the supervisor looks for it."""
    Path(path).write_bytes(orjson.dumps({"message": error[:2000], "hint": hint}))


async def until_stopped(config: Mapping[str, Any]) -> str:
    """Wait for SIGTERM or SIGINT, or until the heartbeat file stood still for the lease; the reason.

    The file's time is only compared with itself and the waiting is on the monotonic clock, so a stepped wall clock
    ends nobody.
    """
    import asyncio  # not at the top: the shim of a Job needs none

    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[str] = loop.create_future()

    def stop(reason: str) -> None:
        if not stopped.done():
            stopped.set_result(reason)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    lease = float(config["lease_s"])
    interval = min(5.0, max(0.05, lease / 10))
    seen, since = _beat(config["heartbeat"]), loop.time()
    while True:
        done, _ = await asyncio.wait({stopped}, timeout=interval)
        if done:
            return stopped.result()
        beat = _beat(config["heartbeat"])
        if beat != seen:
            seen, since = beat, loop.time()
        elif loop.time() - since > lease:
            return f"no control process for {lease:g} s"


def _beat(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def bind_unix(path: str) -> Any:
    """A listening unix socket at `path`, which only this user can reach; an old socket there is replaced."""
    import socket

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = f"{path}.{os.getpid() % 10000}"
    Path(temporary).unlink(missing_ok=True)
    sock.bind(temporary)
    os.chmod(temporary, 0o600)
    sock.listen(4096)
    sock.setblocking(False)
    # Renamed into place only when it listens, so nobody ever connects to a socket that refuses.
    os.replace(temporary, path)
    return sock
