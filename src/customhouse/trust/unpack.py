"""Layers of an OCI model artifact written out as files: nothing but regular files, below one folder, within limits.

Three ways in which models lie in registries are read: a layer a file, named by `org.opencontainers.image.title` (ORAS,
Docker's and Ollama's artifacts); tar layers (KitOps ModelKits); and images whose `/models` is the model (KServe
modelcars). A link, a device, a name that leads outside, a deletion of an earlier layer (whiteout) is refused: the files
that come out are those that were signed, or none.
"""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from customhouse.core.errors import ArtifactError
from customhouse.trust.scan.compressed import unpacked
from customhouse.trust.scan.source import FileBacking, Source, UnreadableError

TITLE = "org.opencontainers.image.title"
UNPACK = "io.deis.oras.content.unpack"
MODELCAR = "models"
"""Where KServe's storage initializer finds the model in an image."""
MAX_FILES = 100_000
_CHUNK = 1 << 20
_HEADER = 1536
"""Bytes of a tar that a file takes besides its own: a header, padding, and now and then a longer one."""
_ZSTD = b"\x28\xb5\x2f\xfd"
_TOO_MUCH = "it unpacks to more than it may: a bomb, or larger than any model"


@dataclass(slots=True)
class Limits:
    """What may still be written; counted down over all layers of one artifact."""

    files: int = MAX_FILES
    size: int = 512 << 30


def write_file(name: str, data: IO[bytes], folder: Path, limits: Limits, where: str) -> None:
    """One file under a name that a registry gave. Raises ArtifactError."""
    place = placed(name, folder, where)
    limits.files -= 1
    if limits.files < 0:
        raise ArtifactError(f"more than {MAX_FILES} files", where=where)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise ArtifactError(f"two files are called {name[:200]!r}", where=where) from error
    with os.fdopen(descriptor, "wb") as handle:
        while piece := data.read(_CHUNK):
            limits.size -= len(piece)
            if limits.size < 0:
                raise ArtifactError(_TOO_MUCH, where=where)
            handle.write(piece)


def unpack_tar(archive: Path, media_type: str, folder: Path, limits: Limits, where: str, *, below: str = "") -> int:
    """Unpack a tar layer; how many files came out. `below`: only what lies in that folder, which is left out of names.

    Plain, gzip or zstd, as its first bytes say. Raises ArtifactError, also for a type that is not read here.
    """
    if not media_type.endswith((".tar", "tar+gzip", "tar.gzip", ".tar.gz", "tar+zstd")):
        raise ArtifactError(f"a layer of type {media_type[:120]} is not unpacked here", where=where)
    count = 0
    try:
        with archive.open("rb") as raw:
            stream = _Counted(_unpacked(raw), limits.size + MAX_FILES * _HEADER, where)
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as tar:
                for item, data in _members(tar, where):
                    name = _inside(item.name, below)
                    if name is None:
                        _check_outside(item, below, where)
                        continue
                    if data is None:
                        if not item.isdir():
                            raise ArtifactError(f"{item.name[:200]!r} is no regular file", where=where)
                        continue
                    if PurePosixPath(name).name.startswith(".wh."):
                        raise ArtifactError(f"{item.name[:200]!r} deletes what another layer brought", where=where)
                    write_file(name, data, folder, limits, where)
                    count += 1
    except (tarfile.TarError, zlib.error, EOFError, ValueError, UnreadableError) as error:
        raise ArtifactError(f"the layer is no tar archive: {error}", where=where) from error
    return count


def _members(tar: tarfile.TarFile, where: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    for count, item in enumerate(tar):
        if count >= MAX_FILES:
            raise ArtifactError(f"more than {MAX_FILES} entries", where=where)
        # A sparse file's bytes are made up by its header: nobody writes a model so.
        yield item, tar.extractfile(item) if item.isreg() and not item.issparse() else None


def _check_outside(item: tarfile.TarInfo, below: str, where: str) -> None:
    """What is not in the model's folder may be anything, but not what makes that folder another one."""
    name = item.name.removeprefix("./").rstrip("/")
    if name in (f".wh.{below}", ".wh..wh..opq") or (name == below and not item.isdir()):
        raise ArtifactError(f"{item.name[:200]!r} takes the place of the model's folder", where=where)


def _inside(name: str, below: str) -> str | None:
    """The name without the folder `below`; None for what lies elsewhere."""
    plain = name.removeprefix("./")
    if not below:
        return plain
    parts = PurePosixPath(plain).parts
    if ".." in parts or not parts or parts[0] != below or len(parts) == 1:
        return None
    return "/".join(parts[1:])


def placed(name: str, folder: Path, where: str) -> Path:
    """Where a file with a name that somebody gave is written. Raises ArtifactError for a name that leads elsewhere."""
    path = PurePosixPath(name)
    # A repository of git that came along would run what its config names as soon as somebody asks for its status.
    git = any(part.lower() == ".git" for part in path.parts)
    wrong = git or path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or "\0" in name
    if wrong or len(name.encode("utf-8", "surrogatepass")) > 1024 or any(part.startswith("-") for part in path.parts):
        raise ArtifactError(f"{name[:200]!r} is no name for a file of a model", where=where)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ArtifactError("a name that is not UTF-8", where=where) from error
    return folder.joinpath(*path.parts)


def _unpacked(raw: IO[bytes]) -> Iterator[bytes]:
    """The pieces of a layer."""
    head = raw.read(4)
    raw.seek(0)
    if head[:2] == b"\x1f\x8b":
        return _inflated(raw)
    if head == _ZSTD:
        return unpacked(Source(FileBacking(raw.fileno()), 0, os.fstat(raw.fileno()).st_size), "zstd")
    return iter(partial(raw.read, _CHUNK), b"")


def _inflated(source: IO[bytes]) -> Iterator[bytes]:
    """gzip, read piece by piece: one member after the other, and an error for what ends in the middle."""
    inflater, left = zlib.decompressobj(31), b""
    while True:
        piece = left or source.read(_CHUNK)
        if inflater.eof:
            if not piece.strip(b"\0"):
                return
            inflater = zlib.decompressobj(31)
        elif not piece:
            raise EOFError("gzip ends in the middle")
        yield inflater.decompress(piece, _CHUNK)
        left = inflater.unconsumed_tail or inflater.unused_data


class _Counted(io.RawIOBase):
    """Pieces as a file that is read forward, at most `most` bytes of them: what is passed over takes time too."""

    def __init__(self, pieces: Iterator[bytes], most: int, where: str) -> None:
        self._pieces, self._most, self._where = pieces, most, where
        self._ready = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        wanted = _CHUNK if size < 0 else size
        while len(self._ready) < wanted:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._most -= len(piece)
            if self._most < 0:
                raise ArtifactError(_TOO_MUCH, where=self._where)
            self._ready += piece
        data, self._ready = self._ready[:wanted], self._ready[wanted:]
        return data
