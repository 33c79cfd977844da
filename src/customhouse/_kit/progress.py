"""How far long work has come, for whoever listens; nobody does unless a command says so."""

from __future__ import annotations

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
