"""Pickles of weights as plain values: a small machine that knows the few names that weights are made of.

It is no unpickler: a name outside of REBUILDERS ends the conversion. The opcodes are read by the scanner's cursor;
what each means is CPython's `Modules/_pickle.c`, as in `trust.scan.opcodes`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from customhouse.trust.convert.tensors import refuse
from customhouse.trust.scan.importables import canonical
from customhouse.trust.scan.source import Cursor, Source

MAX_STEPS = 20_000_000
_MARK = object()


@dataclass(frozen=True, slots=True)
class Name:
    """A global that is not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True)
class Call:
    """A call that is not made, and the state that BUILD would give its result."""

    name: Name
    arguments: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


Rebuild = Callable[[Call], Any]


class Reader:
    """Reads one pickle. `rebuild` makes a value of a call, `persistent` of a persistent id; `built` hears of BUILD."""

    def __init__(
        self,
        source: Source,
        start: int,
        rebuild: Rebuild,
        persistent: Callable[[Any], Any] | None = None,
        built: Callable[[Call, Cursor], Any] | None = None,
    ) -> None:
        self.cursor = Cursor(source, start)
        self.rebuild, self.persistent, self.built = rebuild, persistent, built
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self) -> Any:
        """The value of the pickle; afterwards `cursor` stands behind it. Raises ArtifactError and UnreadableError."""
        for _ in range(MAX_STEPS):
            code = self.cursor.byte()
            if code == 0x2E:
                return self.stack.pop()
            try:
                move = _MOVES[code]
            except KeyError:
                raise refuse(f"a pickle opcode 0x{code & 255:02x} that weights do not use") from None
            try:
                move(self)
            except (IndexError, TypeError, KeyError) as error:
                raise refuse(f"a broken pickle ({type(error).__name__})") from error
        raise refuse(f"a pickle of more than {MAX_STEPS} steps")

    def marked(self) -> list[Any]:
        """What lies above the last mark."""
        index = len(self.stack) - 1
        while self.stack[index] is not _MARK:
            index -= 1
        items = self.stack[index + 1 :]
        del self.stack[index:]
        return items

    def call(self, callee: Any, arguments: Any) -> None:
        """REDUCE and NEWOBJ."""
        if not isinstance(callee, Name) or not isinstance(arguments, tuple):
            raise refuse("a pickle that calls what it made")
        self.stack.append(self.rebuild(Call(callee, arguments)))

    def build(self) -> None:
        """BUILD."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Call):
            target.state = state
            if self.built is not None:
                self.stack[-1] = self.built(target, self.cursor)
        elif hasattr(target, "set_state"):
            target.set_state(state)
        elif not isinstance(target, dict):  # a dictionary's attributes: torch keeps versions of modules there
            raise refuse("a pickle that gives state to a plain value")

    def extend(self, items: list[Any]) -> None:
        """APPEND(S) and ADDITEMS."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        else:
            raise refuse("a pickle that appends to what is no list")

    def fill(self, items: list[Any]) -> None:
        """SETITEM(S)."""
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise refuse("a pickle that sets items of what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key] = value

    def name(self, module: Any, name: Any) -> None:
        """GLOBAL and STACK_GLOBAL."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise refuse("a pickle with a computed name")
        self.stack.append(Name(*canonical(module, name)))


def _text(reader: Reader, size: int, encoding: str = "utf-8") -> None:
    reader.stack.append(reader.cursor.take(size).decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict"))


def _bytes(reader: Reader, size: int) -> None:
    reader.stack.append(reader.cursor.take(size))


def _line(reader: Reader) -> str:
    return reader.cursor.line().decode("latin-1")


def _global(reader: Reader) -> None:
    module = _line(reader)
    reader.name(module, _line(reader))


def _stack_global(reader: Reader) -> None:
    name = reader.stack.pop()
    reader.name(reader.stack.pop(), name)


def _reduce(reader: Reader) -> None:
    arguments = reader.stack.pop()
    reader.call(reader.stack.pop(), arguments)


def _last(reader: Reader, count: int) -> None:
    items = tuple(reader.stack[-count:])
    del reader.stack[-count:]
    reader.stack.append(items)


def _memoize(reader: Reader, index: int) -> None:
    reader.memo[index] = reader.stack[-1]


def _dict(reader: Reader) -> None:
    items = reader.marked()
    reader.stack.append({})
    reader.fill(items)


def _setitem(reader: Reader) -> None:
    value = reader.stack.pop()
    key = reader.stack.pop()
    reader.fill([key, value])


def _persistent(reader: Reader) -> None:
    key = reader.stack.pop()
    if reader.persistent is None:
        raise refuse("a pickle that refers to something outside")
    reader.stack.append(reader.persistent(key))


def _float(reader: Reader) -> None:
    reader.stack.append(struct.unpack(">d", reader.cursor.take(8))[0])


def _long(reader: Reader, size: int) -> None:
    reader.stack.append(int.from_bytes(reader.cursor.take(size), "little", signed=True))


def _plain(value: Any) -> Callable[[Reader], None]:
    return lambda reader: reader.stack.append(value)


def _number(width: int, *, signed: bool = False) -> Callable[[Reader], None]:
    return lambda reader: reader.stack.append(reader.cursor.number(width, signed=signed))


def _int_line(reader: Reader) -> None:
    line = _line(reader)
    reader.stack.append({"00": False, "01": True}[line] if line in ("00", "01") else int(line.removesuffix("L")))


_MOVES: dict[int, Callable[[Reader], None]] = {
    ord("("): _plain(_MARK),
    ord("0"): lambda r: r.stack.pop(),
    ord("N"): _plain(None),
    0x88: _plain(True),
    0x89: _plain(False),
    ord(")"): _plain(()),
    ord("]"): lambda r: r.stack.append([]),
    ord("}"): lambda r: r.stack.append({}),
    ord("F"): lambda r: r.stack.append(float(_line(r))),
    ord("G"): _float,
    ord("I"): _int_line,
    ord("L"): _int_line,
    ord("J"): _number(4, signed=True),
    ord("K"): _number(1),
    ord("M"): _number(2),
    0x8A: lambda r: _long(r, r.cursor.number(1)),
    ord("T"): lambda r: _text(r, r.cursor.number(4), "latin-1"),
    ord("U"): lambda r: _text(r, r.cursor.number(1), "latin-1"),
    ord("V"): lambda r: r.stack.append(r.cursor.line(64 << 20).decode("raw-unicode-escape")),
    ord("X"): lambda r: _text(r, r.cursor.number(4)),
    0x8C: lambda r: _text(r, r.cursor.number(1)),
    0x8D: lambda r: _text(r, r.cursor.number(8)),
    ord("B"): lambda r: _bytes(r, r.cursor.number(4)),
    ord("C"): lambda r: _bytes(r, r.cursor.number(1)),
    0x8E: lambda r: _bytes(r, r.cursor.number(8)),
    0x96: lambda r: _bytes(r, r.cursor.number(8)),
    ord("t"): lambda r: r.stack.append(tuple(r.marked())),
    0x85: lambda r: _last(r, 1),
    0x86: lambda r: _last(r, 2),
    0x87: lambda r: _last(r, 3),
    ord("l"): lambda r: r.stack.append(r.marked()),
    ord("d"): _dict,
    ord("a"): lambda r: r.extend([r.stack.pop()]),
    ord("e"): lambda r: r.extend(r.marked()),
    ord("s"): _setitem,
    ord("u"): lambda r: r.fill(r.marked()),
    ord("p"): lambda r: _memoize(r, int(_line(r))),
    ord("q"): lambda r: _memoize(r, r.cursor.number(1)),
    ord("r"): lambda r: _memoize(r, r.cursor.number(4)),
    0x94: lambda r: _memoize(r, len(r.memo)),
    ord("g"): lambda r: r.stack.append(r.memo[int(_line(r))]),
    ord("h"): lambda r: r.stack.append(r.memo[r.cursor.number(1)]),
    ord("j"): lambda r: r.stack.append(r.memo[r.cursor.number(4)]),
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _reduce,
    ord("b"): Reader.build,
    ord("Q"): _persistent,
    0x80: lambda r: r.cursor.skip(1),
    0x95: lambda r: r.cursor.skip(8),
}
"""By opcode byte. Sets, extensions, INST and OBJ are not among them: weights do not use them."""
