"""HDF5's dense storage: links and attributes in a fractal heap, found by a B-tree of version 2.

After the HDF5 File Format Specification 3.0, III.A.2 and III.G.
Groups of many links and objects of many attributes are kept so when a file is written for new readers only. Objects
that are huge, and heaps that are filtered, are not read: whoever asks hears so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

_ID_PLACE = {5: 4, 6: 8, 8: 0, 9: 0}
"""Where a record has its heap's id, by the kind of the tree: links by name and by order, attributes likewise."""
_NODE_OVERHEAD = 10
_MAX_DEPTH = 8
_MAX_ROWS = 64


@dataclass(frozen=True, slots=True)
class _Heap:
    """A fractal heap's header: what is needed to find an object by its id."""

    offsets: int
    id_size: int
    flags: int
    offset_size: int
    length_size: int
    width: int
    start: int
    most: int
    root: int
    rows: int

    def row_size(self, row: int) -> int:
        """Bytes of each block of a row: doubling from the third on."""
        return self.start << max(0, row - 1)


def dense_objects(
    source: Source, look: Inspection, *, heap: int, trees: list[int], offsets: int, lengths: int
) -> Iterator[Source]:
    """The messages that a group or an object keeps in a heap. Raises UnreadableError for what is not understood."""
    head = _heap(source, heap, offsets, lengths)
    seen: set[bytes] = set()
    for tree in trees:
        for key in _records(source, look, tree, offsets):
            name = key[: head.id_size]
            if name not in seen:
                seen.add(name)
                look.spend(8)
                yield _object(source, look, head, name)


def _heap(source: Source, address: int, offsets: int, lengths: int) -> _Heap:
    cursor = Cursor(source, address)
    if cursor.take(4) != b"FRHP" or cursor.number(1) != 0:
        raise UnreadableError("a heap that is none", offset=address, rule="hdf5-dense")
    id_size, filters, flags, largest = cursor.number(2), cursor.number(2), cursor.number(1), cursor.number(4)
    if filters:
        raise UnreadableError("a heap that is compressed", offset=address, rule="hdf5-dense", hint="save it again")
    cursor.skip(2 * offsets + 10 * lengths)
    width, start, most, bits = cursor.number(2), cursor.number(lengths), cursor.number(lengths), cursor.number(2)
    cursor.skip(2)
    root, rows = cursor.number(offsets), cursor.number(2)
    sound = 0 < start <= most <= 1 << 32 and not start & (start - 1) and not most & (most - 1)
    if not sound or not 0 < width <= 1024 or not 0 < bits <= 64 or rows > _MAX_ROWS:
        raise UnreadableError("a heap of an odd shape", offset=address, rule="hdf5-dense")
    length_size = min(-(-(most.bit_length() - 1) // 8), _encoded(largest))
    return _Heap(offsets, id_size, flags, -(-bits // 8), length_size, width, start, most, root, rows)


def _encoded(limit: int) -> int:
    """Bytes that numbers up to a limit take."""
    return (max(limit, 1).bit_length() - 1) // 8 + 1


def _object(source: Source, look: Inspection, heap: _Heap, key: bytes) -> Source:
    """What an id stands for: bytes in a block, or in the id itself."""
    if not key:
        raise UnreadableError("an object without an id", rule="hdf5-dense")
    kind = key[0] >> 4 & 3
    if key[0] >> 6 or kind not in (0, 2):
        raise UnreadableError("an object that is kept outside of its heap", rule="hdf5-dense", hint="save it again")
    if kind == 2:
        size = (key[0] & 0x0F) + 1
        return Source.of(key[1 : 1 + size])
    place = int.from_bytes(key[1 : 1 + heap.offset_size], "little")
    size = int.from_bytes(key[1 + heap.offset_size :][: heap.length_size], "little")
    if heap.rows == 0:
        return _in_block(source, heap.root, start=0, place=place, size=size)
    return _below(source, look, heap, heap.root, rows=heap.rows, start=0, place=place, size=size)


def _in_block(source: Source, address: int, *, start: int, place: int, size: int) -> Source:
    if source.read(address, 4) != b"FHDB":
        raise UnreadableError("a heap's block that is none", offset=address, rule="hdf5-dense")
    return source.window(address + place - start, size)


def _below(
    source: Source, look: Inspection, heap: _Heap, address: int, *, rows: int, start: int, place: int, size: int
) -> Source:
    """The object at `place` of the heap's own space, below an indirect block that begins at `start`."""
    for _ in range(_MAX_DEPTH):
        look.spend(4)
        cursor = Cursor(source, address)
        if cursor.take(4) != b"FHIB":
            break
        cursor.skip(1 + heap.offsets + heap.offset_size)
        at = start
        for row in range(rows):
            extent = heap.row_size(row) * heap.width
            if place < at + extent:
                break
            at += extent
        else:
            break
        column = (place - at) // heap.row_size(row)
        cursor.skip((row * heap.width + column) * heap.offsets)
        address, start = cursor.number(heap.offsets), at + column * heap.row_size(row)
        if heap.row_size(row) <= heap.most:
            return _in_block(source, address, start=start, place=place, size=size)
        rows = (heap.row_size(row) // (heap.start * heap.width)).bit_length()
    raise UnreadableError("an object that is not in its heap", offset=address, rule="hdf5-dense")


def _records(source: Source, look: Inspection, address: int, offsets: int) -> Iterator[bytes]:
    """The ids of a tree's records, in order."""
    cursor = Cursor(source, address)
    if cursor.take(4) != b"BTHD" or cursor.number(1) != 0:
        raise UnreadableError("an index that is none", offset=address, rule="hdf5-dense")
    kind, node, record, depth = cursor.number(1), cursor.number(4), cursor.number(2), cursor.number(2)
    cursor.skip(2)
    root, count = cursor.number(offsets), cursor.number(2)
    if kind not in _ID_PLACE or depth > _MAX_DEPTH or not 11 <= record <= 256 or not 64 <= node <= 1 << 20:
        raise UnreadableError("an index of an odd shape", offset=address, rule="hdf5-dense")
    sizes = _pointer_sizes(node, record, depth, offsets)
    pending = [(root, count, depth)]
    seen = {root}
    while pending:
        look.spend(4)
        place, count, level = pending.pop()
        cursor = Cursor(source.window(place, min(node, source.size - place)) if count else source.window(0, 0))
        if count and cursor.take(6)[:4] != (b"BTIN" if level else b"BTLF"):
            raise UnreadableError("an index's node that is none", offset=place, rule="hdf5-dense")
        for _ in range(count):
            row = cursor.take(record)
            if kind in (8, 9) and row[8] & 2:
                raise UnreadableError("an attribute that objects share", rule="hdf5-dense", hint="save it again")
            yield row[_ID_PLACE[kind] :]
        for _ in range(count + 1 if level and count else 0):
            child, inner = cursor.number(offsets), cursor.number(sizes[level - 1][0])
            cursor.skip(sizes[level - 1][1])
            if child in seen:
                raise UnreadableError("an index that holds itself", offset=place, rule="hdf5-dense")
            seen.add(child)
            pending.append((child, inner, level - 1))


def _pointer_sizes(node: int, record: int, depth: int, offsets: int) -> list[tuple[int, int]]:
    """By level of the child: bytes of its count of records, and of the count of all below it."""
    most = total = (node - _NODE_OVERHEAD) // record
    first = _encoded(most)
    sizes = [(first, 0)]
    for _ in range(depth):
        pointer = offsets + first + sizes[-1][1]
        most = max(1, (node - _NODE_OVERHEAD - pointer) // (record + pointer))
        total = (most + 1) * total + most
        sizes.append((first, _encoded(total)))
    return sizes
