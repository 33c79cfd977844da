"""A reader of DER (X.690) for what `cryptography` does not read: timestamp tokens. One encoding of a value, or none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from customhouse.core.errors import TamperError

BOOLEAN, INTEGER, OCTETS, OID, GENERALIZED_TIME, SEQUENCE, SET = 0x01, 0x02, 0x04, 0x06, 0x18, 0x30, 0x31
MAX_BYTES = 1 << 20
"""The largest structure: a timestamp token with a chain of certificates has a few KB."""
_MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its tag (a byte), its content, and its whole encoding."""

    tag: int
    content: bytes
    encoded: bytes

    def items(self) -> Items:
        """What a constructed value holds. Raises TamperError for a primitive one."""
        if not self.tag & 0x20:
            raise TamperError("DER: a primitive value where a list belongs")
        return Items(self.content)

    def number(self) -> int:
        """An INTEGER of at most 64 bytes."""
        value = self.content
        wasteful = len(value) > 1 and (value[0], value[1] >> 7) in ((0, 0), (0xFF, 1))
        if not value or len(value) > 64 or wasteful:
            raise TamperError("DER: not an integer")
        return int.from_bytes(value, "big", signed=True)

    def oid(self) -> str:
        """An OBJECT IDENTIFIER in dots."""
        if self.tag != OID or not self.content or len(self.content) > 64 or self.content[-1] & 0x80:
            raise TamperError("DER: not an object identifier")
        arcs: list[int] = []
        arc, start = 0, True
        for octet in self.content:
            if start and octet == 0x80:
                raise TamperError("DER: not an object identifier")
            arc = arc << 7 | octet & 0x7F
            start = not octet & 0x80
            if start:
                arcs.append(arc)
                arc = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(str(number) for number in (first, arcs[0] - 40 * first, *arcs[1:]))

    def time(self) -> datetime:
        """A GeneralizedTime as RFC 3161 (2.4.2) has it: UTC, seconds or finer, no trailing zeros."""
        try:
            text = self.content.decode("ascii")
            whole, dot, fraction = text.removesuffix("Z").partition(".")
            digits = len(whole) == 14 and whole.isdigit() and text.endswith("Z")
            fine = fraction.isdigit() and not fraction.endswith("0") and len(fraction) <= 9 if dot else not fraction
            if self.tag == GENERALIZED_TIME and digits and fine:
                at = datetime.strptime(whole, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
                return at.replace(microsecond=int(fraction[:6].ljust(6, "0"))) if dot else at
        except ValueError as error:  # UnicodeDecodeError is one
            raise TamperError("DER: not a time") from error
        raise TamperError("DER: not a time")


class Items:
    """The values of a SEQUENCE or SET, read in order."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def next_tag(self) -> int:
        """The tag of the next value, 0 at the end."""
        return self._data[self._at] if self._at < len(self._data) else 0

    def take(self, tag: int) -> Value:
        """The next value, which must have this tag."""
        value = self._read()
        if value.tag != tag:
            raise TamperError(f"DER: tag {value.tag:#04x} where {tag:#04x} belongs")
        return value

    def optional(self, tag: int) -> Value | None:
        """The next value if it has this tag."""
        return self._read() if self.next_tag == tag else None

    def done(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise TamperError("DER: bytes after the end")

    def __iter__(self) -> Iterator[Value]:
        for _ in range(_MAX_ITEMS):
            if self._at == len(self._data):
                return
            yield self._read()
        raise TamperError(f"DER: a list of more than {_MAX_ITEMS} values")

    def _read(self) -> Value:
        data, start = self._data, self._at
        if start + 2 > len(data) or data[start] & 0x1F == 0x1F:
            raise TamperError("DER: cut off, or a tag of several bytes")
        length, at = data[start + 1], start + 2
        if length & 0x80:
            octets = length & 0x7F
            field = data[at : at + octets]
            length = int.from_bytes(field, "big")
            if not 0 < octets <= 4 or len(field) != octets or field[0] == 0 or length < 0x80:
                raise TamperError("DER: a length that is not the shortest one")
            at += octets
        if at + length > len(data):
            raise TamperError("DER: cut off")
        self._at = at + length
        return Value(data[start], data[at : at + length], data[start : at + length])


def whole(data: bytes) -> Items:
    """The values of `data`, which must be one SEQUENCE and nothing after it. Raises TamperError."""
    if len(data) > MAX_BYTES:
        raise TamperError(f"DER: more than {MAX_BYTES} bytes")
    outer = Items(data)
    inner = outer.take(SEQUENCE)
    outer.done()
    return inner.items()
