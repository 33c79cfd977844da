"""Stretches of a pickle that are constants, memo and plain containers, moved over in one loop: they are most of it."""

from __future__ import annotations

from collections.abc import Mapping

from customhouse.trust.scan.machine import KEEP_TEXT, NUMBER, Items, Machine, Table, Value

KEEP_ITEMS = 64
_MADE = 2
"""What making or filling a container costs in steps, beside a constant."""
THROWN = 16
"""What POP, POP_MARK and DUP cost in steps: no framework writes DUP, and the others for tuples in themselves alone."""
_LONGEST = 300
"""Bytes of the longest opcode that `run_ahead` moves over, and a little more."""
_ON_TOP: Mapping[int, int] = {0x85: 1, 0x86: 2, 0x87: 3, 0x61: 2, 0x73: 3, 0x30: 1}
_GATHERING = frozenset((*_ON_TOP, 0x74, 0x65, 0x75))
_CONSTANTS: Mapping[int, Value] = {0x4E: None, 0x88: True, 0x89: False, 0x29: ()}


def run_ahead(machine: Machine) -> int:  # noqa: C901, PLR0912, PLR0915 - a branch an opcode: calls are slow
    """Move over constants and memo opcodes as long as they come, a stretch of the buffer at most; how many there were.

    Each branch does what the same opcode's move in MOVES does; whatever is not plain (a long text, an empty stack, the
    end of the buffer) is left to that.
    """
    cursor = machine.cursor
    buffer, start = cursor.ahead(_LONGEST)
    stack, memo = machine.stack, machine.memo
    floor = machine.marks[-1] if machine.marks else 0
    push, position, steps, edge = stack.append, cursor.position - start, 0, len(buffer) - _LONGEST
    while position < edge:
        code = buffer[position]
        if code in (0x8C, 0x58):  # SHORT_BINUNICODE, BINUNICODE
            begin = position + (2 if code == 0x8C else 5)
            end = begin + int.from_bytes(buffer[position + 1 : begin], "little")
            if end - begin > 255:
                break
            try:
                push(buffer[begin:end].decode())
            except UnicodeDecodeError:
                break
            position = end
        elif code in (0x94, 0x71, 0x72):  # MEMOIZE, BINPUT, LONG_BINPUT
            if len(stack) <= floor:
                break
            end = position + (1 if code == 0x94 else 2 if code == 0x71 else 5)
            index = len(memo) if code == 0x94 else int.from_bytes(buffer[position + 1 : end], "little")
            memo[index] = stack[-1]
            position = end
        elif code == 0x4B:  # BININT1
            push(buffer[position + 1])
            position += 2
        elif code == 0x47:  # BINFLOAT
            push(NUMBER)
            position += 9
        elif code == 0x4D:  # BININT2
            push(buffer[position + 1] | buffer[position + 2] << 8)
            position += 3
        elif code == 0x4A:  # BININT
            push(int.from_bytes(buffer[position + 1 : position + 5], "little", signed=True))
            position += 5
        elif code in (0x68, 0x6A):  # BINGET, LONG_BINGET
            end = position + (2 if code == 0x68 else 5)
            index = int.from_bytes(buffer[position + 1 : end], "little")
            if index not in memo:
                break
            push(memo[index])
            position = end
        elif code == 0x28:  # MARK
            floor = len(stack)
            machine.marks.append(floor)
            position += 1
        elif code in (0x5D, 0x7D):  # EMPTY_LIST, EMPTY_DICT
            push(Items() if code == 0x5D else Table())
            position += 1
            steps += _MADE
        elif code in _CONSTANTS:
            push(_CONSTANTS[code])
            position += 1
        elif code in _GATHERING and not machine.guarded:
            if not _gather(machine, code, floor):
                break
            floor = machine.marks[-1] if machine.marks else 0
            position += 1
            steps += THROWN if code == 0x30 else _MADE
        elif code in b"pgVI":
            end = buffer.find(b"\n", position, edge)
            if end < 0 or not _line(machine, code, buffer[position + 1 : end]):
                break
            position = end + 1
        else:
            break
        steps += 1
    cursor.position = max(cursor.position, start + position)
    return steps


def _gather(machine: Machine, code: int, floor: int) -> bool:
    """Tuples, and filling of plain lists and dictionaries; False when it is left to MOVES, with nothing moved."""
    stack = machine.stack
    count = _ON_TOP.get(code, 0)
    if count:  # TUPLE1 to TUPLE3, APPEND, SETITEM, POP: they take what is on top
        if len(stack) - count < floor:
            return False
        if code == 0x30:
            stack.pop()
            return True
        if code == 0x61:
            target = stack[-2]
            if type(target) is not Items:
                return False
            value = stack.pop()
            if isinstance(value, str):
                target.extend([value])
            else:
                target.count += 1
            return True
        if code == 0x73:
            return _fill(machine, stack[-3], 2, Table)
        stack[-count:] = [tuple(stack[-count:])]
        return True
    if not machine.marks:
        return False
    size = len(stack) - floor
    if code == 0x74:  # TUPLE
        items = tuple(stack[floor : floor + 4 * KEEP_ITEMS])
        del stack[floor:]
        stack.append(items)
    else:
        below = machine.marks[-2] if len(machine.marks) > 1 else 0
        if floor - 1 < below or not _fill(machine, stack[floor - 1], size, Items if code == 0x65 else Table):
            return False
    machine.marks.pop()
    return True


def _fill(machine: Machine, target: Value, size: int, kind: type) -> bool:
    """Put the `size` values on top into the list or dictionary below them, when it is a plain one of that kind."""
    stack = machine.stack
    start = len(stack) - size
    if type(target) is not kind:
        return False
    if isinstance(target, Items):
        target.extend(stack[start:])
    elif isinstance(target, Table) and size % 2 == 0:
        machine.fill(target, stack[start:])
    else:
        return False
    del stack[start:]
    return True


def _line(machine: Machine, code: int, line: bytes) -> bool:
    """A plain line of protocol 0: PUT, GET, UNICODE and INT; False when it is left to MOVES."""
    if code == 0x56:
        if b"\\" in line or len(line) > KEEP_TEXT:
            return False
        machine.push(line.decode("latin-1"))
        return True
    if not line.isdigit() or len(line) > 18 or (code == 0x49 and line[:1] == b"0"):
        return False
    number = int(line)
    if code == 0x49:
        machine.push(number)
    elif code == 0x70:
        if len(machine.stack) <= (machine.marks[-1] if machine.marks else 0):
            return False
        machine.memo[number] = machine.stack[-1]
    elif number in machine.memo:
        machine.push(machine.memo[number])
    else:
        return False
    return True
