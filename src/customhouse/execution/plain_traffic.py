"""Traffic between two plain Deployments: what a Service selects, and what an HTTPRoute gives to whom.

The version that serves is the declared Deployment, the new one a second Deployment beside it (`traffic.TRACK`). Where
requests are shared by weights, or switched, each of the two has pods that a Service can tell from the other's; where
nothing shares them they are as many as their replicas. Pure functions object → object.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from customhouse._kit.digest import json_digest
from customhouse.core.errors import DeclarationError
from customhouse.core.release import TRACK, candidate_name
from customhouse.core.resource import PREFIX, Manifest
from customhouse.execution.traffic import replica_split, second_deployment

STABLE, CANDIDATE = "stable", "candidate"
RELEASE = PREFIX + "release"
"""Annotation of a Deployment that is rolled out step by step: the release that it runs, also on the live object."""
_MOST = 1_000_000
"""What the Gateway API allows as a weight."""
_OURS = ("rollout", "rollout-steps", "rollout-analysis")
_ADDRESSES = ("clusterIP", "clusterIPs", "externalIPs", "externalName", "externalTrafficPolicy", "healthCheckNodePort")
_BALANCERS = ("allocateLoadBalancerNodePorts", "loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges")


def deployment_release(manifest: Manifest) -> str:
    """The digest of the pod template, our own label aside. Raises DeclarationError for a Deployment without one."""
    template = manifest.get("spec", {}).get("template")
    if not isinstance(template, Mapping):
        raise DeclarationError("the Deployment has no pod template", where="/spec/template", hint="declare one")
    return json_digest({"template": _labelled(template, None)})


def tracked_deployment(manifest: Manifest, *, label: bool) -> Manifest:
    """The Deployment that serves, with its release on it; its pods labelled where a Service has to tell them apart."""
    spec = manifest["spec"]
    if label:
        spec = {**spec, "template": _labelled(spec["template"], STABLE)}
    return {**_noted(manifest, deployment_release(manifest)), "spec": spec}


def candidate_deployment(declared: Manifest, replicas: int) -> Manifest:
    """The new version beside the one that serves; what says how it is rolled out is not said of it again."""
    annotations = declared["metadata"].get("annotations") or {}
    kept = {key: value for key, value in annotations.items() if key.removeprefix(PREFIX) not in _OURS}
    plain = {**declared, "metadata": {**declared["metadata"], "annotations": kept}}
    return _noted(second_deployment(plain, replicas), deployment_release(declared))


def candidate_replicas(total: int, percent: int, *, weighted: bool) -> int:
    """How many replicas the new version needs for its share; with weights enough to bear it, and never none."""
    if percent >= 100:
        return total
    return max(1, -(-total * percent // 100)) if weighted else replica_split(total, max(1, percent))[1]


def candidate_sizes(total: int, steps: Iterable[int], *, weighted: bool, switched: bool) -> frozenset[int]:
    """All numbers of replicas that a rollout with these steps (percent) gives the second Deployment."""
    if switched:
        return frozenset({total})
    found = {candidate_replicas(total, percent, weighted=weighted) for percent in (0, *steps, 100)}
    return frozenset(found if weighted else found | {0})  # behind the same Services it is scaled away when it is over


def stable_replicas(total: int, percent: int, *, weighted: bool) -> int:
    """How many stay: all of them, unless nothing but their number gives the new version more than half."""
    return total if weighted or percent <= 50 else max(1, replica_split(total, min(percent, 99))[0])


def replicas_of(manifest: Manifest) -> int:
    """Of a Deployment; one where it does not say."""
    found = manifest["spec"].get("replicas", 1)
    return found if type(found) is int and found > 0 else 1


def selected_by(service: Manifest) -> tuple[tuple[str, str], ...]:
    """The labels that a Service asks for, our own aside; none for one with endpoints of its own."""
    selector = (service.get("spec") or {}).get("selector")
    found = selector.items() if isinstance(selector, Mapping) else ()
    return tuple((str(key), str(value)) for key, value in found if key != TRACK)


def pod_labels(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """The labels of the pods of a Deployment, or of anything else with a template."""
    template = (manifest.get("spec") or {}).get("template")
    metadata = template.get("metadata") if isinstance(template, Mapping) else None
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return tuple((str(key), str(value)) for key, value in labels.items()) if isinstance(labels, Mapping) else ()


def selects(service: Manifest, deployment: Manifest) -> bool:
    """Whether a Service routes to the pods of a Deployment."""
    asked = selected_by(service)
    return bool(asked) and set(asked) <= set(pod_labels(deployment))


def tracked_service(service: Manifest, track: str) -> Manifest:
    """A Service that routes to the pods of one of the two only."""
    spec = service["spec"]
    return {**service, "spec": {**spec, "selector": {**spec["selector"], TRACK: track}}}


def strangers_among(services: Iterable[Manifest], declared: Collection[str], deployment: Manifest) -> tuple[str, ...]:
    """The live Services that would route to pods of both versions, and that are not declared here to be told apart."""
    names = (str(item["metadata"].get("name")) for item in services if selects(item, deployment))
    return tuple(sorted(name for name in names if name not in declared))


def is_candidate(service: Manifest) -> bool:
    """Whether a live Service is one that a rollout made for its new version."""
    return ((service.get("spec") or {}).get("selector") or {}).get(TRACK) == CANDIDATE


def candidate_service(service: Manifest) -> Manifest:
    """A Service of its own for the new version: inside the cluster, without the addresses of the other."""
    metadata, spec = service["metadata"], service["spec"]
    ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in spec.get("ports") or ()]
    inner = {key: value for key, value in spec.items() if key not in (*_ADDRESSES, *_BALANCERS)}
    inner |= {"type": "ClusterIP", "ports": ports, "selector": {**spec["selector"], TRACK: CANDIDATE}}
    if spec.get("clusterIP") == "None":
        inner["clusterIP"] = "None"
    kept = {key: metadata[key] for key in ("namespace", "labels") if key in metadata}
    return {**service, "metadata": {"name": candidate_name(metadata["name"]), **kept}, "spec": inner}


def routed_services(route: Manifest) -> frozenset[str]:
    """The Services of its own namespace that an HTTPRoute names as backends."""
    return frozenset(name for rule in _rules(route) for item in _backends(rule) if (name := _service(item, route)))


def shared_route(route: Manifest, services: Collection[str], percent: int) -> Manifest:
    """An HTTPRoute that gives `percent` of what each of these Services has to the Service of its new version.

    Other backends keep their part of the whole: all weights of a rule are multiplied by a hundred first.
    """
    rules = []
    for found in _rules(route):
        rule, backends = found, _backends(found)
        if any(_service(item, route) in services for item in backends):
            scale = 1 if max(map(_weight, backends)) > _MOST // 100 else 100
            parts = [_parts(item, _service(item, route) in services, scale, percent) for item in backends]
            rule = {**rule, "backendRefs": [one for pair in parts for one in pair]}
        rules.append(rule)
    return {**route, "spec": {**route["spec"], "rules": rules}}


def _parts(item: Mapping[str, Any], ours: bool, scale: int, percent: int) -> tuple[Mapping[str, Any], ...]:
    whole = scale * _weight(item)
    if not ours:
        return ({**item, "weight": whole},)
    share = whole * percent // 100
    return ({**item, "weight": whole - share}, {**item, "name": candidate_name(str(item["name"])), "weight": share})


def _weight(item: Mapping[str, Any]) -> int:
    found = item.get("weight", 1)
    return found if type(found) is int else 1


def _rules(route: Manifest) -> list[Mapping[str, Any]]:
    rules = (route.get("spec") or {}).get("rules")
    return [rule for rule in rules if isinstance(rule, Mapping)] if isinstance(rules, (list, tuple)) else []


def _backends(rule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = rule.get("backendRefs")
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, (list, tuple)) else []


def _service(item: Mapping[str, Any], route: Manifest) -> str:
    """The Service that a backend names, in the route's own namespace; empty for any other backend."""
    own = item.get("namespace") in (None, route["metadata"].get("namespace"))
    plain = (item.get("kind", "Service"), item.get("group", "")) == ("Service", "")
    return str(item.get("name", "")) if own and plain else ""


def _labelled(template: Mapping[str, Any], track: str | None) -> Mapping[str, Any]:
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != TRACK}
    if track is not None:
        labels[TRACK] = track
    return {**template, "metadata": {**metadata, "labels": labels}}


def _noted(manifest: Manifest, release: str) -> Manifest:
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), RELEASE: release}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


# read back: what Git declares, out of what a rollout made of it
def untracked_deployment(
    live: Manifest, declared: Manifest, *, beside: bool, sizes: Collection[int] | None = None
) -> Manifest:
    """Either of the two as the one that is declared.

    `sizes` are the numbers of replicas that the rollout gives it; None: any up to the declared one. Any other stays.
    """
    metadata, spec = live["metadata"], live.get("spec") or {}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != RELEASE}
    labels = dict(metadata.get("labels") or {})
    wanted, found = (declared.get("spec") or {}).get("replicas", 1), spec.get("replicas", 1)
    made = type(found) is int and (type(wanted) is int and 0 <= found <= wanted if sizes is None else found in sizes)
    if made:
        spec = {**spec, "replicas": wanted}
    if beside:
        theirs = declared["metadata"].get("annotations") or {}
        annotations |= {PREFIX + name: theirs[PREFIX + name] for name in _OURS if PREFIX + name in theirs}
        labels.pop(TRACK, None)
        selector = spec.get("selector") or {}
        kept = {key: value for key, value in (selector.get("matchLabels") or {}).items() if key != TRACK}
        spec = {**spec, "selector": {**selector, "matchLabels": kept}}
    if isinstance(spec.get("template"), Mapping):
        spec = {**spec, "template": _labelled(spec["template"], None)}
    name = declared["metadata"]["name"]
    return {**live, "metadata": {**metadata, "name": name, "labels": labels, "annotations": annotations}, "spec": spec}


def untracked_service(live: Manifest, declared: Manifest, *, beside: bool) -> Manifest:
    """Either of the two as the one that is declared; that of the new version is reached from inside alone."""
    metadata, spec = live["metadata"], live.get("spec") or {}
    selector = {key: value for key, value in (spec.get("selector") or {}).items() if key != TRACK}
    track = (spec.get("selector") or {}).get(TRACK)
    if not selector or track not in ((CANDIDATE,) if beside else (None, STABLE, CANDIDATE)):
        return live
    if beside and (metadata.get("annotations") or spec.get("externalIPs")):
        return live  # that of a rollout has neither
    spec = {**spec, "selector": selector}
    theirs = declared.get("spec") or {}
    if beside and spec.get("type", "ClusterIP") == "ClusterIP":
        spec |= {key: theirs[key] for key in ("type", *_ADDRESSES, *_BALANCERS) if key in theirs}
        metadata = {**metadata, "annotations": declared["metadata"].get("annotations") or {}}
    return {**live, "metadata": {**metadata, "name": declared["metadata"]["name"]}, "spec": spec}


def unshared_route(live: Manifest, declared: Manifest, asked: Collection[str]) -> Manifest:
    """The declared backends in place of what `shared_route` makes of them; any other rule stays as it is."""
    wanted, rules = _rules(declared), _rules(live)
    if len(wanted) != len(rules):
        return live
    shares = [_rules(shared_route(declared, asked, percent)) for percent in range(101)]
    made = [
        {**rule, "backendRefs": _backends(one)} if any(_alike(rule, share[at]) for share in shares) else rule
        for at, (rule, one) in enumerate(zip(rules, wanted, strict=True))
    ]
    return {**live, "spec": {**live["spec"], "rules": made}}


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    ours, theirs = _backends(one), _backends(other)
    return len(ours) == len(theirs) and all(
        (_bare(a), _weight(a)) == (_bare(b), _weight(b)) for a, b in zip(ours, theirs, strict=True)
    )


def _bare(backend: Mapping[str, Any]) -> Mapping[str, Any]:
    """A backend without its weight, and with what the API fills in."""
    kept = {key: value for key, value in backend.items() if key != "weight"}
    return {"group": "", "kind": "Service", **kept}
