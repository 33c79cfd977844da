"""Patterns of a schema against values of data: neither the one nor the other may hold the program for hours.

1. What takes exponential time by its shape is refused: a group that may repeat without end, and whose content may
match in several ways. 2. What still takes long is interrupted (Python's matcher looks for signals), where that can be
done.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from customhouse.core.errors import ArtifactError

SECONDS = 20.0
"""For one batch of values; a pattern that does no harm takes milliseconds."""
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_INNERMOST = re.compile(r"\((?:\?(?:[:=!]|<[=!]|P<\w+>))?([^()]*)\)(\*|\+|\{\d*,?\d*\})?", re.DOTALL)
_SEVERAL_WAYS = re.compile(r"[|*+?R]|\{\d*,\d*\}")
_MANY = re.compile(r"\*|\+|\{\d*,\}|\{\d*,?\d{2,}\}")


def may_hang(pattern: str) -> bool:
    """Whether a group that repeats without end (or more than nine times) may match its content in several ways."""
    plain = _CLASS.sub("c", re.sub(r"\\.", "e", pattern, flags=re.DOTALL))
    while (group := _INNERMOST.search(plain)) is not None:
        several = _SEVERAL_WAYS.search(group[1]) is not None
        if several and group[2] and _MANY.fullmatch(group[2]):
            return True
        plain = plain[: group.start()] + ("R" if several or group[2] else "G") + plain[group.end() :]
    return False


@contextmanager
def patience(column: str, where: str, seconds: float = SECONDS) -> Iterator[None]:
    """Raises ArtifactError when the block takes longer; only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(_: int, __: object) -> None:
        raise ArtifactError(
            f"the pattern of the column {column} takes more than {seconds:g} s on these values",
            where=where,
            hint="write a pattern in which each part can match in one way only",
        )

    before = signal.signal(signal.SIGALRM, ring)
    left, again = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, again)
        signal.signal(signal.SIGALRM, before)
