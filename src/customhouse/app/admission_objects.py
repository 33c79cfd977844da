"""The objects of a review: read as Declarations, compared with what was, and their owners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from customhouse.app.admission_review import Review
from customhouse.core.errors import CannotDecideError
from customhouse.core.resource import Declaration, Location, Manifest, ResourceRef
from customhouse.policy.projection import project


def declaration_of(ref: ResourceRef, manifest: Manifest) -> Declaration:
    """The object of a review as a Declaration. Raises CannotDecideError when there is none."""
    if not manifest:
        raise CannotDecideError("the request carries no object", where=str(ref))
    metadata = manifest.get("metadata")
    if isinstance(metadata, Mapping) and not metadata.get("name"):
        # A name that is generated is not there yet when a mutating webhook is asked.
        manifest = {**manifest, "metadata": {**metadata, "name": ref.name}}
    return Declaration(ref, manifest, Location("admission"))


def unchanged(before: Declaration, after: Declaration) -> bool:
    """Whether an update touches nothing that a rule could see: status, finalizers, what servers write."""
    if before.manifest.get("spec") != after.manifest.get("spec"):
        return project(before.manifest, before.ref) == project(after.manifest, after.ref)
    one, other = ({**item.manifest, "metadata": None, "status": None} for item in (before, after))
    if one != other:
        return project(before.manifest, before.ref) == project(after.manifest, after.ref)
    left, right = ((item.manifest.get("metadata") or {}) for item in (before, after))
    return all((left.get(key) or {}) == (right.get(key) or {}) for key in ("labels", "annotations"))


def owner_of(manifest: Manifest) -> tuple[str, str] | None:
    """(kind, name) of the controller that an object names; only believed of a controller's own user."""
    metadata = manifest.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, Mapping) else None
    for item in owners if isinstance(owners, list) else ():
        if isinstance(item, Mapping) and item.get("controller") is True:
            return str(item.get("kind", "")), str(item.get("name", ""))
    return None


def replicas_of(scale: Manifest) -> int | None:
    """What a Scale asks for; None when it says nothing that can be read."""
    spec = scale.get("spec")
    count = spec.get("replicas", 0) if isinstance(spec, Mapping) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**31 else None


def declared_scaled(declared: Sequence[Declaration], review: Review) -> Declaration | None:
    """What the `/scale` of a review is about, among what is declared."""
    for item in declared:
        same = (item.ref.namespace, item.ref.name) == (review.ref.namespace, review.ref.name)
        if same and f"{item.ref.kind.lower()}s" == review.resource:
            return item
    return None


def at_size(declaration: Declaration, replicas: int) -> Declaration:
    """The same Declaration with other replicas."""
    spec = declaration.manifest.get("spec") or {}
    return replace(declaration, manifest={**declaration.manifest, "spec": {**spec, "replicas": replicas}})
