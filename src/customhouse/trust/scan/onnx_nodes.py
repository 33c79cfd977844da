"""The short way through a node of ONNX: most have names, an operator and attributes of numbers, all of them short."""

from __future__ import annotations

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Source

_MOST = 4096
"""Bytes of a node that is read so."""
_NODE = 12
_TENSOR = 40
"""Steps that a node, and a tensor or value, costs beside its fields: half a million of either are no model's."""
_HELD = frozenset(key << 3 | 2 for key in (5, 6, 10, 11))
"""Keys of an attribute's tensors and graphs, which are looked into."""


def spend_on_tensor(look: Inspection) -> None:
    """What a tensor, an input or an output costs beside its fields."""
    look.spend(_TENSOR)


def plain_node(source: Source, look: Inspection) -> tuple[str, str] | None:
    """Operator and domain; None when the node is not plain, and then its fields are still to be spent on."""
    look.spend(_NODE)
    if source.size > _MOST:
        return None
    data = source.read(0, source.size)
    position, end, count = 0, len(data), 1
    operator = domain = b""
    while position < end:
        key = data[position]
        start = position + 2
        if key & 0x87 != 2 or key < 8 or start > end:
            return None
        size = data[position + 1]
        position = start + size
        if size > 0x7F or position > end:
            return None
        count += 1
        if key == 0x22:
            operator = data[start:position]
        elif key == 0x3A:
            domain = data[start:position]
        elif key == 0x2A:
            parts = _plain_attribute(data, start, position)
            if parts < 0:
                return None
            count += 1 + parts
    look.spend(count)
    return operator.decode("utf-8", "replace"), domain.decode("utf-8", "replace")


def _plain_attribute(data: bytes, position: int, end: int) -> int:
    """How many fields an attribute has; -1 when it holds a tensor or a graph, or has longer keys or sizes."""
    count = 0
    while position < end:
        key = data[position]
        wire = key & 7
        count += 1
        position += 1
        if key == 0xA0 and position < end and data[position] == 1:  # the type, field 20, a number
            key, wire, position = 0x50, 0, position + 1
        if not 8 <= key < 0x80 or key in _HELD or position >= end:
            return -1
        if wire == 2:
            if data[position] > 0x7F:
                return -1
            position += 1 + data[position]
        elif wire == 5:
            position += 4
        elif wire == 0 and data[position] < 0x80:
            position += 1
        else:
            return -1
    return count if position == end else -1
