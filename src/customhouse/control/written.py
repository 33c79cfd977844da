"""Where the value of a rendered field is written: `images` of a Kustomization, values of a chart, wherever they stand.

A program renders, and nobody can follow a value through a template. So it is looked for by what it is now: the image as
a whole, a tag and a digest beside one another, a model's address. Each place that has it is a way to write the new one,
the nearest files first; whether a way does what was meant, and nothing else, is for who renders both to check.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

from customhouse.control import yaml_nodes
from customhouse.control.edit import edit
from customhouse.control.promote import at, scalar
from customhouse.control.yaml_nodes import Node, Scalar
from customhouse.control.yaml_values import Reader, escape
from customhouse.core.errors import DeclarationError
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import Declaration

_MAX_FILES, _MAX_WAYS, _MAX_BYTES = 12, 24, 1024 * 1024
_SUFFIXES = (".yaml", ".yml", ".json")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@:-]*[A-Za-z0-9]|[A-Za-z0-9]")
_ENTRY = re.compile(r"/images/[0-9]+$")
_TAGS = ("tag", "version")
_DIGESTS = ("digest", "sha", "sha256")


@dataclass(frozen=True, slots=True)
class _Place:
    """One way to write one new value: the fields of one document of a file."""

    document: int
    edits: tuple[FieldEdit, ...]


@dataclass(frozen=True, slots=True)
class _Image:
    repository: str
    tag: str
    digest: str

    @classmethod
    def of(cls, text: str) -> _Image:
        rest, _, digest = text.partition("@")
        place, colon, tag = rest.rpartition(":")
        return cls(rest, "", digest) if not colon or "/" in tag else cls(place, tag, digest)


def written(
    target: Declaration, edits: Sequence[FieldEdit], files: Mapping[str, bytes]
) -> Iterator[tuple[Mapping[str, bytes], tuple[FieldEdit, ...]]]:
    """Ways to make `edits` of a rendered object: files with their new content, and the edits that no place is for."""
    changes = {item: _change(target, item) for item in edits}
    sought = {item: change for item, change in changes.items() if change is not None}
    found: dict[str, dict[FieldEdit, list[_Place]]] = {}
    for name in _near(target, files, [old for old, _ in sought.values()]):
        places = _places(name, files[name], sought)
        if any(places.values()):
            found[name] = places
    yield from islice(_ways(found, edits, files), _MAX_WAYS)


def _ways(
    found: Mapping[str, Mapping[FieldEdit, list[_Place]]], edits: Sequence[FieldEdit], files: Mapping[str, bytes]
) -> Iterator[tuple[Mapping[str, bytes], tuple[FieldEdit, ...]]]:
    everywhere = [item for item in edits if any(places[item] for places in found.values() if item in places)]
    rest = tuple(item for item in edits if item not in everywhere)
    if not everywhere:
        return
    for name, places in found.items():  # one file has all of it
        if all(places.get(item) for item in everywhere):
            yield from _made({name: [one for item in everywhere for one in places[item]]}, files, rest)
    options = [
        [(name, one) for name, places in found.items() for one in places.get(item, ())] for item in everywhere
    ]  # fmt: skip
    for chosen in product(*options):
        together: dict[str, list[_Place]] = {}
        for name, place in chosen:
            together.setdefault(name, []).append(place)
        yield from _made(together, files, rest)


def _made(
    places: Mapping[str, Sequence[_Place]], files: Mapping[str, bytes], rest: tuple[FieldEdit, ...]
) -> Iterator[tuple[Mapping[str, bytes], tuple[FieldEdit, ...]]]:
    made: dict[str, bytes] = {}
    try:
        for name, listed in places.items():
            data = files[name]
            for number in sorted({one.document for one in listed}):
                every = {item.pointer: item for one in listed if one.document == number for item in one.edits}
                data = edit(data, number, tuple(every.values()), file=name)
            made[name] = data
    except DeclarationError:  # an alias, a tag: not to be edited by a machine
        return
    yield made, rest


def _change(target: Declaration, item: FieldEdit) -> tuple[str, str] | None:
    """What is written now and what is to be; None where there is nothing to look for."""
    old = at(target.manifest, item.pointer)
    if not isinstance(old, str) or len(old) < 2:
        return None
    (node,) = yaml_nodes.compose(item.value, "value")
    return old, str(Reader("value").read(node).value)


def _near(target: Declaration, files: Mapping[str, bytes], sought: Sequence[str]) -> list[str]:
    """The files that may have one of these values, the nearest to where the object is rendered first."""
    tokens = {part.encode() for old in sought for part in _tokens(old)}
    root = target.location.file if target.rendering is None else f"{target.rendering.root}/x"

    def distance(name: str) -> tuple[int, str]:
        return -len(posixpath.commonprefix([root.split("/"), name.split("/")])), name

    having = []
    for name in sorted((name for name in files if name.endswith(_SUFFIXES)), key=distance):
        data = files[name]
        if len(data) <= _MAX_BYTES and any(token in data for token in tokens):
            having.append(name)
    return having[:_MAX_FILES]


def _tokens(old: str) -> tuple[str, ...]:
    image = _Image.of(old)
    return tuple(part for part in (old, image.tag, image.digest.partition(":")[2]) if part)


def _places(name: str, data: bytes, sought: Mapping[FieldEdit, tuple[str, str]]) -> dict[FieldEdit, list[_Place]]:
    found: dict[FieldEdit, list[_Place]] = {item: [] for item in sought}
    try:
        documents = yaml_nodes.compose(yaml_nodes.decode(data, name).removeprefix("\ufeff"), name)
    except DeclarationError:  # a template of a chart, or no YAML
        return found
    for number, document in enumerate(documents):
        for pointer, nodes in _mappings(document, ""):
            for item, (old, new) in sought.items():
                found[item] += [_Place(number, edits) for edits in _of(pointer, nodes, item, old, new)]
    return found


def _of(
    pointer: str, nodes: Mapping[str, Scalar], item: FieldEdit, old: str, new: str
) -> Iterator[tuple[FieldEdit, ...]]:
    """The ways in which one mapping has the old value."""
    for key, node in nodes.items():
        if node.text == old:
            yield (FieldEdit(f"{pointer}/{escape(key)}", _as_written(new, node)),)
    fields = {key: node.text for key, node in nodes.items()}
    if item.pointer.endswith("/image"):
        edits = _image(
            fields, _Image.of(old), _Image.of(new), entry=_ENTRY.search(pointer) is not None and "name" in fields
        )
        if edits:
            yield tuple(
                FieldEdit(f"{pointer}/{escape(key)}", _as_written(value, nodes.get(key)))
                for key, value in edits.items()
            )


def _as_written(value: str, before: Scalar | None) -> str:
    """As YAML: between the quotes that are there; else such that it is a text."""
    quoted = before is not None and before.style in ("'", '"')
    return value if quoted and _PLAIN.fullmatch(value) else scalar(value)


def _image(fields: Mapping[str, str], old: _Image, new: _Image, *, entry: bool) -> dict[str, str]:
    """Key → new value where a mapping has an image in parts; `entry`: one of Kustomize's `images`."""
    edits: dict[str, str] = {}
    bare = old.digest.partition(":")[2]
    for key, value in fields.items():
        lower = key.lower()
        if old.tag and lower.endswith(_TAGS) and value in (old.tag, f"{old.tag}@{old.digest}"):
            both = "@" in value
            edits[key] = f"{new.tag}@{new.digest}" if both else new.tag
        elif old.digest and lower.endswith(_DIGESTS) and value in (old.digest, bare):
            edits[key] = new.digest if ":" in value else new.digest.partition(":")[2]
    if not edits:
        return {}
    if entry and new.digest and not old.digest:
        edits["digest"] = new.digest
    if entry and new.tag and not old.tag:
        edits["newTag"] = new.tag
    if new.repository != old.repository:
        names = [key for key, value in fields.items() if value == old.repository and (not entry or key == "newName")]
        edits |= dict.fromkeys(names, new.repository) if names or not entry else {"newName": new.repository}
    return {key: value for key, value in edits.items() if value and value != fields.get(key)}


def _mappings(node: Node, pointer: str) -> Iterator[tuple[str, dict[str, Scalar]]]:
    """Every mapping and list of a document with the scalars that it has."""
    if isinstance(node, yaml_nodes.Mapping):
        named = [(key.text, value) for key, value in node.items if isinstance(key, Scalar)]
        yield pointer, {key: value for key, value in named if isinstance(value, Scalar)}
        for key, value in named:
            yield from _mappings(value, f"{pointer}/{escape(key)}")
    elif isinstance(node, yaml_nodes.Sequence):
        yield pointer, {str(number): one for number, one in enumerate(node.items) if isinstance(one, Scalar)}
        for number, one in enumerate(node.items):
            yield from _mappings(one, f"{pointer}/{number}")
