"""Files made of pickles: one, several in a row, joblib's with arrays in line, torch's old format with storages."""

from __future__ import annotations

import re
from collections.abc import Mapping

from customhouse.trust.scan.calls import check_call
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.machine import Machine, Outcome
from customhouse.trust.scan.opcodes import simulate
from customhouse.trust.scan.source import Cursor, Source, UnreadableError
from customhouse.trust.scan.values import Items, Made, Table, Value
from customhouse.trust.scan.verdict import ScanSeverity

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of torch's legacy files (torch/serialization.py MAGIC_NUMBER)."""

ELEMENT_SIZE: Mapping[str, int] = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "LongStorage": 8, "IntStorage": 4, "ShortStorage": 2,
    "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "BFloat16Storage": 2, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4, "UntypedStorage": 1,
}  # fmt: skip
_DTYPE = re.compile(r"[<>=|]?([biufcSUVOmM?])(\d{0,9})(?:\[\w+\])?")
_ONE_LETTER = {"?": 1, "b": 1, "B": 1, "O": 8}
_NAMING = ("pickle-dangerous-global", "pickle-unknown-global")
_TRIED = 1 << 16
_MAX_STREAM = 10_000
_SHORT_LINE = {b"V": b"", b"S": b"''", b"F": b"0", b"I": b"0", b"L": b"0L", b"P": b"0", b"p": b"0", b"g": b"0"}
"""Opcodes of protocol 0 whose argument ends with its line, and a short one for each."""
_LONG_LINES = 8
_OPENERS = frozenset(bytes([code]) for code in b"()]}NIJKMLFGPSTUVXBCc\x80\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x95\x96")
"""Opcodes that need nothing before them. P (Parquet begins with it, and PPM) asks for a loader that knows of persistent
names, as torch's does."""


def inspect_pickles(source: Source, look: Inspection) -> None:
    """Read every pickle of the file; what follows the last one must be explained, else the file is unscannable."""
    look.format = "pickle"
    first = read_pickle(source, look, 0)
    if first.result == TORCH_MAGIC:
        _torch_legacy(source, look, first)
        return
    position, count = first.end, 1
    while position < source.size:
        rest = source.peek(position, 1)
        if rest in (b"\x00", b"\n", b" ", b"\r") and not source.window(position, source.size - position).peek(
            0, 4096
        ).strip(b"\x00\r\n "):
            if source.size - position <= 4096:
                look.note("pickle-padding", f"{source.size - position} bytes of padding at the end", position)
                return
        elif rest in (b"\x80", b"(", b"c", b"]", b"}", b")", b"N"):
            position = read_pickle(source, look, position).end
            count += 1
            look.note("pickle-stream", "several pickles in one file", position)
            if count > _MAX_STREAM:
                raise UnreadableError(f"more than {_MAX_STREAM} pickles in a row", rule="limit-steps")
            continue
        _raise_trailing(source, position)


def read_pickle(source: Source, look: Inspection, start: int) -> Outcome:
    """Simulate the pickle at `start`, with joblib's arrays in line."""
    return simulate(
        Machine(
            source,
            look,
            start,
            check=check_call,
            arrays=lambda machine, made: _inline_array(source, look, machine, made),
        )
    )


def _raise_trailing(source: Source, position: int) -> None:
    raise UnreadableError(
        f"{source.size - position} bytes follow the pickle's end and explain nothing",
        offset=position,
        rule="pickle-trailing-bytes",
        hint="save the model again, without them",
    )


def _torch_legacy(source: Source, look: Inspection, first: Outcome) -> None:
    """Magic, protocol, system information, the object, the storages' keys, then each storage: count and raw bytes."""
    look.format = "torch-legacy"
    position = first.end
    outcomes: list[Outcome] = []
    for _ in range(4):
        if position >= source.size:
            look.unscannable("torch-legacy-short", "a torch file that ends before its storages", position)
            return
        outcome = read_pickle(source, look, position)
        outcomes.append(outcome)
        position = outcome.end
    storages, keys = outcomes[2].storages, outcomes[3].result
    if not isinstance(keys, Items) or keys.texts is None or set(keys.texts) != set(storages):
        raise UnreadableError("storages that the pickle does not describe", offset=position, rule="torch-legacy-keys")
    cursor = Cursor(source, position)
    for key in keys.texts:
        kind, elements = storages[key]
        if cursor.number(8, signed=True) != elements or kind not in ELEMENT_SIZE:
            raise UnreadableError(f"storage {key[:40]!r} of another size", offset=position, rule="torch-legacy-size")
        cursor.skip(elements * ELEMENT_SIZE[kind])
    if cursor.left:
        _raise_trailing(source, cursor.position)


def _inline_array(source: Source, look: Inspection, machine: Machine, wrapper: Made) -> None:
    """Pass over the raw bytes that joblib writes after an array's wrapper; object arrays are pickles in line.

    Whoever opens the file by `pickle.load` instead runs those bytes as opcodes, so they are tried as such too.
    """
    look.format = "joblib"
    cursor = machine.cursor
    state = getattr(wrapper.state, "items", None)
    if not isinstance(state, dict):
        raise UnreadableError("an array without a description", offset=cursor.position, rule="joblib-array")
    shape, width = state.get("shape"), item_size(state.get("dtype"))
    if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise UnreadableError("an array without a shape", offset=cursor.position, rule="joblib-array")
    if width is None:
        cursor.position = read_pickle(source, look, cursor.position).end
        return
    size = width
    for side in shape:
        size *= side
        if size > source.size:
            raise UnreadableError("an array larger than its file", offset=cursor.position, rule="joblib-array")
    start = cursor.position
    if isinstance(state.get("numpy_array_alignment_bytes"), int):
        cursor.skip(cursor.number(1))
    cursor.skip(size)
    _other_reading(source, look, machine, start)


def _other_reading(source: Source, look: Inspection, machine: Machine, start: int) -> None:
    """Only named globals count: numbers can look like other opcodes, but they do not spell names."""
    other = machine.fork(start)

    def trial(_: Source, quiet: Inspection) -> None:
        other.look = quiet
        simulate(other)

    for found in look.quiet(source, look.name, trial):
        if found.rule in _NAMING:
            look.malicious("hidden-pickle", f"array bytes that pickle.load would run: {found.message}", found.offset)
            return


def item_size(dtype: Value) -> int | None:
    """Bytes of one element of a pickled numpy dtype; None for objects. Raises UnreadableError when it is neither.

    A dtype is its text, `dtype("f4", …)`, and what BUILD adds: (version, byte order, subarray, names, fields, element
    size, alignment, flags). numpy believes the second, so both must say the same about objects.
    """
    if not isinstance(dtype, Made):
        raise UnreadableError("an array of a type that is not understood", rule="joblib-array")
    if dtype.callee.name == "_convert_to_stringdtype_kwargs":
        return None
    if dtype.callee.key != ("numpy", "dtype") or not dtype.arguments:
        raise UnreadableError("an array of a type that is not understood", rule="joblib-array")
    size = text_item_size(dtype.arguments[0])
    state = dtype.state
    if state is None:
        return size
    if not isinstance(state, tuple) or len(state) < 5:
        raise UnreadableError("an array type with an odd state", rule="joblib-array")
    flags = state[7] if len(state) > 7 else 0
    if flags and not isinstance(flags, int):
        raise UnreadableError("an array type with odd flags", rule="joblib-array")
    objects = size is None or _has_objects(state)
    if bool(isinstance(flags, int) and flags & 1) != objects:
        raise UnreadableError("an array type that does not know whether it holds objects", rule="joblib-array")
    if objects:
        return None
    if len(state) > 5 and state[5] not in (-1, size):
        raise UnreadableError("an array type of two sizes", rule="joblib-array")
    return size


def _has_objects(state: tuple[Value, ...]) -> bool:
    """Whether a dtype's state speaks of objects: its subarray `(dtype, shape)` or its fields `{name: (dtype, …)}`."""
    parts: list[Value] = []
    if isinstance(state[2], tuple) and state[2]:
        parts.append(state[2][0])
    fields, names = state[4], state[3]
    if isinstance(fields, Table) and isinstance(names, tuple):
        if len(fields.items) < len(names):
            raise UnreadableError("an array type of too many fields", rule="joblib-array")
        parts.extend(field[0] for field in fields.items.values() if isinstance(field, tuple) and field)
    elif (fields is not None or state[2] is not None) and not parts:
        raise UnreadableError("an array type with an odd state", rule="joblib-array")
    return any(item_size(part) is None for part in parts)


def text_item_size(text: Value) -> int | None:
    """Bytes of one element of a dtype string such as `<f4`, `|S10`, `U3`; None for objects (`O`)."""
    match = _DTYPE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UnreadableError(f"an array type {str(text)[:40]!r} that is not understood", rule="numpy-dtype")
    letter, digits = match.groups()
    if letter == "O":
        return None
    size = int(digits) if digits else _ONE_LETTER.get(letter, 8 if letter in "mM" else 0)
    return size * 4 if letter == "U" else size


def looks_like_pickle(source: Source, look: Inspection) -> bool:
    """Whether the bytes are meant as a pickle: they start like one, and read to STOP or name something.

    Protocol 0 is printable, so prose can start like a pickle; prose does not name globals or end in STOP.
    """
    head = source.peek(0, 2)
    if not head:
        return False
    if head[0] == 0x80 and len(head) == 2 and head[1] <= 5:
        return True
    data, behind = source.peek(0, _TRIED), min(source.size, _TRIED)
    for _ in range(_LONG_LINES):
        said, at = _tried(data, look)
        if said is not None:
            return said
        # A line longer than is looked at could hide all that follows it: the same without its middle.
        shorter = _without_line(data, behind, at, source)
        if shorter is None:
            return False
        data, behind = shorter
    return True  # nor does prose have so many of them, each where an opcode stands


def also_pickle(source: Source, look: Inspection) -> None:
    """Find what is a pickle besides what it reads as: loaders that go by a name would run it.

    Lengths and lines of a pickle jump over the head of many formats (GIF, tar, even safetensors), so the opcodes are
    followed through all of the file.
    """
    machine: list[Machine] = []
    whole: list[Outcome] = []

    def trial(inner: Source, quiet: Inspection) -> None:
        machine.append(Machine(inner, quiet, check=check_call))
        whole.append(simulate(machine[0]))

    # A zip begins as a persistent name does, which ends within the harmless pickle that it holds; loaders know a zip.
    if source.peek(0, 1) not in _OPENERS or source.peek(0, 4) == b"PK\3\4":
        return
    findings = look.quiet(source, look.name, trial)
    bad = any(finding.severity is ScanSeverity.MALICIOUS for finding in findings)
    if machine[0].called or bad or (whole and whole[0].named):
        look.malicious("polyglot", f"reads as {look.format} and as a pickle that names what it runs")


def _tried(data: bytes, look: Inspection) -> tuple[bool | None, int]:
    """Whether the start of a file is one of a pickle; None, and the opcode that could not be read, if that is open."""
    found: list[Outcome] = []
    machine: list[Machine] = []

    def trial(inner: Source, quiet: Inspection) -> None:
        machine.append(Machine(inner, quiet, check=check_call))
        found.append(simulate(machine[0]))

    findings = look.quiet(Source.of(data), look.name, trial)
    if machine[0].cursor.position > _TRIED // 8:
        return True, 0  # prose does not read as opcodes for so long
    if machine[0].called or any(finding.severity is ScanSeverity.MALICIOUS for finding in findings):
        return True, 0
    if found:
        return bool(found[0].named) or found[0].end == len(data), 0
    return None, machine[0].at


def _without_line(data: bytes, behind: int, at: int, source: Source) -> tuple[bytes, int] | None:
    """The data with a short line for the long one of the opcode at `at`; None when there is none, or it has no end.

    `behind` is where in the source the data ends.
    """
    short = _SHORT_LINE.get(data[at : at + 1])
    end = data.find(b"\n", at)
    if short is None or 0 <= end <= at + 200:
        return None
    if end >= 0:
        return data[: at + 1] + short + data[end:], behind
    rest = source.window(behind, source.size - behind)
    for offset, chunk in rest.chunks():
        if (place := chunk.find(b"\n")) >= 0:
            tail = rest.peek(offset + place, _TRIED)
            return data[: at + 1] + short + tail, behind + offset + place + len(tail)
    return None
