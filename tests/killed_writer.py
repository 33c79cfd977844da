"""A process that writes until it is killed, at a moment that nobody chose."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable


def acknowledged_before_the_kill(write: Callable[[int], object], seed: random.Random) -> int:
    """Run `write(pipe)` in a child that tells each size it was acknowledged as a line; the last one it told.

    A fork: a fresh interpreter would take ten times as long to start.
    """
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            write(told)
        finally:
            os._exit(1)
    os.close(told)
    with os.fdopen(heard) as lines:
        acknowledged = [int(lines.readline())]
        time.sleep(seed.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        acknowledged += [int(line) for line in lines if line.endswith("\n")]
    os.waitpid(child, 0)
    return acknowledged[-1]
