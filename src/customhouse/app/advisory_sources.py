"""Where advisories come from: folders, archives and lists of OSV records, each record with the place that it is at.

    for place, data in records(Path("all.zip")): …

Nothing is unpacked to disk. A file is known by its first bytes, not by its name. Bounded: bytes of a record, records,
bytes in all, and how many times larger than the archive its content may be.
"""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from customhouse._kit.reading import absent
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.vulnerabilities.osv import MAX_RECORD

MAX_RECORDS = 2_000_000
MAX_TOTAL = 32 << 30
MAX_RATIO = 300
"""JSON of advisories is some 5 to 20 times its gzip; repeated lists of versions reach 100."""
_RATIO_FROM = 256 << 20
_BLANK = b" \t\r\n"

Place = tuple[str, bytes]


def records(path: Path) -> Iterator[Place]:
    """The records at a path, each with its place (`file:line`, `archive: member`), in order.

    Raises UsageError when there is nothing, ArtifactError for an archive that is broken, locked, or a bomb.
    """
    if path.is_dir():
        yield from _folder(path)
        return
    if not path.is_file():
        raise UsageError(absent(path, "file or folder"))
    with path.open("rb") as raw:
        try:
            yield from _file(raw, str(path), path.stat().st_size)
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ArtifactError(
                f"the archive cannot be read: {error}", where=str(path), hint="fetch it again"
            ) from error
        except gzip.BadGzipFile as error:
            raise ArtifactError(f"no gzip: {error}", where=str(path), hint="fetch it again") from error


def _folder(path: Path) -> Iterator[Place]:
    budget = _Budget(str(path), 0)
    found = False
    for file in sorted(path.rglob("*.json")):
        if (
            file.is_symlink()
            or not file.is_file()
            or any(part.startswith(".") for part in file.relative_to(path).parts)
        ):
            continue
        found = True
        with file.open("rb") as raw:
            yield str(file), budget.take(raw.read(MAX_RECORD + 1), str(file))
    if not found:
        raise UsageError(
            f"no *.json in {path}", hint="name a folder of OSV records in JSON, an archive of them, or a .jsonl file"
        )


def _file(raw: IO[bytes], where: str, size: int) -> Iterator[Place]:
    head = raw.read(4)
    raw.seek(0)
    if head.startswith(b"PK\x03\x04"):
        yield from _zip(raw, where, size)
    elif head.startswith(b"\x1f\x8b"):
        with gzip.open(raw, "rb") as inflated:
            yield from _plain(inflated, where, _Budget(where, size))  # type: ignore[arg-type]
    else:
        yield from _plain(raw, where, _Budget(where, 0))


def _plain(stream: IO[bytes], where: str, budget: _Budget) -> Iterator[Place]:
    """A tar archive, a list of records, or one record."""
    head = stream.read(512)
    stream.seek(0)
    if head[257:262] == b"ustar":
        yield from _tar(stream, where, budget)
        return
    lines = enumerate(_lines(stream, where), 1)
    first = next(((number, line) for number, line in lines if line.strip(_BLANK)), None)
    if first is None:
        raise UsageError(f"{where} is empty")
    if _is_whole(first[1]):
        yield f"{where}:{first[0]}", budget.take(first[1], where)
        for number, line in lines:
            if line.strip(_BLANK):
                yield f"{where}:{number}", budget.take(line, f"{where}:{number}")
        return
    # A record over many lines.
    data = first[1]
    for _, line in lines:
        data += line
        if len(data) > MAX_RECORD:
            break
    yield where, budget.take(data, where)


def _is_whole(line: bytes) -> bool:
    """Whether a line ends what it begins; a list of one record a line does, a record that is laid out does not."""
    bare = line.strip(_BLANK)
    return not bare.startswith(b"{") or bare.endswith(b"}")


def _lines(stream: IO[bytes], where: str) -> Iterator[bytes]:
    while line := stream.readline(MAX_RECORD + 1):
        if len(line) > MAX_RECORD:
            raise ArtifactError(f"a line of more than {MAX_RECORD >> 20} MiB", where=where)
        yield line


def _zip(raw: IO[bytes], where: str, size: int) -> Iterator[Place]:
    budget = _Budget(where, size)
    with zipfile.ZipFile(raw) as archive:
        for item in archive.infolist():
            if item.is_dir() or not item.filename.endswith(".json"):
                continue
            place = f"{where}: {item.filename[:200]}"
            if item.flag_bits & 1:
                raise ArtifactError("it is encrypted", where=place)
            with archive.open(item) as member:
                yield place, budget.take(member.read(MAX_RECORD + 1), place)


def _tar(stream: IO[bytes], where: str, budget: _Budget) -> Iterator[Place]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for item in archive:
            place = f"{where}: {item.name[:200]}"
            budget.skip(item.size, place)
            if not item.isreg() or not item.name.endswith(".json"):
                continue
            member = archive.extractfile(item)
            if member is not None:
                yield place, budget.take(member.read(MAX_RECORD + 1), place)


class _Budget:
    """What may still be read."""

    def __init__(self, where: str, packed: int) -> None:
        self._where, self._packed = where, packed
        self._count = self._size = self._skipped = 0

    def take(self, data: bytes, place: str) -> bytes:
        """The bytes of a record, if they may be read. Raises ArtifactError."""
        if len(data) > MAX_RECORD:
            raise ArtifactError(f"a record of more than {MAX_RECORD >> 20} MiB", where=place)
        self._count += 1
        self._size += len(data)
        self._check(place)
        return data

    def skip(self, size: int, place: str) -> None:
        """Bytes of a member that is passed over, or read next: they are inflated all the same."""
        self._skipped += size
        self._check(place)

    def _check(self, place: str) -> None:
        largest = max(self._size, self._skipped)
        bomb = self._packed and largest > _RATIO_FROM and largest > MAX_RATIO * self._packed
        if bomb or largest > MAX_TOTAL or self._count > MAX_RECORDS:
            raise ArtifactError("it holds more than any database of advisories: a bomb", where=place)
