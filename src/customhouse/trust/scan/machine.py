"""The pickle machine, simulated: every opcode of protocols 0 to 5 over a stack of abstract values. Nothing is loaded.

Source of the opcodes' meaning: CPython 3.13 `Lib/pickletools.py` and `Modules/_pickle.c` (as read, not imported). What
is known about a value is kept (constants, named globals, calls), so names that are put together by way of the stack
and the memo are resolved; a name that cannot be resolved is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from customhouse.trust.scan.importables import canonical, known, suspect
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.names import Use
from customhouse.trust.scan.source import Cursor, Source, UnreadableError
from customhouse.trust.scan.values import (
    LIST,
    NUMBER,
    SET,
    Blob,
    Items,
    Made,
    Named,
    Table,
    Text,
    Unknown,
    Value,
    hooking,
    shown,
)
from customhouse.trust.scan.verdict import ScanSeverity

_NAMING = 400
"""Steps that a name costs which was not met before: it is looked up in the lists of its package."""
KEEP_TEXT = 512
_MOST_HOLES = 16
"""Indexes that a PUT may leave out: Python 2's pickler in C counts from 1."""
_REFUSE = "do not load it, ask whoever made it for safetensors or ONNX"
_CONVERT = "have its weights saved alone, or in a format without code (customhouse model convert)"
_CONSTRUCTORS = ("_reconstructor", "__newobj__", "__newobj_ex__")
JOBLIB_ARRAYS = (
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"),
)
"""Classes after whose BUILD joblib reads an array's raw bytes from the file."""
_SIZED = ("bytearray", "bytes", "ndarray", "recarray", "_reconstruct", "Tensor", "UntypedStorage", "FloatStorage")
_LARGE = 1 << 32
"""Elements or bytes that one call may ask for, past what files of that size hold."""
_INERT = frozenset({str, int, bool, type(None), Items, Unknown, Blob, Text})
"""Types of values that nothing can be called through."""
_NOT_CALLED = (Use.STATE, Use.TABLE, Use.VALUE)
_TAKES_CLASSES = ("numpy", "pandas", "torch", "pyarrow")
"""Packages whose own rebuilding functions are given a class to make."""
CONTAINERS = frozenset(
    {
        ("collections", "OrderedDict"), ("collections", "defaultdict"), ("collections", "Counter"),
        ("collections", "deque"), ("builtins", "dict"), ("builtins", "list"), ("builtins", "set"),
        ("builtins", "bytearray"), ("nltk.probability", "FreqDist"), ("nltk.probability", "ConditionalFreqDist"),
    }
)  # fmt: skip
"""What a pickle fills item by item once it is made; others' `__setitem__`, `append` and `extend` would be called."""


_ARRAY = Named("numpy", "ndarray", Use.CALL)
HOLE = Unknown("hole")
"""Where the memo has nothing; never on the stack."""


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

    `check` judges calls of names that are safe with some arguments only, and gives what they return. `arrays` is called
    after BUILD of a joblib array wrapper, whose raw bytes follow in line.
    """

    def __init__(
        self,
        source: Source,
        look: Inspection,
        start: int = 0,
        *,
        check: Callable[[Machine, Named, tuple[Value, ...]], Value],
        arrays: Callable[[Machine, Made], None] | None = None,
    ) -> None:
        self.source = source
        self.look = look
        self.cursor = Cursor(source, start)
        self.check = check
        self.arrays = arrays
        self.script = False
        """Whether torch's own reader of scripts reads it, for which `__torch__` is no module of Python's."""
        self.met: dict[tuple[str, str], Named] = {}
        self.guarded = False
        """Whether a name was met that is safe with some arguments only."""
        self.stack: list[Value] = []
        self.marks: list[int] = []
        self.memo: list[Value] = []
        """From 0 on; HOLE where nothing was put yet."""
        self.holes = 0
        """How many of them are HOLE."""
        self.far: dict[int, Value] = {}
        """What was put past the end of `memo`."""
        self.named: list[Named] = []
        self.called = False
        self.storages: dict[str, tuple[str, int]] = {}
        self.protocol = 0
        self.at = start

    def fork(self, start: int) -> Machine:
        """A machine with copies of the stack and memo that goes on at `start`, without joblib's reading of arrays."""
        other = Machine(self.source, self.look, start, check=self.check)
        other.stack, other.marks = list(self.stack), list(self.marks)
        other.memo, other.holes, other.far = list(self.memo), self.holes, dict(self.far)
        other.guarded = self.guarded
        return other

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
            for part in (module, name):
                if not isinstance(part, (str, Text, Made, Unknown)) or part in (LIST, SET, NUMBER):
                    raise UnreadableError("a name that is no text", offset=self.at, rule="pickle-broken")
            self.look.malicious(
                "pickle-computed-name",
                f"imports something whose name it computes while loading; {_REFUSE}",
                self.at,
            )
            self.push(Unknown("computed global"))
            return
        self.push(self.resolve(module, name))

    def resolve(self, module: str, name: str) -> Named:
        """The global of that name, judged."""
        met = self.met.get((module, name))
        if met is not None:
            return met
        self.look.spend(_NAMING)
        spelled, (module, name) = (module, name), canonical(module, name)
        use = known(module, name)
        if not self.script and module.partition(".")[0] == "__torch__":
            use = None  # outside of torch's own archives a pickle imports it like any other module
        if use is None:
            use = self._added(module, name)
        named = Named(module, name, use)
        if len(self.met) < 10_000:
            self.met[spelled] = named
        if len(self.named) < 10_000:
            self.named.append(named)
        if named.use is Use.CHECKED:
            self.guarded = True
        elif named.use is None:
            if suspect(module, name) is ScanSeverity.MALICIOUS:
                why = f"names {shown(named)}, which can run code; {_REFUSE}"
                self.look.malicious("pickle-dangerous-global", why, self.at)
            else:
                why = f"names {shown(named)}, which is not known safe; {_CONVERT}"
                self.look.suspicious("pickle-unknown-global", why, self.at)
        return named

    def _added(self, module: str, name: str) -> Use | None:
        """What the organisation vouches for; never what can run code."""
        budget, full = self.look.budget, f"{module}.{name}"
        use = budget.limits.names.get(full)
        if use is None or use is Use.CHECKED or suspect(module, name) is ScanSeverity.MALICIOUS:
            return None
        budget.added.add(full)
        return use

    def call(self, callee: Value, arguments: Value) -> None:
        """REDUCE, INST and OBJ: push the result of a call and judge it."""
        values: tuple[Value, ...] = arguments if isinstance(arguments, tuple) else (arguments,)
        if self.guarded:
            self.keep(values)
        if not isinstance(callee, Named) and (inner := partial_call(callee)) is not None:
            callee, values = inner[0], (*inner[1], *values)
        if not isinstance(callee, Named):
            if not isinstance(callee, (Made, Unknown)) or callee in (LIST, SET, NUMBER):
                raise UnreadableError("a call of what cannot be called", offset=self.at, rule="pickle-broken")
            self.look.malicious(
                "pickle-computed-call", f"calls an object that it made while loading; {_REFUSE}", self.at
            )
            self.push(Unknown("result"))
            return
        self.called = self.called or f"{callee.module}.{callee.name}".replace(".", "").isidentifier()
        if callee.use is Use.CHECKED:
            self.push(self.check(self, callee, values))
            return
        if callee.module == "copyreg" and callee.name in _CONSTRUCTORS:
            callee, values = self._constructed(callee, values)
        elif callee.use in (Use.STATE, Use.TABLE, Use.VALUE) or (callee.use is Use.ENUM and len(values) != 1):
            why = f"calls {shown(callee)}, which is known safe only as long as it is not called; {_CONVERT}"
            self.look.suspicious("pickle-constructor", why, self.at)
        elif callee.use is Use.CALL:
            self._arguments(callee, values)
        self.push(Made(callee, values))

    def _arguments(self, callee: Named, values: tuple[Value, ...]) -> None:
        """What is called may call or iterate what it is given: classes and functions go only where libraries do so."""
        if callee.name not in _SIZED and _INERT.issuperset(map(type, values)):
            return
        package = callee.module.partition(".")[0]
        if callee.module == "numpy.random._pickle":
            odd = [v for v in values if isinstance(v, Named) and not v.module.startswith("numpy.random.")]
        elif package in _TAKES_CLASSES or callee.name.startswith(("__pyx_unpickle_", "newObj")):
            odd = [v for v in values if isinstance(v, Named) and v.use is Use.VALUE]
        else:
            odd = [v for v in values if isinstance(v, Named) and v.use in _NOT_CALLED and callee.name != "defaultdict"]
        odd += foreign_objects(values, package if package in _TAKES_CLASSES else "")
        odd += [v.callee for v in values if isinstance(v, Made) and v.callee.key == ("builtins", "range")]
        if callee.name in _SIZED and asked(values) > _LARGE:
            self.look.suspicious("pickle-bomb", f"asks {shown(callee)} for {asked(values)} elements", self.at)
        if odd:
            self.look.suspicious(
                "pickle-odd-argument", f"hands {shown(odd[0])} to {shown(callee)}; {_CONVERT}", self.at
            )

    def make(self, callee: Value, arguments: Value) -> None:
        """NEWOBJ and NEWOBJ_EX: push a bare object, whose constructor is not run."""
        values: tuple[Value, ...] = arguments if isinstance(arguments, tuple) else (arguments,)
        if not isinstance(callee, Named) or callee.use not in (Use.STATE, Use.TABLE, Use.CALL):
            self.call(callee, values)
            return
        if self.guarded:
            self.keep(values)
        if callee.use is Use.CALL and values:
            self._arguments(callee, values)
        self.called = True
        self.push(Made(callee, values))

    def _constructed(self, callee: Named, values: tuple[Value, ...]) -> tuple[Named, tuple[Value, ...]]:
        """What `copyreg`'s constructors make: their first argument, bare, and for `_reconstructor` its base."""
        made = values[0] if values else None
        if not isinstance(made, Named):
            self.look.malicious("pickle-computed-call", f"makes an object of a class it computed; {_REFUSE}", self.at)
            return callee, values
        base = values[1] if callee.name == "_reconstructor" and len(values) > 1 else None
        odd = made.use not in (Use.STATE, Use.TABLE, Use.CALL, None)
        if odd or (base is not None and not (isinstance(base, Named) and base.use is Use.CALL)):
            self.look.suspicious("pickle-constructor", f"makes {shown(made)} in an odd way", self.at)
        if callee.name == "_reconstructor" and foreign_objects(values[2:], ""):
            self.look.suspicious("pickle-odd-argument", f"makes {shown(made)} of an object", self.at)
        return made, values[2:] if callee.name == "_reconstructor" else values[1:]

    def keep(self, values: Iterable[Value]) -> None:
        """Values go where they may be called later: what is safe with some arguments only may not."""
        for value in values:
            if isinstance(value, Named) and value.use is Use.CHECKED:
                if suspect(*value.key) is ScanSeverity.MALICIOUS:
                    why = f"names {shown(value)}, which can run code; {_REFUSE}"
                    self.look.malicious("pickle-dangerous-global", why, self.at)
                else:
                    self.look.suspicious("pickle-indirect-call", f"hands {value} on; {_CONVERT}", self.at)

    def build(self) -> None:
        """BUILD: state for the object below it."""
        state = self.pop()
        target = self.top()
        if self.guarded:
            self.keep((state,))
        if isinstance(target, Named):
            self.look.malicious(
                "pickle-patches-class", f"sets attributes of {shown(target)} itself; {_REFUSE}", self.at
            )
        elif isinstance(target, Made):
            self._hooks(target, state)
            if isinstance(state, Made) and state.callee.use is Use.STATE:
                self.look.suspicious("pickle-odd-state", f"gives {shown(state.callee)} as state; {_CONVERT}", self.at)
            target.state = state
            if self.arrays is not None and target.callee.key in JOBLIB_ARRAYS:
                self.arrays(self, target)
                self.stack[-1] = Made(_ARRAY, ())  # joblib puts the array where its wrapper was, not into the memo

    def _hooks(self, target: Made, state: Value) -> None:
        """Attributes of the object that the unpickler itself looks up and calls later: `__setstate__`, `append`."""
        for part in state if isinstance(state, tuple) else (state,):
            for name, value in part.items.items() if isinstance(part, Table) else ():
                if hooking(name) and (name[0] == "_" or isinstance(value, (Named, Made, Unknown))):
                    self.look.malicious(
                        "pickle-patches-object", f"gives {shown(target.callee)} a {name} of its own; {_REFUSE}", self.at
                    )

    def persistent(self, key: Value) -> None:
        """A persistent id: torch writes ("storage", type, key, device, elements); anything else is odd."""
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module" and isinstance(key[1], Named):
            self.push(key[1])  # torch's old format: a class, its file and its source; torch gives the class
            return
        if isinstance(key, tuple) and len(key) in (5, 6) and key[0] == "storage" and isinstance(key[1], (Named, Made)):
            kind = key[1].name if isinstance(key[1], Named) else "UntypedStorage"
            if isinstance(key[2], str) and isinstance(key[4], int) and len(self.storages) < 1_000_000:
                self.storages[key[2]] = (kind, key[4])
        else:
            self.look.suspicious(
                "pickle-persistent-id", f"refers to an object by an id that its reader makes up; {_CONVERT}", self.at
            )
        if self.guarded:
            self.keep((key,))
        self.push(Unknown("persistent object"))

    def fill(self, target: Value, items: list[Value]) -> None:
        """SETITEM(S): pairs for the dictionary `target`; of other objects this calls `__setitem__`."""
        if isinstance(target, Named):
            self.look.malicious("pickle-patches-class", f"sets items of {shown(target)} itself; {_REFUSE}", self.at)
        elif isinstance(target, Made) and not fillable(target):
            self.look.suspicious("pickle-odd-items", f"sets items of {shown(target.callee)}, no known table", self.at)
        if self.guarded:
            self.keep(items)
        if len(items) % 2:
            raise UnreadableError("a key without a value", offset=self.at, rule="pickle-broken")
        if isinstance(target, Table):
            target.fill(items)

    def text(self, data: bytes, encoding: str = "utf-8") -> None:
        """Push a short text constant. Raises UnreadableError."""
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
        """A text of `size` bytes; `binary` for Python 2 strings, which are read as latin-1 here.

        Long ones are kept as their place: no name that can be imported is so long.
        """
        if size <= KEEP_TEXT:
            self.text(self.cursor.take(size), "latin-1" if binary else "utf-8")
            return
        self.blob(size)
        if not binary:
            self.stack[-1] = Text(self.cursor.position - size, size)

    def remember(self, index: int) -> None:
        """PUT and MEMOIZE."""
        value, memo = self.top(), self.memo
        if 0 <= index < len(memo):
            self.holes -= memo[index] is HOLE
            memo[index] = value
        elif 0 <= index - len(memo) <= _MOST_HOLES and not self.far and not self.holes:
            self.holes = index - len(memo)
            memo.extend([HOLE] * self.holes)
            memo.append(value)
        else:
            self.far[index] = value

    def memoize(self) -> None:
        """MEMOIZE: as many as were put are the index of the next."""
        self.remember(len(self.memo) - self.holes + len(self.far))

    def recall(self, index: int) -> None:
        """GET."""
        value = self.memo[index] if 0 <= index < len(self.memo) else self.far.get(index, HOLE)
        if value is HOLE:
            raise UnreadableError(f"memo {index} was never set", offset=self.at, rule="pickle-broken")
        self.push(value)


def partial_call(value: Value) -> tuple[Named, tuple[Value, ...]] | None:
    """What a `functools.partial` calls and adds, when that may be called and its state names nothing else."""
    if not isinstance(value, Made) or value.callee.key != ("functools", "partial"):
        return None
    function, state = value.arguments[0], value.state
    if not isinstance(function, Named) or function.use is not Use.CALL:
        return None
    added = value.arguments[1:]
    if state is not None:
        if not isinstance(state, tuple) or len(state) != 4 or state[0] != function or not isinstance(state[1], tuple):
            return None
        added = (*added, *state[1], state[2])
    return function, added


def foreign_objects(values: tuple[Value, ...], package: str) -> list[Named]:
    """Classes of bare objects among values: whoever iterates or compares those runs their methods.

    A package's own objects are its own affair; it is also given dictionaries and tuples that it takes apart.
    """
    found: list[Named] = []
    for value in values:
        inside: Iterable[Value] = (value,)
        if package and isinstance(value, (Table, tuple)):
            inside = value.items.values() if isinstance(value, Table) else value
        for item in inside:
            if isinstance(item, Made) and item.callee.use in (Use.STATE, Use.VALUE):
                root = item.callee.module.partition(".")[0]
                found += [item.callee] if root != package else []
    return found


def asked(values: tuple[Value, ...]) -> int:
    """The elements that a shape or a length among arguments speaks of."""
    product = 1
    for value in values:
        for side in value if isinstance(value, tuple) else (value,):
            if isinstance(side, int) and side > 1:
                product *= side
    return product


def fillable(target: Made) -> bool:
    """Whether setting items of an object, or appending to it, is a builtin container's own doing."""
    return target.callee.use is Use.TABLE or target.callee.key in CONTAINERS
