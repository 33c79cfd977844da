"""Projections of custom kinds: everything but pods and what the API server adds, and the devices and graphs of some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from customhouse._kit.digest import json_digest
from customhouse._kit.quantity import QuantityError, parse_bytes, parse_quantity
from customhouse.core.claims import device_needs
from customhouse.core.errors import DeclarationError
from customhouse.core.fields import amount, escaped
from customhouse.core.kinds import Form, kind_of
from customhouse.core.podsets import pod_sets
from customhouse.core.resource import Manifest
from customhouse.policy.crd_defaults import DEFAULTS
from customhouse.policy.reading import entries, mapping, number, text, texts

_ASIDE = ("apiVersion", "kind", "metadata", "status")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_NOTHING: Mapping[str, Any] = {}


def settled_body(manifest: Manifest, api_version: str, kind: str) -> dict[str, Any]:
    """An object without type, metadata, status, nulls, what its CRD fills in, and pods (they are projected apart)."""
    group, slash, _ = api_version.rpartition("/")
    defaults = DEFAULTS.get((group if slash else "", kind), _NOTHING)
    row = kind_of(api_version, kind)
    pods: set[str] = set()
    if row is not None and all(place.form in (Form.POD, Form.COMPONENT) for place in row.pods):
        pods = {one.pointer for one in pod_sets(manifest, api_version, kind) if not one.found}
    body = {key: value for key, value in manifest.items() if key not in _ASIDE}
    result: dict[str, Any] = _settled(body, "", _rules(defaults), pods)
    return result


def without_defaults(value: Any, defaults: Mapping[str, Any]) -> Any:
    """A part of an object without nulls and without what the API server puts at the places of `defaults`."""
    return _settled(value, "", _rules(defaults), set())


def _rules(defaults: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    return [(tuple(place.split("/")[1:]), value) for place, value in defaults.items()]


def labelled(manifest: Manifest, api_version: str, kind: str) -> Mapping[str, Any]:
    """The metadata of an object; a ReplicationController without labels gets those of its pods from the API server."""
    metadata = mapping(manifest, "metadata", "")
    if (api_version, kind) != ("v1", "ReplicationController") or metadata.get("labels"):
        return metadata
    template = mapping(mapping(manifest, "spec", ""), "template", "/spec")
    return {**metadata, "labels": mapping(mapping(template, "metadata", "/spec/template"), "labels", "/spec/template")}


def resource_quota(manifest: Manifest) -> dict[str, Any]:
    """A ResourceQuota: its hard limits as exact numbers (`4000m` and `4` are one), its scopes."""
    spec = mapping(manifest, "spec", "")
    return {
        "hard": _amounts(spec, "hard", "/spec"),
        "scopes": sorted(texts(spec, "scopes", "/spec")),
        "scope_selector": json_digest(without_defaults(spec.get("scopeSelector") or {}, {})),
    }


def limit_range(manifest: Manifest) -> dict[str, Any]:
    """A LimitRange with what the API server derives: a container's default is its max, its request the default."""
    rows = []
    for item, place in entries(mapping(manifest, "spec", ""), "limits", "/spec"):
        kind = text(item, "type", place, "")
        names = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
        row: dict[str, dict[str, str]] = {name: _amounts(item, name, place) for name in names}
        if kind == "Container":
            row["default"] = {**row["max"], **row["default"]}
            row["defaultRequest"] = {**row["min"], **row["default"], **row["defaultRequest"]}
        rows.append({"type": kind, **row})
    return {"limits": rows}


def _amounts(values: Mapping[str, Any], key: str, pointer: str) -> dict[str, str]:
    found = {}
    for name, value in mapping(values, key, pointer).items():
        try:
            found[name] = str(parse_quantity(value))
        except QuantityError as error:
            raise DeclarationError(f"{name}: {error}", where=f"{pointer}/{key}") from error
    return found


def _settled(value: Any, pointer: str, rules: list[tuple[tuple[str, ...], Any]], pods: set[str]) -> Any:
    if isinstance(value, Mapping):
        kept = {}
        for key, item in value.items():
            place = f"{pointer}/{escaped(key)}"
            if item is None or (place in pods and place != "/spec"):
                continue
            if pointer in pods and key in _CONTAINERS:
                continue
            below = [(rest[1:], default) for rest, default in rules if rest and rest[0] in ("*", key)]
            settled = _settled(item, place, [rule for rule in below if rule[0]], pods)
            # An object whose default is empty is there to hold its own defaults: empty again, it says nothing.
            if any(not rest and _same(settled, default) for rest, default in below):
                continue
            kept[key] = settled
        return kept
    if isinstance(value, (list, tuple)):
        below = [(rest[1:], default) for rest, default in rules if rest and rest[0] == "*"]
        below = [rule for rule in below if rule[0]]
        return [_settled(item, f"{pointer}/{index}", below, pods) for index, item in enumerate(value)]
    return value


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and value == default


def resource_claim(manifest: Manifest) -> dict[str, Any]:
    """A ResourceClaim or ResourceClaimTemplate: the devices that it asks for, by class and product."""
    return {
        "devices": [
            {"device_class": need.device_class, "accelerator": need.name, "count": need.count}
            for need in device_needs(manifest)
        ]
    }


def inference_graph(manifest: Manifest) -> dict[str, Any]:
    """An InferenceGraph: the services that its steps call; it runs none of them."""
    spec = mapping(manifest, "spec", "")
    nodes = mapping(spec, "nodes", "/spec")
    targets = []
    for name in sorted(nodes):
        node = mapping(nodes, name, "/spec/nodes")
        for step, place in entries(node, "steps", f"/spec/nodes/{escaped(name)}"):
            targets.append(
                {
                    "node": name,
                    "service": text(step, "serviceName", place, None),
                    "url": text(step, "serviceUrl", place, None),
                    "next": text(step, "nodeName", place, None),
                    "pointer": place,
                }
            )
    return {
        "targets": targets,
        "max_replicas": number(spec, "maxReplicas", "/spec", None) or None,
        "min_replicas": number(spec, "minReplicas", "/spec", None),
    }


def persistent_volume(manifest: Manifest) -> dict[str, Any]:
    """A PersistentVolume: its size, its class, and where it lies."""
    spec = mapping(manifest, "spec", "")
    capacity = mapping(spec, "capacity", "/spec")
    known = ("capacity", "accessModes", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
             "storageClassName", "volumeMode", "volumeAttributesClassName")  # fmt: skip
    kinds = sorted(key for key in spec if key not in known and spec[key] is not None)
    host = mapping(spec, "hostPath", "/spec")
    return {
        "access_modes": texts(spec, "accessModes", "/spec"),
        "storage_class": text(spec, "storageClassName", "/spec", None) or None,
        "storage_bytes": amount(parse_bytes, capacity, "storage", "/spec/capacity"),
        "reclaim_policy": text(spec, "persistentVolumeReclaimPolicy", "/spec", "Retain"),
        "volume_mode": text(spec, "volumeMode", "/spec", "Filesystem"),
        "kind": kinds[0] if kinds else None,
        "host_path": text(host, "path", "/spec/hostPath", None),
    }


def machines(manifest: Manifest) -> dict[str, Any]:
    """Machines of Cluster API: how many, and which template makes them."""
    spec = mapping(manifest, "spec", "")
    template = mapping(mapping(spec, "template", "/spec"), "spec", "/spec/template")
    infrastructure = mapping(template, "infrastructureRef", "/spec/template/spec")
    place = "/spec/template/spec/infrastructureRef"
    return {
        "cluster": text(spec, "clusterName", "/spec", ""),
        "replicas": number(spec, "replicas", "/spec", 1),
        "version": text(template, "version", "/spec/template/spec", None),
        "infrastructure": {
            "kind": text(infrastructure, "kind", place, ""),
            "name": text(infrastructure, "name", place, ""),
        },
    }
