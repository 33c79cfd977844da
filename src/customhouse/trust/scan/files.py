"""Opening what is to be scanned: regular files only, no links followed, no blocking on pipes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from customhouse._kit.digest import MAX_FILES
from customhouse._kit.reading import NotRegularError, SparseError, opened
from customhouse.core.errors import ArtifactError
from customhouse.trust.scan.source import FileBacking, Source


class RefusedError(Exception):
    """Something is there that is not scanned: a link, a device, a file that may not be read."""

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(why)
        self.rule = rule
        self.why = why


@contextmanager
def open_source(path: Path) -> Iterator[tuple[Source, int]]:
    """A source over one regular file, and its descriptor.

    Raises ArtifactError when nothing is there, RefusedError when it is no regular file or may not be read.
    """
    try:
        with opened(path) as descriptor:
            yield Source(FileBacking(descriptor), 0, os.fstat(descriptor).st_size), descriptor
    except SparseError as error:
        raise RefusedError("sparse", str(error).removeprefix(f"{path}: ")) from error
    except NotRegularError as error:
        what = "a symbolic link; copy the file it names" if path.is_symlink() else "not a regular file"
        raise RefusedError("not-a-file", what) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactError("there is nothing to scan", where=str(path), hint="check the path") from error
    except OSError as error:
        raise RefusedError("unreadable", f"cannot be read ({error.strerror})") from error


def entries(root: Path) -> list[tuple[str, int]]:
    """Every entry of a folder that is no folder (links too), relative to it, sorted by bytes, with its size.

    Raises ArtifactError for a folder that cannot be read and for more than MAX_FILES files.
    """
    found: list[tuple[str, int]] = []
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
            if item.is_dir(follow_symlinks=False):
                pending.append(name)
            else:
                found.append((name, item.stat(follow_symlinks=False).st_size))
        if len(found) + len(pending) > MAX_FILES:
            raise ArtifactError(f"more than {MAX_FILES} files", where=str(root), hint="scan its parts")
    return sorted(found, key=lambda entry: os.fsencode(entry[0]))
