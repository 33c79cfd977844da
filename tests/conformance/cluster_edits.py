"""Edits of live objects, one of each kind for every field that an object has and every one that its schema knows.

The schema is what the API itself publishes (OpenAPI v3), so that lists are told apart by how Kubernetes merges them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes_plane import ControlPlane

_SERVER = {
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "selfLink",
    "namespace",
    "name",
}
_DEEP = 12
_KEYS = ("name", "containerPort", "port", "mountPath", "type", "key", "ip", "uid", "topologyKey")


@dataclass(frozen=True)
class Edit:
    """One edit: `sort` is the kind of field and what is done to it, `manifest` the whole object afterwards."""

    sort: str
    pointer: str
    manifest: dict[str, Any]


class Schemas:
    """The schemas of one API, by apiVersion and kind."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._paths = plane.call("GET", "/openapi/v3")["paths"]
        self._groups: dict[str, dict[str, Any]] = {}

    def of(self, api_version: str, kind: str) -> Mapping[str, Any]:
        """The schema of a kind; an empty one where the API publishes none."""
        group, slash, version = api_version.rpartition("/")
        path = f"apis/{api_version}" if slash else f"api/{api_version}"
        if path not in self._paths:
            return {}
        if path not in self._groups:
            found = self._plane.call("GET", self._paths[path]["serverRelativeURL"])
            self._groups[path] = found.get("components", {}).get("schemas", {})
        said = {"group": group if slash else "", "version": version if slash else api_version, "kind": kind}
        for schema in self._groups[path].values():
            if said in schema.get("x-kubernetes-group-version-kind", ()):
                return self.resolved(schema, path)
        return {}

    def resolved(self, schema: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """The schema with what it refers to, and where that was found."""
        found = dict(schema)
        for part in (schema, *schema.get("allOf", ())):
            if "$ref" in part:
                name = str(part["$ref"]).rpartition("/")[2]
                found = {**self._groups[path].get(name, {}), **found}
        found["path"] = path
        return found

    def below(self, schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """The schema of a field, of the items of a list (`*`) or of the values of a map."""
        inner = schema.get("items") if name == "*" else schema.get("properties", {}).get(name)
        if inner is None:
            inner = schema.get("additionalProperties")
        return self.resolved(inner, schema["path"]) if isinstance(inner, Mapping) and "path" in schema else {}


def edits(live: Mapping[str, Any], schemas: Schemas) -> Iterator[Edit]:
    """Every edit of one object, of its metadata too; the status is another resource."""
    root = schemas.of(str(live["apiVersion"]), str(live["kind"]))
    for name, value in live.items():
        if name in ("apiVersion", "kind", "metadata", "status"):
            continue
        yield from _of(live, [name], value, schemas.below(root, name), schemas)
    yield from _additions(live, [], live, root, schemas)
    for name in ("labels", "annotations"):
        held = live["metadata"].get(name) or {}
        yield _edit(live, f"{name} add", ["metadata", name], {**held, "example.com/added": "1"})
        for key in held:
            yield _edit(live, f"{name} change", ["metadata", name, key], f"{held[key]}x")
            yield _edit(live, f"{name} remove", ["metadata", name, key], _GONE)
    yield _edit(live, "finalizers add", ["metadata", "finalizers"], ["example.com/finalizer"])
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": "kube-system", "uid": "@kube-system"}
    yield _edit(live, "ownerReferences add", ["metadata", "ownerReferences"], [owner])


_GONE = object()


def _edit(live: Mapping[str, Any], sort: str, path: Sequence[Any], value: Any) -> Edit:
    made = copy.deepcopy(dict(live))
    node: Any = made
    for part in path[:-1]:
        node = node.setdefault(part, {}) if isinstance(node, dict) else node[part]
    if value is not _GONE:
        node[path[-1]] = value
    else:
        del node[path[-1]]
    return Edit(sort, "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path), made)


def _of(
    live: Mapping[str, Any], path: list[Any], value: Any, schema: Mapping[str, Any], schemas: Schemas
) -> Iterator[Edit]:
    if len(path) > _DEEP:
        return
    sort = _sort(value, schema)
    yield _edit(live, f"{sort} remove", path, _GONE)
    yield _edit(live, f"{sort} null", path, None)
    if isinstance(value, Mapping):
        if sort in ("map", "unknown fields"):
            added = "added" if not value or isinstance(next(iter(value.values())), str) else {"added": "1"}
            yield _edit(live, f"{sort} add", [*path, "example-added"], added)
        for name, inner in value.items():
            yield from _of(live, [*path, name], inner, schemas.below(schema, name), schemas)
        yield from _additions(live, path, value, schema, schemas)
    elif isinstance(value, list):
        yield from _of_list(live, path, value, sort, schema, schemas)
    else:
        for other in _others(value, sort):
            yield _edit(live, f"{sort} change", path, other)
        if sort == "quantity":
            yield _edit(live, "quantity said otherwise", path, _same_quantity(str(value)))


def _of_list(
    live: Mapping[str, Any], path: list[Any], value: list[Any], sort: str, schema: Mapping[str, Any], schemas: Schemas
) -> Iterator[Edit]:
    inner = schemas.below(schema, "*")
    for index, item in enumerate(value):
        yield _edit(live, f"{sort} item remove", path, [*value[:index], *value[index + 1 :]])
        yield from _of(live, [*path, index], item, inner, schemas)
    if value:
        yield _edit(live, f"{sort} item add", path, [*value, _another(value[-1])])
        yield _edit(live, f"{sort} item add before", path, [_another(value[-1]), *value])
    if len(value) > 1:
        yield _edit(live, f"{sort} reorder", path, value[::-1])


def _additions(
    live: Mapping[str, Any], path: list[Any], value: Mapping[str, Any], schema: Mapping[str, Any], schemas: Schemas
) -> Iterator[Edit]:
    """Fields that the schema knows and the object does not have."""
    for name in schema.get("properties", {}):
        if name in value or (not path and name in ("status", "metadata", "kind", "apiVersion")):
            continue
        made = _made(schemas.below(schema, name), schemas, 0)
        if made is not None:
            yield _edit(live, "undeclared field add", [*path, name], made)


def _made(schema: Mapping[str, Any], schemas: Schemas, deep: int) -> Any:
    if deep > 4:
        return None
    if "enum" in schema:
        return schema["enum"][-1]
    if _is_quantity(schema):
        return "3"
    sort = schema.get("type")
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return 3
    if sort in ("integer", "number"):
        return max(3, int(schema.get("minimum") or 0))
    if sort == "boolean":
        return True
    if sort == "string":
        return "2030-01-01T00:00:00Z" if schema.get("format") == "date-time" else "x"
    if sort == "array":
        inner = _made(schemas.below(schema, "*"), schemas, deep + 1)
        return None if inner is None else [inner]
    if sort == "object":
        made = {
            name: _made(schemas.below(schema, name), schemas, deep + 1)
            for name in list(schema.get("required", ())) or list(schema.get("properties", {}))[:1]
        }
        if not made and isinstance(schema.get("additionalProperties"), Mapping):
            return {"example-added": _made(schemas.below(schema, "any"), schemas, deep + 1)}
        return None if None in made.values() else made
    return None


def _sort(value: Any, schema: Mapping[str, Any]) -> str:
    if isinstance(value, Mapping):
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return "unknown fields"
        if schema.get("x-kubernetes-map-type") == "atomic":
            return "atomic map"
        return "map" if schema.get("additionalProperties") or not schema.get("properties") else "object"
    if isinstance(value, list):
        found = schema.get("x-kubernetes-list-type")
        if found is None and "x-kubernetes-patch-merge-key" in schema:
            found = "map"
        return {"map": "keyed list", "set": "set"}.get(str(found), "atomic list")
    if _is_quantity(schema):
        return "quantity"
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return "int-or-string"
    names = {bool: "boolean", int: "number", float: "number", str: "text"}
    if isinstance(value, str) and value[:1] in "{[" and len(value) > 2:
        return "embedded JSON"
    return names.get(type(value), "other")


def _is_quantity(schema: Mapping[str, Any]) -> bool:
    said = f"{schema.get('description', '')} {schema.get('pattern', '')}"
    return "fixed-point representation" in said or r"(([KMGTPE]i)|[numkMGTPE]" in said


def _others(value: Any, sort: str) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value + 1
        if sort == "int-or-string":
            yield "25%"
    elif sort == "quantity":
        yield "7"
    elif isinstance(value, str):
        yield f"{value}x"
        yield "example"
        yield "eA=="  # "x" in base64, as the data of a Secret
        yield "Never" if value != "Never" else "Always"


def _same_quantity(text: str) -> str:
    if text.isdigit():
        return f"{int(text) * 1000}m"
    return f"{int(text[:-2]) * 1024}Mi" if text.endswith("Gi") and text[:-2].isdigit() else text


def _another(item: Any) -> Any:
    if isinstance(item, Mapping):
        made = copy.deepcopy(dict(item))
        for name in _KEYS:
            if isinstance(made.get(name), str):
                made[name] = f"{made[name]}-added" if not made[name].startswith("/") else "/added"
                return made
            if isinstance(made.get(name), int):
                made[name] += 1
                return made
        return made
    return f"{item}-added" if isinstance(item, str) else item


def plain(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """An object without status and without what the server writes by itself: the oracle's view, not the product's."""
    kept = {name: value for name, value in manifest.items() if name not in ("status", "metadata")}
    metadata = {name: value for name, value in manifest["metadata"].items() if name not in _SERVER}
    notes = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != "deployment.kubernetes.io/revision"}
    metadata = {
        **{k: v for k, v in metadata.items() if k != "annotations"},
        **({"annotations": notes} if notes else {}),
    }
    return {**kept, "metadata": metadata}
