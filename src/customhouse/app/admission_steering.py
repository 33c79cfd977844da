"""What a rollout makes of declared objects, read back as what Git declares: for the account that walks rollouts alone.

A second Deployment beside one that is declared, the Service for it, a selector that tells the two apart, weights of an
HTTPRoute, the steps of an Argo Rollout. Taken away is only what a rollout adds, and only where Git declares one; what
is left has to be what was allowed, or what was there before, as of any other object. On Argo Rollouts and KServe the
version before is put back by writing it again, which the allowed commit does not declare any more (`puts_back`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace

from customhouse.app.admission_context import Key, Recorded, key_of
from customhouse.app.rollout_scene import scenes_of
from customhouse.control.rollout_plan import ROLLOUT, plan_of
from customhouse.core.errors import DeclarationError
from customhouse.core.release import candidate_name
from customhouse.core.resource import Declaration, Manifest
from customhouse.execution.plain_traffic import (
    candidate_sizes,
    replicas_of,
    selects,
    unshared_route,
    untracked_deployment,
    untracked_service,
)
from customhouse.execution.traffic import stepped_rollout

_ROLLOUT, _INFERENCE = ("argoproj.io", "Rollout"), ("serving.kserve.io", "InferenceService")


def as_declared(
    after: Declaration | None, before: Declaration | None, recorded: Mapping[Key, Recorded]
) -> tuple[Declaration | None, Declaration | None]:
    """Both sides of a change without what a rollout adds; as they are where nothing is `recorded`."""
    if not recorded:
        return after, before
    return tuple(None if item is None else unsteered(item, recorded) for item in (after, before))  # type: ignore[return-value]


def unsteered(live: Declaration, recorded: Mapping[Key, Recorded], *, settled: bool = False) -> Declaration:
    """One object; itself where no rollout that Git declares has to do with it.

    The version before may have other replicas than Git declares by now, of which a rollout takes some away: nothing
    here says how many those are. `settled`: such a one is not looked for, and what is declared has what it declares.
    """
    group, kind, namespace, name = key_of(live.ref)
    if (group, kind) == _ROLLOUT:
        return _unstepped(live, recorded)
    if (group, kind) not in (("apps", "Deployment"), ("", "Service"), ("gateway.networking.k8s.io", "HTTPRoute")):
        return live
    near = {key: item.declaration for key, item in recorded.items() if key[:3] == (group, kind, namespace)}
    found = near.get((group, kind, namespace, name))
    beside = found is None
    if beside:
        found = next((item for item in near.values() if candidate_name(item.ref.name) == name), None)
    if found is None or not _walked(found, recorded):
        return live
    if kind == "HTTPRoute":
        if beside:
            return live
        services = (item.declaration for key, item in recorded.items() if key[:3] == ("", "Service", namespace))
        asked = {item.ref.name for item in services if _walked(item, recorded)}
        return replace(live, manifest=unshared_route(live.manifest, found.manifest, asked))
    if kind == "Deployment":
        sizes = _sizes(found, recorded) if beside else () if settled else None
        manifest = untracked_deployment(live.manifest, found.manifest, beside=beside, sizes=sizes)
    else:
        manifest = untracked_service(live.manifest, found.manifest, beside=beside)
    return replace(live, ref=replace(live.ref, name=found.ref.name), manifest=manifest)


def puts_back(after: Declaration | None, before: Declaration | None, recorded: Mapping[Key, Recorded]) -> bool:
    """Whether a write may be that of a version before, of an object that is there and that Git rolls out step by step.

    Which version that was, nothing here says: so it has to meet every rule but the one that asks for a commit.
    """
    if after is None or before is None or key_of(after.ref)[:2] not in (_ROLLOUT, _INFERENCE):
        return False
    found = recorded.get(key_of(after.ref))
    return found is not None and found.declaration.annotation(ROLLOUT) is not None


def _unstepped(live: Declaration, recorded: Mapping[Key, Recorded]) -> Declaration:
    """A Rollout with the steps that Git declares, where it has those that the walk of it gives it."""
    found = recorded.get(key_of(live.ref))
    if found is None or found.declaration.annotation(ROLLOUT) is None:
        return live
    declared, manifest = found.declaration.manifest, live.manifest
    with suppress(DeclarationError, KeyError, TypeError):
        plan = plan_of(declared)
        shares = () if plan is None else (None, 0, *plan.steps, 100)
        canary = manifest["spec"]["strategy"]["canary"]
        asked = declared["spec"]["strategy"]["canary"]
        if any(
            canary["steps"] == stepped_rollout(declared, at)["spec"]["strategy"]["canary"]["steps"] for at in shares
        ):
            plain = {key: value for key, value in canary.items() if key != "steps"}
            plain |= {"steps": asked["steps"]} if "steps" in asked else {}
            spec = {**manifest["spec"], "strategy": {**manifest["spec"]["strategy"], "canary": plain}}
            return replace(live, manifest={**manifest, "spec": spec})
    return live


def _sizes(declared: Declaration, recorded: Mapping[Key, Recorded]) -> Collection[int]:
    """What the rollout that is declared gives its second Deployment; nothing where it cannot be read."""
    with suppress(DeclarationError):
        plan, others = plan_of(declared.manifest), [item.declaration for item in recorded.values()]
        scene = scenes_of([declared], others)[declared.ref]
        total = replicas_of(declared.manifest)
        if plan is not None:
            return candidate_sizes(total, plan.steps, weighted=scene.weighted, switched=scene.switched)
    return ()


def _walked(declared: Declaration, recorded: Mapping[Key, Recorded]) -> bool:
    """Whether it is, or leads to, a Deployment that is rolled out step by step."""
    if declared.ref.kind == "Deployment":
        return declared.annotation(ROLLOUT) is not None
    near = [item.declaration for item in recorded.values() if item.declaration.ref.namespace == declared.ref.namespace]
    walked = [item for item in near if item.ref.kind == "Deployment" and item.annotation(ROLLOUT) is not None]
    if declared.ref.kind == "HTTPRoute":
        return bool(walked)
    return any(selects(declared.manifest, _whole(item.manifest)) for item in walked)


def _whole(manifest: Manifest) -> Manifest:
    spec = manifest.get("spec") or {}
    return manifest if isinstance(spec.get("template"), Mapping) else {**manifest, "spec": {**spec, "template": {}}}
