"""What really runs, written as manifests: the declared fields with live values, so an alteration shows as drift."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from customhouse._kit.quantity import format_bytes, format_milli
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.workload import MODEL_DIGEST
from customhouse.execution.adapters.local.fleet import Fleet, key_of, replicas_of, statuses_of
from customhouse.execution.adapters.local.records import JobRecord, RevisionRecord, ServiceRecord
from customhouse.execution.health import health


def live_service(fleet: Fleet, record: ServiceRecord, gateway: Mapping[str, Any] | None, url: str) -> LiveObject:
    """An InferenceService as its processes and the gateway have it now.

    Live are: `minReplicas` (workers that live, and foreign ones that the gateway routes to), the model digest,
    storageUri and limits that the workers say they run with, and `canaryTrafficPercent` from the gateway's weights.
    """
    manifest = copy.deepcopy(record.manifest)
    predictor = manifest["spec"]["predictor"]
    count = _count(record, gateway)
    rule = record.revisions[record.target].serving.scale
    # What follows its requests is as declared anywhere in its range, and while it moves to where it should be.
    inside = rule is not None and rule.bounded(count) == count
    if not inside and count != predictor.get("minReplicas", 1):
        predictor["minReplicas"] = count
    statuses = statuses_of(gateway, record.ref)
    revision = record.revisions[record.target]
    for replica in revision.replicas:
        if replica.id in statuses:
            _show(manifest, revision.serving.storage_uri, statuses[replica.id], record)
    if gateway is not None:
        _show_traffic(fleet, record, gateway, predictor)
    state = _health(record, gateway)
    return LiveObject(record.ref, manifest, state, _status(fleet, record, state, url, gateway))


def _count(record: ServiceRecord, gateway: Mapping[str, Any] | None) -> int:
    known = {replica.id for revision in record.revisions.values() for replica in revision.replicas}
    count = sum(replica.process is not None for replica in record.revisions[record.target].replicas)
    routed = replicas_of(gateway, record.ref)
    if gateway is not None and routed:
        count += sum(identity not in known for identity in routed)
    return count


def _show(manifest: dict[str, Any], declared_uri: str, status: Mapping[str, Any], record: ServiceRecord) -> None:
    serving = record.revisions[record.target].serving
    predictor = manifest["spec"]["predictor"]
    model = predictor.get("model") or predictor["onnx"]
    if status["digest"] != serving.digest:
        if "@" in declared_uri:
            model["storageUri"] = f"{declared_uri.rpartition('@')[0]}@{status['digest']}"
        else:
            manifest["metadata"].setdefault("annotations", {})[MODEL_DIGEST] = status["digest"]
    elif status["storage_uri"] != serving.storage_uri:
        model["storageUri"] = status["storage_uri"]
    limits = {"memory": ("memory_limit", format_bytes), "cpu": ("cpu_limit", format_milli)}
    for name, (key, write) in limits.items():
        if status[key] != getattr(serving, key):
            model.setdefault("resources", {}).setdefault("limits", {})[name] = write(status[key])
    if status["timeout_s"] != serving.timeout_s:
        predictor["timeout"] = status["timeout_s"]
    if status["queue"] != serving.queue:
        predictor["containerConcurrency"] = status["queue"]


def _show_traffic(fleet: Fleet, record: ServiceRecord, gateway: Mapping[str, Any], predictor: dict[str, Any]) -> None:
    service = gateway["services"].get(key_of(record.ref))
    actual = {release: revision["weight"] for release, revision in (service or {"revisions": {}})["revisions"].items()}
    wanted = fleet.weights(record)
    if service is not None and {k: v for k, v in actual.items() if v} != {k: v for k, v in wanted.items() if v}:
        predictor["canaryTrafficPercent"] = actual.get(record.target, 0)


def _health(record: ServiceRecord, gateway: Mapping[str, Any] | None) -> Health:
    revision = record.revisions[record.target]
    ready = sum(replica.ready for replica in revision.replicas)
    wanted = revision.size
    failing = next((r for r in revision.replicas if r.reason and not r.ready), None)
    if gateway is None:
        return Health(HealthStatus.PROGRESSING, "the gateway does not answer; it is being restarted")
    # One crash is an incident that heals by itself; a second in a row, or a model that cannot be loaded, is not.
    if failing is not None and (failing.restarts > 1 or not record.stable or record.candidate):
        kept = f"; {record.stable} keeps the traffic" if record.stable and record.candidate else ""
        return Health(HealthStatus.DEGRADED, f"{failing.id}: {failing.reason}{kept}")
    if revision.serving.scale is not None and record.target == record.stable:
        return _elastic_health(record, revision, ready, gateway)
    if ready < wanted:
        return Health(HealthStatus.PROGRESSING, f"{ready} of {wanted} replicas are ready")
    # One that is declared whole (no canary share) is about to become stable at the next tick: not yet what is declared.
    if record.candidate is not None and (not record.shifted or revision.serving.percent is None):
        return Health(HealthStatus.PROGRESSING, "ready; its traffic is about to be shifted")
    return Health(HealthStatus.HEALTHY, f"{ready} of {wanted} replicas are ready")


def _elastic_health(record: ServiceRecord, revision: RevisionRecord, ready: int, gateway: Mapping[str, Any]) -> Health:
    """Of a release that was ready once and follows its requests: fewer replicas than at another time are no fault."""
    rule, wanted = revision.serving.scale, revision.size
    if not wanted:
        if revision.fault:
            return Health(HealthStatus.DEGRADED, f"scaled to zero; its last start failed: {revision.fault}")
        return Health(HealthStatus.HEALTHY, "scaled to zero; the next request starts a replica")
    waiting = load_of(gateway, record).get("inside", 0)
    if rule is not None and ready < rule.minimum:
        return Health(HealthStatus.PROGRESSING, f"{ready} of {wanted} replicas are ready, at least {rule.minimum}")
    if not ready:
        return Health(
            HealthStatus.HEALTHY, f"starting from zero: 0 of {wanted} replicas are ready, {waiting} requests wait"
        )
    return Health(HealthStatus.HEALTHY, f"{ready} of {wanted} replicas are ready, as its requests ask for")


def load_of(gateway: Mapping[str, Any] | None, record: ServiceRecord) -> Mapping[str, Any]:
    """What the gateway says of the load of the declared release; empty when it says nothing."""
    service = (gateway or {}).get("services", {}).get(key_of(record.ref), {"revisions": {}})
    found: Mapping[str, Any] = service["revisions"].get(record.target, {}).get("load", {})
    return found


def _scale_status(record: ServiceRecord, gateway: Mapping[str, Any] | None) -> dict[str, Any]:
    """What scales it, for who asks why there are so many, or none."""
    revision = record.revisions[record.target]
    rule = revision.serving.scale
    if rule is None:
        return {}
    return {
        "scale": {
            "wanted": revision.size,
            "min": rule.minimum,
            "max": rule.maximum,
            "metric": rule.metric,
            "target": rule.target,
            "requests": load_of(gateway, record).get("inside"),
        }
    }


def _status(
    fleet: Fleet, record: ServiceRecord, state: Health, url: str, gateway: Mapping[str, Any] | None
) -> dict[str, Any]:
    """KServe's status words, and under `local` what only this target knows."""
    condition = {"type": "Ready", "status": "True" if state.status is HealthStatus.HEALTHY else "False"}
    return {
        "url": url,
        "conditions": [{**condition, "message": state.message}],
        "components": {"predictor": {"traffic": [_traffic(item) for item in fleet.weights(record).items()]}},
        "local": {
            "stable": record.stable,
            "candidate": record.candidate,
            **_scale_status(record, gateway),
            "replicas": [
                {
                    "id": replica.id,
                    "release": release,
                    "pid": None if replica.process is None else replica.process.pid,
                    "ready": replica.ready,
                    "restarts": replica.restarts,
                    "reason": replica.reason,
                }
                for release, revision in record.revisions.items()
                for replica in revision.replicas
            ],
        },
    }


def _traffic(item: tuple[str, int]) -> dict[str, Any]:
    return {"revisionName": item[0], "percent": item[1]}


def live_job(record: JobRecord) -> LiveObject:
    """A Job with the status that Kubernetes would show; under `local` the outcome with CPU seconds and peak memory."""
    status: dict[str, Any] = {
        "local": {"run": record.run, "outcome": record.outcome, "interruptions": copy.deepcopy(record.interruptions)}
    }
    if record.outcome is None:
        status["active"] = 1
    elif record.outcome["succeeded"]:
        status |= {"succeeded": 1, "startTime": record.outcome["started"], "completionTime": record.outcome["finished"]}
        status["conditions"] = [{"type": "Complete", "status": "True"}]
    else:
        message = f"{record.outcome['reason']} (status {record.outcome['status']})"
        status["failed"] = record.outcome["attempts"]
        status["conditions"] = [
            {"type": "Failed", "status": "True", "reason": record.outcome["reason"], "message": message}
        ]
    state = health({**record.manifest, "status": status})
    return LiveObject(record.ref, copy.deepcopy(record.manifest), state, status)
