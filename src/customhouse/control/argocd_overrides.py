"""`.argocd-source.yaml` and `.argocd-source-NAME.yaml`: files in a rendered folder by which Argo CD alters a source.

1. Argo CD merges the first and then the second into the source of the Application (JSON merge patch, RFC 7386), and
   takes from that how it is rendered, and no other place (argo-cd.readthedocs.io, user-guide/parameters).
2. NAME is the Application's name in Argo CD's own namespace, else NAMESPACE_NAME. Which one that is Git does not say:
   in `argocd` the first is followed, and whatever another installation would read instead is refused.
3. The outcome is read over the source (seen of v3.2.11): a null takes nothing away but in `valuesObject`, and a list of
   mappings over another one is refused, since items keep fields of those before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from customhouse.control import yaml_nodes
from customhouse.control.rendering_owned import joined
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration

_HOW = ("helm", "kustomize", "directory", "plugin")
_DEEPEST = 32
_OWN = ("", "argocd")
"""The namespace of Argo CD's own manifests."""


def overridden(
    item: Declaration, source: Mapping[str, Any], folder: str, files: Mapping[str, bytes]
) -> Mapping[str, Any]:
    """The source as Argo CD renders it. Raises DeclarationError, at the file, for one that is no mapping."""
    merged: Mapping[str, Any] = source
    for path in _names(item, folder, files):
        if path in files:
            merged = _merged(merged, _read(path, files[path]), path)
    if merged is source:
        return source
    kept = {key: value for key, value in source.items() if key not in _HOW}
    return {**kept, **{key: merged[key] for key in _HOW if key in merged}}


def _names(item: Declaration, folder: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """2. Raises DeclarationError, at the file that may or may not be read."""
    yield joined(folder, ".argocd-source.yaml")
    own = joined(folder, f".argocd-source-{item.ref.name}.yaml")
    other = joined(folder, f".argocd-source-{item.ref.namespace}_{item.ref.name}.yaml")
    sure = item.ref.namespace in _OWN
    for path in (other,) if sure else (own, other):
        if path in files:
            raise DeclarationError(
                f"whether Argo CD reads this for {item.ref} depends on the namespace that it runs in",
                where=f"{path}:1:1",
                hint="write it into .argocd-source.yaml, or into the Application",
            )
    yield own


def _read(path: str, data: bytes) -> Mapping[str, Any]:
    roots = [Reader(path).read(root).value for root in yaml_nodes.compose(yaml_nodes.decode(data, path), path)]
    if len(roots) != 1 or not isinstance(roots[0], dict):
        raise DeclarationError("it is to be one mapping: what it alters of the source", where=f"{path}:1:1")
    return roots[0]


def _merged(value: Any, patch: Mapping[str, Any], path: str, depth: int = 0, *, free: bool = False) -> dict[str, Any]:
    """3. `free`: in values for a chart, which have no fields that Argo CD knows."""
    if depth > _DEEPEST:
        raise DeclarationError(f"it is nested deeper than {_DEEPEST} levels", where=f"{path}:1:1")
    result = dict(value) if isinstance(value, Mapping) else {}
    for key, change in patch.items():
        before = result.get(key)
        if change is None:
            if free:
                result.pop(key, None)
        elif isinstance(change, Mapping):
            result[key] = _merged(before, change, path, depth + 1, free=free or key == "valuesObject")
        elif not free and isinstance(before, Sequence) and any(isinstance(one, Mapping) for one in before):
            raise DeclarationError(
                f"the source has {key[:80]!r} too, and Argo CD mixes the fields of the two lists",
                where=f"{path}:1:1",
                hint="write the list in one place",
            )
        else:
            result[key] = change
    return result
