"""The pickle machine, simulated: every opcode of protocols 0 to 5 over a stack of abstract values. Nothing is loaded.

Source of the opcodes' meaning: CPython 3.13 `Lib/pickletools.py` and `Modules/_pickle.c` (as read, not imported). What
is known about a value is kept (constants, named globals, calls), so names that are put together by way of the stack
and the memo are resolved; a name that cannot be resolved is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from customhouse.trust.scan.importables import CALL_CHECKED, canonical, judge
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Cursor, Source, UnreadableError
from customhouse.trust.scan.verdict import ScanSeverity

_KEEP_TEXT = 512
_KEEP_ITEMS = 64
_KEEP_LIST = 20_000


class Unknown:
    """A value about which nothing is kept."""

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what


LIST, SET, NUMBER, TEXT = Unknown("list"), Unknown("set"), Unknown("number"), Unknown("text")
"""LIST is a list that was not begun empty; others are Items."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A byte string, kept as its place in the source."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Named:
    """A global: `module.name` under its Python 3 name."""

    module: str
    name: str

    @property
    def key(self) -> tuple[str, str]:
        """Module and name."""
        return self.module, self.name

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True)
class Table:
    """A dictionary; the first entries with text keys are kept."""

    items: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Items:
    """A list that was begun empty; its first texts are kept (torch's old format lists its storages so)."""

    texts: list[str] = field(default_factory=list)
    count: int = 0

    def extend(self, values: list[Value]) -> None:
        """APPEND(S)."""
        self.count += len(values)
        if len(self.texts) < _KEEP_LIST:
            self.texts.extend(value for value in values if isinstance(value, str))


@dataclass(slots=True)
class Made:
    """What a call of a known global gave; `state` is what BUILD gave it."""

    callee: Named
    arguments: tuple[Value, ...]
    state: Value = None


Value = object
"""str, int, None, bool, tuple of values, or one of the classes above."""


@dataclass(slots=True)
class Outcome:
    """One pickle, read to its STOP."""

    end: int
    result: Value
    protocol: int
    named: list[Named]
    called: bool
    """Whether it called a global whose name is made of identifiers, as prose never does."""
    storages: dict[str, tuple[str, int]]
    """Torch storages by key: type name and number of elements."""


class Machine:
    """The state and its moves; `opcodes.simulate` drives it.

    `arrays` is called after BUILD of a joblib array wrapper, whose raw bytes follow in line.
    """

    def __init__(
        self,
        source: Source,
        look: Inspection,
        start: int = 0,
        arrays: Callable[[Cursor, Made], None] | None = None,
    ) -> None:
        self.source = source
        self.look = look
        self.cursor = Cursor(source, start)
        self.arrays = arrays
        self.stack: list[Value] = []
        self.marks: list[int] = []
        self.memo: dict[int, Value] = {}
        self.named: list[Named] = []
        self.called = False
        self.storages: dict[str, tuple[str, int]] = {}
        self.protocol = 0
        self.at = start

    def pop(self) -> Value:
        """The top of the stack."""
        if not self.stack or (self.marks and len(self.stack) <= self.marks[-1]):
            raise UnreadableError("an opcode takes more than the stack holds", offset=self.at, rule="pickle-broken")
        return self.stack.pop()

    def top(self) -> Value:
        """The top of the stack, left there."""
        value = self.pop()
        self.stack.append(value)
        return value

    def push(self, value: Value) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def marked(self) -> list[Value]:
        """Everything above the last mark, which goes too."""
        if not self.marks:
            raise UnreadableError("an opcode needs a mark that is not there", offset=self.at, rule="pickle-broken")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def name(self, module: Value, name: Value) -> None:
        """Push a global and judge it."""
        if not isinstance(module, str) or not isinstance(name, str):
            self.look.malicious(
                "pickle-computed-name", "imports something whose name it computes while loading", self.at
            )
            self.push(Unknown("computed global"))
            return
        known = Named(*canonical(module, name))
        if len(self.named) < 10_000:
            self.named.append(known)
        severity = judge(module, name)
        if severity is ScanSeverity.MALICIOUS:
            self.look.malicious("pickle-dangerous-global", f"names {_shown(known)}, which can run code", self.at)
        elif severity is ScanSeverity.SUSPICIOUS:
            self.look.suspicious("pickle-unknown-global", f"names {_shown(known)}, which is not known safe", self.at)
        self.push(known)

    def call(self, callee: Value, arguments: Value) -> None:
        """Push the result of a call and judge it."""
        values: tuple[Value, ...] = arguments if isinstance(arguments, tuple) else (arguments,)
        for value in values:
            if isinstance(value, Named) and value.key in CALL_CHECKED:
                self.look.suspicious("pickle-indirect-call", f"hands {value} to a call", self.at)
        if not isinstance(callee, Named):
            self.look.malicious("pickle-computed-call", "calls an object that it made while loading", self.at)
            self.push(Unknown("result"))
            return
        self.called = self.called or f"{callee.module}.{callee.name}".replace(".", "").isidentifier()
        if callee.key in CALL_CHECKED:
            self._check(callee, values)
        if callee.key == ("copyreg", "_reconstructor") and values and isinstance(values[0], Named):
            callee, values = values[0], values[2:]
        self.push(Made(callee, values))

    def _check(self, callee: Named, values: tuple[Value, ...]) -> None:
        if callee.name == "encode":
            if len(values) != 2 or values[1] not in ("latin1", "latin-1", "iso-8859-1", "ascii", "utf-8", "utf8"):
                self.look.suspicious("pickle-odd-codec", "encodes with a codec that picklers do not use", self.at)
        elif callee.name == "_load_from_bytes":
            if len(values) == 1 and isinstance(values[0], Blob):
                blob = values[0]
                self.look.nested(self.source.window(blob.offset, blob.size), f"bytes@{blob.offset}")
            else:
                self.look.suspicious("pickle-odd-storage", "loads a torch storage from computed bytes", self.at)
        elif not (values and isinstance(values[0], Named) and judge(*values[0].key) is None):
            self.look.suspicious("pickle-indirect-call", "rebuilds a tensor by a computed function", self.at)

    def build(self) -> None:
        """BUILD: state for the object below it."""
        state = self.pop()
        target = self.top()
        if isinstance(target, Named):
            self.look.malicious("pickle-patches-class", f"sets attributes of {_shown(target)} itself", self.at)
        elif isinstance(target, Made):
            target.state = state
            if self.arrays is not None and target.callee.key == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
                self.arrays(self.cursor, target)

    def persistent(self, key: Value) -> None:
        """A persistent id: torch writes ("storage", type, key, device, elements); anything else is odd."""
        if isinstance(key, tuple) and len(key) in (5, 6) and key[0] == "storage" and isinstance(key[1], (Named, Made)):
            kind = key[1].name if isinstance(key[1], Named) else "UntypedStorage"
            if isinstance(key[2], str) and isinstance(key[4], int) and len(self.storages) < 1_000_000:
                self.storages[key[2]] = (kind, key[4])
        else:
            self.look.suspicious(
                "pickle-persistent-id", "refers to an object by an id that its reader makes up", self.at
            )
        self.push(Unknown("persistent object"))

    def fill(self, target: Value, items: list[Value]) -> None:
        """SETITEM(S): pairs for the dictionary `target`; of other objects this calls `__setitem__`."""
        if isinstance(target, Named):
            self.look.malicious("pickle-patches-class", f"sets items of {_shown(target)} itself", self.at)
        if len(items) % 2:
            raise UnreadableError("a key without a value", offset=self.at, rule="pickle-broken")
        if isinstance(target, Table):
            for index in range(0, len(items), 2):
                key = items[index]
                if isinstance(key, str) and (key in target.items or len(target.items) < _KEEP_ITEMS):
                    target.items[key] = items[index + 1]

    def text(self, data: bytes, encoding: str = "utf-8") -> None:
        """Push a text constant; long ones are not kept (no importable name is so long)."""
        if len(data) > _KEEP_TEXT:
            self.push(TEXT)
            return
        try:
            self.push(data.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict"))
        except (UnicodeDecodeError, ValueError) as error:
            raise UnreadableError("a text that is not UTF-8", offset=self.at, rule="pickle-broken") from error

    def blob(self, size: int) -> None:
        """Push a byte string without reading it."""
        offset = self.cursor.position
        self.cursor.skip(size)
        self.push(Blob(offset, size))

    def long_text(self, size: int, *, binary: bool = False) -> None:
        """A text of `size` bytes; `binary` for Python 2 strings, which are read as latin-1 here."""
        if size > _KEEP_TEXT:
            self.blob(size)
            if not binary:
                self.stack[-1] = TEXT
            return
        self.text(self.cursor.take(size), "latin-1" if binary else "utf-8")

    def remember(self, index: int) -> None:
        """PUT and MEMOIZE."""
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        """GET."""
        if index not in self.memo:
            raise UnreadableError(f"memo {index} was never set", offset=self.at, rule="pickle-broken")
        self.push(self.memo[index])


def _shown(named: Named) -> str:
    return str(named)[:200].encode("unicode_escape").decode()
