"""Rules and tests for kinds whose health is not in one field: parts that are counted, compared or summed up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from customhouse.core.plan import Health
from customhouse.execution.health.generic import generic
from customhouse.execution.health.seen import (
    DEGRADED,
    HEALTHY,
    NOT_SEEN,
    PROGRESSING,
    SUSPENDED,
    UNKNOWN,
    Seen,
    behind,
    conditions,
    holds,
    items,
    mapping,
    number,
    said,
    state,
    text,
    word,
)

Test = Callable[[Seen], str | None]


def rollout(seen: Seen) -> Health:
    """Argo Rollouts: `phase` since v1.0, conditions and counts before."""
    status, found = seen.status, conditions(seen.status)
    if holds(found, "InvalidSpec"):
        return Health(DEGRADED, said(found["InvalidSpec"]))
    written = text(mapping(seen.metadata, "annotations"), "rollout.argoproj.io/workload-generation")
    workload = status.get("workloadObservedGeneration")
    if not status or behind(seen.metadata, status) or (written and workload is not None and word(workload) != written):
        return Health(PROGRESSING, NOT_SEEN)
    phases = {"Healthy": HEALTHY, "Degraded": DEGRADED, "Paused": SUSPENDED, "Progressing": PROGRESSING}
    phase = phases.get(text(status, "phase"))
    if phase is not None:
        return Health(phase, text(status, "message"))
    progressing = found.get("Progressing", {})
    if progressing.get("reason") in ("RolloutAborted", "ProgressDeadlineExceeded"):
        return Health(DEGRADED, said(progressing))
    if seen.spec.get("paused") is True or status.get("controllerPause") is True or status.get("pauseConditions"):
        return Health(SUSPENDED, "Rollout is paused")
    return _replaced(seen, status)


def _replaced(seen: Seen, status: Mapping[str, Any]) -> Health:
    wanted = number(seen.spec, "replicas", 1)
    updated, total, available = (number(status, key) for key in ("updatedReplicas", "replicas", "availableReplicas"))
    blue_green = mapping(mapping(seen.spec, "strategy"), "blueGreen")
    active = mapping(status, "blueGreen").get("activeSelector") or status.get("activeSelector")
    if updated < wanted:
        return Health(PROGRESSING, f"{updated} of {wanted} replicas are updated")
    if not blue_green and total > updated:
        return Health(PROGRESSING, f"{total - updated} old replicas are still there")
    if available < updated:
        return Health(PROGRESSING, f"{available} of {updated} updated replicas are available")
    if blue_green and active != status.get("currentPodHash"):
        return Health(PROGRESSING, "the active service does not lead to the new version yet")
    stable = mapping(status, "canary").get("stableRS") or status.get("stableRS")
    if not blue_green and stable and stable != status.get("currentPodHash"):
        return Health(PROGRESSING, "the steps are not finished")
    return Health(HEALTHY, f"{available} replicas are available")


def kruise(seen: Seen) -> Health:
    """OpenKruise's workloads: `partition` is how many replicas stay on the old version until somebody says so."""
    status, strategy = seen.status, mapping(seen.spec, "updateStrategy")
    rolling = mapping(strategy, "rollingUpdate")
    if strategy.get("paused") is True or rolling.get("paused") is True:
        return Health(SUSPENDED, f"{seen.kind} is paused")
    if "observedGeneration" not in status or behind(seen.metadata, status):
        return Health(PROGRESSING, NOT_SEEN)
    daemons = "desiredNumberScheduled" in status
    wanted = number(status, "desiredNumberScheduled") if daemons else number(seen.spec, "replicas", 1)
    held = rolling.get("partition", strategy.get("partition"))
    if held not in (None, 0, "0", "0%"):
        return Health(SUSPENDED, f"partition is {word(held)}: the rest of the update waits for somebody")
    keys = (
        ("updatedNumberScheduled", "numberAvailable")
        if daemons
        else ("updatedReadyReplicas", "updatedAvailableReplicas")
    )
    # The controllers of GameServerSets and older versions write only some of them.
    counts = {key: number(status, key) for key in (*keys, "readyReplicas") if key in status}
    failed = next(
        (item for kind, item in conditions(status).items() if kind.startswith("Failed") and state(item) == "True"), None
    )
    short = next((f"{key} is {count} of {wanted}" for key, count in counts.items() if count < wanted), None)
    if short is None:
        return Health(HEALTHY, f"{wanted} replicas are updated and ready")
    return Health(DEGRADED, said(failed)) if failed is not None else Health(PROGRESSING, short)


def parents(seen: Seen) -> Health:
    """Gateway API: each parent or ancestor says Accepted, ResolvedRefs and Programmed for itself."""
    status = seen.status
    entries = [*items(status, "parents"), *items(status, "ancestors"), *items(status, "ingress")]
    if not entries:
        return generic(seen) if status.get("conditions") else Health(PROGRESSING, "no parent has said anything yet")
    generation = seen.metadata.get("generation")
    current: list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]] = []
    for entry in entries:
        found = items(entry, "conditions")
        seen_by = [item["observedGeneration"] for item in found if isinstance(item.get("observedGeneration"), int)]
        if not isinstance(generation, int) or not seen_by or max(seen_by) >= generation:
            current.append((entry, found))
    if not current:
        return Health(PROGRESSING, NOT_SEEN)
    verdicts = [_parent(entry, found) for entry, found in current]
    for status_ in (DEGRADED, PROGRESSING, HEALTHY):
        for verdict in verdicts:
            if verdict.status is status_:
                return verdict
    return Health(UNKNOWN, "")


_WAITING = ("Pending", "Waiting", "Progress", "AddressNotAssigned", "Unknown")


def _parent(entry: Mapping[str, Any], found: list[Mapping[str, Any]]) -> Health:
    ref = mapping(entry, "parentRef") or mapping(entry, "ancestorRef")
    name = text(ref, "name") or text(entry, "host")
    kinds = {text(item, "type"): item for item in found}
    for kind in ("Accepted", "Admitted", "ResolvedRefs", "PartiallyInvalid", "Programmed"):
        item = kinds.get(kind, {})
        if state(item) != ("True" if kind == "PartiallyInvalid" else "False"):
            continue
        waits = text(item, "reason") and any(word in text(item, "reason") for word in _WAITING)
        status = PROGRESSING if waits else DEGRADED
        return Health(status, f"{name}: {said(item) or f'{kind} is {state(item).lower()}'}")
    if "Admitted" in kinds and state(kinds["Admitted"]) != "True":
        return Health(PROGRESSING, f"{name}: {said(kinds['Admitted']) or 'Admitted is unknown'}")
    if found and not kinds.keys() & {"Accepted", "Admitted"}:
        return Health(DEGRADED, f"{name}: it has not said that it accepts this")
    return Health(HEALTHY, f"{name}: {said(kinds.get('Accepted', {})) or 'accepted'}")


def gloo(seen: Seen) -> Health:
    """Gloo: a state for each namespace that reports (`statuses`), or one; words, or the numbers of its protocol."""
    reports = [item for item in mapping(seen.status, "statuses").values() if isinstance(item, Mapping)]
    if not reports and "state" in seen.status:
        reports = [seen.status]
    worst = Health(PROGRESSING, "no controller has reported yet")
    order = (HEALTHY, SUSPENDED, DEGRADED)
    seen_any = False
    for report in reports:
        said_state = word(report.get("state", "Pending"))
        status = {"1": HEALTHY, "Accepted": HEALTHY, "0": SUSPENDED, "Pending": SUSPENDED}.get(said_state, DEGRADED)
        told = text(report, "reason") or {
            HEALTHY: "The resource has been validated",
            SUSPENDED: "The resource has not yet been validated",
        }.get(status, f"state is {said_state}")
        if not seen_any or order.index(status) > order.index(worst.status):
            worst, seen_any = Health(status, told), True
    return worst


def promotion(seen: Seen) -> Health:
    """GitOps Promoter: Ready, and beyond it whether what is proposed is what is active, environment by environment."""
    base = _promoter_ready(seen)
    if base is not None:
        return base
    if seen.kind == "ChangeTransferPolicy":
        places = [("", seen.status)]
    else:
        places = [(text(item, "branch"), item) for item in items(seen.status, "environments")]
        if not places:
            return Health(DEGRADED, "no environment is configured")
    hydrated = set()
    for branch, place in places:
        active, proposed = (text(mapping(mapping(place, key), "dry"), "sha") for key in ("active", "proposed"))
        named = f" in environment {branch!r}" if branch else ""
        if not active or not proposed:
            return Health(PROGRESSING, f"the {'proposed' if active else 'active'} commit is not known yet{named}")
        hydrated.add(text(mapping(mapping(place, "proposed"), "note"), "drySha") or proposed)
        if active != proposed:
            waiting = [
                f"{text(item, 'key')} is {text(item, 'phase')}"
                for item in items(mapping(place, "proposed"), "commitStatuses")
                if text(item, "phase") != "success"
            ]
            told = f"{active[:7]} is to become {proposed[:7]}{named}"
            return Health(PROGRESSING, "; ".join([told, *waiting]))
    if len(hydrated) > 1:
        return Health(PROGRESSING, "the environments are proposed different commits: the hydrator is not done")
    return Health(HEALTHY, f"up to date on commit {text(mapping(mapping(places[0][1], 'active'), 'dry'), 'sha')[:7]}")


def promoter(seen: Seen) -> Health:
    """GitOps Promoter's other kinds: Ready tells all; what a CommitStatus reports is not its own health."""
    ready = conditions(seen.status).get("Ready", {})
    return _promoter_ready(seen) or Health(HEALTHY, said(ready) or "it is ready")


def _promoter_ready(seen: Seen) -> Health | None:
    ready = conditions(seen.status).get("Ready")
    if ready is None:
        return Health(PROGRESSING, "it has no Ready condition yet")
    if stale(seen) is not None:
        return Health(PROGRESSING, NOT_SEEN)
    if state(ready) != "True":
        return Health(DEGRADED if state(ready) == "False" else PROGRESSING, said(ready))
    return None


def stale(seen: Seen) -> str | None:
    """Whether the newest of the conditions is about an older generation, or the status as a whole is."""
    generation = seen.metadata.get("generation")
    told = [
        item["observedGeneration"]
        for item in items(seen.status, "conditions")
        if isinstance(item.get("observedGeneration"), int)
    ]
    old = isinstance(generation, int) and bool(told) and max(told) < generation
    return NOT_SEEN if old or behind(seen.metadata, seen.status) else None


def _severe(seen: Seen) -> str | None:
    """Cluster API: a condition that is False for good."""
    for item in items(seen.status, "conditions"):
        if item.get("severity") == "Error" and state(item) == "False":
            return said(item) or f"{text(item, 'type')} is false"
    return None


def _listeners(seen: Seen) -> str | None:
    for listener in items(seen.status, "listeners"):
        found = {text(item, "type"): item for item in items(listener, "conditions")}
        for kind, bad in (("Accepted", "False"), ("ResolvedRefs", "False"), ("Conflicted", "True")):
            if state(found.get(kind, {})) == bad and text(found[kind], "reason") != "Pending":
                return f"listener {text(listener, 'name')}: {said(found[kind])}"
    return None


def _pod_errors(seen: Seen) -> str | None:
    """Gatekeeper: each of its pods says what it could not make of the object."""
    for pod in items(seen.status, "byPod"):
        for error in items(pod, "errors"):
            return f"{text(pod, 'id')}: {text(error, 'message')}"
    return None


def _domains(seen: Seen) -> str | None:
    failed = [item for item in items(seen.status, "domainStatus") if text(item, "status").startswith("Failed")]
    return f"{text(failed[0], 'domain')}: {text(failed[0], 'status')}" if failed else None


def _nodes_missing(seen: Seen) -> str | None:
    wanted = sum(number(item, "count") for item in items(seen.spec, "nodeSets"))
    there = number(seen.status, "availableNodes")
    return f"{there} of {wanted} nodes are available" if "availableNodes" in seen.status and there < wanted else None


def _racks_missing(seen: Seen) -> str | None:
    racks = mapping(seen.status, "racks")
    for name, rack in racks.items():
        if number(rack, "readyMembers") < number(rack, "members"):
            return f"rack {name}: {number(rack, 'readyMembers')} of {number(rack, 'members')} members are ready"
    return None if racks else "no rack has reported yet"


def _brokers(seen: Seen) -> str | None:
    for broker in mapping(seen.status, "brokersState").values():
        action = text(mapping(broker, "gracefulActionState"), "cruiseControlState")
        if text(broker, "configurationState") != "ConfigInSync" or not action.endswith(
            ("Succeeded", "NotRequired", "")
        ):
            return None
    return "every broker has its configuration"


def _instances(seen: Seen) -> str | None:
    for instance in items(seen.status, "instances"):
        ready, wanted = number(instance, "readyReplicas"), number(instance, "replicas")
        if ready < wanted:
            return f"instances {text(instance, 'name')}: {ready} of {wanted} are ready"
    return None


RULES: Mapping[str, Callable[[Seen], Health]] = {
    "generic": generic,
    "rollout": rollout,
    "kruise": kruise,
    "parents": parents,
    "gloo": gloo,
    "promotion": promotion,
    "promoter": promoter,
}
TESTS: Mapping[str, Test] = {
    "stale": stale,
    "severe": _severe,
    "listeners": _listeners,
    "domains-failed": _domains,
    "pod-errors": _pod_errors,
    "nodes-missing": _nodes_missing,
    "racks-missing": _racks_missing,
    "brokers-in-sync": _brokers,
    "instances-missing": _instances,
}
