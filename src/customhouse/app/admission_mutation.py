"""The mutating side: a tier's cost policy is put on pods as JSON Patch (RFC 6902), before the validating side judges.

It only fills in what a pod leaves open: a label, toleration, class or priority that is there stays, so that mutating
twice changes nothing and nothing that is stricter is loosened. Only Pods and DRA claims are touched: what Git declares
stays, in the cluster too, as it was judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from customhouse.app.admission_affinity import required_nodes
from customhouse.app.admission_rules import Placing, Scheduling
from customhouse.app.clearance import judged_tier
from customhouse.app.governance import Governance
from customhouse.core.devices import classes, is_spot
from customhouse.core.node_terms import Term, node_terms
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.core.workload import UNKNOWN_ACCELERATOR, Workload, workload
from customhouse.policy.tiers import TierJudgement

Operation = Mapping[str, Any]
PREFERENCE_WEIGHT = 100
DEFAULT_SCHEDULER = "default-scheduler"
"""What the API server fills in where a pod names none; it does so before any webhook is asked."""
_CLAIMS = ("ResourceClaim", "ResourceClaimTemplate")


def mutation(declaration: Declaration, governing: Governance) -> tuple[Operation, ...]:
    """The patch for one object; empty when its tier asks for nothing, or it says all of it itself.

    Raises DeclarationError for a pod that cannot be read.
    """
    ref = declaration.ref
    group = ref.api_version.rpartition("/")[0]
    tier = judged_tier(governing, declaration)
    scheduling = governing.configuration.scheduling.get(tier.name)
    held = governing.configuration.schedule.node_affinity
    if ref.kind == "Pod" and group == "" and (scheduling is not None or held):
        work = workload(declaration.manifest, ref)
        return () if work is None else tuple(_pod(work, scheduling or Scheduling(), tier, held=held))
    if scheduling is None:
        return ()
    if ref.kind in _CLAIMS and group == "resource.k8s.io" and scheduling.device_class:
        return tuple(_claim(declaration.manifest, ref, scheduling.device_class))
    return ()


def mutated(declaration: Declaration, governing: Governance) -> Manifest | None:
    """The object as it will look after the mutation; None when nothing changes."""
    patch = mutation(declaration, governing)
    return apply(declaration.manifest, patch) if patch else None


def apply(manifest: Manifest, patch: Sequence[Operation]) -> Manifest:
    """Apply a patch as made here (`add`, `remove`; every parent exists) to a copy."""
    import orjson

    document: Any = orjson.loads(orjson.dumps(manifest))
    for step in patch:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        holder = document
        for part in parts[:-1]:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        last = parts[-1]
        if step["op"] == "remove":
            del holder[last]
        elif isinstance(holder, list):
            holder.insert(len(holder) if last == "-" else int(last), step["value"])
        else:
            holder[last] = step["value"]
    result: Manifest = document
    return result


def _pod(work: Workload, scheduling: Scheduling, judged: TierJudgement, *, held: bool) -> Iterator[Operation]:
    pod, tier = work.pod, judged.spec
    labels = dict(scheduling.always.node_selector)
    placings = [scheduling.always]
    preferred: Mapping[str, str] = {}
    if tier.spot == "required":
        placings.append(scheduling.spot)
        # A pod that names spot capacity in a way of its own keeps it.
        if tier.spot_fallback_minutes is None:
            labels |= {} if work.spot else scheduling.spot.node_selector
        elif not work.spot:  # preferred: the scheduler's extender holds it to spot for as long as is declared
            preferred = scheduling.spot.node_selector
    elif tier.spot == "allowed" and not work.spot:
        placings.append(scheduling.spot)
        preferred = scheduling.spot.node_selector
    if work.accelerators and work.accelerator == UNKNOWN_ACCELERATOR:
        placings.append(scheduling.gpu)
        labels |= scheduling.gpu.node_selector
    nodes: tuple[Operation, ...] = ()
    if held:
        if tier.dedicated_nodes is not None:
            key, value = tier.dedicated_nodes
            labels |= {key: value}
            taint = {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
            placings.append(Placing(tolerations=(taint,)))
        nodes = tuple(required_nodes(pod, _terms(work, judged, labels)))
    yield from _selector(pod, labels)
    yield from nodes
    # The next step looks at what this one made of the pod.
    yield from _preference(apply({"spec": pod}, nodes)["spec"] if nodes else pod, preferred)
    yield from _tolerations(pod, placings)
    yield from _priority(pod, scheduling.priority_class)
    named, wanted = pod.get("schedulerName"), scheduling.scheduler
    if wanted and named != wanted and (named or DEFAULT_SCHEDULER) == DEFAULT_SCHEDULER:
        yield {"op": "add", "path": "/spec/schedulerName", "value": scheduling.scheduler}


def _terms(work: Workload, judged: TierJudgement, labels: Mapping[str, str]) -> tuple[Term, ...]:
    """The tier's terms, less what the pod's own selection says already, with the labels that it is given."""
    tier = judged.spec
    selected = {"nodeSelector": {**(work.pod.get("nodeSelector") or {}), **labels}}
    free = work.spot or is_spot(selected) or tier.spot_fallback_minutes is not None
    spot = "allowed" if tier.spot == "required" and free else tier.spot
    # A class that is named is judged by the rules; one that is not could be any.
    unnamed = work.accelerators > 0 and work.accelerator == UNKNOWN_ACCELERATOR
    named = classes(selected, ("nvidia.com/gpu",)) != (UNKNOWN_ACCELERATOR,)
    return node_terms(spot, tier.gpu_classes if unnamed and not named else None, judged.reserved_nodes)


def _selector(pod: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[Operation]:
    present = pod.get("nodeSelector") or {}
    missing = {key: value for key, value in sorted(labels.items()) if key not in present}
    if not missing:
        return
    if not present:
        yield {"op": "add", "path": "/spec/nodeSelector", "value": missing}
        return
    for key, value in missing.items():
        yield {"op": "add", "path": f"/spec/nodeSelector/{_escaped(key)}", "value": value}


def _preference(pod: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[Operation]:
    """Spot that is allowed is preferred: the pod goes elsewhere when there is none."""
    if not labels:
        return
    wanted = {
        "weight": PREFERENCE_WEIGHT,
        "preference": {
            "matchExpressions": [
                {"key": key, "operator": "In", "values": [value]} for key, value in sorted(labels.items())
            ]
        },
    }
    field = "preferredDuringSchedulingIgnoredDuringExecution"
    affinity = pod.get("affinity")
    node = affinity.get("nodeAffinity") if isinstance(affinity, Mapping) else None
    terms = node.get(field) if isinstance(node, Mapping) else None
    if (
        _speaks_of(terms, labels)
        or _speaks_of(_required(node), labels)
        or labels.keys() & (pod.get("nodeSelector") or {}).keys()
    ):
        return
    if not affinity:
        yield {"op": "add", "path": "/spec/affinity", "value": {"nodeAffinity": {field: [wanted]}}}
    elif not node:
        yield {"op": "add", "path": "/spec/affinity/nodeAffinity", "value": {field: [wanted]}}
    elif not terms:
        yield {"op": "add", "path": f"/spec/affinity/nodeAffinity/{field}", "value": [wanted]}
    else:
        yield {"op": "add", "path": f"/spec/affinity/nodeAffinity/{field}/-", "value": wanted}


def _required(node: Any) -> Any:
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution") if isinstance(node, Mapping) else None
    return required.get("nodeSelectorTerms") if isinstance(required, Mapping) else None


def _speaks_of(terms: Any, labels: Mapping[str, str]) -> bool:
    """Whether the pod has an opinion of its own on one of the labels."""
    for term in terms if isinstance(terms, list) else ():
        holder = term.get("preference", term) if isinstance(term, Mapping) else None
        expressions = holder.get("matchExpressions") if isinstance(holder, Mapping) else None
        for item in expressions if isinstance(expressions, list) else ():
            if isinstance(item, Mapping) and item.get("key") in labels:
                return True
    return False


def _tolerations(pod: Mapping[str, Any], placings: Sequence[Placing]) -> Iterator[Operation]:
    present = pod.get("tolerations")
    known = [item for item in present if isinstance(item, Mapping)] if isinstance(present, list) else []
    missing: list[Mapping[str, Any]] = []
    for placing in placings:
        for item in placing.tolerations:
            if not any(_tolerates(other, item) for other in [*known, *missing]):
                missing.append(dict(item))
    if missing and not present:
        yield {"op": "add", "path": "/spec/tolerations", "value": missing}
        return
    for item in missing:
        yield {"op": "add", "path": "/spec/tolerations/-", "value": item}


def _tolerates(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the pod stands the same taint already; the API server fills in operator Equal."""

    def said(item: Mapping[str, Any]) -> tuple[Any, ...]:
        operator = item.get("operator") or "Equal"
        return item.get("key") or "", operator, item.get("value") or "", item.get("effect") or ""

    return said(present) == said(wanted)


def _priority(pod: Mapping[str, Any], name: str | None) -> Iterator[Operation]:
    if not name or pod.get("priorityClassName"):
        return
    yield {"op": "add", "path": "/spec/priorityClassName", "value": name}
    # The Priority plugin has filled these in from no class, and refuses a class that says otherwise; it runs again
    # after a webhook's patch and fills them in from the class.
    for field in ("priority", "preemptionPolicy"):
        if field in pod:
            yield {"op": "remove", "path": f"/spec/{field}"}


def _claim(manifest: Manifest, ref: ResourceRef, device_class: str) -> Iterator[Operation]:
    pointer = "/spec" if ref.kind == "ResourceClaim" else "/spec/spec"
    holder: Any = manifest
    for part in (*pointer.split("/")[1:], "devices", "requests"):
        holder = holder.get(part) if isinstance(holder, Mapping) else None
    for index, request in enumerate(holder if isinstance(holder, list) else ()):
        if not isinstance(request, Mapping) or request.get("firstAvailable"):
            continue
        place = f"{pointer}/devices/requests/{index}"
        # resource.k8s.io/v1 and v1beta2 put it under `exactly`; v1beta1 into the request itself.
        exactly = request.get("exactly")
        if ref.api_version.endswith("/v1beta1"):
            if not request.get("deviceClassName"):
                yield {"op": "add", "path": f"{place}/deviceClassName", "value": device_class}
        elif not exactly:
            yield {"op": "add", "path": f"{place}/exactly", "value": {"deviceClassName": device_class}}
        elif isinstance(exactly, Mapping) and not exactly.get("deviceClassName"):
            yield {"op": "add", "path": f"{place}/exactly/deviceClassName", "value": device_class}


def _escaped(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")
