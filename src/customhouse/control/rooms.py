"""Rooms: namespaces that Applications have created, as Declarations, so that they are judged like any other object.

Argo CD creates the destination's namespace by `CreateNamespace=true`, with the labels and annotations of
`managedNamespaceMetadata`; Flux that of a HelmRelease by `install.createNamespace`. What is declared by itself is not
declared again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from customhouse.control.argocd import GROUP
from customhouse.control.flux import HELM
from customhouse.control.render import Found
from customhouse.control.rendering_owned import listed, mapping, text
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Location, Rendering, ResourceRef

CREATED = "CreateNamespace"
"""The program that such a Namespace is said to be rendered by."""
_GIVEN = "/spec/syncPolicy/managedNamespaceMetadata"


def with_rooms(found: Sequence[Found], default_namespace: str) -> list[Found]:
    """With the namespaces that the owners among some objects create for the objects that they have here.

    Raises DeclarationError for two that want one namespace otherwise.
    """
    owners = {(item.owner, item.scene) for item in found if item.owner is not None}
    said = {_name(item, default_namespace): item for item in found if _creates(item)}
    if not said:
        return list(found)
    there = {(item.scene, _metadata(item).get("name")) for item in found if _is_namespace(item)}
    names = {name for _, name in there}
    made: dict[tuple[str, str], Found] = {}
    for owner, scene in sorted(owners, key=str):
        item = said.get((owner.kind, owner.namespace, owner.name)) if owner is not None else None
        room = None if item is None or owner is None else _room(item, owner, scene)
        if item is None or room is None:
            continue
        name = str(_metadata(room).get("name"))
        # One that belongs to no scene, or to a folder and no cluster, may be meant for all of them.
        if (scene, name) in there or (name in names and (("", name) in there or scene == "in-cluster")):
            continue
        known = made.setdefault((scene, name), room)
        if known.value != room.value:
            raise DeclarationError(
                f"the namespace {name} is to be created with other labels than {known.location} says",
                where=str(room.marks.get(_GIVEN, item.location)),
                hint="write the same managedNamespaceMetadata in both, or declare the Namespace itself",
            )
    return [*found, *made.values()]


def _creates(item: Found) -> bool:
    group = str(_value(item).get("apiVersion")).rpartition("/")[0]
    spec = mapping(_value(item).get("spec"))
    if (group, _value(item).get("kind")) == (GROUP, "Application"):
        return "CreateNamespace=true" in map(str, listed(mapping(spec.get("syncPolicy")).get("syncOptions")))
    release = (group, _value(item).get("kind")) == (HELM, "HelmRelease")
    return release and mapping(spec.get("install")).get("createNamespace") is True


def _room(item: Found, owner: ResourceRef, scene: str) -> Found | None:
    spec = mapping(_value(item).get("spec"))
    if owner.kind == "Application":
        name = text(mapping(spec.get("destination")).get("namespace"))
    else:
        name = text(spec.get("targetNamespace"))
    if not name:
        return None
    metadata: dict[str, Any] = {"name": name}
    for key, values in mapping(mapping(spec.get("syncPolicy")).get("managedNamespaceMetadata")).items():
        if key in ("labels", "annotations") and isinstance(values, Mapping) and values:
            metadata[key] = {str(label): str(value) for label, value in values.items()}
    manifest: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    how = Rendering(item.location.file, CREATED, "", "")
    return Found(manifest, item.location, dict(_marks(item)), rendering=how, owner=owner, scene=scene)


def _marks(item: Found) -> Iterator[tuple[str, Location]]:
    """The places of labels and annotations are those of the Application's own words."""
    for pointer in (_GIVEN, *(f"{_GIVEN}/{key}" for key in ("labels", "annotations"))):
        if pointer in item.marks:
            yield "/metadata" + pointer.removeprefix(_GIVEN), item.marks[pointer]


def _value(item: Found) -> Mapping[str, Any]:
    return item.value if isinstance(item.value, Mapping) else {}


def _metadata(item: Found) -> Mapping[str, Any]:
    return mapping(_value(item).get("metadata"))


def _is_namespace(item: Found) -> bool:
    return _value(item).get("kind") == "Namespace" and _value(item).get("apiVersion") == "v1"


def _name(item: Found, default_namespace: str) -> tuple[str, str, str]:
    metadata = _metadata(item)
    namespace = text(metadata.get("namespace")) or item.namespace or default_namespace
    return (str(_value(item).get("kind")), namespace, str(metadata.get("name")))
