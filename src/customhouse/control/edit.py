"""Minimal edits: set scalars of a declared object and leave every other byte of the file as it was.

The new text is spliced in at the places of the nodes. Then the result is read again, and unless exactly the intended
values differ, nothing is given out: an edit that cannot be proved is an error.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from customhouse._kit.digest import json_digest
from customhouse.control import yaml_nodes
from customhouse.control.yaml_nodes import Alias, Mapping, Node, Scalar
from customhouse.control.yaml_scalars import Json, plain_value
from customhouse.control.yaml_values import Reader, escape, unescape
from customhouse.core.errors import DeclarationError
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import ResourceRef

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class _Subject:
    """The object to edit: number of its document, and the path inside it (items of a List)."""

    document: int
    path: tuple[str, ...]
    root: Node


def edit(data: bytes, subject: ResourceRef | int, edits: Sequence[FieldEdit], *, file: str = "") -> bytes:
    """The file with `edits` made to one of its objects, everything else byte for byte as it was.

    `subject` is the object's reference, or the number of its document (from 0, empty ones not counted). A value is
    YAML for one scalar (`512Mi`, `3`, `"3"`), or for a new or empty field a list of them (`[ALL]`). A field that is
    written in quotes keeps them, and so stays text. A
    missing key is added to its mapping in the file's style, with the mappings between when they are missing too.

    Raises DeclarationError: no such object or list item, the target is not a scalar, an aliased or merged value (it
    would change in two places), a value that is not one scalar, or a result that says anything else than intended.
    """
    text = yaml_nodes.decode(data, file)
    mark, text = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    expected = copy.deepcopy(_values(text, file))
    for item in edits:
        text, intended = _Edit(text, subject, item, file).apply()
        place = _select(yaml_nodes.compose(text, file), subject, file)
        _set(expected, place, item.pointer, intended)
    if [json_digest(value) for value in _values(text, file)] != [json_digest(value) for value in expected]:
        raise DeclarationError(
            "the edit would change more than it should; nothing was changed", where=file, hint="edit by hand"
        )
    return (mark + text).encode("utf-8")


class _Edit:
    """One edit of one text."""

    def __init__(self, text: str, subject: ResourceRef | int, item: FieldEdit, file: str) -> None:
        self._text = text
        self._file = file
        self._item = item
        documents = yaml_nodes.compose(text, file)
        place = _select(documents, subject, file)
        self._document = documents[place.document]
        self._root = place.root
        self._reader = Reader(file)
        self._aliased = {id(node.target) for node in yaml_nodes.walk(self._document) if isinstance(node, Alias)}
        self._json = isinstance(self._document, Mapping) and self._document.flow and _quoted_keys(self._document)

    def apply(self) -> tuple[str, Json]:
        """The new text, and the value that the field then has."""
        if not self._item.pointer.startswith("/"):
            raise self._refused(self._root, "a JSON pointer begins with '/'")
        parts = [unescape(part) for part in self._item.pointer.split("/")[1:]]
        node: Node = self._root
        inside_flow = isinstance(self._root, (Mapping, yaml_nodes.Sequence)) and self._root.flow
        for number, part in enumerate(parts):
            self._check_single(node)
            if isinstance(node, Mapping):
                inside_flow = node.flow
                child = self._member(node, part)
                if child is None:
                    return self._insert(node, parts[number:])
                node = child
            elif isinstance(node, yaml_nodes.Sequence):
                inside_flow = node.flow
                if not part.isdecimal() or int(part) >= len(node.items):
                    raise self._refused(node, f"the list has no item {part}")
                node = node.items[int(part)]
            elif isinstance(node, Scalar) and self._is_null(node):
                return self._replace_null(node, parts[number:])
            else:
                raise self._refused(node, f"there is no mapping to hold {part!r}")
        self._check_single(node)
        if not isinstance(node, Scalar):
            raise self._refused(node, "this is a mapping or a list; only scalars are edited")
        return self._replace(node, inside_flow=inside_flow)

    def _check_single(self, node: Node) -> None:
        if isinstance(node, Alias) or id(node) in self._aliased:
            raise self._refused(node, "this value is shared by an alias; it would change in two places")
        if isinstance(node, Scalar) and (node.anchor is not None or node.tag is not None):
            raise self._refused(node, "this value carries an anchor or a tag")

    def _member(self, node: Mapping, key: str) -> Node | None:
        pair = self._reader.members(node).get(key)
        if pair is None:
            return None
        if not any(pair[1] is value for _, value in node.items):
            raise self._refused(node, f"{key!r} comes from a merge; it would change in two places")
        return pair[1]

    def _is_null(self, node: Scalar) -> bool:
        return node.style == "" and plain_value(node.text) is None

    # --- replacing -----------------------------------------------------------------------------------------------

    def _replace(self, old: Scalar, *, inside_flow: bool) -> tuple[str, Json]:
        new = self._new_value()
        if not isinstance(new, Scalar):
            raise self._refused(old, "the new value is a list, not one scalar")
        written, intended = self._written(new, old.style, inside_flow=inside_flow)
        if self._reader.read(old).value == intended and old.style == new.style:
            return self._text, intended
        return self._splice(old, written), intended

    def _replace_null(self, old: Scalar, parts: list[str]) -> tuple[str, Json]:
        written, intended = self._written(self._new_value(), "", inside_flow=True)
        for part in reversed(parts):
            written = "{" + f"{self._key(part)}: {written}" + "}"
        return self._splice(old, written), intended

    def _splice(self, old: Scalar, written: str) -> str:
        # A block scalar's end lies after its line break and blank lines; those stay.
        end = old.start + len(self._text[old.start : old.end].rstrip()) if old.style in ("|", ">") else old.end
        if old.start == old.end and self._text[old.start - 1 : old.start] in (":", "-"):
            written = " " + written
        return self._text[: old.start] + written + self._text[end:]

    def _new_value(self) -> Scalar | yaml_nodes.Sequence:
        value = self._item.value
        try:
            documents = yaml_nodes.compose(value, "value")
        except DeclarationError as error:
            raise self._refused(self._root, f"the new value is not YAML: {error.message}") from error
        new = documents[0] if len(documents) == 1 else None
        parts = new.items if isinstance(new, yaml_nodes.Sequence) and new.flow else [new]
        if (
            not isinstance(new, (Scalar, yaml_nodes.Sequence))
            or not all(isinstance(part, Scalar) and part.anchor is None and part.tag is None for part in parts)
            or "\n" in value
            or "\r" in value
            or new.anchor is not None
            or new.tag is not None
            or (new.start, new.end) != (0, len(value))
        ):
            raise self._refused(
                self._root,
                "the new value is not one scalar, or one list of them, on one line",
                'write "" for empty text',
            )
        return new

    def _written(self, new: Scalar | yaml_nodes.Sequence, old_style: str, *, inside_flow: bool) -> tuple[str, Json]:
        if not isinstance(new, Scalar):
            listed = Reader("value").read(new).value
            return (json.dumps(listed) if self._json else self._item.value), listed
        if new.style == "" and old_style in ("'", '"'):
            return _quote(new.text, old_style), new.text
        intended = Reader("value").read(new).value
        if isinstance(intended, str) and (
            self._json or (inside_flow and new.style == "" and _unsafe_in_flow(new.text))
        ):
            return _quote(intended, '"'), intended
        if self._json:
            return json.dumps(intended), intended
        return self._item.value, intended

    # --- inserting -----------------------------------------------------------------------------------------------

    def _insert(self, parent: Mapping, parts: list[str]) -> tuple[str, Json]:
        if any(part.isdecimal() or not part for part in parts):
            raise self._refused(parent, "list items are not added", f"add {escape(parts[0])!r} by hand")
        written, intended = self._written(self._new_value(), "", inside_flow=parent.flow)
        if parent.flow:
            for part in reversed(parts[1:]):
                written = "{" + f"{self._key(part)}: {written}" + "}"
            return self._insert_flow(parent, f"{self._key(parts[0])}: {written}"), intended
        step = self._indent_step()
        indent = parent.items[0][0].column - 1
        lines = [" " * (indent + step * depth) + self._key(part) + ":" for depth, part in enumerate(parts)]
        lines[-1] += f" {written}"
        return self._insert_block(parent, lines, indent), intended

    def _insert_flow(self, parent: Mapping, entry: str) -> str:
        if not parent.items:
            at = parent.end - 1
            return self._text[:at].rstrip(" ") + entry + self._text[at:]
        key, value = parent.items[-1]
        line_start = self._text.rfind("\n", 0, key.start) + 1
        before = self._text[line_start : key.start]
        at = max(key.end, value.end)
        separator = f",{self._line_break()}{before}" if line_start and not before.strip() else ", "
        return self._text[:at] + separator + entry + self._text[at:]

    def _insert_block(self, parent: Mapping, lines: list[str], indent: int) -> str:
        line_break = self._line_break()
        leaf = _last_leaf(parent)
        if isinstance(leaf, Scalar) and leaf.style in ("|", ">"):
            # Where a block scalar ends depends on its indicators, so the new lines go before the entry that holds it.
            at = parent.items[-1][0].start
            inserted = line_break.join(lines).lstrip(" ") + line_break + " " * indent
            return self._text[:at] + inserted + self._text[at:]
        end = self._text.find("\n", leaf.end)
        inserted = line_break.join(lines)
        if end < 0:
            return self._text + line_break + inserted
        return self._text[: end + 1] + inserted + line_break + self._text[end + 1 :]

    def _line_break(self) -> str:
        first = self._text.find("\n")
        return "\r\n" if first > 0 and self._text[first - 1] == "\r" else "\n"

    def _indent_step(self) -> int:
        """How far the file indents a mapping inside a mapping; two when there is none to see."""
        for node in yaml_nodes.walk(self._document):
            if isinstance(node, Mapping) and not node.flow:
                for key, value in node.items:
                    if isinstance(value, Mapping) and not value.flow and value.items:
                        step = value.items[0][0].column - key.column
                        if step > 0:
                            return step
        return 2

    def _key(self, key: str) -> str:
        if not self._json and _PLAIN_KEY.fullmatch(key) and isinstance(plain_value(key), str):
            return key
        return _quote(key, '"')

    def _refused(self, node: Node, message: str, hint: str = "edit by hand") -> DeclarationError:
        where = f"{self._file}:{node.line}:{node.column}"
        return DeclarationError(f"cannot set {self._item.pointer}: {message}", where=where, hint=hint)


def _values(text: str, file: str) -> list[Json]:
    reader = Reader(file)
    return [reader.read(root).value for root in yaml_nodes.compose(text, file)]


def _select(documents: list[Node], subject: ResourceRef | int, file: str) -> _Subject:
    if isinstance(subject, int):
        if not 0 <= subject < len(documents):
            raise DeclarationError(f"the file has no document {subject}", where=file)
        return _Subject(subject, (), documents[subject])
    reader = Reader(file)
    found = [
        _Subject(number, path, root)
        for number, document in enumerate(documents)
        for path, root in _objects(document, (), reader)
        if _is(reader.read(root).value, subject)
    ]
    if len(found) != 1:
        problem = f"{subject} is not in this file" if not found else f"{subject} is in this file more than once"
        raise DeclarationError(problem, where=file)
    return found[0]


def _objects(root: Node, path: tuple[str, ...], reader: Reader) -> list[tuple[tuple[str, ...], Node]]:
    if not isinstance(root, Mapping):
        return []
    members = reader.members(root)
    kind, items = members.get("kind"), members.get("items")
    is_list = kind is not None and isinstance(kind[1], Scalar) and kind[1].text.endswith("List")
    if is_list and items is not None and isinstance(items[1], yaml_nodes.Sequence):
        return [
            found
            for number, item in enumerate(items[1].items)
            for found in _objects(item, (*path, "items", str(number)), reader)
        ]
    return [(path, root)]


def _is(value: Json, ref: ResourceRef) -> bool:
    if not isinstance(value, dict) or value.get("kind") != ref.kind:
        return False
    metadata = value.get("metadata")
    api_version = value.get("apiVersion")
    return (
        isinstance(metadata, dict)
        and isinstance(api_version, str)
        and api_version.rpartition("/")[0] == ref.api_version.rpartition("/")[0]
        and ref.name in (metadata.get("name"), metadata.get("generateName"))
        and metadata.get("namespace") in (None, "", ref.namespace)
    )


def _set(values: list[Json], place: _Subject, pointer: str, value: Json) -> None:
    """What the edit means, on plain values; the text was edited in another way, so agreement proves something."""
    parts = [*place.path, *(unescape(part) for part in pointer.split("/")[1:])]
    node = values[place.document]
    for part in parts[:-1]:
        if isinstance(node, list):
            node = node[int(part)]
        elif isinstance(node, dict):
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
    if isinstance(node, list):
        node[int(parts[-1])] = value
    elif isinstance(node, dict):
        node[parts[-1]] = value


def _last_leaf(node: Node) -> Node:
    while True:
        if isinstance(node, Mapping) and not node.flow and node.items:
            node = node.items[-1][1]
        elif isinstance(node, yaml_nodes.Sequence) and not node.flow and node.items:
            node = node.items[-1]
        else:
            return node


def _quoted_keys(node: Mapping) -> bool:
    return all(isinstance(key, Scalar) and key.style == '"' for key, _ in node.items)


def _unsafe_in_flow(text: str) -> bool:
    return any(character in ",[]{}" for character in text)


def _quote(text: str, style: str) -> str:
    if style == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return json.dumps(text, ensure_ascii=False)
