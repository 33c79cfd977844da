"""A folder read as if it were an image of one layer: a root file system, a project, what an image was unpacked to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from customhouse._kit.clock import Clock, SystemClock
from customhouse.core.errors import ArtifactError
from customhouse.trust.images.bounds import Bounds
from customhouse.trust.images.layer import Content, FileReader, Layer
from customhouse.trust.images.listing import Listing, listing_of, to_read
from customhouse.trust.images.merged import merged
from customhouse.trust.images.tar_entries import Entry
from customhouse.trust.packages.found import visible
from customhouse.trust.packages.readers import Reader
from customhouse.trust.scan.inspection import Limits
from customhouse.trust.scan.source import CHUNK

_NOT_FILES = ("proc", "sys", "dev", "run")
"""Of the root of a running machine: what lies there are no files."""
_KINDS = ((stat.S_ISDIR, "d"), (stat.S_ISLNK, "l"), (stat.S_ISREG, "f"))


def packages_of_folder(folder: Path, limits: Limits | None = None, clock: Clock | None = None) -> Listing:
    """What is installed below a folder, by the same readers as an image's. Links out of it are not followed.

    Raises ArtifactError for what is no folder, or has more in it than is read.
    """
    reading = _Walk(folder, limits or Limits(), clock or SystemClock())
    layer = reading.layer()
    image = merged([layer])
    wanted = to_read(image, [layer]).get(0, {})
    reading.more(layer, wanted)
    return listing_of(image, [layer])


@dataclass(slots=True)
class _Data:
    """The bytes of an open file, piece by piece. A file that shrinks meanwhile ends early."""

    descriptor: int
    left: int

    def some(self) -> bytes:
        piece = os.read(self.descriptor, min(CHUNK, self.left)) if self.left else b""
        self.left -= len(piece)
        if self.left and not piece:
            raise ArtifactError("a file became shorter while it was read", hint="scan again when nobody writes it")
        return piece


class _Walk:
    def __init__(self, folder: Path, limits: Limits, clock: Clock) -> None:
        self._root, self._limits, self._clock = folder, limits, clock
        self._places: list[bytes] = []
        self._bounds = Bounds()

    def layer(self) -> Layer:
        layer = Layer("")
        for place, entry in self._entries():
            self._bounds.entries -= 1
            if self._bounds.entries < 0:
                raise ArtifactError("more files than are read", where=str(self._root), hint="scan its parts")
            self._places.append(place)
            layer.entries.append(entry)
            if entry.kind == "f" and not entry.odd:
                self._read(layer, len(layer.entries) - 1, None)
        return layer

    def more(self, layer: Layer, wanted: Mapping[int, Reader]) -> None:
        for index, reader in wanted.items():
            self._read(layer, index, reader)

    def _read(self, layer: Layer, index: int, wanted: Reader | None) -> None:
        entry = layer.entries[index]
        try:
            descriptor = os.open(self._places[index], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            entry.odd = f"cannot be read ({error.strerror})"
            return
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return
            entry.size = found.st_size
            reader = FileReader(_Data(descriptor, entry.size), self._limits, self._clock)
            content: Content | None = reader.content(entry, wanted)
        except OSError as error:
            entry.odd = f"cannot be read ({error.strerror})"
            return
        finally:
            os.close(descriptor)
        if content is reader.again:
            layer.again.append(index)
        elif content is not None:
            layer.contents[index] = content

    def _entries(self) -> Iterator[tuple[bytes, Entry]]:
        root = os.fsencode(self._root)
        whole = os.path.realpath(root) == b"/"
        pending = [b""]
        while pending:
            folder = pending.pop()
            try:
                items = sorted(os.scandir(os.path.join(root, folder)), key=lambda item: item.name)
            except OSError as error:
                if not folder:
                    raise ArtifactError(f"cannot be read: {error.strerror}", where=str(self._root)) from error
                yield b"", Entry(_shown(folder), "d", odd=f"cannot be read ({error.strerror})")
                continue
            for item in items:
                path = os.path.join(folder, item.name)
                if whole and _shown(path) in _NOT_FILES:
                    continue
                place = os.path.join(root, path)
                found = os.lstat(place)
                kind = next((name for test, name in _KINDS if test(found.st_mode)), "c")
                link = _shown(os.readlink(place)) if kind == "l" else ""
                if kind == "d":
                    pending.append(path)
                yield place, Entry(_shown(path), kind, found.st_size, link, stat.S_IMODE(found.st_mode))


def _shown(path: bytes) -> str:
    return visible(path.decode("utf-8", "backslashreplace"))
