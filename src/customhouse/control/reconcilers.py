"""Who reconciles: Customhouse, or Argo CD and Flux themselves; and what those say of what they did.

Where another one reconciles, Customhouse gates, watches and records, and writes nothing to what it applies: two that
write the same object undo each other for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from customhouse.control.argocd import sources_of
from customhouse.control.rendering_owned import listed, mapping, text
from customhouse.core.application import Application, Engine, ReconcilerStatus, SyncStatus
from customhouse.core.plan import HealthStatus
from customhouse.core.resource import Manifest, ResourceRef

_REVISION = re.compile(r"(?:.*@)?(?:sha(?:1|256):)?([0-9a-f]{7,64})")
_WAITING = ("DependencyNotReady", "Progressing", "ProgressingWithRetry", "ArtifactFailed", "SourceNotReady")
"""Reasons of Flux for what has not begun or goes on; all others of `Ready: False` are failures."""
_HEALTH = frozenset(status.value for status in HealthStatus)


def reconcilers(
    found: Mapping[ResourceRef, Application], declared: Mapping[Engine, Engine], live: Mapping[ResourceRef, Manifest]
) -> dict[ResourceRef, tuple[Engine, str]]:
    """Who reconciles each Application, and why that is thought. `live` are those that the cluster has.

    1. What customhouse.yaml says (`sources.reconciledBy`) counts.
    2. Else: the engine that has written a status to the live object.
    3. Else: its engine, where that has a status on another one of these and of this kind: it runs here, and comes to
       this one too.
    4. Else Customhouse.
    """
    known = {ref: _reconciler(item, declared, live.get(ref)) for ref, item in found.items()}
    running = {ref.kind for ref, (engine, _) in known.items() if engine is not Engine.CUSTOMHOUSE}
    return {
        ref: (found[ref].engine, f"{found[ref].engine} reconciles others of this tree here")
        if by is Engine.CUSTOMHOUSE and ref.kind in running and found[ref].engine not in declared
        else (by, why)
        for ref, (by, why) in known.items()
    }


def _reconciler(
    application: Application, declared: Mapping[Engine, Engine], live: Manifest | None
) -> tuple[Engine, str]:
    """Steps 1, 2 and 4 of one."""
    said = declared.get(application.engine)
    if said is not None:
        return said, "customhouse.yaml says so"
    if live is not None and _has_status(application.engine, live):
        return application.engine, f"{application.ref} has a status that only {application.engine} writes"
    return Engine.CUSTOMHOUSE, "nothing else does"


def status_of(ref: ResourceRef, manifest: Manifest) -> ReconcilerStatus | None:
    """What its reconciler says of a live object; None for one that nobody has looked at."""
    group = ref.api_version.rpartition("/")[0]
    if group == "argoproj.io" and ref.kind == "Application":
        return _argo(ref, manifest) if _has_status(Engine.ARGOCD, manifest) else None
    if group.endswith("toolkit.fluxcd.io") and ref.kind in ("Kustomization", "HelmRelease"):
        return _flux(ref, manifest) if _has_status(Engine.FLUX, manifest) else None
    return None


def _has_status(engine: Engine, manifest: Manifest) -> bool:
    status = mapping(manifest.get("status"))
    if engine is Engine.ARGOCD:
        return bool(mapping(status.get("sync")).get("status") or status.get("reconciledAt"))
    return bool(listed(status.get("conditions"))) or "observedGeneration" in status


def _argo(ref: ResourceRef, manifest: Manifest) -> ReconcilerStatus:
    spec, status = mapping(manifest.get("spec")), mapping(manifest.get("status"))
    sync, health = mapping(status.get("sync")), mapping(status.get("health"))
    operation = mapping(status.get("operationState"))
    result = mapping(operation.get("syncResult"))
    said = text(sync.get("status"))
    words = [text(condition.get("message")) for condition in map(mapping, listed(status.get("conditions")))]
    failed = operation.get("phase") in ("Failed", "Error")
    message = text(health.get("message")) or (text(operation.get("message")) if failed else "") or "; ".join(words)
    # `sync` is what the last comparison saw in Git; applied is what the last operation that succeeded came to.
    seen, tried = _argo_revision(sync), _argo_revision(result)
    applied = seen if said == SyncStatus.SYNCED else ("" if failed else tried)
    return ReconcilerStatus(
        ref,
        Engine.ARGOCD,
        SyncStatus(said) if said in {item.value for item in SyncStatus} else SyncStatus.UNKNOWN,
        text(health.get("status")) if health.get("status") in _HEALTH else HealthStatus.UNKNOWN.value,
        applied,
        next((one for one in (tried, seen) if one != applied), ""),
        message[:2_000],
        text(operation.get("finishedAt")) or text(status.get("reconciledAt")),
        _compared_to(spec, mapping(sync.get("comparedTo"))),
    )


def _argo_revision(given: Mapping[str, Any]) -> str:
    return text(given.get("revision")) or ",".join(str(one) for one in listed(given.get("revisions")))


def _compared_to(spec: Mapping[str, Any], compared: Mapping[str, Any]) -> bool:
    """Whether the comparison was made with the sources and the destination as they are declared now."""
    if not compared:
        return False
    keys = ("repoURL", "path", "targetRevision", "chart")
    now, then = (
        [tuple(text(source.get(key)) for key in keys) for _, source in sources_of(side)] for side in (spec, compared)
    )
    here, there = (mapping(side.get("destination")) for side in (spec, compared))
    # Argo CD fills in the server of a destination that is given by name.
    cluster = any(here.get(key) and here.get(key) == there.get(key) for key in ("name", "server"))
    return now == then and cluster and text(here.get("namespace")) == text(there.get("namespace"))


def _flux(ref: ResourceRef, manifest: Manifest) -> ReconcilerStatus:
    spec, status = mapping(manifest.get("spec")), mapping(manifest.get("status"))
    conditions = {text(one.get("type")): one for one in map(mapping, listed(status.get("conditions")))}
    ready = conditions.get("Ready", {})
    history = [mapping(one) for one in listed(status.get("history"))]
    applied = text(status.get("lastAppliedRevision")) or text(history[0].get("chartVersion") if history else "")
    attempted = text(status.get("lastAttemptedRevision"))
    generation = mapping(manifest.get("metadata")).get("generation")
    current = generation is None or status.get("observedGeneration") == generation
    same = not attempted or attempted == applied
    if not current or not ready or ready.get("status") == "Unknown":
        sync = SyncStatus.UNKNOWN
    else:
        sync = SyncStatus.SYNCED if ready.get("status") == "True" and same else SyncStatus.OUT_OF_SYNC
    return ReconcilerStatus(
        ref,
        Engine.FLUX,
        sync,
        _flux_health(spec, conditions, current=current).value,
        _commit(applied),
        "" if same else _commit(attempted),
        text(ready.get("message"))[:2_000],
        text(ready.get("lastTransitionTime")),
        current,
    )


def _flux_health(
    spec: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]], *, current: bool
) -> HealthStatus:
    if spec.get("suspend") is True:
        return HealthStatus.SUSPENDED
    ready = conditions.get("Ready", {})
    if conditions.get("Stalled", {}).get("status") == "True":
        return HealthStatus.DEGRADED
    if not current or conditions.get("Reconciling", {}).get("status") == "True":
        return HealthStatus.PROGRESSING
    if ready.get("status") == "True":
        return HealthStatus.HEALTHY
    if ready.get("status") == "False" and ready.get("reason") not in _WAITING:
        return HealthStatus.DEGRADED
    return HealthStatus.PROGRESSING


def _commit(revision: str) -> str:
    """`main@sha1:12ab…` as the commit; a chart's version as it is."""
    match = _REVISION.fullmatch(revision)
    return match[1] if match is not None else revision
