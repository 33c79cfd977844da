"""How much traffic a candidate gets on Kubernetes: objects with other weights, and what their status says of it.

Pure functions object → object; the caller applies them. Each way is that of the object's own controller:

- KServe `InferenceService`: `execution.kserve`;
- Argo `Rollout`: its steps are the one weight that is asked for and a pause without end, so that the controller goes
  there and waits; with the one step to 100 it goes all the way. The template of the stable ReplicaSet brings the
  stable version back at once (the controller skips the steps of a rollback to it);
- plain Deployments, Services and `HTTPRoute`s: `execution.plain_traffic`.

What is not ready is never given traffic: a Service routes to ready pods only, the controllers look themselves, and
`TrafficStatus.ready` is what a caller asks before the next weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse._kit.digest import json_digest
from customhouse.core.errors import DeclarationError
from customhouse.core.release import TRACK, candidate_name
from customhouse.core.resource import Manifest

_PLACEMENT = ("generation", "resourceVersion", "uid", "creationTimestamp", "managedFields", "ownerReferences")


@dataclass(frozen=True, slots=True)
class TrafficStatus:
    """What a live object says: revision → percent, which is which, and whether the candidate may be given more.

    `current`: its controller has seen the object as it is now. `ready`: current, and every pod that the present weight
    asks for serves. `ended` is `aborted` or `promoted` when the object itself says so, else empty.
    """

    current: bool
    ready: bool
    stable: str = ""
    candidate: str = ""
    weights: Mapping[str, int] = field(default_factory=dict)
    ended: str = ""
    message: str = ""


# Argo Rollouts
def stepped_rollout(manifest: Manifest, percent: int | None) -> Manifest:
    """A Rollout that goes to `percent` and waits there; None: as far as there is. Raises DeclarationError.

    Of a blue-green one only 0 (runs beside, waits for the switch) and 100 (switched) mean something.
    """
    _check(percent)
    spec = _mapping(manifest, "spec")
    strategy = _mapping(spec, "strategy")
    if isinstance(strategy.get("blueGreen"), Mapping):
        if percent not in (None, 0, 100):
            raise DeclarationError(
                f"a blue-green Rollout cannot have {percent} % of the traffic",
                where="/spec/strategy/blueGreen",
                hint="declare spec.strategy.canary, or customhouse.dev/rollout: blue-green",
            )
        chosen: dict[str, Any] = {
            "blueGreen": {**strategy["blueGreen"], "autoPromotionEnabled": percent is None or percent == 100}
        }
    elif isinstance(strategy.get("canary"), Mapping):
        # Never an empty list: the controller writes the object without it, and it would be put back again and again.
        # Nor no list at all: the API server makes null of a `canary` out of which the only field is taken.
        steps = [{"setWeight": 100}] if percent is None else [{"setWeight": percent}, {"pause": {}}]
        chosen = {"canary": {**strategy["canary"], "steps": steps}}
    else:
        raise DeclarationError(
            "the Rollout names no strategy", where="/spec/strategy", hint="write canary or blueGreen"
        )
    return {**manifest, "spec": {**spec, "strategy": chosen}}


def rollout_release(manifest: Manifest) -> str:
    """The digest of the pod template, which names what a Rollout runs. Raises DeclarationError for a workloadRef."""
    template = _mapping(manifest, "spec").get("template")
    if not isinstance(template, Mapping):
        raise DeclarationError(
            "the Rollout has no pod template of its own",
            where="/spec/template",
            hint="declare spec.template; what a workloadRef names is not looked at",
        )
    return json_digest({"template": template})


def rollout_status(live: Manifest, *, before: str = "") -> TrafficStatus:
    """Of a Rollout as its controller reports it; revisions are its pod template hashes.

    `before` is the newest revision that there was when another template was applied: while the controller still names
    that one it has not seen the template, whatever generation it says that it has observed (it writes that with a
    condition, or when it scales, before it looks at template and steps: v1.9, rollout/sync.go).
    """
    status, spec = _mapping(live, "status"), _mapping(live, "spec")
    # The controller writes its generation as a text.
    current = str(status.get("observedGeneration", "")) == str(_mapping(live, "metadata").get("generation", "?"))
    candidate, stable = _text(status, "currentPodHash"), _text(status, "stableRS")
    current = current and bool(candidate) and candidate != before
    phase, message = _text(status, "phase"), _text(status, "message")
    walking = current and candidate != stable and bool(stable)
    weights = _rollout_weights(status, spec, candidate, stable) if walking else {stable: 100} if stable else {}
    paused = phase == "Paused" and any(
        item.get("reason") in ("CanaryPauseStep", "BlueGreenPause") for item in _objects(status.get("pauseConditions"))
    )
    ended = ""
    if current:
        ended = "aborted" if status.get("abort") is True else "promoted" if phase == "Healthy" and not walking else ""
    there = paused and _at_weight(status, spec, weights.get(candidate, 0))
    ready = current and (there or (phase == "Healthy" and not walking))
    return TrafficStatus(current, ready, stable, candidate if walking else "", weights, ended, message)


def _at_weight(status: Mapping[str, Any], spec: Mapping[str, Any], share: int) -> bool:
    """Whether the pause is that of the weight that is asked for now, and not still the one of the step before.

    Exactly so where a traffic router was told; by replicas as near as whole replicas come.
    """
    steps = _objects(_mapping(_mapping(spec, "strategy"), "canary").get("steps"))
    asked = steps[0].get("setWeight") if steps else None
    if type(asked) is not int:
        return True
    if type(_mapping(_mapping(_mapping(status, "canary"), "weights"), "canary").get("weight")) is int:
        return share == asked
    return abs(_count(status, "updatedReplicas") - _count(status, "replicas") * asked / 100) < 1


def _rollout_weights(status: Mapping[str, Any], spec: Mapping[str, Any], candidate: str, stable: str) -> dict[str, int]:
    """From what the traffic router was told, else of blue-green from the active selector, else from ready pods."""
    told = _mapping(_mapping(status, "canary"), "weights")
    share = _mapping(told, "canary").get("weight")
    if type(share) is int:
        return {stable: 100 - share, candidate: share}
    active = _text(_mapping(status, "blueGreen"), "activeSelector")
    if active or isinstance(_mapping(spec, "strategy").get("blueGreen"), Mapping):
        return {stable: 0, candidate: 100} if active == candidate else {stable: 100, candidate: 0}
    ours, all_of_them = _count(status, "updatedReplicas"), _count(status, "availableReplicas")
    share = round(100 * min(ours, all_of_them) / all_of_them) if all_of_them else 0
    return {stable: 100 - share, candidate: share}


# Gateway API
def route_status(live: Manifest) -> TrafficStatus:
    """Of an HTTPRoute: whether every Gateway that it names has taken it in as it is now."""
    generation = _mapping(live, "metadata").get("generation")
    parents = _objects(_mapping(live, "status").get("parents"))
    conditions = [item for parent in parents for item in _objects(parent.get("conditions"))]
    judged = [item for item in conditions if item.get("type") in ("Accepted", "ResolvedRefs")]
    current = bool(judged) and all(item.get("observedGeneration") == generation for item in judged)
    bad = [item for item in judged if item.get("status") != "True"]
    message = "; ".join(str(item.get("message") or item.get("reason")) for item in bad)
    if not judged:
        message = "no Gateway has accepted it"
    elif not current:
        message = message or "its Gateway has not taken it in as it is now"
    return TrafficStatus(current, current and not bad, message=message)


# plain Deployments and a Service
def replica_split(total: int, percent: int) -> tuple[int, int]:
    """Replicas of stable and candidate for a share of the traffic, of a service declared with `total`.

    Up to half of the traffic the stable version keeps all of its replicas, so that an abort finds it whole; the ratio
    is as near as whole replicas allow, with at least one of each between 0 and 100.

    >>> replica_split(10, 20), replica_split(3, 10), replica_split(4, 80), replica_split(3, 100)
    ((10, 2), (3, 1), (1, 4), (0, 3))
    """
    _check(percent)
    if total < 1:
        raise DeclarationError(f"{total} replicas cannot be shared", where="/spec/replicas", hint="declare 1 or more")
    if percent in (0, 100):
        return (total, 0) if percent == 0 else (0, total)
    if percent <= 50:
        return total, max(1, round(total * percent / (100 - percent)))
    return max(1, round(total * (100 - percent) / percent)), total


def second_deployment(declared: Manifest, replicas: int) -> Manifest:
    """The candidate as a Deployment of its own beside the stable one, behind the same Service.

    It keeps every label, so that Services, NetworkPolicies and budgets hold for it too, and has one more (TRACK), so
    that the two Deployments never take each other's pods.
    """
    metadata, spec = _mapping(declared, "metadata"), _mapping(declared, "spec")
    template = _mapping(spec, "template")
    pods, selector = _mapping(template, "metadata"), _mapping(spec, "selector")
    track = {TRACK: "candidate"}
    name = candidate_name(str(metadata.get("name", "")))
    kept = {key: value for key, value in metadata.items() if key not in _PLACEMENT}
    return {
        "apiVersion": declared["apiVersion"],
        "kind": declared["kind"],
        "metadata": {**kept, "name": name, "labels": {**_mapping(metadata, "labels"), **track}},
        "spec": {
            **spec,
            "replicas": replicas,
            "selector": {**selector, "matchLabels": {**_mapping(selector, "matchLabels"), **track}},
            "template": {**template, "metadata": {**pods, "labels": {**_mapping(pods, "labels"), **track}}},
        },
    }


def deployment_status(live: Manifest) -> TrafficStatus:
    """Of a Deployment: ready when every replica is of the present template and available."""
    status, spec = _mapping(live, "status"), _mapping(live, "spec")
    wanted = spec.get("replicas", 1)
    current = _observed(live, status)
    counts = [_count(status, name) for name in ("updatedReplicas", "availableReplicas", "replicas")]
    message = f"{counts[1]} of {wanted} replicas are available"
    return TrafficStatus(current, current and all(count == wanted for count in counts), message=message)


def _observed(live: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    seen, generation = status.get("observedGeneration"), _mapping(live, "metadata").get("generation")
    return isinstance(seen, int) and isinstance(generation, int) and seen == generation


def _check(percent: int | None) -> None:
    if percent is not None and (type(percent) is not int or not 0 <= percent <= 100):
        raise DeclarationError(f"{percent!r} is not a share of the traffic", hint="write 0 to 100")


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else []


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _count(value: Mapping[str, Any], key: str) -> int:
    found = value.get(key, 0)
    return found if type(found) is int else 0
