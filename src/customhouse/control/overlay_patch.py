"""Overlay patches: what one environment runs, written into its own Kustomization where the declaration is shared.

Two overlays of one base are one file. What is promoted into one of them becomes a JSON patch (RFC 6902) in a file of
its own beside that overlay's Kustomization, which names it under `patches`. Whether that does what was meant, and
nothing else, is for who renders both to check: a later patch or an `images` entry may have the last word.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from customhouse.control import yaml_nodes
from customhouse.control.rendering_kustomize import NAMES
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import Declaration

_HEAD = "# Written by `customhouse promote`: what this environment runs, where the declaration is shared with others.\n"
_PATCHES = re.compile(r"(?m)^patches:[ \t]*(?:#.*)?\n")
_ANNOTATIONS = "/metadata/annotations"


def overlay_patch(
    target: Declaration, edits: Sequence[FieldEdit], read: Callable[[str], bytes | None]
) -> Mapping[str, bytes] | None:
    """The files, with their new content, that make `edits` in the overlay that a Declaration is rendered from.

    None where it is not rendered by a Kustomization of a folder. Raises DeclarationError for one that cannot be edited
    without changing anything else in it.
    """
    root = "" if target.rendering is None else target.rendering.root
    place = next((name for name in (posixpath.join(root, one) for one in NAMES) if read(name) is not None), None)
    if target.rendering is None or target.rendering.program not in ("kustomize", "kubectl") or place is None:
        return None
    text = yaml_nodes.decode(read(place) or b"", place)
    name = f"promoted-{target.ref.kind.lower()}-{target.ref.name}.yaml"
    file = posixpath.join(root, name)
    ops = _operations(read(file), file)
    if _ANNOTATIONS not in ops and not isinstance(target.manifest["metadata"].get("annotations"), Mapping):
        ops = {_ANNOTATIONS: "{}", **ops} if any(one.pointer.startswith(_ANNOTATIONS) for one in edits) else ops
    ops |= {one.pointer: one.value for one in edits}
    lines = [f"- op: add\n  path: {pointer}\n  value: {value}\n" for pointer, value in ops.items()]
    return {place: _naming(text, place, name, target).encode(), file: (_HEAD + "".join(lines)).encode()}


def _operations(data: bytes | None, file: str) -> dict[str, str]:
    """Pointer → value of a file of ours, as YAML writes it; nothing where there is none."""
    if data is None:
        return {}
    found: dict[str, str] = {}
    text = yaml_nodes.decode(data, file)
    pattern = re.compile(r"- op: add\n  path: (\S+)\n  value: (.+)\n")
    if _HEAD + "".join(match[0] for match in pattern.finditer(text)) != text:
        raise DeclarationError(
            "it is not as `customhouse promote` wrote it", where=file, hint="move what is in it to a patch of its own"
        )
    for match in pattern.finditer(text):
        found[match[1]] = match[2]
    return found


def _naming(text: str, place: str, name: str, target: Declaration) -> str:
    """The Kustomization with the patch among its own, as the last one."""
    before = _document(text, place)
    patches = before.get("patches") or []
    if any(isinstance(item, Mapping) and item.get("path") == name for item in patches):
        return text
    entry = {"path": name, "target": {"kind": target.ref.kind, "name": target.ref.name}}
    text = text if text.endswith("\n") else text + "\n"
    lines = [f"- path: {name}\n", "  target:\n", f"    kind: {target.ref.kind}\n", f"    name: {target.ref.name}\n"]
    head = _PATCHES.search(text)
    if head is None:
        made = text + "patches:\n" + "".join(lines)
    else:
        end = head.end()
        for line in text[end:].splitlines(keepends=True):
            if not line.startswith((" ", "-")):
                break
            end += len(line)
        inner = re.match(r" *(?=-)", text[head.end() : end])
        indent = inner[0] if inner is not None else ""
        made = text[:end] + "".join(indent + line for line in lines) + text[end:]
    if _document(made, place) != {**before, "patches": [*patches, entry]}:
        raise DeclarationError(
            f"its patches cannot be added to without changing more: name {name} there",
            where=place,
            hint="write `patches:` as a list of its own lines",
        )
    return made


def _document(text: str, place: str) -> dict[str, Any]:
    found = [Reader(place).read(node).value for node in yaml_nodes.compose(text, place)]
    if len(found) != 1 or not isinstance(found[0], dict):
        raise DeclarationError("it is no single Kustomization", where=place, hint="one document, one mapping")
    return found[0]
