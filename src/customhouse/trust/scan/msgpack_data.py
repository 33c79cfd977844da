"""MessagePack and UBJSON: data without code. Read whole, so that what is clean is known to be nothing else.

MessagePack as Flax and spaCy write it; UBJSON (big-endian, with typed arrays) as XGBoost does.
"""

from __future__ import annotations

from collections.abc import Callable

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

_MAX_DEPTH = 200
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8} | {
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
"""MessagePack: bytes that follow a mark."""
_SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)} | {
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
}  # fmt: skip
"""MessagePack: bytes of the length, and bytes that follow beside it (an extension's type)."""
_COUNTED = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""MessagePack: bytes of the count, and values for each counted."""
_NUMBERS = {b"i": 1, b"U": 1, b"I": 2, b"l": 4, b"L": 8, b"d": 4, b"D": 8, b"C": 1}
_NOTHING = (b"Z", b"N", b"T", b"F")


def is_msgpack(source: Source, look: Inspection) -> bool:
    """Whether all of it is one map or list of MessagePack that is not empty."""
    head = source.peek(0, 1)
    if not head or not (0x81 <= head[0] <= 0x9F or 0xDC <= head[0] <= 0xDF) or head[0] == 0x90:
        return False
    return _fits(source, look, _read_msgpack)


def is_ubjson(source: Source, look: Inspection) -> bool:
    """Whether all of it is one object of UBJSON, as XGBoost writes it."""
    head = source.peek(0, 2)
    return head[:1] == b"{" and head[1:] in (b"i", b"U", b"I", b"l", b"L") and _fits(source, look, _read_ubjson)


def inspect_msgpack(_source: Source, look: Inspection) -> None:
    """Nothing to judge: it was read whole to know what it is, and holds no code."""
    look.format = "msgpack"


def inspect_ubjson(_source: Source, look: Inspection) -> None:
    """Nothing to judge: it was read whole to know what it is, and holds no code."""
    look.format = "ubjson"


def _fits(source: Source, look: Inspection, read: Callable[[Cursor, Inspection], None]) -> bool:
    cursor = Cursor(source)
    try:
        read(cursor, look)
    except UnreadableError as error:
        if error.rule.startswith("limit"):
            raise
        return False
    return cursor.left == 0


def _read_msgpack(cursor: Cursor, look: Inspection) -> None:
    """One value; the values still to come are counted a level, so that nothing recurses."""
    waiting = [1]
    while waiting:
        if waiting[-1] == 0:
            waiting.pop()
            continue
        waiting[-1] -= 1
        look.spend()
        mark = cursor.byte()
        inner = _msgpack_step(cursor, mark)
        if inner:
            waiting.append(inner)
            if len(waiting) > _MAX_DEPTH:
                raise UnreadableError("nested too deep", rule="limit-depth")


def _msgpack_step(cursor: Cursor, mark: int) -> int:
    """Pass over one value's own bytes; gives the number of values inside."""
    if mark < 0 or mark == 0xC1:
        raise UnreadableError("no MessagePack", offset=cursor.position)
    if mark < 0x80 or mark >= 0xE0:
        return 0
    if mark < 0x90:
        return 2 * (mark & 0x0F)
    if mark < 0xA0:
        return mark & 0x0F
    if mark < 0xC0:
        cursor.skip(mark & 0x1F)
        return 0
    if mark in _FIXED:
        cursor.skip(_FIXED[mark])
        return 0
    if mark in _SIZED:
        width, more = _SIZED[mark]
        cursor.skip(int.from_bytes(cursor.take(width), "big") + more)
        return 0
    width, values = _COUNTED[mark]
    return values * int.from_bytes(cursor.take(width), "big")


def _read_ubjson(cursor: Cursor, look: Inspection) -> None:
    """One value, without recursion: a stack of what is open (kind, values left or -1, their type)."""
    stack: list[tuple[bytes, int, bytes]] = []
    _ubjson_value(cursor, stack, cursor.take(1))
    while stack:
        look.spend()
        if len(stack) > _MAX_DEPTH:
            raise UnreadableError("nested too deep", rule="limit-depth")
        kind, left, type_ = stack.pop()
        if left == 0:
            continue
        mark = b""
        if left < 0:
            mark = cursor.take(1)
            if mark == (b"]" if kind == b"[" else b"}"):
                continue
        stack.append((kind, left - 1 if left > 0 else left, type_))
        if kind == b"{":
            cursor.skip(_ubjson_number(cursor, mark or cursor.take(1)))
            mark = b""
        _ubjson_value(cursor, stack, type_ or mark or cursor.take(1))


def _ubjson_value(cursor: Cursor, stack: list[tuple[bytes, int, bytes]], mark: bytes) -> None:
    if mark in _NUMBERS:
        cursor.skip(_NUMBERS[mark])
    elif mark in (b"S", b"H"):
        cursor.skip(_ubjson_number(cursor, cursor.take(1)))
    elif mark in (b"[", b"{"):
        _ubjson_open(cursor, stack, mark)
    elif mark not in _NOTHING:
        raise UnreadableError("no UBJSON", offset=cursor.position)


def _ubjson_open(cursor: Cursor, stack: list[tuple[bytes, int, bytes]], mark: bytes) -> None:
    type_, count = b"", -1
    if cursor.left and _peek(cursor) == b"$":
        cursor.skip(1)
        type_ = cursor.take(1)
    if cursor.left and _peek(cursor) == b"#":
        cursor.skip(1)
        count = _ubjson_number(cursor, cursor.take(1))
    elif type_:
        raise UnreadableError("a type without a count", offset=cursor.position)
    if mark == b"[" and type_ in _NUMBERS:
        cursor.skip(_NUMBERS[type_] * count)
    elif not (mark == b"[" and type_ in _NOTHING):
        stack.append((mark, count, type_))


def _ubjson_number(cursor: Cursor, mark: bytes) -> int:
    if mark not in (b"i", b"U", b"I", b"l", b"L"):
        raise UnreadableError("a length that is no number", offset=cursor.position)
    value = int.from_bytes(cursor.take(_NUMBERS[mark]), "big", signed=mark != b"U")
    if value < 0:
        raise UnreadableError("a negative length", offset=cursor.position)
    return value


def _peek(cursor: Cursor) -> bytes:
    mark = cursor.take(1)
    cursor.position -= 1
    return mark
