"""CBOR (RFC 8949), as much of it as COSE signatures need: one value, of definite length, with limits.

Bytes are `bytes`, text is `str`, a tag is `Tag`. Floats, undefined values and lengths that are not said beforehand are
refused, as are map keys that stand twice: two readers must not see two things.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_ITEMS = 10_000
_SIMPLE: dict[int, Any] = {20: False, 21: True, 22: None}


class CborError(ValueError):
    """Not CBOR, or more than is read here."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A tagged value."""

    number: int
    value: Any


def decode(data: bytes) -> Any:
    """The one value that `data` is. Raises CborError."""
    if len(data) > MAX_BYTES:
        raise CborError(f"larger than {MAX_BYTES} bytes")
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise CborError("bytes after the value")
    return value


def encode(value: list[str | bytes]) -> bytes:
    """A list of texts and byte strings: what COSE signs (RFC 9052 section 4.4)."""
    parts = [_head(4, len(value))]
    for item in value:
        data = item.encode() if isinstance(item, str) else item
        parts += [_head(3 if isinstance(item, str) else 2, len(data)), data]
    return b"".join(parts)


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes([major << 5 | code]) + number.to_bytes(size, "big")
    raise CborError("a number of more than 64 bits")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.at, self._items = data, 0, 0

    def value(self, depth: int) -> Any:
        self._items += 1
        if depth > MAX_DEPTH or self._items > MAX_ITEMS:
            raise CborError(f"nested more than {MAX_DEPTH} deep, or more than {MAX_ITEMS} values")
        first = self._take(1)[0]
        major, rest = first >> 5, first & 31
        if major == 7:
            if rest not in _SIMPLE:
                raise CborError("a float or an odd value")
            return _SIMPLE[rest]
        number = self._number(rest)
        if major in (0, 1):
            return number if major == 0 else -1 - number
        if major == 2:
            return self._take(number)
        if major == 3:
            try:
                return self._take(number).decode("utf-8")
            except UnicodeDecodeError as error:
                raise CborError("text that is not UTF-8") from error
        if major == 6:
            return Tag(number, self.value(depth + 1))
        if number > MAX_ITEMS:
            raise CborError(f"a list of more than {MAX_ITEMS}")
        if major == 4:
            return [self.value(depth + 1) for _ in range(number)]
        return self._map(number, depth)

    def _map(self, number: int, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for _ in range(number):
            key = self.value(depth + 1)
            if not isinstance(key, (int, str)) or isinstance(key, bool) or key in found:
                raise CborError("a map key that stands twice, or is neither number nor text")
            found[key] = self.value(depth + 1)
        return found

    def _number(self, rest: int) -> int:
        if rest < 24:
            return rest
        if rest > 27:
            raise CborError("a length that is not said beforehand")
        return int.from_bytes(self._take(1 << (rest - 24)), "big")

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self.at:
            raise CborError("it ends too early")
        self.at += size
        return self._data[self.at - size : self.at]
