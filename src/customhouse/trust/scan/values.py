"""What the pickle machine has on its stack: abstract values, of which only what a verdict needs is kept.

A file of 10 MB makes millions of them, so lists and dictionaries are small and do their work when somebody asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from customhouse.trust.scan.names import Use

_KEEP_PAIRS = 64
_KEEP_LIST = 20_000
_HOOKS = ("append", "extend", "add")
_HARMLESS = ("__dict__", "__doc__", "__name__", "__module__", "__qualname__", "__version__", "__orig_class__")


class Unknown:
    """A value about which nothing is kept."""

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what


LIST, SET, NUMBER = Unknown("list"), Unknown("set"), Unknown("number")
"""LIST is a list that was not begun empty; others are Items."""


@dataclass(slots=True)
class Blob:
    """A byte string, kept as its place in the source."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Text:
    """A long text, kept as its place in the source; `escaped`: a line of protocol 0, with escapes."""

    offset: int
    size: int
    escaped: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A global: `module.name` under its Python 3 name; `use` is None when it is not known safe."""

    module: str
    name: str
    use: Use | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """Module and name."""
        return self.module, self.name

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Table:
    """A dictionary; the first entries with text keys are kept.

    Whoever makes one sets `content` to None at once: a constructor in Python would cost more than all the rest.
    """

    __slots__ = ("content",)

    content: dict[str, Value] | list[Value] | None
    """What is kept; a list holds keys and values in turn that nobody has asked for yet."""

    @property
    def items(self) -> dict[str, Value]:
        """The entries that are kept: the first 64, and whatever changes what unpickling does."""
        content = self.content
        if isinstance(content, dict):
            return content
        kept: dict[str, Value] = {}
        if content is not None:
            _keep(kept, content)
        self.content = kept
        return kept

    def fill(self, pairs: list[Value]) -> None:
        """Keys and values in turn, an even number; the list is this table's from now on."""
        if not pairs:
            return
        content = self.content
        if len(pairs) > 2 * _KEEP_PAIRS or type(pairs[0]) is not str or type(content) is dict:
            _keep(self.items, pairs)
        elif content is None:
            self.content = pairs
        elif isinstance(content, list) and len(content) < 2 * _KEEP_PAIRS:
            content += pairs
        else:
            _keep(self.items, pairs)


def _keep(kept: dict[str, Value], pairs: Sequence[Value]) -> None:
    for index in range(0, len(pairs), 2):
        key = pairs[index]
        if isinstance(key, str) and (len(kept) < _KEEP_PAIRS or key in kept or hooking(key)):
            kept[key] = pairs[index + 1]


class Items:
    """A list that was begun empty; while it holds texts alone they are kept (torch's old format lists its storages so).

    Whoever makes one sets `texts` to `()` at once.
    """

    __slots__ = ("texts",)

    texts: Sequence[str] | None
    """None: it holds something else too, or too many."""

    def extend(self, values: Sequence[Value]) -> None:
        """APPEND(S)."""
        texts = self.texts
        if texts is None or not values:
            return
        found = [value for value in values if isinstance(value, str)] if isinstance(values[0], str) else []
        if len(found) != len(values) or len(texts) >= _KEEP_LIST:
            self.texts = None
        elif isinstance(texts, list):
            texts += found
        else:
            self.texts = found


@dataclass(slots=True)
class Made:
    """What a call of a known global gave; `state` is what BUILD gave it."""

    callee: Named
    arguments: tuple[Value, ...]
    state: Value = None


Value = object
"""str, int, None, bool, tuple of values, or one of the classes above."""


def empty_list() -> Items:
    """EMPTY_LIST."""
    made = Items()
    made.texts = ()
    return made


def empty_table() -> Table:
    """EMPTY_DICT."""
    made = Table()
    made.content = None
    return made


def hooking(name: str) -> bool:
    """Whether an attribute of that name changes what unpickling does with its object."""
    return name in _HOOKS or (name[:2] == "__" and name[-2:] == "__" and name not in _HARMLESS)


def shown(named: Named) -> str:
    """A name for a message: one line, no control characters."""
    return str(named)[:200].encode("unicode_escape").decode()
