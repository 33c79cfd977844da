"""Differences: Changes between two revisions, and fields between what is declared and what is live."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from customhouse._kit.quantity import QuantityError, parse_quantity
from customhouse.control.render import identity
from customhouse.control.yaml_values import escape
from customhouse.core.change import Actor, Change, Operation, Revision
from customhouse.core.plan import FieldDiff
from customhouse.core.resource import Declaration, Manifest

HIDDEN = "(hidden)"
"""What stands for a value of a Secret: a diff is printed, logged and stored."""

# Lists that Kubernetes merges by key (`x-kubernetes-list-map-keys`, `patchMergeKey` of core/v1, apps/v1, batch/v1 and
# networking/v1 types). A list that is not here is one value: order and length count.
_MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "resourceClaims": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "webhooks": ("name",),
}
# `ports` means containers' ports or a Service's, told apart by the key that the items have.
_PORT_KEYS = (("containerPort", "protocol"), ("port", "protocol"))
_QUANTITY_PARENTS = frozenset({"limits", "requests", "capacity", "hard"})
_QUANTITY_KEYS = frozenset({"sizeLimit", "storage"})
_SERVER_METADATA = frozenset(
    {"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid", "deletionTimestamp"}
)


def changes(
    before: Iterable[Declaration], after: Iterable[Declaration], revision: Revision | None, actor: Actor
) -> tuple[Change, ...]:
    """What turns one set of declarations into another, ordered by namespace, kind and name.

    An object is itself by (group, kind, namespace, name): a new version of the API is an update. Where it stands in
    the files, comments and formatting do not count.
    """
    before, after = tuple(before), tuple(after)
    # What was read once and kept is one object in both: nothing has to be held against itself.
    same = {id(item) for item in before} & {id(item) for item in after}
    old = {identity(item.ref): item for item in before if id(item) not in same}
    new = {identity(item.ref): item for item in after if id(item) not in same}
    result = []
    for key in sorted(old.keys() | new.keys(), key=lambda k: (k[2], k[1], k[3], k[0])):
        was, now = old.get(key), new.get(key)
        if was is not None and now is not None:
            if was.manifest is not now.manifest and was.digest != now.digest:
                result.append(Change(Operation.UPDATE, now.ref, was, now, revision, actor))
        elif now is not None:
            result.append(Change(Operation.CREATE, now.ref, None, now, revision, actor))
        elif was is not None:
            result.append(Change(Operation.DELETE, was.ref, was, None, revision, actor))
    return tuple(result)


def field_diff(declared: Manifest, live: Manifest) -> tuple[FieldDiff, ...]:
    """The declared fields that are otherwise on the live object, in the order they are declared.

    Only declared fields count: defaults and what controllers add are not a difference. A declared null or empty
    collection equals an absent field; quantities are compared as numbers (`1` is `1000m`); `status` and the server's
    metadata are never declared. Values of a Secret are replaced by `(hidden)`.
    """
    secret = declared.get("kind") == "Secret"
    wanted = _secret_data(declared) if secret else declared
    found: list[FieldDiff] = []
    for key, value in wanted.items():
        if key == "status":
            continue
        now = live.get(key)
        if key == "metadata" and isinstance(value, Mapping):
            value = {name: item for name, item in value.items() if name not in _SERVER_METADATA}  # noqa: PLW2901
        found.extend(_walk(value, now, f"/{escape(key)}", "", key))
    if secret:
        return tuple(_hide(item) for item in found)
    return tuple(found)


def _walk(declared: Any, live: Any, pointer: str, parent: str, key: str) -> Iterator[FieldDiff]:
    if _is_empty(declared) and _is_empty(live):
        return
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        for name, value in declared.items():
            yield from _walk(value, live.get(name), f"{pointer}/{escape(name)}", key, name)
    elif isinstance(declared, (list, tuple)) and isinstance(live, (list, tuple)):
        yield from _walk_list(declared, live, pointer, key)
    elif not _same(declared, live, parent, key):
        yield FieldDiff(pointer, declared, live)


def _walk_list(declared: Any, live: Any, pointer: str, key: str) -> Iterator[FieldDiff]:
    names = _merge_key(key, declared)
    if names is not None:
        present = {_key_of(item, names): item for item in live if isinstance(item, Mapping)}
        for index, item in enumerate(declared):
            yield from _walk(item, present.get(_key_of(item, names)), f"{pointer}/{index}", key, str(index))
        return
    if len(declared) != len(live):
        yield FieldDiff(pointer, declared, live)
        return
    for index, (item, now) in enumerate(zip(declared, live, strict=True)):
        yield from _walk(item, now, f"{pointer}/{index}", key, str(index))


def _merge_key(key: str, items: Any) -> tuple[str, ...] | None:
    candidates = _PORT_KEYS if key == "ports" else (_MERGE_KEYS[key],) if key in _MERGE_KEYS else ()
    for names in candidates:
        if not all(isinstance(item, Mapping) and names[0] in item for item in items):
            continue
        keys = [_key_of(item, names) for item in items]
        if len(set(keys)) == len(keys):
            return names
    return None


def _key_of(item: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(item.get(name, "TCP" if name == "protocol" else "")) for name in names)


def _same(declared: Any, live: Any, parent: str, key: str) -> bool:
    if isinstance(declared, bool) or isinstance(live, bool):
        return declared is live
    if declared == live:
        return True
    if parent in _QUANTITY_PARENTS or key in _QUANTITY_KEYS:
        try:
            return parse_quantity(declared) == parse_quantity(live)
        except QuantityError:
            return False
    return False


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, (Mapping, list, tuple)) and not value)


def _secret_data(manifest: Manifest) -> Manifest:
    """`stringData` is write-only: the server turns it into `data` and it wins there."""
    texts = manifest.get("stringData")
    if not isinstance(texts, Mapping):
        return manifest
    data = dict(manifest.get("data") or {})
    data.update({key: base64.b64encode(str(value).encode()).decode() for key, value in texts.items()})
    return {**{key: value for key, value in manifest.items() if key != "stringData"}, "data": data}


def _hide(item: FieldDiff) -> FieldDiff:
    if not item.pointer.startswith("/data"):
        return item
    return FieldDiff(item.pointer, None if item.declared is None else HIDDEN, None if item.live is None else HIDDEN)
