"""Rendering: the Kubernetes objects that the files of a revision declare, with the place of everything in them.

Plain YAML and JSON. Whole trees, with roots for Kustomize, Helm and Jsonnet, are `rendering_tree`'s; here a folder that
only a program can render is not read at all and is reported: half of it would be a wrong picture, and a wrong picture
prunes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from customhouse.control import yaml_nodes
from customhouse.control.scenes import target_of
from customhouse.control.scope import cluster_scoped, scopes_of
from customhouse.control.yaml_marks import MarksLater
from customhouse.control.yaml_nodes import LIMITS, Limits, Node
from customhouse.control.yaml_quick import quick_documents
from customhouse.control.yaml_scalars import Json
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, Rendering, ResourceRef

_SUFFIXES = (".yaml", ".yml", ".json")
_KUSTOMIZATIONS = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
_CHART = "Chart.yaml"
_SETTINGS = "customhouse.yaml"

_API_VERSION = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[a-z][a-z0-9]*")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_NAME = re.compile(r"[^\s/%\x00-\x1f\x7f]{1,253}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TWICE = {
    False: "remove one; what belongs to two clusters is judged one by one: `customhouse gate FOLDER`, or `paths`",
    True: "give the two roots namespaces of their own, or name one of them (`customhouse gate FOLDER`, or `paths`)",
}
# Any escape, so that an escaped backslash before a `u` is not taken for one; the groups are a surrogate pair.
_ESCAPE = re.compile(r"\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|.)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RenderNote:
    """A folder that was left out whole, and why."""

    location: Location
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What the files declare, what was left out, and the data files (JSON without apiVersion and kind) passed over."""

    declarations: tuple[Declaration, ...]
    notes: tuple[RenderNote, ...]
    passed_over: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One object before it is checked: its value, where it begins, and the places of its parts.

    `namespace` is that of a rendered root or an Application, for objects that name none; `owner` and `scene` are as in
    Declaration, but that the owner's reference has the owner's scene whether or not scenes are apart.
    """

    value: Json
    location: Location
    marks: Mapping[str, Location]
    namespace: str = ""
    rendering: Rendering | None = None
    owner: ResourceRef | None = None
    scene: str = ""
    known: tuple[str, bool, Declaration] | None = field(default=None, init=False, compare=False, repr=False)
    """What it was found to declare, with the namespace and the scope that it was found under: a file that is kept from
    one revision to the next declares the same thing in each, and who holds two revisions against each other sees that.
    """


def render(
    files: Mapping[str, bytes], *, default_namespace: str = "default", limits: Limits = LIMITS
) -> tuple[Declaration, ...]:
    """Every object that `files` (POSIX path → bytes) declare, in order of path and place.

    Raises DeclarationError (where = `file:line:column`, with a hint) for what cannot be read, an object without
    apiVersion, kind or name, the same object declared twice, and a folder that needs Kustomize or Helm. Hidden
    folders and the root's customhouse.yaml are not declarations. Objects without a namespace get
    `default_namespace`; those of cluster-scoped kinds get none.
    """
    # First of all: in such a folder other errors are only its consequence.
    for note in _unrendered(sorted(filter(is_visible, files)), files, limits):
        raise DeclarationError(note.message, where=str(note.location), hint=note.hint)
    return render_noted(files, default_namespace=default_namespace, limits=limits).declarations


def render_noted(
    files: Mapping[str, bytes], *, default_namespace: str = "default", limits: Limits = LIMITS
) -> Rendered:
    """Like `render`, but a folder that needs Kustomize or Helm becomes a note instead of an error."""
    visible = sorted(path for path in files if is_visible(path))
    notes = tuple(_unrendered(visible, files, limits))
    closed = tuple(str(PurePosixPath(note.location.file).parent) for note in notes)
    objects: list[Found] = []
    passed_over: list[str] = []
    for path in visible:
        if not path.endswith(_SUFFIXES) or path == _SETTINGS or any(_inside(path, folder) for folder in closed):
            continue
        found, complete = read_file(path, files[path], limits)
        objects.extend(found)
        if not complete:
            passed_over.append(path)
    declarations = as_declarations(objects, default_namespace)
    return Rendered(declarations, notes, tuple(passed_over))


def is_visible(path: str) -> bool:
    """Whether no part of a path is hidden."""
    return not any(part.startswith(".") for part in path.split("/"))


def _inside(path: str, folder: str) -> bool:
    return folder == "." or path.startswith(folder + "/")


def _unrendered(paths: Iterable[str], files: Mapping[str, bytes], limits: Limits) -> Iterator[RenderNote]:
    for path in paths:
        name = PurePosixPath(path).name
        if name in _KUSTOMIZATIONS and not _is_flux(path, files[path], limits):
            yield RenderNote(
                Location(path),
                "this folder needs Kustomize, which does not run here; none of its files were read",
                "name what `kustomize build` makes of it, or ask `customhouse gate`, which runs it",
            )
        elif name == _CHART:
            yield RenderNote(
                Location(path),
                "this folder is a Helm chart, and Helm does not run here; none of its files were read",
                "name what `helm template` makes of it, or ask `customhouse gate`, which runs it",
            )


def _is_flux(path: str, data: bytes, limits: Limits) -> bool:
    """Flux names an object of its own Kustomization too; that one is a plain declaration."""
    try:
        roots = yaml_nodes.compose(yaml_nodes.decode(data, path, limits), path, limits)
        reader = Reader(path, limits)
        values = [reader.read(root).value for root in roots]
    except DeclarationError:
        return False
    return bool(values) and all(
        isinstance(value, dict) and str(value.get("apiVersion", "")).startswith("kustomize.toolkit.fluxcd.io/")
        for value in values
    )


def read_file(
    path: str, data: bytes, limits: Limits, again: Callable[[], bytes] | None = None
) -> tuple[list[Found], bool]:
    """The objects of one file, and False when some document of it is data and not a Kubernetes object.

    `again` gives the same bytes once more, for the places of objects that have findings; without it they are kept.
    """
    quick = _quick(path, data, limits, again)
    if quick is not None:
        return quick, True
    reader = Reader(path, limits)
    found: list[Found] = []
    complete = True
    text = yaml_nodes.decode(data, path, limits)
    if path.endswith(".json"):
        text = _ESCAPE.sub(_joined, text)
    for root in yaml_nodes.compose(text, path, limits):
        if path.endswith(".json") and not _looks_declared(root, reader):
            complete = False
            continue
        found.extend(expand(root, reader, path))
    return found, complete


def _quick(path: str, data: bytes, limits: Limits, again: Callable[[], bytes] | None) -> list[Found] | None:
    if path.endswith(".json"):
        return None
    documents = quick_documents(yaml_nodes.decode(data, path, limits), limits)
    # The items of a List have places of their own, which only the whole reader tells.
    if documents is None or any(is_listed(item.value) for item in documents):
        return None
    marks = MarksLater(path, data, limits, again)
    return [
        Found(item.value, Location(path, item.line, item.column), marks.of(number))
        for number, item in enumerate(documents)
    ]


def _joined(escape: re.Match[str]) -> str:
    """JSON writes a character beyond U+FFFF as two escapes (RFC 8259 section 7), YAML as one."""
    if escape[1] is None:
        return escape[0]
    code = 0x10000 + ((int(escape[1], 16) & 0x3FF) << 10) + (int(escape[2], 16) & 0x3FF)
    return f"\\U{code:08x}"


def _looks_declared(root: Node, reader: Reader) -> bool:
    if isinstance(root, yaml_nodes.Mapping):
        return not {"apiVersion", "kind"}.isdisjoint(reader.members(root))
    # A JSON list of objects is how some tools write several; none of Kubernetes' own reads it.
    return False


def expand(root: Node, reader: Reader, path: str) -> Iterator[Found]:
    """The object of a document, or the items of a List. Raises DeclarationError."""
    location = Location(path, root.line, root.column)
    if not isinstance(root, yaml_nodes.Mapping):
        raise DeclarationError(
            "this document is not a mapping",
            where=str(location),
            hint="a Kubernetes object has apiVersion, kind and metadata.name; keep other files in a hidden folder",
        )
    members = reader.members(root)
    kind = _target(members["kind"][1]) if "kind" in members else None
    # Whatever the kind is: what kubectl, Argo CD and Flux decode is a list as soon as it has `items`, and they apply
    # what is in it (k8s.io/apimachinery, unstructured: IsList).
    held = next((name for name in members if holds_items(name)), None)
    items = None if held is None else _target(members[held][1])
    if isinstance(items, yaml_nodes.Sequence):
        if held != "items" or not (isinstance(kind, yaml_nodes.Scalar) and kind.text.endswith("List")):
            raise DeclarationError(
                f"kubectl and others take an object with a list `{held}` for a List, and apply what is in it",
                where=str(location),
                hint="write `apiVersion: v1` and `kind: List`, or take it out",
            )
        for item in items.items:
            yield from expand(_target(item), reader, path)
        return
    read = reader.read(root)
    yield Found(read.value, location, read.marks)


def holds_items(key: str) -> bool:
    """Whether a key of an object is the one that makes a list of it; Go reads some keys in any case."""
    return key.lower() == "items"


def is_listed(value: Mapping[str, Any]) -> bool:
    """Whether an object is a List, or could be taken for one."""
    return str(value.get("kind")).endswith("List") or any(
        isinstance(item, list) for key, item in value.items() if holds_items(key)
    )


def _target(node: Node) -> Node:
    return node.target if isinstance(node, yaml_nodes.Alias) else node


def as_declarations(
    objects: Iterable[Found], default_namespace: str, *, so_far: bool = False, targets: Collection[str] = ()
) -> tuple[Declaration, ...]:
    """Checked objects in their order. Raises DeclarationError: no kind or name, or an object that is there twice.

    `so_far`: not all is known yet that says where objects belong, so that one that is there twice is no error now.

    1. The same object with another content in two scenes: these scenes are apart, and their objects say so (`scene`).
       So are always the scenes of `targets`: each of those gets its own, also where two of them are alike.
    2. What two roots or owners render alike is one object; anything else that is there twice is refused.
    """
    objects = tuple(objects)
    scopes = scopes_of(item.value for item in objects)
    named = [(item, _known_ref(item, default_namespace, scopes)) for item in objects]
    apart = _apart(named) | {item.scene for item in objects if target_of(item.scene, targets)}
    seen: dict[tuple[str, str, str, str], Found] = {}
    result: list[Declaration] = []
    for item, plain in named:
        ref = replace(plain, scene=item.scene) if item.scene in apart else plain
        key = identity(ref)
        if key in seen:
            if so_far or _alike(item, seen[key]):
                continue
            rendered = item.rendering is not None or seen[key].rendering is not None
            raise DeclarationError(
                f"{ref} is declared twice: here and at {_shown(seen[key])}", where=_shown(item), hint=_TWICE[rendered]
            )
        seen[key] = item
        assert isinstance(item.value, dict)  # noqa: S101 - _ref refused everything else
        owner = item.owner
        if owner is not None and owner.scene not in apart:
            owner = replace(owner, scene="")
        known = None if item.known is None else item.known[2]
        if known is not None and known.ref is ref and known.owner is owner:
            result.append(known)
            continue
        made = Declaration(ref, item.value, item.location, item.marks, item.rendering, owner, item.scene)
        if not ref.scene and owner is None:
            object.__setattr__(item, "known", (default_namespace, not ref.namespace, made))
        result.append(made)
    return tuple(result)


def _apart(named: Sequence[tuple[Found, ResourceRef]]) -> frozenset[str]:
    """The scenes that declare an object otherwise than another scene does."""
    if not any(item.scene for item, _ in named):
        return frozenset()
    groups: dict[tuple[str, str, str, str], list[Found]] = {}
    for item, ref in named:
        groups.setdefault(identity(ref), []).append(item)
    found: set[str] = set()
    for items in groups.values():
        if len(items) > 1 and any(item.value != items[0].value for item in items):
            scenes = {item.scene for item in items}
            # What belongs to no scene might be in any of them: that stays a mistake.
            found |= scenes if "" not in scenes and len(scenes) > 1 else set()
    return frozenset(found)


def _alike(one: Found, other: Found) -> bool:
    """Whether two scenes, owners or roots make the same of an object: a program's output is nobody's typing error."""
    if one.value != other.value:
        return False
    if one.scene and other.scene and one.scene != other.scene:
        return True
    rendered = one.rendering is not None and other.rendering is not None
    return rendered and (one.rendering, one.owner) != (other.rendering, other.owner)


def _shown(item: Found) -> str:
    return (
        str(item.location) if item.rendering is None else f"{item.location} (rendered in {item.rendering.root or '.'})"
    )


def identity(ref: ResourceRef) -> tuple[str, str, str, str]:
    """What makes two references one object: (group, kind, scene and namespace, name). The version does not count."""
    group, slash, _ = ref.api_version.rpartition("/")
    # No namespace has a slash; a scene is part of the place.
    place = f"{ref.scene}//{ref.namespace}" if ref.scene else ref.namespace
    return (group if slash else "", ref.kind, place, ref.name)


def _known_ref(item: Found, default_namespace: str, scopes: Mapping[tuple[str, str], bool]) -> ResourceRef:
    """As `_ref`, which depends on the object, the default namespace and the scope of its kind alone."""
    if item.known is not None and item.known[0] == default_namespace:
        ref = item.known[2].ref
        group, slash, _ = ref.api_version.rpartition("/")
        if cluster_scoped(group if slash else "", ref.kind, scopes) == item.known[1]:
            return ref
    return _ref(item, default_namespace, scopes)


def _ref(item: Found, default_namespace: str, scopes: Mapping[tuple[str, str], bool]) -> ResourceRef:
    value = item.value
    if not isinstance(value, dict):
        raise _wrong(item, "", "this item is not a mapping")
    api_version = _text(item, value, "apiVersion", _API_VERSION, "for example apps/v1")
    kind = _text(item, value, "kind", _KIND, "for example Deployment")
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        raise _wrong(item, "/metadata", "the object has no metadata", "add metadata.name")
    for part in ("labels", "annotations"):
        _check_text_map(item, metadata, part)
    if metadata.get("name") is None and metadata.get("generateName") is not None:
        # The server picks the rest. A prefix ends in '-' by custom, which no full name may, so they do not collide.
        name = _text(item, metadata, "generateName", _NAME, "for example train-", parent="/metadata")
    else:
        name = _text(item, metadata, "name", _NAME, "for example fraud-detection", parent="/metadata")
    group, slash, _ = api_version.rpartition("/")
    namespace = item.namespace or default_namespace
    if cluster_scoped(group if slash else "", kind, scopes):
        namespace = ""
    elif metadata.get("namespace") not in (None, ""):
        namespace = _text(
            item, metadata, "namespace", _NAMESPACE, "lower-case letters, digits and -", parent="/metadata"
        )
    return ResourceRef(api_version, kind, namespace, name)


def _text(
    item: Found, values: Mapping[str, Json], key: str, pattern: re.Pattern[str], example: str, *, parent: str = ""
) -> str:
    value = values.get(key)
    pointer = f"{parent}/{key}"
    if value is None:
        shown = pointer.removeprefix("/").replace("/", ".")
        hint = f"a Kubernetes object has apiVersion, kind and metadata.name; {shown} is {example}"
        raise _wrong(item, pointer, f"the object has no {shown}", hint)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _wrong(item, pointer, f"{key} is not valid", example if isinstance(value, str) else "write it in quotes")
    return value


def _check_text_map(item: Found, metadata: Mapping[str, Json], field: str) -> None:
    values = metadata.get(field)
    if values is None:
        return
    if not isinstance(values, dict):
        raise _wrong(item, f"/metadata/{field}", f"metadata.{field} is not a mapping")
    for key, value in values.items():
        if not isinstance(value, str):
            escaped = key.replace("~", "~0").replace("/", "~1")
            raise _wrong(
                item, f"/metadata/{field}/{escaped}", f"the value of {key[:64]!r} is not text", "write it in quotes"
            )


def _wrong(item: Found, pointer: str, message: str, hint: str = "") -> DeclarationError:
    place = item.location
    while pointer:
        if pointer in item.marks:
            place = item.marks[pointer]
            break
        pointer = pointer.rpartition("/")[0]
    return DeclarationError(message, where=str(place), hint=hint)
