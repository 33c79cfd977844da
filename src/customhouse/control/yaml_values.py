"""The JSON value of a YAML node, read as Kubernetes reads it, with the place of every part.

Kubernetes' tools read YAML through sigs.k8s.io/yaml, a fork of go-yaml v2. Its `resolve.go` is YAML 1.1 with changes,
and they are followed here to the letter, since the gate must judge what a cluster would get:

- `y`, `yes`, `on` (and `n`, `no`, `off`; each in three spellings) are booleans, as in YAML 1.1;
- `0644`, `0o644`, `0x1F`, `0b11` and `1_000` are integers; `08` is the float 8; `1:30` is text (no base 60);
- timestamps stay text; a number out of range of a double stays text;
- `<<` merges. Programs differ on a key that stands before the merge which also sets it, so that is refused.

What go-yaml takes and a gate should not is refused as well: duplicate keys, keys that are not text (go-yaml would turn
`1:` into `"1":`), tags other than the core ones, NaN and infinities, integers that JSON cannot carry exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from customhouse.control import yaml_nodes
from customhouse.control.yaml_nodes import LIMITS, Alias, Limits, Node, Scalar, Sequence
from customhouse.control.yaml_scalars import Json, plain_value
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Location

_CORE = "tag:yaml.org,2002:"
_COLUMNS = 1 << 24


class Marks(Mapping[str, Location]):
    """Places by JSON pointer. Kept as numbers, turned into Locations when asked for: a large file has 100,000."""

    __slots__ = ("_file", "_places")

    def __init__(self, file: str) -> None:
        self._file = file
        self._places: dict[str, int] = {}

    def __getitem__(self, pointer: str) -> Location:
        line, column = divmod(self._places[pointer], _COLUMNS)
        return Location(self._file, line, column)

    def __contains__(self, pointer: object) -> bool:
        return pointer in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def put(self, pointer: str, node: Node) -> None:
        """Remember where a node stands."""
        self._places[pointer] = node.line * _COLUMNS + node.column


@dataclass(frozen=True, slots=True)
class Read:
    """A value and the place of each of its parts by JSON pointer.

    A scalar's place is where it is written; a collection's is its key (or the item itself in a list), which is the
    line a reader looks for.
    """

    value: Json
    marks: Marks


class Reader:
    """Turns the nodes of one file into values; its budget of nodes is shared by all documents of the file."""

    def __init__(self, file: str, limits: Limits = LIMITS) -> None:
        self._file = file
        self._limits = limits
        self._left = limits.nodes
        self._characters = limits.characters

    def read(self, node: Node) -> Read:
        """The value below `node`, pointers counted from it. Raises DeclarationError with its place."""
        marks = Marks(self._file)
        return Read(self._value(node, "", marks, 0), marks)

    def members(self, node: yaml_nodes.Mapping, depth: int = 0) -> dict[str, tuple[Node, Node]]:
        """Key and value node by key, merges resolved (an own key wins, then the merge that stands first)."""
        if depth > self._limits.depth:
            raise self._refused(node, f"merges nested deeper than {self._limits.depth} levels")
        own: dict[str, tuple[Node, Node]] = {}
        merges: list[tuple[Node, Node, frozenset[str]]] = []
        for key_node, value_node in node.items:
            self._charge(key_node)
            if _is_merge(key_node):
                if merges:
                    raise self._refused(key_node, "a second '<<' in one mapping", "write one: <<: [*first, *second]")
                merges.append((key_node, value_node, frozenset(own)))
                continue
            key = self._key(key_node)
            # A key is charged each time its mapping is read, wherever an alias or a merge puts it.
            self._spell(key_node, len(key))
            if key in own:
                first = own[key][0]
                raise self._refused(
                    key_node,
                    f"the key {key[:64]!r} is written twice (first at line {first.line}, column {first.column})",
                    "keep one of them; programs disagree on which one counts",
                )
            own[key] = (key_node, value_node)
        merged: dict[str, tuple[Node, Node]] = {}
        for key_node, value_node, before in merges:
            for source in self._merge_sources(key_node, value_node):
                for key, pair in self.members(source, depth + 1).items():
                    if key in before:
                        raise self._refused(
                            key_node,
                            f"'<<' stands after the key {key[:64]!r} that it sets too",
                            "put '<<' first in the mapping; programs disagree on which one counts",
                        )
                    merged.setdefault(key, pair)
        return {**merged, **own} if merged else own

    def _merge_sources(self, key_node: Node, value_node: Node) -> list[yaml_nodes.Mapping]:
        value = _resolved(value_node)
        sources = [_resolved(item) for item in value.items] if isinstance(value, Sequence) else [value]
        mappings = [source for source in sources if isinstance(source, yaml_nodes.Mapping)]
        if len(mappings) != len(sources):
            raise self._refused(key_node, "'<<' merges a mapping or a list of mappings")
        return mappings

    def _value(self, node: Node, pointer: str, marks: Marks, depth: int) -> Json:
        self._charge(node)
        if depth > self._limits.depth:
            raise self._refused(node, f"aliases make this nest deeper than {self._limits.depth} levels")
        target = _resolved(node)
        self._spell(node, len(pointer) + (len(target.text) if isinstance(target, Scalar) else 0))
        if isinstance(target, Scalar):
            if pointer not in marks or not isinstance(node, Alias):
                marks.put(pointer, node)
            return self._scalar(target)
        if pointer not in marks:
            marks.put(pointer, node)
        if isinstance(target, Sequence):
            self._check_tag(target, "seq")
            return [
                self._value(item, f"{pointer}/{index}", marks, depth + 1) for index, item in enumerate(target.items)
            ]
        self._check_tag(target, "map")
        result: dict[str, Json] = {}
        for key, (key_node, value_node) in self.members(target).items():
            child = f"{pointer}/{escape(key)}"
            marks.put(child, key_node)
            result[key] = self._value(value_node, child, marks, depth + 1)
        return result

    def _scalar(self, node: Scalar) -> Json:
        tag = node.tag
        if tag is None:
            return node.text if node.style else self._plain(node)
        if tag in ("!", _CORE + "str"):
            return node.text
        if tag not in (_CORE + "int", _CORE + "float", _CORE + "bool", _CORE + "null"):
            raise self._refused(
                node, f"the tag {tag[:64]!r} is not allowed", "only !!str, !!int, !!float, !!bool and !!null are"
            )
        value = self._plain(node)
        if tag == _CORE + "float" and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if tag != _CORE + _kind(value):
            raise self._refused(node, f"the value is not what its tag !!{tag.removeprefix(_CORE)} says")
        return value

    def _plain(self, node: Scalar) -> Json:
        try:
            return plain_value(node.text)
        except ValueError as error:
            raise self._refused(node, str(error), "write it in quotes if it is text") from error

    def _key(self, node: Node) -> str:
        target = _resolved(node)
        if not isinstance(target, Scalar):
            raise self._refused(node, "a key is a list or a mapping", "keys are text")
        key = self._scalar(target)
        if not isinstance(key, str):
            raise self._refused(
                node,
                f"the key {target.text[:64]!r} is read as {_kind(key)}, not as text",
                f'write it in quotes: "{target.text[:64]}"',
            )
        return key

    def _check_tag(self, node: Sequence | yaml_nodes.Mapping, expected: str) -> None:
        if node.tag not in (None, "!", _CORE + expected):
            raise self._refused(node, f"the tag {str(node.tag)[:64]!r} is not allowed", f"only !!{expected} is")

    def _charge(self, node: Node) -> None:
        self._left -= 1
        if self._left < 0:
            raise self._refused(
                node,
                f"more than {self._limits.nodes} values once aliases are expanded: a YAML bomb",
                "write the values out, in several files",
            )

    def _spell(self, node: Node, characters: int) -> None:
        self._characters -= characters
        if self._characters < 0:
            raise self._refused(
                node,
                f"more than {self._limits.characters} characters once aliases and names are expanded: a YAML bomb",
                "shorten the keys, or write the values out in several files",
            )

    def _refused(self, node: Node, message: str, hint: str = "") -> DeclarationError:
        return DeclarationError(message, where=f"{self._file}:{node.line}:{node.column}", hint=hint)


def escape(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901 section 3)."""
    return key.replace("~", "~0").replace("/", "~1") if "~" in key or "/" in key else key


def unescape(part: str) -> str:
    """The key that a part of a JSON pointer stands for."""
    return part.replace("~1", "/").replace("~0", "~")


def _resolved(node: Node) -> Scalar | Sequence | yaml_nodes.Mapping:
    return node.target if isinstance(node, Alias) else node


def _is_merge(node: Node) -> bool:
    return (
        isinstance(node, Scalar)
        and node.text == "<<"
        and (node.tag == _CORE + "merge" or (node.tag is None and node.style == ""))
    )


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    return "int" if isinstance(value, int) else "float" if isinstance(value, float) else "str"
