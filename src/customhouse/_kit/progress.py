"""How far long work has come, for whoever listens; nobody does unless a command says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, int, int], None]
"""Called with what is done, how many of it, and of how many."""

_listeners: list[Listener] = []


def tell(what: str, done: int, total: int) -> None:
    """Say that `done` of `total` are done."""
    for listener in _listeners:
        listener(what, done, total)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell `listener` while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Meter:
    """Counts bytes from several threads and tells of them in MiB."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._done = self._told = 0
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        """`count` more bytes are done."""
        with self._lock:
            self._done += count
            if self._done >> 20 > self._told:
                self._told = self._done >> 20
                tell(f"{self._what}, MiB", self._told, max(self._told, self._total >> 20))
