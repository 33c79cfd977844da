"""YAML as a graph of nodes with their places in the text, composed under limits from libyaml's event stream.

Events are pulled one by one and composed without recursion: ten thousand opening brackets, or a document of a million
empty items, end in a clear error after the limit and never in an exhausted stack or memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from customhouse.control.yaml_limits import LIMITS, Limits, decode
from customhouse.core.errors import DeclarationError

if TYPE_CHECKING:
    import yaml

__all__ = ["LIMITS", "Alias", "Limits", "Mapping", "Node", "Scalar", "Sequence", "compose", "decode"]


# Nodes are slotted but not frozen: a collection's end is known only after its children, and a frozen dataclass costs
# twice the time at 100,000 nodes. Nothing outside this module changes one.
@dataclass(slots=True)
class Scalar:
    """A scalar as written. `start` and `end` count characters of the text; line and column are from 1."""

    text: str
    style: str
    """Empty for a plain scalar, else one of ' " | >."""
    tag: str | None
    anchor: str | None
    start: int
    end: int
    line: int
    column: int


@dataclass(slots=True)
class Sequence:
    """A list. `flow` is True for the bracketed style."""

    flow: bool
    tag: str | None
    anchor: str | None
    start: int
    end: int
    line: int
    column: int
    items: list[Node] = field(default_factory=list)
    open: bool = True


@dataclass(slots=True)
class Mapping:
    """Keys and values in the order of the file, duplicates included. `flow` is True for the braced style."""

    flow: bool
    tag: str | None
    anchor: str | None
    start: int
    end: int
    line: int
    column: int
    items: list[tuple[Node, Node]] = field(default_factory=list)
    pending: Node | None = None
    open: bool = True


@dataclass(slots=True)
class Alias:
    """`*name`, with the node that it stands for."""

    target: Scalar | Sequence | Mapping
    start: int
    end: int
    line: int
    column: int


Node: TypeAlias = Scalar | Sequence | Mapping | Alias
_Collection: TypeAlias = Sequence | Mapping


def compose(text: str, file: str, limits: Limits = LIMITS) -> list[Node]:
    """The root nodes of the documents of a YAML stream; empty documents are left out.

    `text` may begin with a byte order mark: places count characters of the text without it. Raises DeclarationError
    (where = `file:line:column`) for broken YAML, too deep nesting, too many nodes and unknown aliases. Messages hold
    no value of the file.
    """
    return list(_Composer(file, limits).documents(text.removeprefix("\ufeff")))


class _Composer:
    """Folds events into nodes on an explicit stack."""

    def __init__(self, file: str, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._stack: list[_Collection] = []
        self._anchors: dict[str, Scalar | Sequence | Mapping] = {}
        self._count = 0
        self._root: Node | None = None

    def documents(self, text: str) -> Iterator[Node]:
        """One root per document that has any content."""
        import yaml  # where the quick reader knows all files, loading this would be half of the time that they take

        # The pure-Python parser gives the same events, fifteen times slower; it is there for a PyYAML without libyaml.
        loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            event: Any
            for event in yaml.parse(text, Loader=loader):
                kind = type(event)
                if kind is yaml.ScalarEvent:
                    self._scalar(event)
                elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                    self._start(event, kind is yaml.MappingStartEvent)
                elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                    closed = self._stack.pop()
                    closed.end = event.end_mark.index
                    closed.open = False
                elif kind is yaml.AliasEvent:
                    self._alias(event)
                elif kind is yaml.DocumentEndEvent:
                    root, self._root, self._anchors = self._root, None, {}
                    if root is not None and not _is_empty(root):
                        yield root
        except yaml.YAMLError as error:
            raise self._broken(error) from error

    def _scalar(self, event: Any) -> None:
        mark = event.start_mark
        node = Scalar(
            event.value,
            # PyYAML's C parser says "" for plain, the Python one None.
            event.style or "",
            event.tag,
            event.anchor,
            mark.index,
            event.end_mark.index,
            mark.line + 1,
            mark.column + 1,
        )
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._add(node)

    def _start(self, event: Any, mapping: bool) -> None:
        mark = event.start_mark
        place = (mark.index, event.end_mark.index, mark.line + 1, mark.column + 1)
        flow = bool(event.flow_style)
        node: _Collection
        if mapping:
            node = Mapping(flow, event.tag, event.anchor, *place)
        else:
            node = Sequence(flow, event.tag, event.anchor, *place)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._add(node)
        self._stack.append(node)
        if len(self._stack) > self._limits.depth:
            raise self._refused(mark, f"nested deeper than {self._limits.depth} levels")

    def _alias(self, event: Any) -> None:
        mark = event.start_mark
        target = self._anchors.get(event.anchor)
        if target is None:
            raise self._refused(mark, f"the alias *{event.anchor[:64]} has no anchor before it in this document")
        if not isinstance(target, Scalar) and target.open:
            raise self._refused(
                mark, f"the alias *{event.anchor[:64]} stands inside its own anchor: it would never end"
            )
        self._add(Alias(target, mark.index, event.end_mark.index, mark.line + 1, mark.column + 1))

    def _add(self, node: Node) -> None:
        self._count += 1
        if self._count > self._limits.nodes:
            raise DeclarationError(
                f"more than {self._limits.nodes} values in one file",
                where=f"{self._file}:{node.line}:{node.column}",
                hint="split it into several files",
            )
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif parent.pending is None:
            parent.pending = node
        else:
            parent.items.append((parent.pending, node))
            parent.pending = None

    def _refused(self, mark: Any, message: str) -> DeclarationError:
        return DeclarationError(message, where=f"{self._file}:{mark.line + 1}:{mark.column + 1}")

    def _broken(self, error: yaml.YAMLError) -> DeclarationError:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = self._file if mark is None else f"{self._file}:{mark.line + 1}:{mark.column + 1}"
        problem = getattr(error, "problem", None) or "the text holds a character that YAML does not allow"
        context = getattr(error, "context", None)
        message = f"not YAML: {problem}" + (f" ({context})" if context else "")
        hint = "indent with spaces; put text with ': ', '#' or '{' in quotes" if mark is not None else ""
        return DeclarationError(message, where=where, hint=hint)


def walk(root: Node) -> Iterator[Node]:
    """Every node as it is written: aliases themselves, not what they stand for."""
    left = [root]
    while left:
        node = left.pop()
        yield node
        if isinstance(node, Sequence):
            left.extend(reversed(node.items))
        elif isinstance(node, Mapping):
            for key, value in reversed(node.items):
                left.extend((value, key))


def _is_empty(root: Node) -> bool:
    return isinstance(root, Scalar) and root.text == "" and root.style == "" and root.tag is None
