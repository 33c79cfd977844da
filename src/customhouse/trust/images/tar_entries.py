"""The entries of a layer's archive, read forward as the runtimes read them (Go's archive/tar), within bounds.

Names, link targets and sizes of pax and GNU headers count as they count there; global pax headers do not. What the
runtimes would refuse or read otherwise than we is an error or is marked as odd, so that nobody is shown another image
than the one that starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from customhouse.trust.images.bounds import Bounds, LayerError
from customhouse.trust.packages.found import visible

_BLOCK = 512
_MAX_EXTENDED = 1 << 20
"""Go reads no longer headers either."""
MAX_PATH = 4096
_ENDINGS = b"\x00" * _BLOCK
_KINDS = {
    b"0": "f",
    b"\x00": "f",
    b"7": "f",
    b"1": "h",
    b"2": "l",
    b"3": "c",
    b"4": "b",
    b"5": "d",
    b"6": "p",
    b"S": "f",
}
_WITHOUT_DATA = "hlcbdp"


@dataclass(slots=True)
class Entry:
    """One entry. `kind`: f file, d folder, l symbolic link, h hard link, c b p device or pipe; `path` is plain."""

    path: str
    kind: str
    size: int = 0
    link: str = ""
    mode: int = 0
    sparse: bool = False
    """Its bytes are made up by its header."""
    odd: str = ""
    """Why no runtime takes it as it stands; such an entry is not applied."""


@dataclass(slots=True)
class _Extended:
    """What headers before an entry say of it."""

    fields: dict[str, str] = field(default_factory=dict)
    name: str | None = None
    link: str | None = None


class Stream(Protocol):
    """Bytes that are read forward."""

    def take(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end."""

    def some(self, most: int) -> bytes:
        """Between one and `most` of the next bytes; none at the end."""

    def skip(self, count: int) -> bool:
        """Pass over `count` bytes; False when there are fewer."""

    def drain(self) -> bool:
        """Read to the end; whether anything but zeros was left."""


class TarEntries:
    """Iterate once; between two steps `packed` may be read up to `left` bytes: the data of the entry."""

    def __init__(self, packed: Stream, bounds: Bounds, where: str) -> None:
        self._packed, self._bounds, self._where = packed, bounds, where
        self.left = 0
        self._padding = 0
        self.trailing = False
        """Whether something else than zeros lies behind the end."""

    def some(self) -> bytes:
        """The next bytes of the entry's data; none at its end. Raises LayerError when the archive is cut short."""
        if not self.left:
            return b""
        piece = self._packed.some(self.left)
        if not piece:
            raise self._broken("ends in the middle of a file")
        self.left -= len(piece)
        return piece

    def __iter__(self) -> Iterator[Entry]:
        said = _Extended()
        while True:
            if not self._packed.skip(self.left + self._padding):
                raise self._broken("ends in the middle of a file")
            self.left = self._padding = 0
            head = self._packed.take(_BLOCK)
            if not head:
                return  # without an end mark: Go takes that for the end
            if head == _ENDINGS:
                following = self._packed.take(_BLOCK)
                if following and following != _ENDINGS:
                    raise self._broken("goes on behind half an end mark")
                self.trailing = self._packed.drain()
                return
            if len(head) < _BLOCK or not _checksum_holds(head):
                raise self._broken("has a header that is none")
            self._count(_BLOCK)
            kind, size = head[156:157], self._number(head[124:136])
            if kind in b"LKxg":
                self._extend(said, kind, size)
                continue
            entry = self._entry(head, kind, size, said)
            said = _Extended()
            yield entry

    def _entry(self, head: bytes, kind: bytes, size: int, said: _Extended) -> Entry:
        fields = said.fields
        name = fields.get("path") or (said.name if said.name is not None else _name(head))
        link = fields.get("linkpath") or (said.link if said.link is not None else _text(head[157:257]))
        if "size" in fields:
            size = self._decimal(fields["size"])
        form = _KINDS.get(kind, "?")
        sparse = kind == b"S" or "GNU.sparse.major" in fields or "GNU.sparse.map" in fields
        if sparse and "GNU.sparse.name" in fields:
            name = fields["GNU.sparse.name"]
        if form == "f" and name.endswith("/"):
            form = "d"
        more = kind == b"S" and head[482] == 1
        while more:
            block = self._packed.take(_BLOCK)
            if len(block) < _BLOCK:
                raise self._broken("ends in a header")
            self._count(_BLOCK)
            more = block[504] == 1
        self.left = 0 if form in _WITHOUT_DATA else size
        self._padding = -self.left % _BLOCK
        path, odd = plain_path(name)
        if form == "?":
            odd = odd or f"is of an unknown kind ({kind!r})"
        self._bounds.names -= len(path) + len(link)
        return Entry(path, form, self.left, link[:MAX_PATH], self._octal(head[100:108]) & 0o7777, sparse, odd)

    def _extend(self, said: _Extended, kind: bytes, size: int) -> None:
        if size > _MAX_EXTENDED:
            raise self._broken(f"has a header of {size} bytes")
        body = self._packed.take(size)
        if len(body) < size or not self._packed.skip(-size % _BLOCK):
            raise self._broken("ends in a header")
        self._count(size)
        if kind == b"L":
            said.name = _text(body)
        elif kind == b"K":
            said.link = _text(body)
        elif kind == b"x":
            said.fields = self._pax(body)

    def _pax(self, body: bytes) -> dict[str, str]:
        found: dict[str, str] = {}
        while body.strip(b"\x00"):
            length, space, _ = body.partition(b" ")
            if not space or not length.isdigit() or len(length) > 8:
                raise self._broken("has a pax header that is none")
            size = int(length)
            record = body[len(length) + 1 : size]
            if size <= len(length) + 1 or size > len(body) or not record.endswith(b"\n") or b"=" not in record:
                raise self._broken("has a pax header that is none")
            key, _, value = record[:-1].partition(b"=")
            found[key.decode("utf-8", "backslashreplace")] = visible(value.decode("utf-8", "backslashreplace"))
            body = body[size:]
        return found

    def _count(self, size: int) -> None:
        self._bounds.entries -= 1
        if self._bounds.entries < 0:
            raise LayerError("the image has more entries than are read of one", where=self._where)
        if self._bounds.names < 0:
            raise LayerError("the image has longer names than are read of one", where=self._where)

    def _number(self, field: bytes) -> int:
        if field[0] & 0x80:
            value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
            if field[0] & 0x40 or value >= 1 << 62:
                raise self._broken("has a size that is none")
            return value
        return self._octal(field, strict=True)

    def _octal(self, field: bytes, *, strict: bool = False) -> int:
        text = field.strip(b"\x00 ").split(b"\x00", 1)[0]
        if all(48 <= byte < 56 for byte in text):
            return int(text or b"0", 8)
        if strict:
            raise self._broken("has a size that is none")
        return 0

    def _decimal(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise self._broken("has a size that is none")
        return int(text)

    def _broken(self, what: str) -> LayerError:
        return LayerError(f"the archive {what}", where=self._where)


def plain_path(name: str) -> tuple[str, str]:
    """The path from the image's root without `.`, and why it is none, if so."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    odd = ""
    if ".." in parts:
        odd = "leads outside"
    elif "\\x00" in name or len(name) > MAX_PATH or any(len(part) > 255 for part in parts):
        odd = "has a name that no file system takes"
    return "/".join(parts)[:MAX_PATH], odd


def _checksum_holds(head: bytes) -> bool:
    text = head[148:156].strip(b"\x00 ")
    if not text or not all(48 <= byte < 56 for byte in text):
        return False
    said = int(text, 8)
    found = sum(head) - sum(head[148:156]) + 8 * 32
    if found == said:
        return True
    # Some old archivers summed signed bytes; Go accepts that too.
    return found - 256 * sum(byte > 127 for byte in head[:148] + head[156:]) == said


def _text(data: bytes) -> str:
    return visible(data.split(b"\x00", 1)[0].decode("utf-8", "backslashreplace"))


def _name(head: bytes) -> str:
    prefix = _text(head[345:500]) if head[257:263] == b"ustar\x00" else ""
    return f"{prefix}/{_text(head[:100])}" if prefix else _text(head[:100])
