"""The kinds that are rolled out step by step: what names their releases, how they are shaped, when they are ready."""

from __future__ import annotations

from collections.abc import Mapping

from customhouse.control.rollout import RolloutState, overlay
from customhouse.control.rollout_plan import ROLLOUT
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.release import RolloutPhase
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.execution.health import health
from customhouse.execution.objects import release_of
from customhouse.execution.traffic import (
    TrafficStatus,
    inference_status,
    rollout_release,
    rollout_status,
    stepped_rollout,
)


def _is_rollout(manifest: Manifest) -> bool:
    return manifest.get("kind") == "Rollout" and str(manifest.get("apiVersion")).startswith("argoproj.io/")


def is_rollout(manifest: Manifest) -> bool:
    """Whether it is an Argo Rollout whose steps are ours to choose: it says how in an annotation of ours."""
    annotations = manifest["metadata"].get("annotations")
    ours = isinstance(annotations, Mapping) and ROLLOUT in annotations
    return ours and _is_rollout(manifest)


def walked_release(manifest: Manifest) -> str | None:
    """The digest of what runs, of a kind that is walked; None for anything else. Raises DeclarationError."""
    if manifest.get("kind") == "InferenceService":
        return release_of(manifest)
    return rollout_release(manifest) if is_rollout(manifest) else None


def stable_release(manifest: Manifest) -> str | None:
    """The same of what runs before a change; a Rollout that was not ours yet can be compared with all the same."""
    return rollout_release(manifest) if _is_rollout(manifest) else walked_release(manifest)


def walked(manifest: Manifest, state: RolloutState) -> Manifest:
    """The candidate's manifest with the traffic that it is to have now."""
    if manifest.get("kind") == "InferenceService":
        return overlay(manifest, state)
    return stepped_rollout(manifest, None if state.phase is RolloutPhase.PROMOTED else state.weight)


def unwalked(manifest: Manifest) -> Manifest:
    """A manifest that nothing is walked of. A Rollout of ours has no steps then: what was decided goes all the way."""
    return stepped_rollout(manifest, None) if is_rollout(manifest) else manifest


def keeps_revisions(live: LiveObject) -> bool:
    """Whether an InferenceService is one whose versions KServe keeps as revisions (its serverless mode)."""
    said = inference_status(live.manifest if "status" in live.manifest else {**live.manifest, "status": live.status})
    return live.ref.kind == "InferenceService" and bool(said.candidate)


def traffic_of(live: Manifest) -> TrafficStatus:
    """What a live object of such a kind says of its traffic."""
    return inference_status(live) if live.get("kind") == "InferenceService" else rollout_status(live)


def seen_in_cluster(ref: ResourceRef, live: Manifest) -> LiveObject:
    """A live object as a walk has to see it: Healthy exactly when its candidate may be given more traffic."""
    said, status = traffic_of(live), health(live)
    if said.ended == "aborted":
        status = Health(HealthStatus.DEGRADED, f"its controller has aborted it: {said.message}")
    elif said.ready and status.status is not HealthStatus.DEGRADED:
        status = Health(HealthStatus.HEALTHY, status.message)
    elif status.status is not HealthStatus.DEGRADED:
        status = Health(HealthStatus.PROGRESSING, said.message or status.message)
    return LiveObject(ref, live, status)
