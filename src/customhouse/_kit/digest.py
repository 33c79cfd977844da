"""Digests of bytes, JSON values, files and folders. A digest is text: `sha256:` and 64 lower-case hex digits."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from customhouse._kit.canonical import JsonValue, canonical_json
from customhouse._kit.reading import NotRegularError, opened, read_digests, side_by_side

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MAX_FILES = 100_000
"""A model folder with more files is refused: the largest sharded checkpoints have a few thousand."""
MAX_DEPTH = 64
"""Folders nested deeper are refused: no framework writes such a model, and a hostile one has no end."""


class TreeError(ValueError):
    """A folder that cannot be given one digest: a link, a device, an odd name, too many files; the message names it."""


def is_digest(text: str) -> bool:
    """Whether `text` is exactly `sha256:` and 64 lower-case hex digits."""
    return _DIGEST.fullmatch(text) is not None


def bytes_digest(data: bytes) -> str:
    """The digest of a byte string."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def json_digest(value: JsonValue) -> str:
    """The digest of the RFC 8785 form of a JSON value."""
    return bytes_digest(canonical_json(value))


def same_digest(left: str, right: str) -> bool:
    """Constant-time comparison, so that a forger learns nothing from how long it takes."""
    return hmac.compare_digest(left.encode(), right.encode())


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One regular file of an artifact: POSIX path relative to the folder, digest of its bytes, size in bytes."""

    path: str
    digest: str
    size: int
    blake3: str = ""
    """`blake3:` and 64 hex digits where it was asked for: for other tools, and never what is pinned."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of an artifact, sorted by path.

    The digest of a single file is the sha256 of its bytes. The digest of a folder is the digest of the canonical JSON
    `{"files":[{"path","sha256","size"}]}`: names are bound too, so two files cannot change places. Modes, times and
    empty folders do not count. Where files were hashed with blake3 alone, their rows say `blake3` in place of `sha256`:
    another digest, of which no declaration and no evidence speaks.
    """

    files: tuple[FileEntry, ...]
    single: bool = False

    @property
    def digest(self) -> str:
        """The digest that declarations pin and evidence speaks of."""
        if self.single:
            return self.files[0].digest
        listing: list[JsonValue] = [
            {"path": f.path, "size": f.size, f.digest.partition(":")[0]: f.digest.partition(":")[2]} for f in self.files
        ]
        return json_digest({"files": listing})

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(entry.size for entry in self.files)


def file_digest(path: Path, progress: Callable[[int], None] | None = None) -> FileEntry:
    """Hash one regular file; `progress` is told the bytes read after every chunk. The entry's path is the file's name.

    Raises TreeError when it is not a regular file (links are not followed), OSError when it cannot be read.
    """
    try:
        with opened(path) as descriptor:
            read = read_digests(descriptor, told=progress)
    except NotRegularError as error:
        raise TreeError(str(error)) from error
    return FileEntry(path.name, read.sha256, read.size)


def tree(
    path: Path,
    progress: Callable[[int], None] | None = None,
    hashing: Callable[[Path, Callable[[int], None] | None], FileEntry] = file_digest,
) -> Tree:
    """The files of a folder (or a single file) with their digests, each as `hashing` gives it.

    Large files are hashed side by side: `hashing` and `progress` are called from several threads then. Raises
    TreeError for symbolic links, devices, sockets, names that are not UTF-8, more than MAX_FILES files and folders
    nested deeper than MAX_DEPTH; FileNotFoundError when there is nothing at `path`.
    """
    if not path.is_dir() or path.is_symlink():
        return Tree((hashing(path, progress),), single=True)
    names = sorted(_walk(path), key=lambda name: name[0].encode())
    found = side_by_side(names, lambda name: hashing(path / name, progress))
    return Tree(tuple(replace(entry, path=name) for (name, _), entry in zip(names, found, strict=True)))


def _walk(root: Path) -> Iterator[tuple[str, int]]:
    """The files below a folder, and their sizes as they are now."""
    count = 0
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        if prefix.count("/") >= MAX_DEPTH:
            raise TreeError(f"{root}/{prefix[:80]}…: folders nested deeper than {MAX_DEPTH}")
        with os.scandir(root / prefix) as items:
            for item in items:
                name = f"{prefix}/{item.name}" if prefix else item.name
                if _is_folder(root, name, item):
                    waiting.append(name)
                    continue
                count += 1
                if count > MAX_FILES:
                    raise TreeError(f"{root}: more than {MAX_FILES} files")
                yield name, item.stat(follow_symlinks=False).st_size


def _is_folder(root: Path, name: str, item: os.DirEntry[str]) -> bool:
    """True for a folder, False for a regular file; TreeError for all else."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise TreeError(f"{root}: the name {name!r} is not UTF-8") from error
    if item.is_symlink():
        raise TreeError(f"{root}/{name}: a symbolic link; copy the file it names into the folder")
    if item.is_dir(follow_symlinks=False):
        return True
    if not item.is_file(follow_symlinks=False):
        raise TreeError(f"{root}/{name}: not a regular file")
    return False
