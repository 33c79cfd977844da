"""The loops over a pickle's opcodes: what is plain is moved here, the rest by the moves of `opcodes`.

Constants, memo and plain containers are most of every pickle, millions of opcodes in 10 MB. Each branch does what the
same opcode's move in MOVES does; whatever is not plain (a long text, an empty stack, an odd target) is left to that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from customhouse.trust.scan.machine import HOLE, KEEP_TEXT, Machine
from customhouse.trust.scan.values import LIST, NUMBER, SET, Blob, Items, Table, Value

Moves = Mapping[int, Callable[[Machine], None]]
KEEP_ITEMS = 64
SLOW = 8
"""Steps of an opcode that is moved by MOVES, beside one of a constant here."""
THROWN = 16
"""What POP, POP_MARK and DUP cost in steps: no framework writes DUP, and the others for tuples in themselves alone."""
_MADE = 2
"""What making or filling a container costs, beside a constant."""
_LINE = 1
"""What finding the end of a line costs, and reading what is not often there."""
_TURN = 3
"""What it costs to go from one loop to the other."""
_LONGEST = 300
"""Bytes of the longest opcode that is plain, and a little more."""
_MOST_IN_TUPLE = 4 * KEEP_ITEMS
_LINES = frozenset(b"pgVIFLS")
"""Opcodes of protocol 0 whose argument is a line."""
_GATHERING = frozenset((0x65, 0x75, 0x74, 0x61, 0x73, 0x64, 0x6C))
"""APPENDS, SETITEMS, TUPLE, APPEND, SETITEM, DICT, LIST."""
_CONSTANTS: Mapping[int, Value] = {0x88: True, 0x89: False, 0x8F: SET, 0x29: ()}


def run_ahead(machine: Machine, moves: Moves) -> int:
    """Move on through a stretch of the buffer, up to STOP or what is no opcode; how many steps that cost.

    Raises what the moves raise, with `at` and the cursor where they would be one by one.
    """
    cursor = machine.cursor
    buffer, start = cursor.ahead(_LONGEST)
    position, steps, edge = cursor.position - start, 0, len(buffer) - _LONGEST
    while position < edge:
        lines = buffer[position] in _LINES
        position, cost = (_lines if lines else _binary)(machine, moves, buffer, start, position)
        steps += cost + _TURN
        if not lines and position < edge and buffer[position] not in _LINES:
            break
    cursor.position = max(cursor.position, start + position)
    return steps


def _moved(machine: Machine, moves: Moves, code: int, at: int) -> bool:
    """Have MOVES move the opcode at `at`; False for STOP and what is no opcode."""
    move = moves.get(code)
    if move is None:
        return False
    machine.at = at
    machine.cursor.position = at + 1
    move(machine)
    return True


def _binary(  # noqa: C901, PLR0912, PLR0915 - a branch an opcode: calls are slow
    machine: Machine, moves: Moves, buffer: bytes, start: int, position: int
) -> tuple[int, int]:
    """Opcodes whose arguments are bytes, up to one of `_LINES`; where it ended, and the steps."""
    stack, memo, marks, edge, steps = machine.stack, machine.memo, machine.marks, len(buffer) - _LONGEST, 0
    push, floor, sparse = stack.append, marks[-1] if marks else 0, bool(machine.far or machine.holes)
    while position < edge:
        code = buffer[position]
        steps += 1
        if code > 0x7F:
            if code == 0x94:  # MEMOIZE
                if len(stack) > floor and not sparse:
                    memo.append(stack[-1])
                    position += 1
                    continue
            elif code == 0x8C:  # SHORT_BINUNICODE
                end = position + 2 + buffer[position + 1]
                text = buffer[position + 2 : end]
                if text.isascii():
                    push(text.decode())
                    position = end
                    continue
            elif code == 0x86 and len(stack) > floor + 1 and not machine.guarded:  # TUPLE2
                last = stack.pop()
                stack[-1] = (stack[-1], last)
                position, steps = position + 1, steps + _MADE
                continue
        elif code > 0x5C:
            if 0x70 < code < 0x73:  # BINPUT, LONG_BINPUT
                end = position + (2 if code == 0x71 else 5)
                index = int.from_bytes(buffer[position + 1 : end], "little")
                if index == len(memo) and len(stack) > floor and not sparse:
                    memo.append(stack[-1])
                    position = end
                    continue
            elif code == 0x68:  # BINGET
                index = buffer[position + 1]
                if index < len(memo) and not sparse:
                    push(memo[index])
                    position += 2
                    continue
            elif code == 0x5D:  # EMPTY_LIST
                items = Items()
                items.texts = ()
                push(items)
                position, steps = position + 1, steps + _MADE
                continue
            elif code == 0x7D:  # EMPTY_DICT
                table = Table()
                table.content = None
                push(table)
                position, steps = position + 1, steps + _MADE
                continue
        elif code == 0x4B:  # BININT1
            push(buffer[position + 1])
            position += 2
            continue
        elif code == 0x28:  # MARK
            floor = len(stack)
            marks.append(floor)
            position += 1
            continue
        elif code == 0x4E:
            push(None)
            position += 1
            continue
        end = _SELDOM.get(code, _left)(machine, buffer, position, start)
        if end < 0:
            if code in _LINES or not _moved(machine, moves, code, start + position):
                return position, steps - 1
            end = machine.cursor.position - start
            steps += SLOW
            sparse = bool(machine.far or machine.holes)
        elif code in _MAKING:
            steps += _MADE
        position = end
        floor = marks[-1] if marks else 0
    return position, steps


def _lines(  # noqa: C901, PLR0912, PLR0915 - a branch an opcode
    machine: Machine, moves: Moves, buffer: bytes, start: int, position: int
) -> tuple[int, int]:
    """Protocol 0, up to an opcode that is not of it; as `_binary` otherwise."""
    stack, memo, marks, edge, steps = machine.stack, machine.memo, machine.marks, len(buffer) - _LONGEST, 0
    sparse = bool(machine.far or machine.holes)
    while position < edge:
        code = buffer[position]
        steps += 1
        if code in _LINES:
            steps += _LINE
            end = buffer.find(b"\n", position, position + KEEP_TEXT)
            line = buffer[position + 1 : end] if end >= 0 else b"\\"
            if code == 0x70 or code == 0x67:  # noqa: PLR1714 - PUT, GET: a set costs more than two comparisons
                number = int(line) if line.isdigit() and len(line) < 10 else -1
                if code == 0x70 and number == len(memo) and len(stack) > (marks[-1] if marks else 0) and not sparse:
                    memo.append(stack[-1])
                    position = end + 1
                    continue
                if code == 0x70 and _put_again(machine, number):
                    position = end + 1
                    continue
                if code == 0x67 and 0 <= number < len(memo) and memo[number] is not HOLE:
                    stack.append(memo[number])
                    position = end + 1
                    continue
            elif code == 0x56:  # UNICODE
                if b"\\" not in line:
                    stack.append(line.decode("latin-1"))
                    position = end + 1
                    continue
            elif code == 0x49 and line.isdigit() and len(line) < 19 and line[0] != 0x30:  # INT
                stack.append(int(line))
                position = end + 1
                continue
            elif (value := _said(code, line)) is not HOLE:
                stack.append(value)
                position, steps = end + 1, steps + _LINE
                continue
        elif code == 0x28:  # MARK
            marks.append(len(stack))
            position += 1
            continue
        elif code == 0x4E:
            stack.append(None)
            position += 1
            continue
        elif code in _GATHERING and _SELDOM[code](machine, buffer, position, start) >= 0:
            position, steps = position + 1, steps + _MADE
            continue
        else:
            return position, steps - 1
        if not _moved(machine, moves, code, start + position):
            return position, steps - 1
        position = machine.cursor.position - start
        steps += SLOW
        sparse = bool(machine.far or machine.holes)
    return position, steps


def _said(code: int, line: bytes) -> Value:
    """The constant of a plain line; HOLE when it is none."""
    if code == 0x49 or code == 0x4C:  # noqa: PLR1714 - INT, LONG
        digits = line[:-1] if code == 0x4C and line[-1:] == b"L" else line
        if len(digits) > 18 or not digits.removeprefix(b"-").isdigit() or (code == 0x49 and digits[0] == 0x30):
            return HOLE
        return int(digits)
    if b"\\" in line:
        return HOLE
    if code == 0x53:  # STRING
        plain = len(line) > 1 and line[0] == line[-1] and line[0] in b"\"'"
        return line[1:-1].decode("latin-1") if plain else HOLE
    try:
        float(line)
    except ValueError:
        return HOLE
    return NUMBER


def _left(_machine: Machine, _buffer: bytes, _position: int, _start: int) -> int:
    """Nothing plain."""
    return -1


def _append(machine: Machine, buffer: bytes, position: int, start: int) -> int:
    """APPEND and APPENDS."""
    stack, marks, one = machine.stack, machine.marks, buffer[position] == 0x61
    if not marks and not one:
        return -1
    floor = marks[-1] if marks else 0
    at, below = (len(stack) - 1, floor) if one else (floor, marks[-2] if len(marks) > 1 else 0)
    if at <= below:
        return -1
    target = stack[at - 1]
    if type(target) is Items:
        texts = target.texts
        if texts is not None and len(stack) > at:
            if type(stack[at]) is str:
                target.extend(stack[at:])
            else:
                target.texts = None
    elif target is not LIST:
        return -1
    if machine.guarded:
        _keep(machine, start + position, at)
    if one:
        stack.pop()
    else:
        del stack[at:]
        marks.pop()
    return position + 1


def _setitem(machine: Machine, buffer: bytes, position: int, start: int) -> int:
    """SETITEM and SETITEMS."""
    stack, marks, one = machine.stack, machine.marks, buffer[position] == 0x73
    if not marks and not one:
        return -1
    floor = marks[-1] if marks else 0
    at, below = (len(stack) - 2, floor) if one else (floor, marks[-2] if len(marks) > 1 else 0)
    if at <= below or type(target := stack[at - 1]) is not Table:
        return -1
    pairs = stack[at:]
    if len(pairs) & 1:
        return -1
    if machine.guarded:
        _keep(machine, start + position, at)
    if target.content is None and 0 < len(pairs) < KEEP_ITEMS and type(pairs[0]) is str:
        target.content = pairs
    else:
        target.fill(pairs)
    del stack[at:]
    if not one:
        marks.pop()
    return position + 1


def _gather(machine: Machine, buffer: bytes, position: int, start: int) -> int:
    """TUPLE, LIST, DICT and FROZENSET: all above the last mark."""
    stack, marks, code = machine.stack, machine.marks, buffer[position]
    if not marks:
        return -1
    floor = marks[-1]
    made: Value = SET if code == 0x91 else LIST
    if code == 0x74:
        made = tuple(stack[floor : floor + _MOST_IN_TUPLE])
    elif code == 0x64:
        if (len(stack) - floor) & 1:
            return -1
        table = made = Table()
        table.content = None
        table.fill(stack[floor:])
    if machine.guarded:
        _keep(machine, start + position, floor)
    del stack[floor:]
    stack.append(made)
    marks.pop()
    return position + 1


def _short_tuple(machine: Machine, buffer: bytes, position: int, start: int) -> int:
    """TUPLE1 to TUPLE3."""
    stack, marks = machine.stack, machine.marks
    at = len(stack) + 0x84 - buffer[position]
    if at < (marks[-1] if marks else 0):
        return -1
    if machine.guarded:
        _keep(machine, start + position, at)
    stack[at:] = (tuple(stack[at:]),)
    return position + 1


def _keep(machine: Machine, place: int, at: int) -> None:
    """What `Machine.keep` says of the values from `at` on, when there are names that may not go everywhere."""
    machine.at = place
    machine.keep(machine.stack[at:])


def _number(machine: Machine, buffer: bytes, position: int, _: int) -> int:
    """BINFLOAT, BININT2, BININT and LONG1."""
    code = buffer[position]
    if code == 0x47:
        machine.stack.append(NUMBER)
        return position + 9
    if code == 0x4D:
        machine.stack.append(buffer[position + 1] | buffer[position + 2] << 8)
        return position + 3
    begin, size = (position + 1, 4) if code == 0x4A else (position + 2, buffer[position + 1])
    machine.stack.append(int.from_bytes(buffer[begin : begin + size], "little", signed=True))
    return begin + size


def _text(machine: Machine, buffer: bytes, position: int, _: int) -> int:
    """BINUNICODE, SHORT_BINUNICODE and SHORT_BINSTRING, of up to 255 bytes."""
    code = buffer[position]
    begin = position + (5 if code == 0x58 else 2)
    end = begin + buffer[position + 1]
    if code == 0x58 and buffer[position + 2 : begin] != b"\0\0\0":
        return -1
    try:
        machine.stack.append(buffer[begin:end].decode("latin-1" if code == 0x55 else "utf-8"))
    except UnicodeDecodeError:
        return -1
    return end


def _put(machine: Machine, buffer: bytes, position: int, _: int) -> int:
    """BINPUT and LONG_BINPUT, over what was put there before."""
    end = position + (2 if buffer[position] == 0x71 else 5)
    index = int.from_bytes(buffer[position + 1 : end], "little")
    return end if _put_again(machine, index) else -1


def _put_again(machine: Machine, index: int) -> bool:
    stack, memo, marks = machine.stack, machine.memo, machine.marks
    if not 0 <= index < len(memo) or memo[index] is HOLE or len(stack) <= (marks[-1] if marks else 0):
        return False
    memo[index] = stack[-1]
    return True


def _bytes(machine: Machine, buffer: bytes, position: int, start: int) -> int:
    """SHORT_BINBYTES."""
    size = buffer[position + 1]
    machine.stack.append(Blob(start + position + 2, size))
    return position + 2 + size


def _constant(machine: Machine, buffer: bytes, position: int, _: int) -> int:
    """NEWTRUE, NEWFALSE, EMPTY_SET and EMPTY_TUPLE."""
    machine.stack.append(_CONSTANTS[buffer[position]])
    return position + 1


def _get(machine: Machine, buffer: bytes, position: int, _: int) -> int:
    """BINGET and LONG_BINGET."""
    end = position + (2 if buffer[position] == 0x68 else 5)
    index = int.from_bytes(buffer[position + 1 : end], "little")
    memo = machine.memo
    if index >= len(memo) or (value := memo[index]) is HOLE:
        return -1
    machine.stack.append(value)
    return end


_SELDOM: Mapping[int, Callable[[Machine, bytes, int, int], int]] = {
    **dict.fromkeys((0x61, 0x65), _append),
    **dict.fromkeys((0x73, 0x75), _setitem),
    **dict.fromkeys((0x74, 0x64, 0x6C, 0x91), _gather),
    **dict.fromkeys((0x85, 0x86, 0x87), _short_tuple),
    **dict.fromkeys((0x47, 0x4D, 0x4A, 0x8A), _number),
    **dict.fromkeys((0x8C, 0x58, 0x55), _text),
    **dict.fromkeys((0x71, 0x72), _put),
    **dict.fromkeys((0x68, 0x6A), _get),
    **dict.fromkeys(_CONSTANTS, _constant),
    0x43: _bytes,
}
"""Moves that take a call: where the next opcode is, or -1 when it is left to MOVES, with nothing moved."""
_MAKING = frozenset((0x71, 0x72, 0x61, 0x65, 0x73, 0x75, 0x74, 0x64, 0x6C, 0x91, 0x85, 0x86, 0x87, 0x43))
"""Those that cost `_MADE` more."""
