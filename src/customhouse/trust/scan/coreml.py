"""Core ML: models that need code of the app, or files from elsewhere, are findings (coremltools' Model.proto).

A `.mlpackage` is a folder: a manifest (JSON), a model, and weights in MIL's blob storage; each is read here.
"""

from __future__ import annotations

from collections.abc import Iterator

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.member_names import escapes
from customhouse.trust.scan.protobuf import Field, fields
from customhouse.trust.scan.source import Source, UnreadableError

_KNOWN = frozenset(
    {200, 201, 202, 300, 301, 302, 303, 304, 400, 401, 402, 403, 404, 500, 501, 502, 555, 556, 560, 600, 601, 602, 603}
    | {604, 606, 607, 609, 610, 900, 2000, 2001, 2002, 2003, 2004, 2005, 2006, 3000}
)
_PIPELINES, _NETWORKS = frozenset({200, 201, 202}), frozenset({303, 403, 500})
_CUSTOM, _LINKED, _PROGRAM = 555, 556, 502
_MAX_DEPTH = 40
_BLOB_ENTRY = 64
_SENTINEL = 0xDEADBEEF


def is_coreml(source: Source, look: Inspection) -> bool:
    """Whether the top level is a Core ML model: a version, a description, and one kind of model."""
    version = kinds = 0
    try:
        for count, item in enumerate(fields(source, look)):
            if count > 6 or (item.number not in (1, 2, 10, 11) and item.number not in _KNOWN):
                return False
            if item.number == 1:
                version = item.value if item.body is None else 0
            kinds += item.number in _KNOWN and item.body is not None
    except UnreadableError:
        return False
    return 1 <= version < 100 and kinds == 1


def inspect_coreml(source: Source, look: Inspection, depth: int = 0) -> None:
    """Walk pipelines and networks; custom models, custom layers and links are judged."""
    look.format = "coreml"
    if depth > _MAX_DEPTH:
        raise UnreadableError("models nested too deep", rule="limit-depth")
    for item in fields(source, look):
        if item.number in _PIPELINES:
            _pipeline(item, look, depth)
        elif item.number in _NETWORKS:
            _network(item.message(), look)
        elif item.number == _CUSTOM:
            look.suspicious("coreml-custom", "a model that runs code of the app that loads it")
        elif item.number == _LINKED:
            _linked(item.message(), look)
        elif item.number == _PROGRAM:
            for path in _blobs(item.message(), look, 0):
                _blob_path(path, look)


def _pipeline(item: Field, look: Inspection, depth: int) -> None:
    inner = item.message()
    if item.number != 202:
        parts = [part for part in fields(inner, look) if part.number == 1]
        inner = parts[0].message() if parts else inner.window(0, 0)
    for part in fields(inner, look):
        if part.number == 1:
            inspect_coreml(part.message(), look, depth + 1)


def _network(source: Source, look: Inspection) -> None:
    for layer in fields(source, look):
        if layer.number == 1:
            for part in fields(layer.message(), look):
                if part.number == 500:
                    name = next((field.text() for field in fields(part.message(), look) if field.number == 10), "")
                    look.suspicious("coreml-custom", f"a layer that runs code of the app ({name[:80]!r})")


def _linked(source: Source, look: Inspection) -> None:
    for item in fields(source, look):
        if item.number == 1:
            for part in fields(item.message(), look):
                if part.body is not None:
                    look.malicious("coreml-linked", f"loads another model ({_parameter(part, look)[:80]!r})")


def _parameter(part: Field, look: Inspection) -> str:
    """A string parameter: its default value."""
    return next((field.text() for field in fields(part.message(), look) if field.number == 1), "")


def _blobs(source: Source, look: Inspection, depth: int) -> Iterator[str]:
    """File names of blob values anywhere in a program: a message of a name and an offset under field 5 of a value."""
    if depth > _MAX_DEPTH:
        raise UnreadableError("a program nested too deep", rule="limit-depth")
    for item in fields(source, look):
        if item.body is None or item.body.size < 4:
            continue
        head = item.body.peek(0, 1)
        if item.number == 5 and head == b"\x0a":
            path = _blob(item.body, look)
            if path:
                yield path
                continue
        if item.body.size > 1 << 16 and item.number in (3, 4):
            continue  # immediate values: numbers
        if _is_message(item.body, look):
            yield from _blobs(item.body, look, depth + 1)


def _blob(source: Source, look: Inspection) -> str:
    name, count = "", 0
    try:
        for part in fields(source, look):
            count += 1
            if part.number == 1 and part.body is not None:
                name = part.text()
            elif part.number != 2 or part.body is not None:
                return ""
    except UnreadableError:
        return ""
    return name if count <= 2 and ("/" in name or "\\" in name or "." in name) else ""


def _is_message(source: Source, look: Inspection) -> bool:
    try:
        return all(item.number < 1000 for item in fields(source, look))
    except UnreadableError as error:
        if error.rule.startswith("limit"):
            raise
        return False


def _blob_path(path: str, look: Inspection) -> None:
    inside = path.removeprefix("@model_path/")
    if inside == path or escapes(inside):
        look.malicious("coreml-weights", f"reads weights from {path[:120]!r}, outside of its package")


def is_mil_weights(source: Source) -> bool:
    """Whether it is MIL's blob storage, version 2: a count, the version, zeros, then a sentinel an entry."""
    head = source.peek(0, _BLOB_ENTRY + 4)
    if len(head) < _BLOB_ENTRY + 4:
        return False
    version, sentinel = int.from_bytes(head[4:8], "little"), int.from_bytes(head[_BLOB_ENTRY:], "little")
    return version == 2 and sentinel == _SENTINEL and not head[8:_BLOB_ENTRY].strip(b"\x00")


def inspect_mil_weights(source: Source, look: Inspection) -> None:
    """Every entry in its place, with less than an alignment between; nothing after the last."""
    look.format = "coreml-weights"
    count, position = int.from_bytes(source.read(0, 4), "little"), _BLOB_ENTRY
    for _ in range(count):
        look.spend(2)
        entry = source.read(position, _BLOB_ENTRY)
        size, offset = int.from_bytes(entry[8:16], "little"), int.from_bytes(entry[16:24], "little")
        if int.from_bytes(entry[:4], "little") != _SENTINEL or not 0 <= offset - position <= 2 * _BLOB_ENTRY:
            raise UnreadableError("weights that are not where they should be", offset=position, rule="coreml-weights")
        end = offset + size
        source.window(offset, size)
        position = -(-end // _BLOB_ENTRY) * _BLOB_ENTRY
    if source.size > position:
        look.unscannable("coreml-weights", f"{source.size - position} bytes belong to no weight", position)
