"""Archives of charts and artifacts as files: a gzipped tar, read in memory and with limits.

Nothing of it becomes a path of this machine here; what comes out is laid out by the renderer like any files of a tree.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

from customhouse.core.errors import DeclarationError

if TYPE_CHECKING:
    import tarfile

MAX_ARCHIVE = 32 * 1024 * 1024
"""Bytes, packed. The largest charts in use have some 2 MB."""
MAX_BYTES = 64 * 1024 * 1024
"""Unpacked, headers included; what the renderer takes."""
MAX_FILES = 5_000
_MAX_PATH = 512
_PIECE = 1 << 20


def unpack(data: bytes, where: str, *, chart: bool) -> dict[str, bytes]:
    """The files of an archive by their POSIX paths. `chart`: without the one folder that holds them all.

    Raises DeclarationError, with the name of the archive and of the member: no gzipped tar, a link or device, a path
    that leads out or is there twice, too much.
    """
    import tarfile  # here: few runs unpack anything

    if len(data) > MAX_ARCHIVE:
        raise _refused(where, f"it has {len(data)} bytes; at most {MAX_ARCHIVE} are read")
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_inflated(data, where)), mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = _path(member, where)
                if name in files:
                    raise _refused(where, f"{name} is in it twice")
                if len(files) == MAX_FILES:
                    raise _refused(where, f"it holds more than {MAX_FILES} files")
                content = archive.extractfile(member)
                files[name] = b"" if content is None else content.read()
                if len(files[name]) != member.size:
                    raise _refused(where, f"{name} ends too early")
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise _refused(where, f"it is no archive that can be read: {str(error)[:200]}") from error
    _no_clash(files, where)
    return _inner(files, where) if chart else files


def _inflated(data: bytes, where: str) -> bytes:
    """The tar. Raises DeclarationError for what is no gzip file or grows over MAX_BYTES."""
    inflater = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    size, rest = 0, data
    try:
        while rest and not inflater.eof:
            part = inflater.decompress(rest, _PIECE)
            size += len(part)
            if size > MAX_BYTES:
                raise _refused(where, f"it unpacks to more than {MAX_BYTES} bytes")
            parts.append(part)
            rest = inflater.unconsumed_tail
    except zlib.error as error:
        raise _refused(where, f"it is no gzip file: {error}") from error
    if not inflater.eof:
        raise _refused(where, "it ends too early")
    if inflater.unused_data.strip(b"\0"):
        raise _refused(where, "something follows the archive, which some programs read and others do not")
    return b"".join(parts)


def _path(member: tarfile.TarInfo, where: str) -> str:
    name = member.name
    parts = name.removeprefix("./").split("/")
    plain = name.isprintable() and "\\" not in name and len(name) <= _MAX_PATH
    if not plain or name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise _refused(where, f"the path {name[:200]!r} leads out of it or cannot be shown")
    if not member.isreg() or member.issparse():
        raise _refused(where, f"{name} is a link, a device or what else is no plain file")
    return "/".join(parts)


def _no_clash(files: dict[str, bytes], where: str) -> None:
    """A file that is a folder too would be laid out as one or the other."""
    for name in files:
        folder = name.rpartition("/")[0]
        while folder:
            if folder in files:
                raise _refused(where, f"{folder} is a file and a folder in it")
            folder = folder.rpartition("/")[0]


def _inner(files: dict[str, bytes], where: str) -> dict[str, bytes]:
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or not all("/" in name for name in files):
        raise _refused(
            where, "a chart's archive holds one folder, this one holds " + (", ".join(sorted(tops)[:5]) or "nothing")
        )
    return {name.partition("/")[2]: data for name, data in files.items()}


def _refused(where: str, message: str) -> DeclarationError:
    return DeclarationError(
        message, where=where, hint="do not use it; `helm package` and `flux push artifact` make them"
    )
