"""HDF5 files: every object is walked; external links, external storage and Lambda layers are found.

After the HDF5 File Format Specification 3.0: superblocks 0 to 3, object headers 1 and 2, groups by symbol table and by
compact links or in dense storage (hdf5_dense), attributes of fixed and variable length text. What is laid out otherwise
(shared messages, filters that are plug-ins) is `unscannable`, never clean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from customhouse.trust.scan.hdf5_dense import dense_objects
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.keras import inspect_keras
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_CONTINUATION, _SYMBOL_TABLE, _LINK, _LINK_INFO, _ATTRIBUTE, _EXTERNAL, _FILTERS, _ATTRIBUTE_INFO = (
    0x10, 0x11, 0x06, 0x02, 0x0C, 0x07, 0x0B, 0x15,
)  # fmt: skip
_LAYOUT, _VIRTUAL = 0x08, b"\x03"
_KNOWN_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
"""deflate, shuffle, fletcher32, szip, nbit, scaleoffset, lzf: compiled into the libraries, no plug-in is loaded."""
_MAX_OBJECTS = 200_000
_MAX_TEXT = 64 << 20


@dataclass(slots=True)
class _Walk:
    """One walk over a file: where it stands and what it has seen."""

    source: Source
    look: Inspection
    offsets: int = 8
    lengths: int = 8
    seen: set[int] = field(default_factory=set)
    pending: list[int] = field(default_factory=list)
    heaps: set[int] = field(default_factory=set)

    @property
    def nowhere(self) -> int:
        """The address that means: undefined."""
        return (1 << (8 * self.offsets)) - 1

    def visit(self, address: int) -> None:
        """Queue an object once."""
        if address != self.nowhere and address not in self.seen:
            self.seen.add(address)
            self.pending.append(address)
            if len(self.seen) > _MAX_OBJECTS:
                raise UnreadableError(f"more than {_MAX_OBJECTS} objects", rule="limit-steps")


def inspect_hdf5(source: Source, look: Inspection) -> None:
    """Walk from the root group; an object is read once, however many links it has."""
    look.format = "hdf5"
    walk = _Walk(source, look)
    walk.visit(_root(walk))
    while walk.pending:
        look.spend(8)
        _object(walk, walk.pending.pop())


def _root(walk: _Walk) -> int:
    """The address of the root group's object header, from the superblock."""
    source = walk.source
    version = source.read(8, 1)[0]
    if version in (0, 1):
        walk.offsets, walk.lengths = source.read(13, 1)[0], source.read(14, 1)[0]
        start = 24 + (4 if version == 1 else 0) + 4 * walk.offsets
        address = start + walk.offsets
        base = 24 + (4 if version == 1 else 0)
    elif version in (2, 3):
        walk.offsets, walk.lengths = source.read(9, 1)[0], source.read(10, 1)[0]
        base, address = 12, 12 + 3 * walk.offsets
    else:
        raise UnreadableError(f"HDF5 superblock {version}", offset=8, rule="hdf5-version", hint="save it again")
    if walk.offsets not in (4, 8) or walk.lengths not in (4, 8):
        raise UnreadableError("odd sizes of addresses", offset=9, rule="hdf5-header")
    if source.read(base, walk.offsets).strip(b"\x00"):
        raise UnreadableError("addresses that do not count from the start", offset=base, rule="hdf5-header")
    return int.from_bytes(source.read(address, walk.offsets), "little")


def _object(walk: _Walk, address: int) -> None:
    for kind, flags, body in _messages(walk, address):
        walk.look.spend(4)
        if flags & 2 and kind in (_ATTRIBUTE, _LINK, _EXTERNAL, _FILTERS):
            walk.look.unscannable("hdf5-shared-message", "a shared message; save the file with h5py defaults", address)
        elif kind == _SYMBOL_TABLE:
            cursor = Cursor(body)
            tree, heap = cursor.number(walk.offsets), cursor.number(walk.offsets)
            _group(walk, tree, _heap(walk, heap), 0)
        elif kind == _LINK:
            _link(walk, body)
        elif kind == _ATTRIBUTE:
            _attribute(walk, body)
        elif kind == _EXTERNAL:
            walk.look.malicious("hdf5-external-storage", "a dataset whose bytes are read from another file", address)
        elif kind == _LAYOUT and body.peek(0, 2)[1:] == _VIRTUAL and body.peek(0, 1) in (b"\x03", b"\x04"):
            walk.look.malicious("hdf5-virtual", "a dataset that is put together from other files", address)
        elif kind == _FILTERS:
            _filters(walk, body, address)
        elif kind in (_LINK_INFO, _ATTRIBUTE_INFO):
            _dense(walk, body, kind, address)


def _messages(walk: _Walk, address: int) -> Iterator[tuple[int, int, Source]]:
    """(type, flags, body) of every message of an object header, continuations followed."""
    head = walk.source.read(address, 4)
    if head == b"OHDR":
        yield from _messages2(walk, address)
        return
    if head[0] != 1:
        raise UnreadableError("an object header of unknown version", offset=address, rule="hdf5-object")
    count = int.from_bytes(head[2:4], "little")
    blocks = [(address + 16, int.from_bytes(walk.source.read(address + 8, 4), "little"))]
    while blocks:
        start, size = blocks.pop(0)
        cursor = Cursor(walk.source.window(start, size))
        while cursor.left >= 8 and count > 0:
            count -= 1
            kind, length, flags = cursor.number(2), cursor.number(2), cursor.number(1)
            cursor.skip(3)
            body = walk.source.window(start + cursor.position, length)
            cursor.skip(length)
            if kind == _CONTINUATION:
                inner = Cursor(body)
                blocks.append((inner.number(walk.offsets), inner.number(walk.lengths)))
            else:
                yield kind, flags, body


def _messages2(walk: _Walk, address: int) -> Iterator[tuple[int, int, Source]]:
    cursor = Cursor(walk.source, address + 4)
    version, flags = cursor.number(1), cursor.number(1)
    if version != 2:
        raise UnreadableError("an object header of unknown version", offset=address, rule="hdf5-object")
    cursor.skip((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
    size = cursor.number(1 << (flags & 3))
    blocks, budget = [(cursor.position, size)], 4096
    while blocks:
        start, length = blocks.pop(0)
        cursor = Cursor(walk.source.window(start, length))
        head = 6 if flags & 4 else 4
        while cursor.left >= head:
            walk.look.spend()
            kind, width, bits = cursor.number(1), cursor.number(2), cursor.number(1)
            cursor.skip(head - 4)
            body = walk.source.window(start + cursor.position, width)
            cursor.skip(width)
            if kind != _CONTINUATION:
                yield kind, bits, body
                continue
            inner = Cursor(body)
            place, extent = inner.number(walk.offsets), inner.number(walk.lengths)
            budget -= 1
            if extent < 8 or budget < 0 or walk.source.read(place, 4) != b"OCHK":
                raise UnreadableError("a broken continuation", offset=place, rule="hdf5-object")
            blocks.append((place + 4, extent - 8))


def _heap(walk: _Walk, address: int) -> Source:
    cursor = Cursor(walk.source, address)
    if cursor.take(4) != b"HEAP":
        raise UnreadableError("a group without names", offset=address, rule="hdf5-group")
    cursor.skip(4)
    size = cursor.number(walk.lengths)
    cursor.skip(walk.lengths)
    return walk.source.window(cursor.number(walk.offsets), size)


def _group(walk: _Walk, address: int, heap: Source, depth: int) -> None:
    """A B-tree (version 1) of symbol table nodes."""
    if address == walk.nowhere:
        return
    walk.look.spend(4)
    cursor = Cursor(walk.source, address)
    mark = cursor.take(4)
    if mark == b"SNOD":
        _symbols(walk, cursor, heap)
        return
    if mark != b"TREE" or depth > 16:
        raise UnreadableError("a broken group", offset=address, rule="hdf5-group")
    _kind, _level, used = cursor.number(1), cursor.number(1), cursor.number(2)
    cursor.skip(2 * walk.offsets + walk.lengths)
    for _ in range(used):
        child = cursor.number(walk.offsets)
        cursor.skip(walk.lengths)
        if child in walk.seen:
            raise UnreadableError("a group that holds itself", offset=child, rule="hdf5-group")
        walk.seen.add(child)
        _group(walk, child, heap, depth + 1)


def _symbols(walk: _Walk, cursor: Cursor, heap: Source) -> None:
    cursor.skip(2)
    for _ in range(cursor.number(2)):
        walk.look.spend()
        cursor.skip(walk.offsets)
        target, cache = cursor.number(walk.offsets), cursor.number(4)
        cursor.skip(4)
        scratch = cursor.take(16)
        if cache == 2:
            text = _terminated(heap.peek(int.from_bytes(scratch[:4], "little"), 4096))
            walk.look.note("hdf5-soft-link", f"a link to {text[:80]!r} inside the file")
        else:
            walk.visit(target)


def _link(walk: _Walk, body: Source) -> None:
    cursor = Cursor(body)
    cursor.skip(1)
    flags = cursor.number(1)
    kind = cursor.number(1) if flags & 8 else 0
    cursor.skip((8 if flags & 4 else 0) + (1 if flags & 0x10 else 0))
    name = cursor.take(cursor.number(1 << (flags & 3)))
    shown = name[:80].decode("utf-8", "replace")
    if kind == 0:
        walk.visit(cursor.number(walk.offsets))
    elif kind == 1:
        walk.look.note("hdf5-soft-link", f"{shown!r} is a link inside the file")
    elif kind == 64:
        target = cursor.take(cursor.number(2)).replace(b"\x00", b" ")[:120].decode("utf-8", "replace").strip()
        walk.look.malicious("hdf5-external-link", f"{shown!r} is read from another file ({target!r})")
    else:
        walk.look.suspicious("hdf5-user-link", f"{shown!r} is a link that only a plug-in can follow")


def _filters(walk: _Walk, body: Source, address: int) -> None:
    cursor = Cursor(body)
    version, count = cursor.number(1), cursor.number(1)
    if version == 1:
        cursor.skip(6)
    for _ in range(count):
        known = cursor.number(2)
        length = cursor.number(2) if version == 1 or known >= 256 else 0
        cursor.skip(2)
        values = cursor.number(2)
        cursor.skip(length + 4 * values + (4 if version == 1 and values % 2 else 0))
        if known not in _KNOWN_FILTERS:
            walk.look.suspicious("hdf5-filter", f"needs filter {known}, which is a plug-in of code", address)


def _dense(walk: _Walk, body: Source, kind: int, address: int) -> None:
    """Link info and attribute info: a fractal heap means that links or attributes are stored elsewhere."""
    cursor = Cursor(body)
    cursor.skip(1)
    flags = cursor.number(1)
    if flags & 1:
        cursor.skip(8 if kind == _LINK_INFO else 2)
    heap = cursor.number(walk.offsets)
    if heap == walk.nowhere:
        return
    if heap in walk.heaps:
        raise UnreadableError("two objects that share a heap", offset=address, rule="hdf5-dense")
    walk.heaps.add(heap)
    trees = [cursor.number(walk.offsets) for _ in range(2 if flags & 2 else 1)]
    found = dense_objects(
        walk.source,
        walk.look,
        heap=heap,
        trees=[tree for tree in trees if tree != walk.nowhere],
        offsets=walk.offsets,
        lengths=walk.lengths,
    )
    for message in found:
        (_link if kind == _LINK_INFO else _attribute)(walk, message)


def _attribute(walk: _Walk, body: Source) -> None:
    """An attribute by name; model_config and training_config are Keras configurations."""
    cursor = Cursor(body)
    version, flags = cursor.number(1), cursor.number(1)
    if version not in (1, 2, 3):
        raise UnreadableError("an attribute of unknown version", rule="hdf5-attribute")
    sizes = [cursor.number(2) for _ in range(3)]
    if version == 3:
        cursor.skip(1)
    padded = [-(-size // 8) * 8 for size in sizes] if version == 1 else sizes
    name = _terminated(cursor.take(padded[0]))
    kind = cursor.take(padded[1])
    cursor.skip(padded[2])
    if name not in ("model_config", "training_config", "layer_config"):
        return
    if flags & 3:
        walk.look.unscannable("hdf5-shared-message", f"{name}: a shared type; save the file with h5py defaults")
        return
    data = cursor.take(cursor.left)
    text = _text(walk, kind, data)
    if text is None:
        walk.look.unscannable("hdf5-attribute", f"{name} is no text")
        return
    try:
        inspect_keras(json.loads(text), walk.look)
    except (ValueError, RecursionError):
        walk.look.unscannable("keras-config", f"{name} is not JSON")


def _text(walk: _Walk, kind: bytes, data: bytes) -> str | None:
    """A text of fixed length (class 3) or of variable length (class 9, by way of the global heap)."""
    if not kind:
        return None
    if kind[0] & 0x0F == 3:
        return _terminated(data)
    if kind[0] & 0x0F != 9 or len(data) < 4 + walk.offsets + 4:
        return None
    size = int.from_bytes(data[:4], "little")
    address = int.from_bytes(data[4 : 4 + walk.offsets], "little")
    index = int.from_bytes(data[4 + walk.offsets : 8 + walk.offsets], "little")
    cursor = Cursor(walk.source, address)
    if cursor.take(4) != b"GCOL" or size > _MAX_TEXT:
        raise UnreadableError("a text that is not where it should be", offset=address, rule="hdf5-heap")
    cursor.skip(4)
    end = address + cursor.number(walk.lengths)
    while cursor.position + 8 + walk.lengths <= end:
        walk.look.spend()
        number = cursor.number(2)
        cursor.skip(6)
        length = cursor.number(walk.lengths)
        if number == index:
            return cursor.take(min(size, length)).decode("utf-8", "replace")
        if number == 0:
            break
        cursor.skip(-(-length // 8) * 8)
    raise UnreadableError("a text that is not in its heap", offset=address, rule="hdf5-heap")


def _terminated(data: bytes) -> str:
    return data.split(b"\x00", 1)[0].decode("utf-8", "replace")
