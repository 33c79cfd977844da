"""The parameters that an ApplicationSet's Git generator finds in a tree; flattening, merging and selecting them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.control import yaml_nodes
from customhouse.control.gotemplate_functions import printed
from customhouse.control.rendering_owned import listed, mapping, refused, text
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration

_MAX_PATTERN = 500


def git_parameters(
    item: Declaration, pointer: str, given: Mapping[str, Any], files: Mapping[str, bytes], *, go: bool
) -> Iterator[dict[str, Any]]:
    """The parameters of each directory or file that a Git generator finds, in the order of their paths.

    The generator's repository is taken for this one. Raises DeclarationError.
    """
    prefix = text(given.get("pathParamPrefix"))
    folders, patterns = listed(given.get("directories")), listed(given.get("files"))
    if bool(folders) == bool(patterns):
        raise refused(item, pointer, "a Git generator names either directories or files")
    if folders:
        for folder in _folders(item, f"{pointer}/directories", folders, files):
            yield _path(folder, "", prefix, go=go)
        return
    for name in _names(item, f"{pointer}/files", patterns, files):
        for values in _content(item, f"{pointer}/files", name, files[name]):
            place = _path(posixpath.dirname(name), posixpath.basename(name), prefix, go=go)
            yield merged(values, place) if go else {**_flat(values), **place}


def _folders(item: Declaration, pointer: str, given: list[Any], files: Mapping[str, bytes]) -> list[str]:
    every = {folder for name in files for folder in _parents(name)}
    wanted: set[str] = set()
    unwanted: set[str] = set()
    for index, one in enumerate(map(mapping, given)):
        pattern = _pattern(item, f"{pointer}/{index}/path", one.get("path"), across=False)
        (unwanted if one.get("exclude") is True else wanted).update(filter(pattern.fullmatch, every))
    return sorted(wanted - unwanted)


def _parents(name: str) -> Iterator[str]:
    folder = posixpath.dirname(name)
    while folder:
        if not any(part.startswith(".") for part in folder.split("/")):
            yield folder
        folder = posixpath.dirname(folder)


def _names(item: Declaration, pointer: str, given: list[Any], files: Mapping[str, bytes]) -> list[str]:
    wanted: set[str] = set()
    unwanted: set[str] = set()
    for index, one in enumerate(map(mapping, given)):
        pattern = _pattern(item, f"{pointer}/{index}/path", one.get("path"), across=True)
        (unwanted if one.get("exclude") is True else wanted).update(filter(pattern.fullmatch, files))
    return sorted(wanted - unwanted)


def _pattern(item: Declaration, pointer: str, given: Any, *, across: bool) -> re.Pattern[str]:
    """A pattern as Go's path.Match reads it for folders, and as Git reads a path of files (`*` across folders)."""
    if not isinstance(given, str) or not given or len(given) > _MAX_PATTERN or given.count("*") > 10:
        raise refused(item, pointer, "this is no pattern of a path")
    form, pattern, at = [], given.strip("/"), 0
    while at < len(pattern):
        character = pattern[at]
        end = pattern.find("]", at + 2) if character == "[" else -1
        if character == "*":
            form.append(".*" if across else "[^/]*")
            while across and pattern[at + 1 : at + 2] == "*":
                at += 1
        elif character == "?":
            form.append("." if across else "[^/]")
        elif end > 0:
            inner = pattern[at + 1 : end]
            negated = inner[:1] in ("!", "^")
            form.append(("[^" if negated else "[") + re.sub(r"([\\\[&~|^])", r"\\\1", inner[negated:]) + "]")
            at = end
        elif character == "\\":
            at += 1
            form.append(re.escape(pattern[at : at + 1]))
        else:
            form.append(re.escape(character))
        at += 1
    try:
        return re.compile("".join(form), re.DOTALL)
    except re.error as error:
        raise refused(item, pointer, f"this pattern cannot be read: {error}") from error


def _path(folder: str, filename: str, prefix: str, *, go: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "path": folder,
        "basename": posixpath.basename(folder),
        "basenameNormalized": _normal(posixpath.basename(folder)),
    }
    if filename:
        values |= {"filename": filename, "filenameNormalized": _normal(filename)}
    segments = folder.split("/")
    if go:
        inner = {"path": {**values, "segments": segments}}
        return {prefix: inner} if prefix else inner
    start = f"{prefix}." if prefix else ""
    plain = {f"{start}path" if key == "path" else f"{start}path.{key}": value for key, value in values.items()}
    return plain | {f"{start}path[{at}]": part for at, part in enumerate(segments)}


def _normal(name: str) -> str:
    return re.sub(r"[^-a-z0-9.]+", "-", name.lower())[:253].strip("-.")


def _content(item: Declaration, pointer: str, name: str, data: bytes) -> Iterator[dict[str, Any]]:
    try:
        for root in yaml_nodes.compose(yaml_nodes.decode(data, name), name):
            value = Reader(name).read(root).value
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, dict):
                    raise refused(item, pointer, f"{name} holds something else than parameters")
                yield one
    except DeclarationError as error:
        if error.where.startswith(name):
            raise DeclarationError(f"{item.ref}: {error.message}", where=error.where, hint=error.hint) from error
        raise


def flat(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as `{{a.b}}` names them, all of them texts."""
    return _flat(parameters)


def _flat(parameters: Mapping[str, Any], start: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{start}{key}.")
        elif isinstance(value, list):
            found |= _flat({str(at): one for at, one in enumerate(value)}, f"{start}{key}.")
        else:
            found[f"{start}{key}"] = printed(float(value) if type(value) is int else value)
    return found


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping under another one: mappings merge, everything else is replaced, null takes away."""
    found = dict(one)
    for key, value in other.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = merged(found[key], value)
        else:
            found[key] = value
    return found


def kept(selector: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """Whether a label selector takes some flattened parameters. Raises ValueError for an operator that is none."""
    for key, value in mapping(selector.get("matchLabels")).items():
        if values.get(str(key)) != str(value):
            return False
    for rule in map(mapping, listed(selector.get("matchExpressions"))):
        key, among = str(rule.get("key")), [str(value) for value in listed(rule.get("values"))]
        there = key in values
        match rule.get("operator"):
            case "In":
                fits = there and values[key] in among
            case "NotIn":
                fits = not there or values[key] not in among
            case "Exists":
                fits = there
            case "DoesNotExist":
                fits = not there
            case other:
                raise ValueError(f"the operator {str(other)[:40]!r} is not known")
        if not fits:
            return False
    return True
