"""Folders for the time of one command: each held by a lock that ends with its process, however that ends.

What a killed command left is removed by the next one, which is how it is told from what another command works in.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from customhouse.core.errors import StateError


@contextmanager
def _held(place: Path, flags: int) -> Iterator[None]:
    """A lock on a folder. Raises BlockingIOError with LOCK_NB when another process has it."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, flags)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def draft(parent: Path) -> Iterator[Path]:
    """A new folder that only this process works in, and that is gone afterwards. Raises StateError."""
    place = parent / secrets.token_hex(8)
    try:
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as own:
            with _held(parent, fcntl.LOCK_EX):  # nobody takes it for an abandoned one before it is locked
                place.mkdir(mode=0o700)
                own.enter_context(_held(place, fcntl.LOCK_EX))
            yield place
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror or error}", where=str(place)) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def clear(parent: Path) -> int:
    """Remove what no process works in any more; how many folders that were. Raises StateError."""
    if not parent.is_dir():
        return 0
    removed = 0
    try:
        with _held(parent, fcntl.LOCK_EX):
            for place in sorted(parent.iterdir()):
                try:
                    with _held(place, fcntl.LOCK_EX | fcntl.LOCK_NB):
                        shutil.rmtree(place)
                        removed += 1
                except BlockingIOError:
                    continue
    except OSError as error:
        raise StateError(f"what an ended command left cannot be removed: {error.strerror or error}",
                         where=str(parent), hint="remove it by hand") from error  # fmt: skip
    return removed
