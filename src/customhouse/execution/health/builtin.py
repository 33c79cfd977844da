"""Rules for Kubernetes' own kinds and KServe's InferenceService."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from customhouse.core.plan import Health, HealthStatus
from customhouse.execution.health.revisions import declared_share, revisions_of
from customhouse.execution.health.seen import (
    DEGRADED,
    HEALTHY,
    NOT_SEEN,
    PROGRESSING,
    SUSPENDED,
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

Rule = Callable[[Seen], Health]


def _unseen(seen: Seen) -> bool:
    """Whether the controller has not written a status for this generation, or none at all."""
    return "observedGeneration" not in seen.status or behind(seen.metadata, seen.status)


def _deployment(seen: Seen) -> Health:
    if seen.spec.get("paused"):
        return Health(SUSPENDED, "it is paused")
    if _unseen(seen):
        return Health(PROGRESSING, NOT_SEEN)
    progressing = conditions(seen.status).get("Progressing", {})
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Health(DEGRADED, "it exceeded its progress deadline")
    wanted = number(seen.spec, "replicas", 1)
    updated, total = number(seen.status, "updatedReplicas"), number(seen.status, "replicas")
    available = number(seen.status, "availableReplicas")
    if updated < wanted:
        return Health(PROGRESSING, f"{updated} of {wanted} replicas are updated")
    if total > updated:
        return Health(PROGRESSING, f"{total - updated} old replicas are still there")
    if available < updated:
        return Health(PROGRESSING, f"{available} of {updated} updated replicas are available")
    return Health(HEALTHY, f"{available} replicas are available")


def _stateful_set(seen: Seen) -> Health:
    if _unseen(seen):
        return Health(PROGRESSING, NOT_SEEN)
    wanted = number(seen.spec, "replicas", 1)
    ready = number(seen.status, "readyReplicas")
    if ready < wanted:
        return Health(PROGRESSING, f"{ready} of {wanted} replicas are ready")
    strategy = mapping(seen.spec, "updateStrategy")
    if strategy.get("type") == "OnDelete":
        return Health(HEALTHY, f"{ready} replicas are ready")
    partition = number(mapping(strategy, "rollingUpdate"), "partition")
    updated = number(seen.status, "updatedReplicas")
    if partition:
        if updated < wanted - partition:
            return Health(PROGRESSING, f"{updated} of {wanted - partition} replicas of the partition are updated")
        return Health(HEALTHY, f"{updated} replicas of the partition are updated")
    if seen.status.get("updateRevision") != seen.status.get("currentRevision"):
        return Health(PROGRESSING, f"{updated} of {wanted} replicas are updated")
    return Health(HEALTHY, f"{ready} replicas are ready")


def _daemon_set(seen: Seen) -> Health:
    if _unseen(seen):
        return Health(PROGRESSING, NOT_SEEN)
    wanted = number(seen.status, "desiredNumberScheduled")
    updated, available = number(seen.status, "updatedNumberScheduled"), number(seen.status, "numberAvailable")
    if mapping(seen.spec, "updateStrategy").get("type") != "OnDelete" and updated < wanted:
        return Health(PROGRESSING, f"{updated} of {wanted} pods are updated")
    if available < wanted:
        return Health(PROGRESSING, f"{available} of {wanted} pods are available")
    return Health(HEALTHY, f"{available} pods are available")


def _replica_set(seen: Seen) -> Health:
    failure = conditions(seen.status).get("ReplicaFailure", {})
    if state(failure) == "True":
        return Health(DEGRADED, said(failure))
    if _unseen(seen):
        return Health(PROGRESSING, NOT_SEEN)
    wanted, available = number(seen.spec, "replicas", 1), number(seen.status, "availableReplicas")
    if available < wanted:
        return Health(PROGRESSING, f"{available} of {wanted} replicas are available")
    return Health(HEALTHY, f"{available} replicas are available")


def _job(seen: Seen) -> Health:
    found = {name: item for name, item in conditions(seen.status).items() if state(item) in ("True", "")}
    if "Failed" in found:
        return Health(DEGRADED, said(found["Failed"]) or "it failed")
    if "Complete" in found:
        return Health(HEALTHY, said(found["Complete"]) or "it is complete")
    if "Suspended" in found or (seen.spec.get("suspend") is True and not number(seen.status, "active")):
        return Health(SUSPENDED, said(found.get("Suspended", {})) or "it is suspended")
    return Health(PROGRESSING, f"{number(seen.status, 'active')} pods are active")


_WAITING_ERRORS = ("Err", "BackOff", "Error", "InvalidImageName")


def _pod(seen: Seen) -> Health:
    policy = seen.spec.get("restartPolicy", "Always")
    notes = mapping(seen.metadata, "annotations")
    # Argo CD's way to say that a Pod of an operator stays although its policy says it ends; a hook's Pod does end.
    if notes.get("argocd.argoproj.io/ignore-restart-policy") == "true" and "argocd.argoproj.io/hook" not in notes:
        policy = "Always"
    states = [s for key in ("initContainerStatuses", "containerStatuses") for s in items(seen.status, key)]
    if policy == "Always":
        waiting = [mapping(mapping(item, "state"), "waiting") for item in states]
        bad = [w for w in waiting if text(w, "reason").startswith("Err") or text(w, "reason").endswith(_WAITING_ERRORS)]
        if bad:
            return Health(DEGRADED, said(bad[0]))
    phase, message = text(seen.status, "phase"), text(seen.status, "message")
    if phase == "Succeeded":
        return Health(HEALTHY, message or "it succeeded")
    if phase == "Failed":
        failed = [mapping(mapping(item, "state"), "terminated") for item in states]
        codes = [f"exit code {number(item, 'exitCode')}" for item in failed if number(item, "exitCode")]
        return Health(DEGRADED, message or ", ".join(codes) or "it failed")
    if phase == "Running" and policy == "Always":
        ready = conditions(seen.status).get("Ready", {})
        if ready.get("status") == "True":
            return Health(HEALTHY, "it is ready")
        if any(mapping(item, "lastState").get("terminated") for item in states):
            return Health(DEGRADED, said(ready) or "a container ended and is not ready again")
        return Health(PROGRESSING, said(ready) or "it is not ready")
    if phase in ("Running", "Pending"):
        return Health(PROGRESSING, message or f"it is {phase.lower()}")
    return Health(HealthStatus.UNKNOWN, message or f"phase {phase}") if phase else _none_yet()


def _claim(seen: Seen) -> Health:
    phase = text(seen.status, "phase")
    known = {"Bound": HEALTHY, "Pending": PROGRESSING, "Lost": DEGRADED}
    return Health(known.get(phase, HealthStatus.UNKNOWN), f"phase {phase}") if phase else _none_yet()


def _none_yet() -> Health:
    return Health(PROGRESSING, "it has no status yet")


def _service(seen: Seen) -> Health:
    if seen.spec.get("type") == "LoadBalancer" and not mapping(seen.status, "loadBalancer").get("ingress"):
        return Health(PROGRESSING, "the load balancer has no address")
    return Health(HEALTHY)


def _ingress(seen: Seen) -> Health:
    if not mapping(seen.status, "loadBalancer").get("ingress"):
        return Health(PROGRESSING, "it has no address")
    return Health(HEALTHY)


def _inference_service(seen: Seen) -> Health:
    found = conditions(seen.status)
    model = mapping(seen.status, "modelStatus")
    transition = model.get("transitionStatus")
    if holds(found, "Stopped"):
        return Health(SUSPENDED, said(found["Stopped"]) or "it is stopped")
    # observedGeneration is that of what KServe made of it: where there are revisions, they tell whether it has looked.
    revisions = revisions_of({"metadata": seen.metadata, "spec": seen.spec, "status": seen.status})
    if not revisions.mode and behind(seen.metadata, seen.status):
        return Health(PROGRESSING, NOT_SEEN)
    if transition in ("BlockedByFailedLoad", "InvalidSpec"):
        return Health(DEGRADED, said(mapping(model, "lastFailureInfo")) or word(transition))
    failing = [c for c in found.values() if state(c) == "False" and c.get("severity") != "Info"]
    ready = found.get("Ready", {})
    if state(ready) == "True":
        share = declared_share({"spec": seen.spec})
        if revisions.shared and revisions.newest is not None and not revisions.as_asked(share):
            return Health(PROGRESSING, f"its newest revision has {revisions.newest} % of the traffic, not {share} %")
        if revisions.shared and revisions.created != revisions.ready:
            return Health(PROGRESSING, f"revision {revisions.created} is not ready")
        return Health(HEALTHY, said(ready) or "it is ready")
    decided = [c for c in failing if c.get("reason")]
    # Knative has given the revision up; KServe goes on to say InProgress where its pods never began.
    given_up = [c for c in decided if c["reason"] == "RevisionFailed"]
    if given_up or (decided and transition != "InProgress"):
        decided = given_up or decided
        return Health(DEGRADED, f"{text(decided[0], 'type')}: {said(decided[0])}")
    return Health(PROGRESSING, f"{text(failing[0], 'type')} is not true" if failing else "it is not ready")


def _autoscaler(seen: Seen) -> Health:
    found = list(_hpa_conditions(seen.metadata, seen.status))
    for condition in found:
        failed = text(condition, "reason").startswith("Failed") or text(condition, "reason") == "InvalidSelector"
        if condition.get("type") in ("AbleToScale", "ScalingActive", "ScalingLimited") and failed:
            return Health(DEGRADED, said(condition))
    for condition in found:
        if state(condition) == "True" and condition.get("type") in ("AbleToScale", "ScalingLimited"):
            return Health(HEALTHY, said(condition))
    return Health(PROGRESSING, "it waits to autoscale")


def _hpa_conditions(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from items(status, "conditions")
    # autoscaling/v1 has no status.conditions; they travel as JSON in an annotation.
    written = mapping(metadata, "annotations").get("autoscaling.alpha.kubernetes.io/conditions")
    if isinstance(written, str) and len(written) < 65536:
        import json

        try:
            found = json.loads(written)
        except (ValueError, RecursionError):
            return
        yield from (item for item in found if isinstance(item, dict)) if isinstance(found, list) else ()


def _api_service(seen: Seen) -> Health:
    available = conditions(seen.status).get("Available", {})
    if available.get("status") == "True":
        return Health(HEALTHY, said(available))
    return Health(PROGRESSING, said(available) or "it is not available yet")


BUILT_IN: Mapping[tuple[str, str], Rule] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("batch", "Job"): _job,
    ("", "Pod"): _pod,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Service"): _service,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("extensions", "Ingress"): _ingress,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("serving.kserve.io", "InferenceService"): _inference_service,
}
