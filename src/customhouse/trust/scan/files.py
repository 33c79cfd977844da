"""Opening what is to be scanned: regular files only, no links followed, no blocking on pipes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from customhouse._kit.digest import MAX_FILES
from customhouse.core.errors import ArtifactError
from customhouse.trust.scan.source import FileBacking, Source


class RefusedError(Exception):
    """Something is there that is not scanned: a link, a device, a file that may not be read."""

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(why)
        self.rule = rule
        self.why = why


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """A source over one regular file.

    Raises ArtifactError when nothing is there, RefusedError when it is no regular file or may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactError("there is nothing to scan", where=str(path), hint="check the path") from error
    except OSError as error:
        if path.is_symlink():
            raise RefusedError("not-a-file", "a symbolic link; copy the file it names") from error
        raise RefusedError("unreadable", f"cannot be opened ({error.strerror})") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RefusedError("not-a-file", "not a regular file")
        yield Source(FileBacking(descriptor), 0, status.st_size)
    finally:
        os.close(descriptor)


def digest_of(source: Source) -> str | None:
    """`sha256:…` of all the bytes; None when the file shrank meanwhile or cannot be read."""
    hasher = sha256()
    read = 0
    try:
        for _, chunk in source.chunks():
            hasher.update(chunk)
            read += len(chunk)
    except OSError:
        return None
    return "sha256:" + hasher.hexdigest() if read == source.size else None


def entries(root: Path) -> list[str]:
    """Every entry of a folder that is no folder (links too), relative to it, sorted by bytes.

    Raises ArtifactError for a folder that cannot be read and for more than MAX_FILES files.
    """
    found: list[str] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            items = list(os.scandir(root / folder))
        except OSError as error:
            raise ArtifactError(
                f"the folder cannot be read ({error.strerror})", where=str(root / folder), hint="check its permissions"
            ) from error
        for item in items:
            name = f"{folder}/{item.name}" if folder else item.name
            (pending if item.is_dir(follow_symlinks=False) else found).append(name)
        if len(found) + len(pending) > MAX_FILES:
            raise ArtifactError(f"more than {MAX_FILES} files", where=str(root), hint="scan its parts")
    return sorted(found, key=os.fsencode)
