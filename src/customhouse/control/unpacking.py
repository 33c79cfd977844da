"""Archives of charts and artifacts as files: a gzipped tar, read in memory and with limits.

Nothing of it becomes a path of this machine here; what comes out is laid out by the renderer like any files of a tree.

An archive is refused unless Python's tarfile and Go's archive/tar (Helm, Flux, Argo CD) read the same files out of it:
what one of them takes for a README may be a template to the other. `_headers` looks at the raw headers for that:

1. A member has one long name at most: of pax (`x`) or of GNU (`L`), and nothing comes between it and the member.
2. A global header (`g`) says nothing but a comment; a pax header no size, no sparse file and nothing twice.
3. Folders are of type 5: no plain file has a name that ends in a slash, or a mode that says that it is a folder.
4. The prefix of a name is where POSIX has it; sizes are octal; after the first block of zeros there are only zeros.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from typing import TYPE_CHECKING

from customhouse.core.errors import DeclarationError

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Mapping

MAX_ARCHIVE = 32 * 1024 * 1024
"""Bytes, packed. The largest charts in use have some 2 MB."""
MAX_BYTES = 64 * 1024 * 1024
"""Unpacked, headers included; what the renderer takes."""
MAX_FILES = 5_000
_MAX_PATH = 512
_PIECE = 1 << 20
_BLOCK = 512
_FILES, _NAMES, _OTHERS = (b"0", b"\0"), (b"x", b"L"), (b"1", b"2", b"3", b"4", b"5", b"6")
"""Types of headers: plain files; what says a long name of the next one; what has no content."""
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_UNSAID = re.compile(rb"(?:size|hdrcharset|charset|GNU\..*)", re.DOTALL)
"""Keys of pax headers that one program follows and another one does not."""


def unpack(data: bytes, where: str, *, chart: bool) -> dict[str, bytes]:
    """The files of an archive by their POSIX paths. `chart`: without the one folder that holds them all.

    Raises DeclarationError, with the name of the archive and of the member: no gzipped tar, a link or device, a path
    that leads out or is there twice, too much, what programs read in two ways.
    """
    import tarfile  # here: few runs unpack anything

    if len(data) > MAX_ARCHIVE:
        raise _refused(where, f"it has {len(data)} bytes; at most {MAX_ARCHIVE} are read")
    files: dict[str, bytes] = {}
    try:
        tar = _inflated(data, where)
        members = _headers(tar, where)
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
            for member in archive:
                members -= 1
                if member.isdir():
                    continue
                name = _path(member, where)
                if chart and member.name.startswith("./"):
                    raise _refused(where, f"Helm takes {member.name} for a file of another chart")
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
    if members:  # tarfile stops without a word at a header that it cannot read
        raise _refused(where, "it is no archive that can be read: one of its headers is damaged")
    _no_clash(files, where)
    return _inner(files, where) if chart else files


def packed(files: Mapping[str, bytes]) -> bytes:
    """The archive of a chart with these files of its folder; always the same bytes for the same files."""
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(f"chart/{name}")
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
    return gzip.compress(buffer.getvalue(), 1, mtime=0)


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


def _headers(tar: bytes, where: str) -> int:
    """How many members it has. Raises DeclarationError where programs would read different ones out of it."""
    place, count, named = 0, 0, b""
    slash = False
    while any(head := tar[place : place + _BLOCK]):
        kind, size, mode = head[156:157], _number(head[124:136], where), _number(head[100:108], where)
        said = tar[place + _BLOCK : place + _BLOCK + size]
        padding = tar[place + _BLOCK + size : place + _BLOCK + _whole(size)]
        if len(head) < _BLOCK or kind not in (*_FILES, *_NAMES, *_OTHERS, b"g"):
            raise _refused(where, f"it has a header of a kind that no chart has: {kind!r}")
        if any(head[345:500]) and (head[257:263] != b"ustar\0" or head[508:512] != b"\0" * 4):
            raise _two_ways(where, "a prefix of a name that is not that of POSIX")
        if kind in (*_NAMES, b"g"):
            if named:
                raise _two_ways(where, "two headers that name one member")
            if any(padding):
                raise _two_ways(where, "something after the end of a header")
            words = {} if kind == b"L" else _words(said, where)
            if any(_UNSAID.fullmatch(key) for key in words) or (kind == b"g" and words.keys() - {b"comment"}):
                raise _two_ways(where, "a header that says more than a name")
            long = said.partition(b"\0")[0] if kind == b"L" else words.get(b"path", b"")
            named, slash = (b"" if kind == b"g" else kind), long.endswith(b"/")
        else:
            slash = slash or head[:100].partition(b"\0")[0].endswith(b"/")
            if kind in _FILES and (slash or mode & ~0o7777 not in (0, 0o100000)):
                raise _two_ways(where, "a file that is a folder too")
            count, named, slash = count + 1, b"", False
        place += _BLOCK + (0 if kind in _OTHERS else _whole(size))
    if named:
        raise _two_ways(where, "a name at its end, of nothing")
    if tar.count(b"\0", place) != max(len(tar) - place, 0):
        raise _two_ways(where, "something after its end")
    return count


def _whole(size: int) -> int:
    """Bytes in whole blocks."""
    return -(-size // _BLOCK) * _BLOCK


def _number(field: bytes, where: str) -> int:
    found = _OCTAL.fullmatch(field)
    if found is None:
        raise _refused(where, f"it is no archive that can be read: {field!r} is no octal number")
    return int(found[1] or b"0", 8)


def _words(said: bytes, where: str) -> dict[bytes, bytes]:
    """What a pax header says: records `LENGTH KEY=VALUE`, each a line, and nothing else."""
    words: dict[bytes, bytes] = {}
    place = 0
    while place < len(said):
        digits, space, _ = said[place : place + 9].partition(b" ")
        length = int(digits) if space and re.fullmatch(rb"[1-9][0-9]*", digits) else 0
        key, equal, value = said[place + len(digits) + 1 : place + length].partition(b"=")
        if not key or not equal or value[-1:] != b"\n" or place + length > len(said) or key in words:
            raise _two_ways(where, "a header that cannot be read, or that says one thing twice")
        words[key] = value[:-1]
        place += length
    return words


def _two_ways(where: str, what: str) -> DeclarationError:
    return _refused(where, f"it has {what}, and programs differ about what is in it then")


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
