"""What programs say of the libraries that they were linked from: Go's build information, cargo-auditable's list.

Go: debug/buildinfo. Rust: the section `.dep-v0`, zlib and JSON (rust-secure-code/cargo-auditable). Both in ELF files.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from customhouse.trust.packages.found import Found, Reading, UnreadListError
from customhouse.trust.scan.source import Source, UnreadableError

ELF = b"\x7fELF"
GO, RUST = b"\xff Go buildinf:", b".dep-v0\x00"
UPX = b"UPX!"
MARKS = (GO, RUST)
_MAX_TEXT, _MAX_SECTIONS, _MAX_NAMES = 16 << 20, 20_000, 1 << 20
_MAX_AUDIT, _MAX_SEARCH = 64 << 20, 64 << 20
_STDLIB = re.compile(r"(?:devel )?go(\d+(?:\.\d+)*(?:(?:rc|beta)\d+)?)\b")


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A section or a segment: where it lies in the file and in memory."""

    name: str
    offset: int
    size: int
    address: int
    writable: bool = False


def read_program(source: Source, reading: Reading) -> None:
    """The libraries of a program in ELF; none for one that says nothing. Raises UnreadListError for broken ones."""
    try:
        if UPX in source.peek(0, 1024):
            raise UnreadListError("a program that UPX packed: what it was linked from cannot be seen")
        elf = _Elf(source)
        audit = elf.section(".dep-v0")
        if audit is not None:
            _rust(elf.content(audit, _MAX_AUDIT), reading)
        _go(elf, reading)
    except UnreadableError as error:
        raise UnreadListError(f"a program that is cut short ({error.reason})") from error


class _Elf:
    def __init__(self, source: Source) -> None:
        head = source.read(0, 64)
        if head[:4] != ELF or head[4] not in (1, 2) or head[5] not in (1, 2):
            raise UnreadListError("not a program in ELF")
        self.source, self.wide, self.order = source, head[4] == 2, "little" if head[5] == 1 else "big"
        self._sections = self._table(head)
        self.segments = self._segments(head)

    def number(self, data: bytes, at: int, width: int) -> int:
        return int.from_bytes(data[at : at + width], self.order)  # type: ignore[arg-type]

    def section(self, name: str) -> _Stretch | None:
        return next((item for item in self._sections if item.name == name), None)

    def content(self, part: _Stretch, most: int) -> bytes:
        return self.source.read(part.offset, min(part.size, most))

    def at(self, address: int, count: int) -> bytes:
        """Bytes by their address in memory; fewer at the end of a segment, none outside."""
        for part in self.segments:
            if part.address <= address < part.address + part.size:
                inside = address - part.address
                return self.source.peek(part.offset + inside, min(count, part.size - inside))
        return b""

    def _table(self, head: bytes) -> list[_Stretch]:
        width = 8 if self.wide else 4
        start = self.number(head, 40 if self.wide else 32, width)
        each, count, names = (self.number(head, at + (12 if self.wide else 0), 2) for at in (46, 48, 50))
        if not start or not count:
            return []
        if each != (64 if self.wide else 40) or count > _MAX_SECTIONS or names >= count:
            raise UnreadListError("a program with a table of sections that is none")
        rows = self.source.read(start, each * count)
        found = [self._section(rows[index * each : (index + 1) * each]) for index in range(count)]
        table = found[names][1]
        texts = self.source.read(table.offset, min(table.size, _MAX_NAMES))
        shown = []
        for at, part in found:
            end = texts.find(b"\x00", at)
            name = texts[at : end if end >= 0 else at].decode("ascii", "replace")
            shown.append(_Stretch(name, part.offset, part.size, part.address))
        return shown

    def _section(self, row: bytes) -> tuple[int, _Stretch]:
        width, at = (8, (16, 24, 32)) if self.wide else (4, (12, 16, 20))
        address, offset, size = (self.number(row, place, width) for place in at)
        if self.number(row, 4, 4) == 8:
            size = 0  # NOBITS: of memory alone
        return self.number(row, 0, 4), _Stretch("", offset, size, address)

    def _segments(self, head: bytes) -> list[_Stretch]:
        width = 8 if self.wide else 4
        start = self.number(head, 32 if self.wide else 28, width)
        each, count = (self.number(head, at + (12 if self.wide else 0), 2) for at in (42, 44))
        if not start or count > 1000 or each != (56 if self.wide else 32):
            return []
        rows = self.source.read(start, each * count)
        found = []
        for index in range(count):
            row = rows[index * each : (index + 1) * each]
            if self.number(row, 0, 4) != 1:
                continue  # not loaded
            flags = self.number(row, 4 if self.wide else 24, 4)
            at = (8, 16, 32) if self.wide else (4, 8, 16)
            offset, address, size = (self.number(row, place, width) for place in at)
            found.append(_Stretch("", offset, size, address, writable=flags & 3 == 2))
        return found


def _go(elf: _Elf, reading: Reading) -> None:
    """As debug/buildinfo: the section, else the first data segment; in it the mark, on a multiple of 16."""
    part = elf.section(".go.buildinfo") or next((item for item in elf.segments if item.writable), None)
    if part is None:
        return
    data = elf.content(part, _MAX_SEARCH)
    at = data.find(GO)
    while at >= 0 and (part.address + at) % 16:
        at = data.find(GO, at + 1)
    if at < 0 or len(data) < at + 32:
        return
    if data[at + 15] & 2:
        version, following = _counted(elf, part, at + 32)
        text, _ = _counted(elf, part, following)
    else:
        width, elf.order = data[at + 14], "big" if data[at + 15] & 1 else "little"
        if width not in (4, 8):
            raise UnreadListError("build information of Go with pointers of no known size")
        places = (elf.number(data, at + 16, width), elf.number(data, at + 16 + width, width))
        version, text = (_pointed(elf, place, width) for place in places)
    # The text stands between two marks of 16 bytes (cmd/go/internal/modload).
    body = text[16:-16] if len(text) >= 33 and text[-17:-16] == b"\n" else b""
    _modules(version.decode("utf-8", "backslashreplace"), body.decode("utf-8", "backslashreplace"), reading)


def _counted(elf: _Elf, part: _Stretch, at: int) -> tuple[bytes, int]:
    """A string after its length, and where the next begins."""
    size = shift = 0
    head = elf.source.peek(part.offset + at, 10)
    for index, byte in enumerate(head):
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if size > _MAX_TEXT:
                break
            return elf.source.read(part.offset + at + index + 1, size), at + index + 1 + size
    raise UnreadListError("build information of Go that is broken")


def _pointed(elf: _Elf, address: int, width: int) -> bytes:
    head = elf.at(address, 2 * width)
    size = elf.number(head, width, width)
    if len(head) != 2 * width or size > _MAX_TEXT:
        raise UnreadListError("build information of Go that is broken")
    return elf.at(elf.number(head, 0, width), size)


def _modules(version: str, text: str, reading: Reading) -> None:
    match = _STDLIB.match(version)
    if match is None:
        raise UnreadListError(f"a program of Go of an unknown version: {version[:60]!r}")
    reading.add(Found("golang", "stdlib", match[1], note="the standard library it was built with"))
    known: list[tuple[str, str, str]] = []
    for line in text.split("\n"):
        parts = line.split("\t")
        if parts[0] in ("mod", "dep") and len(parts) >= 3:
            known.append((parts[1], parts[2], "the program itself" if parts[0] == "mod" else ""))
        elif parts[0] == "=>" and len(parts) >= 2 and known:
            replaced = known.pop()
            version = parts[2] if len(parts) >= 3 else ""
            known.append((parts[1], version, f"in place of {replaced[0]} {replaced[1]}".strip()))
    for name, found, note in known:
        # A local folder has no version: nobody's advisory speaks of it.
        reading.add(Found("golang", name, found.removeprefix("v"), note=note))


def _rust(data: bytes, reading: Reading) -> None:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, _MAX_TEXT)
        said = json.loads(text)
        items = list(_crates(said["packages"]))
    except (zlib.error, ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise UnreadListError(f"a list of crates that is broken ({type(error).__name__})") from error
    for found in items:
        reading.add(found)


def _crates(items: list[dict[str, object]]) -> Iterator[Found]:
    for item in items:
        if item.get("kind") == "build":
            continue  # ran when the program was built, and is not in it
        source = str(item.get("source", ""))
        note = "" if source in ("crates.io", "registry") else f"from {source}"[:200]
        yield Found(
            "cargo", str(item["name"]), str(item["version"]), note="the program itself" if item.get("root") else note
        )
