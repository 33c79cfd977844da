"""Health of Kubernetes objects in the field's words, read from the object alone.

A rule a kind for the built-in kinds and KServe; for others the conditions that most controllers write. The message says
which condition decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse.core.plan import Health, HealthStatus
from customhouse.core.resource import Manifest

HEALTHY, PROGRESSING = HealthStatus.HEALTHY, HealthStatus.PROGRESSING
DEGRADED, SUSPENDED = HealthStatus.DEGRADED, HealthStatus.SUSPENDED


@dataclass(frozen=True, slots=True)
class _Seen:
    """The three parts of an object that rules read."""

    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]


_Rule = Callable[[_Seen], Health]


def health(manifest: Manifest) -> Health:
    """The health of an object as its `status` tells it; Unknown for kinds and states that no rule covers."""
    metadata, spec, status = (_mapping(manifest, key) for key in ("metadata", "spec", "status"))
    if metadata.get("deletionTimestamp"):
        return Health(PROGRESSING, "it is being deleted")
    group = str(manifest.get("apiVersion", "")).rpartition("/")[0]
    rule = _RULES.get((group, str(manifest.get("kind", ""))))
    if rule is None:
        return Health(HealthStatus.UNKNOWN, "no rule for this kind")
    return rule(_Seen(metadata, spec, status))


def _deployment(seen: _Seen) -> Health:
    if seen.spec.get("paused"):
        return Health(SUSPENDED, "it is paused")
    if _behind(seen.metadata, seen.status):
        return Health(PROGRESSING, "the controller has not seen the latest change")
    progressing = _conditions(seen.status).get("Progressing", {})
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Health(DEGRADED, "it exceeded its progress deadline")
    wanted = seen.spec.get("replicas", 1)
    updated, total = seen.status.get("updatedReplicas", 0), seen.status.get("replicas", 0)
    available = seen.status.get("availableReplicas", 0)
    if updated < wanted:
        return Health(PROGRESSING, f"{updated} of {wanted} replicas are updated")
    if total > updated:
        return Health(PROGRESSING, f"{total - updated} old replicas are still there")
    if available < updated:
        return Health(PROGRESSING, f"{available} of {updated} updated replicas are available")
    return Health(HEALTHY, f"{available} replicas are available")


def _stateful_set(seen: _Seen) -> Health:
    if not seen.status.get("observedGeneration") or _behind(seen.metadata, seen.status):
        return Health(PROGRESSING, "the controller has not seen the latest change")
    wanted = seen.spec.get("replicas", 1)
    ready = seen.status.get("readyReplicas", 0)
    if ready < wanted:
        return Health(PROGRESSING, f"{ready} of {wanted} replicas are ready")
    strategy = _mapping(seen.spec, "updateStrategy")
    if strategy.get("type") == "OnDelete":
        return Health(HEALTHY, f"{ready} replicas are ready")
    partition = _mapping(strategy, "rollingUpdate").get("partition") or 0
    updated = seen.status.get("updatedReplicas", 0)
    if partition:
        if updated < wanted - partition:
            return Health(PROGRESSING, f"{updated} of {wanted - partition} replicas of the partition are updated")
        return Health(HEALTHY, f"{updated} replicas of the partition are updated")
    if seen.status.get("updateRevision") != seen.status.get("currentRevision"):
        return Health(PROGRESSING, f"{updated} of {wanted} replicas are updated")
    return Health(HEALTHY, f"{ready} replicas are ready")


def _daemon_set(seen: _Seen) -> Health:
    if _behind(seen.metadata, seen.status):
        return Health(PROGRESSING, "the controller has not seen the latest change")
    wanted = seen.status.get("desiredNumberScheduled", 0)
    updated, available = seen.status.get("updatedNumberScheduled", 0), seen.status.get("numberAvailable", 0)
    if _mapping(seen.spec, "updateStrategy").get("type") != "OnDelete" and updated < wanted:
        return Health(PROGRESSING, f"{updated} of {wanted} pods are updated")
    if available < wanted:
        return Health(PROGRESSING, f"{available} of {wanted} pods are available")
    return Health(HEALTHY, f"{available} pods are available")


def _replica_set(seen: _Seen) -> Health:
    failure = _conditions(seen.status).get("ReplicaFailure", {})
    if failure.get("status") == "True":
        return Health(DEGRADED, str(failure.get("message", "")))
    wanted, available = seen.spec.get("replicas", 1), seen.status.get("availableReplicas", 0)
    if _behind(seen.metadata, seen.status) or available < wanted:
        return Health(PROGRESSING, f"{available} of {wanted} replicas are available")
    return Health(HEALTHY, f"{available} replicas are available")


def _job(seen: _Seen) -> Health:
    conditions = {name: c for name, c in _conditions(seen.status).items() if c.get("status", "True") == "True"}
    if "Failed" in conditions:
        return Health(DEGRADED, _said(conditions["Failed"]))
    if "Complete" in conditions:
        return Health(HEALTHY, _said(conditions["Complete"]) or "it is complete")
    if "Suspended" in conditions:
        return Health(SUSPENDED, _said(conditions["Suspended"]))
    return Health(PROGRESSING, f"{seen.status.get('active', 0)} pods are active")


_WAITING_ERRORS = ("Err", "BackOff", "Error", "InvalidImageName")


def _pod(seen: _Seen) -> Health:
    policy = seen.spec.get("restartPolicy", "Always")
    notes = _mapping(seen.metadata, "annotations")
    # Argo CD's way to say that a Pod of an operator stays although its policy says it ends; a hook's Pod does end.
    if notes.get("argocd.argoproj.io/ignore-restart-policy") == "true" and "argocd.argoproj.io/hook" not in notes:
        policy = "Always"
    states = [s for key in ("initContainerStatuses", "containerStatuses") for s in seen.status.get(key) or ()]
    if policy == "Always":
        waiting = [_mapping(_mapping(state, "state"), "waiting") for state in states]
        bad = [
            w
            for w in waiting
            if str(w.get("reason", "")).startswith("Err") or str(w.get("reason", "")).endswith(_WAITING_ERRORS)
        ]
        if bad:
            return Health(DEGRADED, _said(bad[0]) or str(bad[0].get("reason")))
    phase = seen.status.get("phase")
    message = str(seen.status.get("message", ""))
    if phase == "Succeeded":
        return Health(HEALTHY, message or "it succeeded")
    if phase == "Failed":
        failed = [_mapping(_mapping(state, "state"), "terminated") for state in states]
        codes = [f"exit code {item['exitCode']}" for item in failed if item.get("exitCode")]
        return Health(DEGRADED, message or ", ".join(codes) or "it failed")
    if phase == "Running" and policy == "Always":
        ready = _conditions(seen.status).get("Ready", {})
        if ready.get("status") == "True":
            return Health(HEALTHY, "it is ready")
        if any(_mapping(state, "lastState").get("terminated") for state in states):
            return Health(DEGRADED, _said(ready) or "a container ended and is not ready again")
        return Health(PROGRESSING, _said(ready) or "it is not ready")
    if phase in ("Running", "Pending"):
        return Health(PROGRESSING, message or f"it is {str(phase).lower()}")
    return Health(HealthStatus.UNKNOWN, message or f"phase {phase}")


def _claim(seen: _Seen) -> Health:
    phase = seen.status.get("phase")
    known = {"Bound": HEALTHY, "Pending": PROGRESSING, "Lost": DEGRADED}
    return Health(known.get(str(phase), HealthStatus.UNKNOWN), f"phase {phase}")


def _service(seen: _Seen) -> Health:
    if seen.spec.get("type") == "LoadBalancer" and not _mapping(seen.status, "loadBalancer").get("ingress"):
        return Health(PROGRESSING, "the load balancer has no address")
    return Health(HEALTHY)


def _ingress(seen: _Seen) -> Health:
    if not _mapping(seen.status, "loadBalancer").get("ingress"):
        return Health(PROGRESSING, "it has no address")
    return Health(HEALTHY)


def _inference_service(seen: _Seen) -> Health:
    conditions = _conditions(seen.status)
    transition = _mapping(seen.status, "modelStatus").get("transitionStatus")
    if "Stopped" in conditions and conditions["Stopped"].get("status") == "True":
        return Health(SUSPENDED, _said(conditions["Stopped"]) or "it is stopped")
    if _behind(seen.metadata, seen.status):
        return Health(PROGRESSING, "the controller has not seen the latest change")
    if transition in ("BlockedByFailedLoad", "InvalidSpec"):
        failure = _mapping(_mapping(seen.status, "modelStatus"), "lastFailureInfo")
        return Health(DEGRADED, _said(failure) or str(transition))
    failing = [c for c in conditions.values() if c.get("status") == "False" and c.get("severity") != "Info"]
    ready = conditions.get("Ready", {})
    if ready.get("status") == "True":
        return Health(HEALTHY, _said(ready) or "it is ready")
    decided = [c for c in failing if c.get("reason")]
    if decided and transition != "InProgress":
        return Health(DEGRADED, f"{decided[0].get('type')}: {_said(decided[0]) or decided[0].get('reason')}")
    return Health(PROGRESSING, f"{failing[0].get('type')} is not true" if failing else "it is not ready")


def _autoscaler(seen: _Seen) -> Health:
    conditions = list(_hpa_conditions(seen.metadata, seen.status))
    for condition in conditions:
        failed = str(condition.get("reason", "")).startswith("Failed") or condition.get("reason") == "InvalidSelector"
        if condition.get("type") in ("AbleToScale", "ScalingActive", "ScalingLimited") and failed:
            return Health(DEGRADED, _said(condition))
    for condition in conditions:
        if condition.get("status") == "True" and condition.get("type") in ("AbleToScale", "ScalingLimited"):
            return Health(HEALTHY, _said(condition))
    return Health(PROGRESSING, "it waits to autoscale")


def _hpa_conditions(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from status.get("conditions") or ()
    # autoscaling/v1 has no status.conditions; they travel as JSON in an annotation.
    text = _mapping(metadata, "annotations").get("autoscaling.alpha.kubernetes.io/conditions")
    if isinstance(text, str) and len(text) < 65536:
        import json

        try:
            found = json.loads(text)
        except ValueError:
            return
        yield from (item for item in found if isinstance(item, dict))


def _api_service(seen: _Seen) -> Health:
    available = _conditions(seen.status).get("Available", {})
    if available.get("status") == "True":
        return Health(HEALTHY, _said(available))
    return Health(PROGRESSING, _said(available) or "it is not available yet")


_RULES: Mapping[tuple[str, str], _Rule] = {
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


def _mapping(values: Any, key: str) -> Mapping[str, Any]:
    value = values.get(key) if isinstance(values, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(c.get("type")): c for c in status.get("conditions") or () if isinstance(c, Mapping)}


def _behind(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    generation, observed = metadata.get("generation"), status.get("observedGeneration")
    return isinstance(generation, int) and isinstance(observed, int) and observed < generation


def _said(condition: Mapping[str, Any]) -> str:
    return str(condition.get("message") or condition.get("reason") or "")
