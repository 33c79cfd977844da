"""Places through rendering: where in the tree's own files a rendered field was written, as far as that can be told.

Kustomize says which file an object comes from; what a patch, an `images` entry or another field of a kustomization put
into it is found by its value. Helm says which template; a line is told when exactly one line of it can be meant.
Nothing is read before somebody asks for a place: only objects with findings cost anything.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from customhouse.control import yaml_nodes
from customhouse.control.rendering_kustomize import Kustomization
from customhouse.control.yaml_values import Marks, Read, Reader, escape, unescape
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Location

_MISSING = object()
_KIND = re.compile(r"(?m)^[\"']?kind[\"']?: *[\"']?([A-Za-z0-9]+)")
_NAMED = re.compile(r"(?m)^ +[\"']?name[\"']?: *[\"']?([^\s\"'#]+)")
_SELECTED = ("/metadata/labels/", "/selector/", "/matchLabels/", "/template/metadata/labels/")


class Sources:
    """The files of one tree with the places of their values, each read at most once. Never raises."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._reads: dict[str, tuple[Read, ...]] = {}
        self._outlines: dict[str, tuple[tuple[int, str, tuple[str, ...]], ...]] = {}

    def text(self, path: str) -> str:
        """The text of a file; empty when it is not there or not text."""
        try:
            return self._files[path].decode("utf-8")
        except (KeyError, UnicodeDecodeError, DeclarationError):
            return ""

    def reads(self, path: str) -> tuple[Read, ...]:
        """Every document of a file."""
        if path not in self._reads:
            self._reads[path] = _read(self.text(path), path)
        return self._reads[path]

    def begin(self, path: str, kind: str, name: str) -> Location:
        """Where the document of an object begins; line 1 when it is not found.

        Kustomize may have put a prefix and a suffix around the name.
        """
        if path not in self._outlines:
            self._outlines[path] = tuple(_outline(self.text(path)))
        alike = [(line, names) for line, other, names in self._outlines[path] if other == kind]
        exact = [line for line, names in alike if name in names]
        inner = [line for line, names in alike if any(item in name for item in names)]
        return Location(path, next(iter(exact or inner), 1))


class KustomizePlaces(Mapping[str, Location]):
    """Pointer into a rendered object → where it was written."""

    def __init__(
        self, sources: Sources, manifest: Mapping[str, Any], origin: str, closure: Sequence[Kustomization]
    ) -> None:
        self._sources, self._manifest, self._origin, self._closure = sources, manifest, origin, closure
        self._found: dict[str, Location | None] = {}

    def __getitem__(self, pointer: str) -> Location:
        found = self._locate(pointer)
        if found is None:
            raise KeyError(pointer)
        return found

    def __contains__(self, pointer: object) -> bool:
        return isinstance(pointer, str) and self._locate(pointer) is not None

    def __iter__(self) -> Iterator[str]:
        return (pointer for pointer in _pointers(self._manifest, "") if pointer in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _locate(self, pointer: str) -> Location | None:
        if pointer not in self._found:
            self._found[pointer] = self._search(pointer)
        return self._found[pointer]

    def _search(self, pointer: str) -> Location | None:
        steps = _steps(self._manifest, pointer)
        if steps is None:
            return None
        value = _at(self._manifest, pointer)
        source = self._source
        written = None if source is None else _follow(source.value, steps)
        # 1. As the source says it; 2. as a patch, then a field of a kustomization, says it, the outermost first;
        # 3. where the source has the field with another value: something that is not known changed it.
        if source is not None and written is not None and _at(source.value, written) == value:
            return _mark(source, written)
        for kustomization in self._closure:
            found = self._in_patches(kustomization, pointer, steps, value)
            if found is None:
                found = _in_fields(kustomization, self._manifest, pointer, value)
            if found is not None:
                return found
        return None if source is None or written is None else _mark(source, written)

    @cached_property
    def _source(self) -> Read | None:
        return _same_object(self._sources.reads(self._origin), self._manifest) if self._origin else None

    def _in_patches(
        self, kustomization: Kustomization, pointer: str, steps: Sequence[tuple[str, Any]], value: Any
    ) -> Location | None:
        for read, targeted, base in self._patches(kustomization):
            if isinstance(read.value, list):
                found = _in_operations(read, pointer, value)
            elif targeted or _is_about(read.value, self._manifest):
                inner = _follow(read.value, steps)
                same = inner is not None and _at(read.value, inner) == value
                found = _mark(read, inner) if same and inner is not None else None
            else:
                found = None
            if found is not None:
                return found if base is None else base.shifted(found)
        return None

    def _patches(self, kustomization: Kustomization) -> Iterator[tuple[Read, bool, _Inline | None]]:
        """The documents of its patches, whether their target is named outside, and where an inline one begins."""
        for key in ("patches", "patchesStrategicMerge", "patchesJson6902"):
            items = kustomization.value.get(key)
            for index, item in enumerate(items if isinstance(items, list) else ()):
                pointer = f"/{key}/{index}"
                path, inline, targeted = item, item, False
                if isinstance(item, dict):
                    path, inline, targeted = item.get("path"), item.get("patch"), item.get("target") is not None
                    pointer += "/patch"
                if isinstance(path, str) and "\n" not in path:
                    place = posixpath.normpath(posixpath.join(kustomization.folder, path))
                    for read in self._sources.reads(place):
                        yield read, targeted, None
                if isinstance(inline, str) and "\n" in inline and pointer in kustomization.marks:
                    base = _Inline(kustomization.marks[pointer], self._sources.text(kustomization.file))
                    for read in _read(inline, kustomization.file):
                        yield read, targeted, base


class _Inline:
    """A patch that is written as a text inside a kustomization."""

    def __init__(self, start: Location, text: str) -> None:
        lines = text.splitlines()
        self._start = start
        opened = lines[start.line - 1][start.column - 1 :] if start.line <= len(lines) else ""
        below = next((line for line in lines[start.line :] if line.strip()), "")
        # Only a literal block keeps the lines of what it holds.
        self._indent = len(below) - len(below.lstrip()) if opened.startswith("|") else None

    def shifted(self, inner: Location) -> Location:
        """A place in the text as a place in the file."""
        if self._indent is None:
            return self._start
        return Location(self._start.file, self._start.line + inner.line, self._indent + inner.column)


class TemplatePlaces(Mapping[str, Location]):
    """Pointer into an object that Helm rendered → the line of its template, where only one can be meant."""

    def __init__(self, sources: Sources, template: str) -> None:
        self._sources, self._template = sources, template
        self._lines: list[tuple[int, str, int]] | None = None

    def __getitem__(self, pointer: str) -> Location:
        found = self._locate(pointer)
        if found is None:
            raise KeyError(pointer)
        return found

    def __contains__(self, pointer: object) -> bool:
        return isinstance(pointer, str) and self._locate(pointer) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def _locate(self, pointer: str) -> Location | None:
        if self._lines is None:
            self._lines = [
                (len(line) - len(line.lstrip(" ")), line.strip(), number)
                for number, line in enumerate(self._sources.text(self._template).splitlines(), start=1)
            ]
        start, indent, end = 0, -1, len(self._lines)
        line = None
        for part in pointer.split("/")[1:]:
            if part.isdigit():
                # Items of a list may be made by a loop; the keys below it decide whether only one line can be meant.
                continue
            key = re.compile(rf"(?:- +)*[\"']?{re.escape(unescape(part))}[\"']?:(?: |$)")
            found = [
                index
                for index in range(start, end)
                if self._lines[index][0] > indent - 1 and key.match(self._lines[index][1])
            ]
            nearest = min((self._lines[index][0] for index in found), default=0)
            found = [index for index in found if self._lines[index][0] == nearest]
            if len(found) != 1:
                return None
            line, indent = found[0], self._lines[found[0]][0]
            start = line + 1
            end = self._end(start, indent, end)
        if line is None:
            return None
        return Location(self._template, self._lines[line][2], self._lines[line][0] + 1)

    def _end(self, start: int, indent: int, end: int) -> int:
        """Where the block of a key ends: the first line that is no template action and not deeper than the key."""
        assert self._lines is not None  # noqa: S101 - its one caller has filled it
        for index in range(start, end):
            depth, text, _ = self._lines[index]
            if text and depth <= indent and not text.startswith(("{{", "#", "- ")):
                return index
        return end


def _outline(text: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Of each document of a file: the line at which it begins, its kind, and every name in it. A cheap look."""
    line = 1
    for part in re.split(r"(?m)^(---.*\n?)", text):
        kind = _KIND.search(part)
        first = re.search(r"(?m)^[^#\s]", part)
        if kind is not None and first is not None:
            yield line + part.count("\n", 0, first.start()), kind[1], tuple(_NAMED.findall(part))
        line += part.count("\n")


def _read(text: str, path: str) -> tuple[Read, ...]:
    try:
        reader = Reader(path)
        return tuple(reader.read(root) for root in yaml_nodes.compose(text, path))
    except DeclarationError:
        return ()


def _pointers(value: Any, pointer: str) -> Iterator[str]:
    yield pointer
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _pointers(item, f"{pointer}/{escape(str(key))}")


def _at(value: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        if isinstance(value, Mapping):
            value = value.get(unescape(part), _MISSING)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def _steps(manifest: Any, pointer: str) -> list[tuple[str, Any]] | None:
    """Each part of a pointer, with the item that it stands for when it is an index: a patch may count otherwise."""
    steps: list[tuple[str, Any]] = []
    value = manifest
    for part in pointer.split("/")[1:]:
        inner = _at(value, f"/{part}")
        if inner is _MISSING:
            return None
        steps.append((part, inner if isinstance(value, list) else _MISSING))
        value = inner
    return steps


def _follow(value: Any, steps: Sequence[tuple[str, Any]]) -> str | None:
    """The pointer to the same field in another document; items of lists are the same by their name, else by value."""
    pointer = ""
    for part, item in steps:
        if isinstance(value, list):
            index = _index_of(value, part, item)
            if index is None:
                return None
            pointer, value = f"{pointer}/{index}", value[index]
        elif isinstance(value, Mapping) and unescape(part) in value:
            pointer, value = f"{pointer}/{part}", value[unescape(part)]
        else:
            return None
    return pointer


def _index_of(items: Sequence[Any], part: str, item: Any) -> int | None:
    if isinstance(item, Mapping) and "name" in item:
        return next(
            (i for i, one in enumerate(items) if isinstance(one, Mapping) and one.get("name") == item["name"]), None
        )
    if item in items:
        return items.index(item)
    return int(part) if part.isdigit() and int(part) < len(items) and isinstance(item, Mapping) else None


def _name_of(value: Any) -> tuple[Any, str]:
    if not isinstance(value, Mapping):
        return None, ""
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return value.get("kind"), name if isinstance(name, str) else ""


def _is_about(value: Any, manifest: Any) -> bool:
    (kind, name), (wanted, whole) = _name_of(value), _name_of(manifest)
    return bool(kind == wanted and name != "" and name in whole)


def _same_object(reads: Sequence[Read], manifest: Any) -> Read | None:
    inner = [read for read in reads if _is_about(read.value, manifest)]
    exact = [read for read in inner if _name_of(read.value) == _name_of(manifest)]
    return next(iter(exact or inner), None)


def _mark(read: Read, pointer: str) -> Location | None:
    while pointer and pointer not in read.marks:
        pointer = pointer.rpartition("/")[0]
    return read.marks.get(pointer)


def _in_operations(read: Read, pointer: str, value: Any) -> Location | None:
    """The operation of a JSON patch (RFC 6902) that put a value where it is."""
    wanted = pointer.split("/")
    for index, operation in enumerate(read.value if isinstance(read.value, list) else ()):
        if not isinstance(operation, dict) or "value" not in operation:
            continue
        path = operation.get("path")
        if not isinstance(path, str):
            continue
        parts = path.split("/")
        if len(parts) > len(wanted) or any(a not in ("-", b) for a, b in zip(parts, wanted, strict=False)):
            continue
        rest = "".join(f"/{part}" for part in wanted[len(parts) :])
        if _at(operation["value"], rest) == value:
            return _mark(read, f"/{index}/value{rest}")
    return None


def _in_fields(kustomization: Kustomization, manifest: Any, pointer: str, value: Any) -> Location | None:
    """The field of a kustomization that put a value where it is."""
    said, marks = kustomization.value, kustomization.marks
    for candidate, wanted in _candidates(said, manifest, pointer, value):
        if wanted and candidate in marks:
            return marks[candidate]
    return None


def _candidates(said: Mapping[str, Any], manifest: Any, pointer: str, value: Any) -> Iterator[tuple[str, bool]]:
    """Pointers into a kustomization that may have set a field, and whether they hold what it has."""
    key = unescape(pointer.rpartition("/")[2])
    name = _name_of(manifest)[1]
    if pointer == "/metadata/namespace":
        yield "/namespace", said.get("namespace") == value
    elif pointer == "/metadata/name" and isinstance(value, str):
        for field in ("namePrefix", "nameSuffix"):
            affix = said.get(field)
            yield f"/{field}", isinstance(affix, str) and affix != "" and affix in value
    elif pointer == "/spec/replicas":
        for index, item in _entries(said, "replicas"):
            yield f"/replicas/{index}/count", item.get("count") == value and str(item.get("name")) in name
    elif key == "image" and isinstance(value, str):
        yield from _image_candidates(said, value)
    yield from _marking_candidates(said, pointer, key, value)
    for generator in ("configMapGenerator", "secretGenerator"):
        for index, item in _entries(said, generator):
            if str(item.get("name")) in name:
                yield from _generated(item, f"/{generator}/{index}", pointer, key)


def _image_candidates(said: Mapping[str, Any], value: str) -> Iterator[tuple[str, bool]]:
    for index, item in _entries(said, "images"):
        if value.startswith(str(item.get("newName") or item.get("name"))):
            for part, mark in (("digest", "@"), ("newTag", ":"), ("newName", "")):
                if item.get(part) is not None:
                    yield f"/images/{index}/{part}", f"{mark}{item[part]}" in value


def _marking_candidates(said: Mapping[str, Any], pointer: str, key: str, value: Any) -> Iterator[tuple[str, bool]]:
    if any(part in pointer for part in _SELECTED):
        yield f"/commonLabels/{escape(key)}", _at(said, f"/commonLabels/{escape(key)}") == value
        for index, item in _entries(said, "labels"):
            yield f"/labels/{index}/pairs/{escape(key)}", _at(item, f"/pairs/{escape(key)}") == value
    if "/metadata/annotations/" in pointer:
        yield f"/commonAnnotations/{escape(key)}", _at(said, f"/commonAnnotations/{escape(key)}") == value


def _generated(item: Mapping[str, Any], generator: str, pointer: str, key: str) -> Iterator[tuple[str, bool]]:
    for part in ("literals", "files"):
        entries = item.get(part)
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            named = str(entry).partition("=")[0] == key or posixpath.basename(str(entry)) == key
            yield f"{generator}/{part}/{number}", named
    yield f"{generator}/name", pointer.startswith(("/data", "/stringData", "/metadata/name"))


def _entries(said: Mapping[str, Any], key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    items = said.get(key)
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, Mapping):
            yield index, item


def nowhere(file: str) -> Marks:
    """Places of an object of which no field can be told."""
    return Marks(file)
