"""Tar archives (ustar, GNU long names, pax): headers checked, links and devices refused, members scanned in place."""

from __future__ import annotations

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.member_names import check_name, escapes
from customhouse.trust.scan.source import Source, UnreadableError

_BLOCK = 512
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")
_LEGACY = {"pickle", "storages", "tensors", "sys_info"}
"""Members of torch's oldest format; `storages` and `tensors` are pickles with raw numbers between."""


def is_tar(source: Source) -> bool:
    """Whether the first block is a tar header: its checksum is right."""
    head = source.peek(0, _BLOCK)
    return len(head) == _BLOCK and head[0] != 0 and _checksum_holds(head)


def inspect_tar(source: Source, look: Inspection) -> None:
    """Walk the headers; scan each file's bytes where they lie."""
    look.format = "tar"
    position, long_name, long_link = 0, "", ""
    seen: set[str] = set()
    while position + _BLOCK <= source.size:
        head = source.read(position, _BLOCK)
        if not head.strip(b"\x00"):
            position = _end(source, look, position)
            if position < 0:
                return
            continue
        look.member()
        look.spend(8)
        if not _checksum_holds(head):
            raise UnreadableError("a tar header whose checksum is wrong", offset=position, rule="tar-checksum")
        size, kind = _number(head[124:136], position), head[156:157]
        if size and kind in _WITHOUT_DATA:
            look.suspicious(
                "tar-size", "a link or a folder with bytes of its own; readers differ in passing over", position
            )
            size = 0
        data = source.window(position + _BLOCK, size)
        if kind in (b"L", b"K", b"x", b"g"):
            name, link = _extended(data, kind)
            long_name, long_link = name or long_name, link or long_link
        else:
            name = long_name or _name(head)
            if name in seen:
                look.suspicious("tar-duplicate", f"holds {name!r} twice", position)
            seen.add(name)
            _entry(data, look, name, link=long_link or _text(head[157:257]), kind=kind, offset=position)
            long_name = long_link = ""
        position += _BLOCK + -(-size // _BLOCK) * _BLOCK
    look.unscannable("tar-cut-short", "the archive has no end mark", position)


def _entry(data: Source, look: Inspection, name: str, *, link: str, kind: bytes, offset: int) -> None:
    check_name(name, look, offset)
    if kind in (b"0", b"\x00", b"7"):
        inside = look.inner(name)
        if name in _LEGACY and name in ("storages", "tensors") and data.size <= 16:
            return
        inside.scan(data)
    elif kind in (b"1", b"2"):
        if escapes(link):
            look.malicious("archive-link", f"{name!r} links to {link[:200]!r}, outside of its folder", offset)
        else:
            look.suspicious("archive-link", f"{name!r} is a link", offset)
    elif kind != b"5":
        look.suspicious("tar-special", f"{name!r} is a device or of an unknown kind", offset)


def _end(source: Source, look: Inspection, position: int) -> int:
    """Where another archive starts behind the end mark; -1 when nothing does."""
    for offset, chunk in source.window(position, source.size - position).chunks():
        look.spend()
        if rest := len(chunk.lstrip(b"\x00")):
            start = position + offset + len(chunk) - rest
            start -= (start - position) % _BLOCK
            if is_tar(source.window(start, source.size - start)):
                look.suspicious("tar-second", "another archive behind the end mark; readers differ in seeing it", start)
                return start
            look.unscannable("tar-trailing-bytes", "bytes follow the archive's end", start)
            return -1
    return -1


def _checksum_holds(head: bytes) -> bool:
    field = head[148:156].strip(b"\x00 ")
    if not field or not all(48 <= byte < 56 for byte in field):
        return False
    return sum(head[:148]) + sum(head[156:]) + 8 * 32 == int(field, 8)


def _number(field: bytes, offset: int) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ((1 << 95) - 1)
    text = field.strip(b"\x00 ")
    if not all(48 <= byte < 56 for byte in text):
        raise UnreadableError("a tar header without a size", offset=offset, rule="tar-header")
    return int(text or b"0", 8)


def _text(field: bytes) -> str:
    return field.split(b"\x00", 1)[0].decode("utf-8", "replace")


def _name(head: bytes) -> str:
    prefix = _text(head[345:500]) if head[257:262] == b"ustar" else ""
    return f"{prefix}/{_text(head[:100])}" if prefix else _text(head[:100])


def _extended(data: Source, kind: bytes) -> tuple[str, str]:
    """Name and link target from a GNU long name or a pax header."""
    body = data.read(0, min(data.size, 1 << 16))
    if kind in (b"L", b"K"):
        return (_text(body), "") if kind == b"L" else ("", _text(body))
    found = {"path": "", "linkpath": ""}
    while body:
        length, space, _ = body.partition(b" ")
        if not space or not length.isdigit() or len(length) > 6 or int(length) <= len(length) + 1:
            break
        key, _, value = body[len(length) + 1 : int(length)].rstrip(b"\n").partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        if "size" in found:
            raise UnreadableError(
                "a pax header that overrides a size", rule="tar-pax-size", hint="pack it as plain tar"
            )
        body = body[int(length) :]
    return found["path"], found["linkpath"]
