"""What is read out of an object, kept for as long as somebody says: prices, evidence and Facts ask for the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from customhouse.core.resource import Manifest

_Kept = dict[tuple[int, object, object], tuple[Manifest, Any]]
_KNOWN: ContextVar[tuple[_Kept, int] | None] = ContextVar("known", default=None)
_Read = TypeVar("_Read")


MOST_KEPT = 10_000
"""Readings that are kept at a time; of what is beyond each is made again, so that a fleet does not fill the memory."""


@contextmanager
def remembering() -> Iterator[None]:
    """Within it an object is read once, however many ask for its pods: nobody may alter an object meanwhile.

    Within another one it is that.
    """
    if _KNOWN.get() is not None:
        yield
        return
    token = _KNOWN.set(({}, MOST_KEPT))
    try:
        yield
    finally:
        _KNOWN.reset(token)


def remembered(read: Callable[[Manifest, Any, Any], _Read], manifest: Manifest, one: Any, other: Any) -> _Read:
    """What `read` makes of an object, kept while `remembering`; `one` and `other` tell its readings apart."""
    keeping = _KNOWN.get()
    if keeping is None:
        return read(manifest, one, other)
    known, most = keeping
    key = (id(manifest), one, other)
    found = known.get(key)
    if found is None:
        # The object is held, so that its id stays its own.
        found = (manifest, read(manifest, one, other))
        if len(known) < most:
            known[key] = found
    result: _Read = found[1]
    return result
