"""Whether a live object is what Git declares: then it is judged with the Facts that the gate recorded of it.

Kinds that have a typed projection are compared by it: what servers fill in is known, so equal means equal. Of any other
kind nobody here knows the defaults: every field that Git declares has to be there with the declared value, what rules
see of it (pods, models, credentials, labels) has to be equal, and an update must bring in nothing that neither Git
declares nor the object had before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from customhouse.app.admission_context import AdmissionContext, Recorded, key_of
from customhouse.app.admission_mutation import mutated
from customhouse.app.admission_queued import queued
from customhouse.app.governance import Governance
from customhouse.core.queues import Queues
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.core.sight import TOUCHED
from customhouse.policy.projection import is_typed, project
from customhouse.policy.projection_kinds import settled_body

_DEPLOYERS = (
    "argocd.argoproj.io/installation-id",
    "argocd.argoproj.io/tracking-id",
    TOUCHED,
    "helm.toolkit.fluxcd.io/",
    "kustomize.toolkit.fluxcd.io/",
    "meta.helm.sh/",
)
"""Labels and annotations by which Argo CD, Flux and Helm find what they brought, and the word by which a controller is
made to look again. Git does not declare them."""


@dataclass(frozen=True, slots=True)
class Form:
    """A Declaration in a form that the cluster may have it in, with its projection."""

    declaration: Declaration
    projection: Mapping[str, Any]


def forms(recorded: Recorded, governing: Governance, queues: Queues | None = None) -> tuple[Form, ...]:
    """As declared, as the mutating webhook and a queue make it; none when the Facts are not of this content."""
    return tuple(_forms(recorded, governing, queues or Queues()))


def _forms(recorded: Recorded, governing: Governance, queues: Queues) -> Iterator[Form]:
    import orjson

    declared = recorded.declaration
    plain = project(declared.manifest, declared.ref)
    if not _equal(plain, orjson.loads(recorded.facts)["change"]["after"]):
        return
    yield Form(declared, plain)
    placed = mutated(declared, governing)
    if placed is not None:
        yield Form(replace(declared, manifest=placed), project(placed, declared.ref))
    for made in queued(declared, queues):
        yield Form(replace(declared, manifest=made), project(made, declared.ref))


def is_form(form: Form, live: Declaration, seen: Mapping[str, Any], before: Declaration | None = None) -> bool:
    """Whether a live object, whose projection is `seen`, is this form; `before` is what an update replaces."""
    expected = form.projection
    seen = {
        **seen,
        "labels": _without_deployers(seen["labels"], expected["labels"]),
        "annotations": _without_deployers(seen["annotations"], expected["annotations"]),
    }
    if expected["kind"] == "Secret":
        # What Git holds encrypted (SOPS) is there in the clear: that is what it is for.
        return _equal(_without(expected, "plain_keys"), _without(seen, "plain_keys"))
    if is_typed(live.ref):
        return _equal(expected, seen)
    if not _equal(_without(expected, "digest"), _without(seen, "digest")):
        return False
    declared, now = _body(form.declaration), _body(live)
    if not _holds(declared, now):
        return False
    then = None if before is None else _body(before)
    # Where all that is declared was there already, what an update brings in is not of this commit.
    return then is None or not _holds(declared, then) or _holds(now, then)


def _body(declaration: Declaration) -> Mapping[str, Any]:
    manifest: Manifest = declaration.manifest
    return settled_body(manifest, declaration.ref.api_version, declaration.ref.kind)


def _holds(declared: Any, live: Any) -> bool:
    """Whether every field of one is in the other with the same value; lists have the same length."""
    if isinstance(declared, Mapping):
        return isinstance(live, Mapping) and all(key in live and _holds(declared[key], live[key]) for key in declared)
    if isinstance(declared, (list, tuple)):
        if not isinstance(live, (list, tuple)) or len(declared) != len(live):
            return False
        return all(_holds(one, other) for one, other in zip(declared, live, strict=True))
    return isinstance(declared, bool) == isinstance(live, bool) and bool(declared == live)


def _without_deployers(seen: Mapping[str, str], declared: Mapping[str, str]) -> Mapping[str, str]:
    return {key: value for key, value in seen.items() if key in declared or not key.startswith(_DEPLOYERS)}


def _without(projection: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return {**projection, "spec": {name: value for name, value in projection["spec"].items() if name != key}}


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whatever version of the API was spoken."""
    return {**one, "api_version": ""} == {**other, "api_version": ""}


def keys_in_git(ref: ResourceRef, context: AdmissionContext) -> tuple[str, ...] | None:
    """The keys of a Secret whose values Git holds in the clear; None for any other kind.

    Operators make Secrets (External Secrets, cert-manager, SealedSecrets) that were never in Git. What Git declares in
    the clear was refused when it was proposed, and whoever brings it by hand is refused too.
    """
    if (ref.api_version, ref.kind) != ("v1", "Secret"):
        return None
    for item in context.declared:
        if key_of(item.ref) == key_of(ref):
            return tuple(project(item.manifest, item.ref)["spec"]["plain_keys"])
    return ()
