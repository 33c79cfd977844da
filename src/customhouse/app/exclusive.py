"""One control plane a state directory: a lock that the system lets go of when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import IO

from customhouse.core.errors import StateError

_PATIENCE_S = 1.0
"""A killed process's lock lives on for a moment in a child that it was just about to start."""


class Exclusive:
    """Held from construction until `release`. Raises StateError when another process holds it or it cannot be made."""

    def __init__(self, state: Path) -> None:
        place = state / "up.lock"
        try:
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._handle: IO[bytes] | None = place.open("ab")
        except OSError as error:
            raise StateError(f"cannot be written: {error.strerror}", where=str(place)) from error
        pause = threading.Event()
        for attempt in range(11):
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if attempt < 10:
                    pause.wait(_PATIENCE_S / 10)
                    continue
                self.release()
                raise StateError(
                    "another control plane runs on this state",
                    where=str(state),
                    hint="stop it, or choose another --state",
                ) from error
            return

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
