"""Which objects need a Secret that another declared object makes: ExternalSecret, SealedSecret, SecretProviderClass.

A workload that is made before its Secret fails to start; whoever looks sees a broken workload instead of the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from customhouse.core.resource import Declaration, ResourceRef

_MAKERS = {
    ("external-secrets.io", "ExternalSecret"),
    ("bitnami.com", "SealedSecret"),
    ("secrets-store.csi.x-k8s.io", "SecretProviderClass"),
}
_NAMED = {"secretKeyRef": "name", "secretRef": "name", "secret": "secretName"}
_MAX_DEPTH = 40


def needed(declared: Sequence[Declaration]) -> Mapping[ResourceRef, tuple[ResourceRef, ...]]:
    """Object → the objects that make what it refers to; only those that need any."""
    made: dict[tuple[str, str, str], ResourceRef] = {}
    for item in declared:
        group = item.ref.api_version.rpartition("/")[0]
        if (group, item.ref.kind) in _MAKERS:
            kind = "class" if item.ref.kind == "SecretProviderClass" else "secret"
            made[kind, item.ref.namespace, _makes(item)] = item.ref
            for name in _copies(item) if kind == "class" else ():
                made["secret", item.ref.namespace, name] = item.ref
    if not made:
        return {}
    found = {}
    for item in declared:
        wanted = {(kind, item.ref.namespace, name) for kind, name in _referred(item.manifest.get("spec"), 0)}
        makers = tuple(sorted({made[key] for key in wanted if key in made} - {item.ref}))
        if makers and item.ref not in made.values():
            found[item.ref] = makers
    return found


def _makes(item: Declaration) -> str:
    """The name of the Secret (of a class its own): as said, else the object's own."""
    spec = item.manifest.get("spec")
    spec = spec if isinstance(spec, Mapping) else {}
    if item.ref.kind == "ExternalSecret":
        target = spec.get("target")
        return str((target.get("name") if isinstance(target, Mapping) else None) or item.ref.name)
    template = spec.get("template") if item.ref.kind == "SealedSecret" else None
    metadata = template.get("metadata") if isinstance(template, Mapping) else None
    return str((metadata.get("name") if isinstance(metadata, Mapping) else None) or item.ref.name)


def _copies(item: Declaration) -> Iterator[str]:
    """The Secrets that a class is copied to when a pod mounts it (`secretObjects`)."""
    spec = item.manifest.get("spec")
    listed = spec.get("secretObjects") if isinstance(spec, Mapping) else None
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, Mapping) and isinstance(one.get("secretName"), str):
            yield one["secretName"]


def _referred(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in _NAMED and isinstance(item, Mapping) and isinstance(item.get(_NAMED[key]), str):
                if item.get("optional") is not True:
                    yield "secret", item[_NAMED[key]]
            elif key == "secretName" and isinstance(item, str):  # of an Ingress' tls, a Gateway's, a Certificate's user
                yield "secret", item
            elif key == "imagePullSecrets" and isinstance(item, list):
                yield from (("secret", str(one["name"])) for one in item if isinstance(one, Mapping) and "name" in one)
            elif key == "volumeAttributes" and isinstance(item, Mapping) and "secretProviderClass" in item:
                yield "class", str(item["secretProviderClass"])
            else:
                yield from _referred(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _referred(item, depth + 1)
