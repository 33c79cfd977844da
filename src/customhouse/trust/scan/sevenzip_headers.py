"""The headers of 7z archives: which streams there are, what unpacks them, what the files are called."""

from __future__ import annotations

from dataclasses import dataclass, field

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

_MAX_FOLDERS = 10_000
_MAX_FILES = 100_000
_MAX_CODERS = 4
_END, _HEADER_PACK, _UNPACK, _SUBSTREAMS, _SIZES, _DIGESTS, _FOLDER, _UNPACK_SIZES, _COUNTS = (
    0x00, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D,
)  # fmt: skip
_EMPTY, _EMPTY_FILE, _NAMES, _ATTRIBUTES = 0x0E, 0x0F, 0x11, 0x15


@dataclass(frozen=True, slots=True)
class Coder:
    """One step of unpacking: its method's id, its properties, how many bytes come out of it."""

    method: bytes
    properties: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """One file's share of a folder's bytes."""

    size: int
    crc: int | None


@dataclass(slots=True)
class Folder:
    """Coders in the order in which they are applied, and the packed bytes: (offset after the first header, size)."""

    coders: list[Coder]
    packed: tuple[int, int] = (0, 0)
    crc: int | None = None
    parts: list[Part] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes that come out of the last coder."""
        return self.coders[-1].size


@dataclass(slots=True)
class Streams:
    """All folders."""

    folders: list[Folder] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class File:
    """A name; `filled` files take the folders' parts in order. `mode` is Unix's, 0 when none is said."""

    name: str
    filled: bool
    mode: int = 0


def read_files(header: bytes, look: Inspection) -> tuple[Streams, list[File]]:
    """Streams and files of a whole header. Raises UnreadableError for anything that is not understood."""
    cursor = Cursor(Source.of(header), 1)
    streams, files = Streams(), list[File]()
    while (kind := cursor.number(1)) != _END:
        if kind == 0x04:
            streams = read_streams(cursor, look)
        elif kind == 0x05:
            files = _files(cursor, look)
        else:
            raise UnreadableError(f"a part {kind:#x} of a header", offset=cursor.position, rule="7z-header")
    if cursor.left:
        raise UnreadableError("bytes follow the header", offset=cursor.position, rule="7z-header")
    return streams, files


def read_streams(cursor: Cursor, look: Inspection) -> Streams:
    """A StreamsInfo: packed streams, folders, their parts."""
    position, sizes = 0, list[int]()
    streams = Streams()
    divided = False
    while (kind := cursor.number(1)) != _END:
        look.spend(4)
        if kind == _HEADER_PACK:
            position, sizes = _packed(cursor)
        elif kind == _UNPACK:
            streams.folders = _folders(cursor)
        elif kind == _SUBSTREAMS:
            _parts(cursor, streams.folders, look)
            divided = True
        else:
            raise UnreadableError(f"a part {kind:#x} of a header", offset=cursor.position, rule="7z-header")
    if len(sizes) != len(streams.folders):
        raise UnreadableError("folders of several packed streams", rule="7z-method", hint="pack it as zip or tar")
    for folder, size in zip(streams.folders, sizes, strict=True):
        folder.packed = (position, size)
        position += size
        if not divided:
            folder.parts = [Part(folder.size, folder.crc)]
    return streams


def number(cursor: Cursor) -> int:
    """7z's variable-length number: leading ones of the first byte count the bytes that follow."""
    first = cursor.number(1)
    mask, value = 0x80, 0
    for index in range(8):
        if not first & mask:
            return value | ((first & (mask - 1)) << (8 * index))
        value |= cursor.number(1) << (8 * index)
        mask >>= 1
    return value


def _bounded(cursor: Cursor, limit: int, what: str) -> int:
    value = number(cursor)
    if value > limit:
        raise UnreadableError(f"{value} {what}", offset=cursor.position, rule="limit-members")
    return value


def _packed(cursor: Cursor) -> tuple[int, list[int]]:
    position = number(cursor)
    count = _bounded(cursor, _MAX_FOLDERS, "packed streams")
    sizes: list[int] = []
    while (kind := cursor.number(1)) != _END:
        if kind == _SIZES:
            sizes = [number(cursor) for _ in range(count)]
        elif kind == _DIGESTS:
            _digests(cursor, count)
        else:
            raise UnreadableError(f"a part {kind:#x} of a header", offset=cursor.position, rule="7z-header")
    return position, sizes


def _folders(cursor: Cursor) -> list[Folder]:
    if cursor.number(1) != _FOLDER:
        raise UnreadableError("a header without folders", offset=cursor.position, rule="7z-header")
    count = _bounded(cursor, _MAX_FOLDERS, "folders")
    if cursor.number(1):
        raise UnreadableError("folders described elsewhere", offset=cursor.position, rule="7z-header")
    chains = [_chain(cursor) for _ in range(count)]
    if cursor.number(1) != _UNPACK_SIZES:
        raise UnreadableError("folders without sizes", offset=cursor.position, rule="7z-header")
    folders: list[Folder] = []
    for coders, order in chains:
        sizes = [number(cursor) for _ in coders]
        folders.append(Folder([Coder(*coders[index], sizes[index]) for index in order]))
    while (kind := cursor.number(1)) != _END:
        if kind != _DIGESTS:
            raise UnreadableError(f"a part {kind:#x} of a header", offset=cursor.position, rule="7z-header")
        for folder, crc in zip(folders, _digests(cursor, count), strict=True):
            folder.crc = crc
    return folders


def _chain(cursor: Cursor) -> tuple[list[tuple[bytes, bytes]], list[int]]:
    """A folder's coders as written, and the order in which they are applied to the packed bytes."""
    count = _bounded(cursor, _MAX_CODERS, "coders")
    coders: list[tuple[bytes, bytes]] = []
    for _ in range(count):
        flags = cursor.number(1)
        method = cursor.take(flags & 0x0F)
        if flags & 0x10 and (number(cursor), number(cursor)) != (1, 1):
            raise UnreadableError(
                f"packed by method {method.hex()}, of several streams", rule="7z-method", hint="pack it as zip or tar"
            )
        if flags & 0x80:
            raise UnreadableError("alternative methods", offset=cursor.position, rule="7z-header")
        coders.append((method, cursor.take(_bounded(cursor, 4096, "bytes of properties")) if flags & 0x20 else b""))
    feeds = {number(cursor): number(cursor) for _ in range(count - 1)}
    order = [index for index in range(count) if index not in feeds]
    after = {source: target for target, source in feeds.items()}
    while len(order) < count and order and order[-1] in after:
        order.append(after[order[-1]])
    if not coders or sorted(order) != list(range(count)):
        raise UnreadableError("coders that are no chain", offset=cursor.position, rule="7z-header")
    return coders, order


def _parts(cursor: Cursor, folders: list[Folder], look: Inspection) -> None:
    counts = [1] * len(folders)
    sizes: list[list[int]] | None = None
    kind = cursor.number(1)
    if kind == _COUNTS:
        counts = [_bounded(cursor, _MAX_FILES, "files") for _ in folders]
        kind = cursor.number(1)
    look.spend(sum(counts))
    if kind == _SIZES:
        sizes = [[number(cursor) for _ in range(count - 1)] for count in counts]
        kind = cursor.number(1)
    unknown = [not (count == 1 and folder.crc is not None) for folder, count in zip(folders, counts, strict=True)]
    wanted = sum(count for count, open_ in zip(counts, unknown, strict=True) if open_)
    crcs: list[int | None] = [None] * wanted
    while kind != _END:
        if kind != _DIGESTS:
            raise UnreadableError(f"a part {kind:#x} of a header", offset=cursor.position, rule="7z-header")
        crcs = _digests(cursor, wanted)
        kind = cursor.number(1)
    rest = iter(crcs)
    for index, (folder, count) in enumerate(zip(folders, counts, strict=True)):
        listed = sizes[index] if sizes is not None else []
        last = folder.size - sum(listed)
        if (count and len(listed) != count - 1) or last < 0:
            raise UnreadableError("files larger than their folder", rule="7z-header")
        spans = [*listed, last] if count else []
        folder.parts = [Part(size, next(rest) if unknown[index] else folder.crc) for size in spans]


def _digests(cursor: Cursor, count: int) -> list[int | None]:
    defined = _bits(cursor, count, all_first=True)
    return [cursor.number(4) if there else None for there in defined]


def _bits(cursor: Cursor, count: int, *, all_first: bool = False) -> list[bool]:
    if all_first and cursor.number(1):
        return [True] * count
    data = cursor.take(-(-count // 8))
    return [bool(data[index // 8] & (0x80 >> index % 8)) for index in range(count)]


def _files(cursor: Cursor, look: Inspection) -> list[File]:
    count = _bounded(cursor, _MAX_FILES, "files")
    look.spend(count)
    names, empty, modes = [""] * count, [False] * count, [0] * count
    while (kind := cursor.number(1)) != _END:
        size = number(cursor)
        body = Cursor(Source.of(cursor.take(size)))
        if kind == _EMPTY:
            empty = _bits(body, count)
        elif kind == _NAMES:
            names = _names(body, count)
        elif kind == _ATTRIBUTES:
            defined = _bits(body, count, all_first=True)
            if body.number(1):
                raise UnreadableError("attributes kept elsewhere", rule="7z-header")
            modes = [body.number(4) >> 16 if there else 0 for there in defined]
    return [File(name, not nothing, mode) for name, nothing, mode in zip(names, empty, modes, strict=True)]


def _names(body: Cursor, count: int) -> list[str]:
    if body.number(1):
        raise UnreadableError("names kept elsewhere", rule="7z-header")
    names = body.take(body.left).decode("utf-16-le", "replace").split("\x00")
    if len(names) != count + 1 or names[-1]:
        raise UnreadableError("names that are not as many as the files", rule="7z-header")
    return names[:-1]
