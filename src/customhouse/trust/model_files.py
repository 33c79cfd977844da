"""How a model signature says its files were hashed, and the files of a folder hashed that way.

The reference implementation knows two methods: `files` (a digest a file) and `shards` (a digest for each piece of a
file, named `path:start:end`), over sha256, blake2b or blake3. Ours are `files` with sha256; the others are read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from customhouse._kit.digest import MAX_DEPTH, MAX_FILES, TreeError
from customhouse.core.errors import EvidenceError

HASHES = ("sha256", "blake2b", "blake3")
MAX_RESOURCES = 100_000
_SMALLEST_SHARD = 4096
"""A smaller one is no use to anybody and makes a list of millions out of one file."""
_CHUNK = 1 << 20


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> object:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """The digest so far."""


@dataclass(frozen=True, slots=True)
class Serialization:
    """What `predicate.serialization` says. `shard_size` is 0 for whole files."""

    hash_type: str = "sha256"
    shard_size: int = 0
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether a Tree has all that is needed: sha256 of whole files, no links."""
        return self.hash_type == "sha256" and not self.shard_size and not self.allow_symlinks

    @property
    def algorithm(self) -> str:
        """What each resource is said to be hashed with."""
        return f"{self.hash_type}-sharded-{self.shard_size}" if self.shard_size else self.hash_type

    @classmethod
    def read(cls, value: Any, where: str) -> Serialization:
        """From the predicate. Raises EvidenceError for a method or hash that is not read."""
        values = value if isinstance(value, dict) else {}
        method, hash_type = values.get("method"), values.get("hash_type")
        size = values.get("shard_size", 0) if method == "shards" else 0
        whole = (
            isinstance(size, int | float) and not isinstance(size, bool) and -1 < size < 1 << 50 and size == int(size)
        )
        listed = values.get("ignore_paths") or []
        known = method in ("files", "shards") and hash_type in HASHES
        if not known or not whole or (method == "shards" and size < _SMALLEST_SHARD):
            raise EvidenceError(
                f"serialization {str(method)[:40]!r} with {str(hash_type)[:40]!r} is not read",
                where=where,
                hint="sign with method files or shards, and sha256, blake2b or blake3",
            )
        if not isinstance(listed, list) or len(listed) > MAX_RESOURCES:
            raise EvidenceError("ignore_paths is not a list", where=where)
        ignored = tuple(
            name.rstrip("/") for name in listed if isinstance(name, str) and name.rstrip("/") not in ("", ".")
        )
        return cls(str(hash_type), int(size), values.get("allow_symlinks") is True, ignored)


def measure(path: Path, how: Serialization, *, follow_links: bool) -> Mapping[str, str]:
    """Resource name → `hash:hex` of a model's files, hashed as a signature says; a single file is `.`.

    With `follow_links`, links to files are read as what they lead to (some caches are made of them); links to folders
    are refused all the same. An empty file has no shard. Raises TreeError, OSError.
    """
    found: dict[str, str] = {}
    if not path.is_dir():
        _add(found, ".", path, how, follow_links)
    else:
        for name in sorted(_walk(path, follow_links)):
            _add(found, name, path / name, how, follow_links)
    return found


def _add(found: dict[str, str], name: str, place: Path, how: Serialization, follow_links: bool) -> None:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    with os.fdopen(os.open(place, flags), "rb") as handle:
        status = os.fstat(handle.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise TreeError(f"{place}: not a regular file")
        if not how.shard_size:
            found[name] = _digest(handle, how.hash_type, status.st_size)
            return
        for start in range(0, status.st_size, how.shard_size):
            end = min(start + how.shard_size, status.st_size)
            found[f"{name}:{start}:{end}"] = _digest(handle, how.hash_type, end - start)
            if len(found) > MAX_RESOURCES:
                raise TreeError(f"{place}: more than {MAX_RESOURCES} shards")


def _digest(handle: BinaryIO, hash_type: str, size: int) -> str:
    hasher = _HASHERS[hash_type]()
    while size > 0 and (piece := handle.read(min(size, _CHUNK))):
        hasher.update(piece)
        size -= len(piece)
    return f"{hash_type}:{hasher.hexdigest()}"


def _blake3() -> _Hasher:
    from blake3 import blake3

    return blake3()


_HASHERS: Mapping[str, Callable[[], _Hasher]] = {
    "sha256": hashlib.sha256,
    "blake2b": hashlib.blake2b,
    "blake3": _blake3,
}


def _walk(root: Path, follow_links: bool) -> Iterator[str]:
    waiting, count = [""], 0
    while waiting:
        prefix = waiting.pop()
        if prefix.count("/") >= MAX_DEPTH:
            raise TreeError(f"{root}/{prefix[:80]}…: folders nested deeper than {MAX_DEPTH}")
        with os.scandir(root / prefix) as items:
            for item in items:
                name = f"{prefix}/{item.name}" if prefix else item.name
                if item.is_symlink() and not (follow_links and item.is_file()):
                    raise TreeError(f"{root}/{name}: a symbolic link; allow links to files, or copy what it names")
                if item.is_dir(follow_symlinks=False):
                    waiting.append(name)
                    continue
                count += 1
                if count > MAX_FILES:
                    raise TreeError(f"{root}: more than {MAX_FILES} files")
                yield name
