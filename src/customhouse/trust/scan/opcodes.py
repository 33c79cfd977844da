"""The opcodes of pickle protocols 0 to 5, each as a move of the machine, and the loop that drives it."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Mapping

from customhouse.trust.scan.machine import KEEP_TEXT, Machine, Outcome, fillable
from customhouse.trust.scan.source import UnreadableError
from customhouse.trust.scan.stretches import KEEP_ITEMS, SLOW, THROWN, run_ahead
from customhouse.trust.scan.values import (
    LIST,
    NUMBER,
    SET,
    Blob,
    Items,
    Made,
    Named,
    Text,
    Unknown,
    Value,
    empty_list,
    empty_table,
    shown,
)

Move = Callable[[Machine], None]
_MAX_ENTRIES = 4_000_000
_MAX_LINE = 64 << 20
_LARGE = 1 << 20
_MAX_DIGITS = 4300
"""Longer ones Python itself refuses to read."""
_NUMBER = re.compile(rb"[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9_]+)")
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{2})|(.?))", re.DOTALL)
_LETTERS: Mapping[bytes, bytes] = {
    b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v",
    b"\\": b"\\", b"'": b"'", b'"': b'"',
}  # fmt: skip


def simulate(machine: Machine) -> Outcome:
    """Read one pickle to its STOP. Raises UnreadableError for broken opcodes; findings made before stay.

    Python's cycle collector rests meanwhile when the file is large: values are made by the million, hardly any of them
    goes before the end, and looking through all of them again and again takes a third of the time.
    """
    resting = machine.source.size > _LARGE and gc.isenabled()
    if resting:
        gc.disable()
    try:
        return _simulated(machine)
    finally:
        if resting:
            gc.enable()


def _simulated(machine: Machine) -> Outcome:
    """`stretches.run_ahead` moves a stretch of the file at a time; the end of the file is moved opcode by opcode."""
    cursor, moves, spend = machine.cursor, MOVES, machine.look.budget.spend
    while True:
        steps = run_ahead(machine, moves)
        if steps > 64:
            _bounded(machine)
        spend(steps + SLOW)
        machine.at = cursor.position
        code = cursor.byte()
        if code == 0x2E:  # STOP
            result = machine.pop()
            if machine.guarded:
                machine.keep((result,))
            return Outcome(cursor.position, result, machine.protocol, machine.named, machine.called, machine.storages)
        move = moves.get(code)
        if move is None:
            what = "the pickle ends without STOP" if code < 0 else f"byte 0x{code:02x} is no pickle opcode"
            raise UnreadableError(what, offset=machine.at, rule="pickle-broken", hint="write the file again")
        move(machine)


def _bounded(machine: Machine) -> None:
    if len(machine.stack) > _MAX_ENTRIES or len(machine.memo) + len(machine.far) > _MAX_ENTRIES:
        raise UnreadableError(f"stack or memo of over {_MAX_ENTRIES} values", offset=machine.at, rule="limit-steps")


def _broken(machine: Machine, what: str) -> UnreadableError:
    return UnreadableError(what, offset=machine.at, rule="pickle-broken")


def _index(machine: Machine, line: bytes) -> int:
    """The memo's index of protocol 0: a decimal as C's and Python's unpicklers take it (signs, `1_0`, spaces)."""
    try:
        return int(line.partition(b"\0")[0]) if len(line) <= _MAX_DIGITS else -1
    except ValueError as error:
        raise _broken(machine, "a number that is not one") from error


def _decimal(machine: Machine, line: bytes) -> Value:
    """A number of INT and LONG: C's unpickler takes what `strtol` and `int(text, 0)` take, so hexadecimal too."""
    text = line.partition(b"\0")[0].strip().removesuffix(b"L").strip()
    if len(text) <= _MAX_DIGITS and text.removeprefix(b"-").isdigit():
        return int(text)
    if _NUMBER.fullmatch(text) is None:
        raise _broken(machine, "a number that is not one")
    return NUMBER


def _int_line(m: Machine) -> None:
    line = m.cursor.line()
    m.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _decimal(m, line))


def _float_line(m: Machine) -> None:
    line = m.cursor.line()
    try:
        float(line.partition(b"\0")[0])
    except ValueError as error:
        raise _broken(m, "a number that is not one") from error
    m.push(NUMBER)


def _quoted(m: Machine) -> None:
    line = m.cursor.line(_MAX_LINE).strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise _broken(m, "a string without quotes")
    body = line[1:-1]
    if b"\\" in body:
        # Escapes could spell a name: read them as the unpickler does (those of bytes; what is none stays as it is).
        body = _ESCAPE.sub(lambda match: _byte(m, match), body)
    if len(body) > KEEP_TEXT:
        m.push(Unknown("string"))
    else:
        m.text(body, "latin-1")


def _byte(m: Machine, match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, letter = match.groups()
    if octal is not None:
        return bytes([int(octal, 8) & 0xFF])
    if hexadecimal is not None:
        return bytes([int(hexadecimal, 16)])
    if letter in (b"x", b""):
        raise _broken(m, "a string with broken escapes")
    return _LETTERS.get(letter, match[0])


def _unicode_line(m: Machine) -> None:
    start = m.cursor.position
    line = m.cursor.line(_MAX_LINE)
    if len(line) > 6 * KEEP_TEXT:  # longer than the longest kept text with every letter escaped
        m.push(Text(start, len(line), escaped=True))
        return
    try:
        text = line.decode("raw-unicode-escape")
    except UnicodeDecodeError as error:
        raise _broken(m, "a text with broken escapes") from error
    m.push(text)


def _long(m: Machine, size: int) -> None:
    if size < 0:
        raise _broken(m, "a negative length")
    if size > 256:
        m.cursor.skip(size)
        m.push(NUMBER)
    else:
        m.push(m.cursor.number(size, signed=True))


def _word(line: bytes, m: Machine) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _broken(m, "a name that is not UTF-8") from error


def _global(m: Machine) -> None:
    module = _word(m.cursor.line(4096), m)
    m.name(module, _word(m.cursor.line(4096), m))


def _inst(m: Machine) -> None:
    if not m.marks:
        raise _broken(m, "INST without a mark")
    _global(m)
    named = m.pop()
    _instance(m, named, tuple(m.marked()))


def _obj(m: Machine) -> None:
    items = m.marked()
    if not items:
        raise _broken(m, "OBJ without a class")
    _instance(m, items[0], tuple(items[1:]))


def _instance(m: Machine, made: Value, arguments: tuple[Value, ...]) -> None:
    """INST and OBJ: without arguments the class is made bare, unless it has `__getinitargs__`."""
    if arguments:
        m.call(made, arguments)
    else:
        m.make(made, arguments)


def _stack_global(m: Machine) -> None:
    name = m.pop()
    m.name(m.pop(), name)


def _reduce(m: Machine) -> None:
    arguments = m.pop()
    m.call(m.pop(), arguments)


def _newobj(m: Machine) -> None:
    arguments = m.pop()
    m.make(m.pop(), arguments)


def _newobj_ex(m: Machine) -> None:
    keywords = m.pop()
    if m.guarded:
        m.keep((keywords,))
    _newobj(m)


def _extension(m: Machine, width: int) -> None:
    code = m.cursor.number(width)
    m.look.suspicious("pickle-extension", f"names extension {code}, which only its reader's registry resolves", m.at)
    m.push(Unknown("extension"))


def _proto(m: Machine) -> None:
    m.protocol = m.cursor.number(1)
    if m.protocol > 5:
        raise _broken(m, f"protocol {m.protocol} is newer than 5")


def _frame(m: Machine) -> None:
    size = m.cursor.number(8)
    if size > m.cursor.left:
        raise _broken(m, "a frame reaches past the end")


def _pop(m: Machine) -> None:
    m.look.spend(THROWN)
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.pop()


def _pop_mark(m: Machine) -> None:
    m.look.spend(THROWN)
    m.marked()


def _dup(m: Machine) -> None:
    m.look.spend(THROWN)
    m.push(m.top())


def _tuple(m: Machine, items: list[Value]) -> None:
    if m.guarded:
        m.keep(items)
    m.push(tuple(items[: KEEP_ITEMS * 4]))


def _last(m: Machine, count: int) -> None:
    items = [m.pop() for _ in range(count)]
    _tuple(m, items[::-1])


def _dict(m: Machine) -> None:
    items = m.marked()
    table = empty_table()
    m.fill(table, items)
    m.push(table)


def _append(m: Machine, items: list[Value]) -> None:
    target = m.top()
    if m.guarded:
        m.keep(items)
    if isinstance(target, Named):
        m.look.malicious("pickle-patches-class", f"calls append or extend of {shown(target)} itself", m.at)
    elif isinstance(target, Items):
        target.extend(items)
    elif isinstance(target, Made) and not fillable(target):
        m.look.suspicious("pickle-odd-items", f"appends to {shown(target.callee)}, no known list", m.at)


def _replaced(value: Value) -> Move:
    def move(m: Machine) -> None:
        items = m.marked()
        if m.guarded:
            m.keep(items)
        m.push(value)

    return move


def _setitem(m: Machine) -> None:
    value = m.pop()
    key = m.pop()
    m.fill(m.top(), [key, value])


def _setitems(m: Machine) -> None:
    items = m.marked()
    m.fill(m.top(), items)


def _appends(m: Machine) -> None:
    items = m.marked()
    _append(m, items)


def _append_one(m: Machine) -> None:
    item = m.pop()
    _append(m, [item])


def _skip(m: Machine, count: int) -> None:
    m.cursor.skip(count)
    m.push(NUMBER)


def _mark(m: Machine) -> None:
    m.marks.append(len(m.stack))


def _next_buffer(m: Machine) -> None:
    m.look.unscannable("pickle-buffer", "its data lies outside of the pickle (protocol 5 buffers); scan that too", m.at)
    m.push(Blob(0, 0))


MOVES: Mapping[int, Move] = {
    ord("("): _mark,
    ord("0"): _pop,
    ord("1"): _pop_mark,
    ord("2"): _dup,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord(")"): lambda m: m.push(()),
    ord("]"): lambda m: m.push(empty_list()),
    ord("}"): lambda m: m.push(empty_table()),
    0x8F: lambda m: m.push(SET),
    ord("F"): _float_line,
    ord("G"): lambda m: _skip(m, 8),
    ord("I"): _int_line,
    ord("L"): lambda m: m.push(_decimal(m, m.cursor.line())),
    ord("J"): lambda m: m.push(m.cursor.number(4, signed=True)),
    ord("K"): lambda m: m.push(m.cursor.number(1)),
    ord("M"): lambda m: m.push(m.cursor.number(2)),
    0x8A: lambda m: _long(m, m.cursor.number(1)),
    0x8B: lambda m: _long(m, m.cursor.number(4, signed=True)),
    ord("S"): _quoted,
    ord("T"): lambda m: m.long_text(m.cursor.number(4), binary=True),
    ord("U"): lambda m: m.long_text(m.cursor.number(1), binary=True),
    ord("V"): _unicode_line,
    ord("X"): lambda m: m.long_text(m.cursor.number(4)),
    0x8C: lambda m: m.long_text(m.cursor.number(1)),
    0x8D: lambda m: m.long_text(m.cursor.number(8)),
    ord("B"): lambda m: m.blob(m.cursor.number(4)),
    ord("C"): lambda m: m.blob(m.cursor.number(1)),
    0x8E: lambda m: m.blob(m.cursor.number(8)),
    0x96: lambda m: m.blob(m.cursor.number(8)),
    0x97: _next_buffer,
    0x98: lambda m: m.push(m.pop()),
    ord("t"): lambda m: _tuple(m, m.marked()),
    0x85: lambda m: _last(m, 1),
    0x86: lambda m: _last(m, 2),
    0x87: lambda m: _last(m, 3),
    ord("l"): _replaced(LIST),
    ord("d"): _dict,
    0x91: _replaced(SET),
    ord("a"): _append_one,
    ord("e"): _appends,
    0x90: _appends,
    ord("s"): _setitem,
    ord("u"): _setitems,
    ord("p"): lambda m: m.remember(_index(m, m.cursor.line())),
    ord("q"): lambda m: m.remember(m.cursor.number(1)),
    ord("r"): lambda m: m.remember(m.cursor.number(4)),
    0x94: lambda m: m.memoize(),
    ord("g"): lambda m: m.recall(_index(m, m.cursor.line())),
    ord("h"): lambda m: m.recall(m.cursor.number(1)),
    ord("j"): lambda m: m.recall(m.cursor.number(4)),
    ord("c"): _global,
    ord("i"): _inst,
    0x93: _stack_global,
    ord("o"): _obj,
    ord("R"): _reduce,
    0x81: _newobj,
    0x92: _newobj_ex,
    ord("b"): lambda m: m.build(),
    0x82: lambda m: _extension(m, 1),
    0x83: lambda m: _extension(m, 2),
    0x84: lambda m: _extension(m, 4),
    ord("P"): lambda m: m.persistent(m.cursor.line()),
    ord("Q"): lambda m: m.persistent(m.pop()),
    0x80: _proto,
    0x95: _frame,
}
"""By opcode byte; STOP is the loop's."""
