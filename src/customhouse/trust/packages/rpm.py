"""RPM's database: the headers of installed packages in SQLite, or in the older ndb; and the manifests of distroless.

A header (rpm.org, "RPM V4 header format") is a list of tags and a store of their values. Berkeley DB, which RPM wrote
until 4.16, is not read, and that is said: never "no packages".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from customhouse.trust.packages.found import Found, Reading, UnreadListError
from customhouse.trust.packages.sqlite_file import SIGNATURE, SqliteFile
from customhouse.trust.scan.source import Source

_NAME, _VERSION, _RELEASE, _EPOCH, _LICENSE, _ARCH, _SOURCE = 1000, 1001, 1002, 1003, 1014, 1022, 1044
_FOLDER_INDEX, _BASES, _FOLDERS, _MODULE = 1116, 1117, 1118, 5096
_MAX_TAGS, _MAX_STORE, _MAX_FILES = 65_535, 256 << 20, 500_000
_INT32, _STRING, _ARRAY, _I18N = 4, 6, 8, 9
_NDB = b"RpmP"
_NDB_SLOTS = 10_000


def read_rpm(source: Source, reading: Reading, worth: Callable[[str], bool]) -> None:
    """A database file, known by its first bytes. Raises UnreadListError for other kinds, Berkeley DB among them."""
    head = source.peek(0, 16)
    if head.startswith(SIGNATURE):
        for row in SqliteFile(source).rows("Packages"):
            blob = next((value for value in row if isinstance(value, bytes)), None)
            if blob is None:
                raise UnreadListError("a row without a header")
            _package(blob, reading, worth)
    elif head.startswith(_NDB):
        for blob in _ndb(source):
            _package(blob, reading, worth)
    elif head[12:16] in (b"\x61\x15\x06\x00", b"\x00\x06\x15\x61", b"\x62\x31\x05\x00", b"\x00\x05\x31\x62"):
        raise UnreadListError("it is a Berkeley DB, which is not read here; `rpmdb --rebuilddb` with RPM 4.16 or later")
    else:
        raise UnreadListError("a database of RPM of an unknown kind")


def read_manifest(data: bytes, reading: Reading) -> None:
    """`container-manifest-2` of Azure Linux' distroless images: `rpm -qa` in columns. Raises UnreadListError."""
    for number, line in enumerate(data.decode("utf-8", "backslashreplace").splitlines(), 1):
        parts = line.split("\t")
        if len(parts) < 10:
            raise UnreadListError(f"line {number}: not ten columns")
        version = parts[1] if parts[8] in ("", "0", "(none)") else f"{parts[8]}:{parts[1]}"
        source = _source_name(parts[9])
        reading.add(Found("rpm", parts[0], version, source, version, parts[7]))


def _package(blob: bytes, reading: Reading, worth: Callable[[str], bool]) -> None:
    tags = _header(blob)
    name, version, release = (_text(blob, tags, tag) for tag in (_NAME, _VERSION, _RELEASE))
    if not name or not version:
        raise UnreadListError("a header without a name or a version")
    if name == "gpg-pubkey":
        return  # a key that RPM was told of
    epoch = _numbers(blob, tags, _EPOCH)
    whole = f"{f'{epoch[0]}:' if epoch and epoch[0] else ''}{version}{f'-{release}' if release else ''}"
    source = _source_name(_text(blob, tags, _SOURCE))
    module = _text(blob, tags, _MODULE)
    reading.add(
        Found(
            "rpm",
            name,
            whole,
            source or name,
            whole,
            _text(blob, tags, _ARCH),
            licence=_text(blob, tags, _LICENSE)[:200],
            note=f"module {module}" if module else "",
        )
    )
    folders, bases, places = (
        _texts(blob, tags, _FOLDERS),
        _texts(blob, tags, _BASES),
        _numbers(blob, tags, _FOLDER_INDEX),
    )
    for base, place in zip(bases, places, strict=False):
        path = f"{folders[place]}{base}".lstrip("/") if place < len(folders) else ""
        if path and worth(path):
            reading.owned.append(path)


def _source_name(text: str) -> str:
    """`bash` of `bash-5.1.8-6.el9.src.rpm`."""
    parts = text.removesuffix(".src.rpm").removesuffix(".nosrc.rpm").rsplit("-", 2)
    return parts[0] if len(parts) == 3 else ""


_Tags = dict[int, tuple[int, int, int]]
"""Tag to type, offset of its value in the blob, and count."""


def _header(blob: bytes) -> _Tags:
    count, size = int.from_bytes(blob[:4], "big"), int.from_bytes(blob[4:8], "big")
    start = 8 + 16 * count
    if not 0 < count <= _MAX_TAGS or size > _MAX_STORE or start + size > len(blob):
        raise UnreadListError("a header that is longer than its row")
    tags: _Tags = {}
    for index in range(count):
        entry = blob[8 + 16 * index : 24 + 16 * index]
        tag, kind, offset, items = (int.from_bytes(entry[at : at + 4], "big") for at in (0, 4, 8, 12))
        if offset < size:
            # Of a region's trailer and of a tag that stands twice RPM takes the first.
            tags.setdefault(tag, (kind, start + offset, items))
    return tags


def _text(blob: bytes, tags: _Tags, tag: int) -> str:
    return next(iter(_texts(blob, tags, tag, 1)), "")


def _texts(blob: bytes, tags: _Tags, tag: int, most: int = _MAX_FILES) -> list[str]:
    kind, at, items = tags.get(tag, (0, 0, 0))
    if kind not in (_STRING, _ARRAY, _I18N):
        return []
    if items > _MAX_FILES:
        raise UnreadListError(f"a tag with {items} values")
    found: list[str] = []
    for _ in range(min(items, most)):
        end = blob.find(b"\x00", at)
        if end < 0:
            raise UnreadListError("a text in a header does not end")
        found.append(blob[at:end].decode("utf-8", "backslashreplace"))
        at = end + 1
    return found


def _numbers(blob: bytes, tags: _Tags, tag: int) -> list[int]:
    kind, at, items = tags.get(tag, (0, 0, 0))
    if kind != _INT32:
        return []
    data = blob[at : at + 4 * min(items, _MAX_FILES)]
    return [int.from_bytes(data[index : index + 4], "big") for index in range(0, len(data) - 3, 4)]


def _ndb(source: Source) -> Iterator[bytes]:
    """The blobs of `Packages.db` (lib/backend/ndb/rpmpkg.c): pages of slots, each naming a blob."""
    head = source.peek(0, 32)
    pages = int.from_bytes(head[12:16], "little")
    if int.from_bytes(head[4:8], "little") != 0 or not 0 < pages <= _NDB_SLOTS:
        raise UnreadListError("a version of RPM's ndb that is not known")
    slots = source.peek(0, pages * 4096)
    for at in range(32, len(slots) - 15, 16):
        index, offset, count = (int.from_bytes(slots[at + n : at + n + 4], "little") for n in (4, 8, 12))
        if slots[at : at + 4] != b"Slot":
            raise UnreadListError("a slot that is none")
        if index == 0:
            continue
        blob = source.peek(offset * 16, count * 16)
        size = int.from_bytes(blob[12:16], "little")
        if blob[:4] != b"BlbS" or int.from_bytes(blob[4:8], "little") != index or 16 + size > len(blob):
            raise UnreadListError("a blob that is none")
        yield blob[16 : 16 + size]
