"""Remembered digests: a model that was hashed is not read again while its files are what they were.

Kept below the state directory (`cache/digests.json`), file by file: device, inode, size and both times, to the
nanosecond. The time of the last change of the inode (ctime) is set by the kernel and not by programs, so whoever may
write a model cannot give it other bytes under the same record; whoever may set the machine's clock or read the state's
keys can do worse. Memory that a program has mapped is the exception: of what it writes there the kernel learns once
until it has stored the page, so the file is stored (fsync) before it is hashed, and what lies in memory alone (tmpfs)
is not remembered. A record is believed only when the whole file verifies under a key of the state (HMAC-SHA256); else
everything is hashed. What changed within two seconds of being hashed is not remembered, as Git does it.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from customhouse._kit.clock import Clock
from customhouse._kit.digest import FileEntry, Tree, file_digest, is_digest, tree
from customhouse._kit.reading import devices_in_memory, opened
from customhouse.app.sealedfile import KEY, SealedFile

FOLDER = "cache"
FILE = "digests.json"
__all__ = ["FILE", "FOLDER", "KEY", "Remembered"]

MAX_BYTES = 32 * 1024 * 1024
MAX_FILES = 100_000
_RACY_NS = 2_000_000_000

_Stamp = list[int]


class Remembered:
    """Hashing that remembers (`app.evidencing.Hashing`). Threads may share it."""

    def __init__(self, state: Path, keys: Path, clock: Clock) -> None:
        self._file = SealedFile(state / FOLDER / FILE, keys, MAX_BYTES)
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[_Stamp, str]] = dict(self._load())
        self._new = False
        self.reused = 0
        """How many files were not read."""

    def __call__(self, place: Path, progress: Callable[[int], None] | None = None) -> Tree:
        """As `_kit.digest.tree`."""
        return tree(place, progress, self._digest)

    def save(self) -> None:
        """Write what was learned, if anything was. A cache that cannot be written is no error: it is only slower."""
        if not self._new:
            return
        with suppress(OSError):
            records = dict(list(self._known.items())[-MAX_FILES:])
            self._file.save(json.dumps(records, sort_keys=True))

    def _digest(self, path: Path, progress: Callable[[int], None] | None = None) -> FileEntry:
        name = os.path.abspath(path)
        before = _stamp(path)
        known = self._known.get(name)
        if known is not None and before is not None and known[0] == before:
            self.reused += 1
            return FileEntry(path.name, known[1], before[2])
        worth = before is not None and not self._racy(before) and _stored(path, before[0])
        entry = file_digest(path, progress)
        if before is not None and worth and _stamp(path) == before and before[2] == entry.size:
            with self._lock:
                self._known[name] = (before, entry.digest)
                self._new = True
        return entry

    def _racy(self, stamp: _Stamp) -> bool:
        now = int(self._clock.now().timestamp() * 1_000_000_000)
        return now - stamp[4] < _RACY_NS

    def _load(self) -> Mapping[str, tuple[_Stamp, str]]:
        text = self._file.load()
        try:
            return {
                str(name): ([int(part) for part in stamp], digest)
                for name, (stamp, digest) in json.loads(text or "{}").items()
                if is_digest(digest)
            }
        except (ValueError, TypeError, AttributeError, RecursionError):
            return {}


def _stored(path: Path, device: int) -> bool:
    """Whether all that was written to the file is stored, so that the next write to it changes its times."""
    try:
        if device in devices_in_memory():
            return False
        with opened(path) as descriptor:
            os.fsync(descriptor)
    except (OSError, ValueError):
        return False
    return True


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
