"""The kinds that are rolled out step by step: what names their releases, how they are shaped, when they are ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from customhouse.app.landings import by_kserve, revisions
from customhouse.app.rollout_plain import is_deployment, is_plain
from customhouse.control.rollout import RolloutState, overlay
from customhouse.control.rollout_plan import ROLLOUT
from customhouse.core.errors import DeclarationError
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.release import RolloutPhase
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.execution.health import health
from customhouse.execution.health.revisions import MODE, one_deployment
from customhouse.execution.kserve import inference_status, weighted_inference
from customhouse.execution.objects import release_of
from customhouse.execution.plain_traffic import deployment_release
from customhouse.execution.traffic import (
    TrafficStatus,
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
    if is_plain(manifest):
        return deployment_release(manifest)
    return rollout_release(manifest) if is_rollout(manifest) else None


def stable_release(manifest: Manifest) -> str | None:
    """The same of what runs before a change; what was not ours to roll out yet can be compared with all the same."""
    if is_deployment(manifest):
        return deployment_release(manifest)
    return rollout_release(manifest) if _is_rollout(manifest) else walked_release(manifest)


@dataclass(frozen=True, slots=True)
class Course:
    """What a walk on KServe goes by: the revision that served when it began, the newest that there was then.

    `arrived`: the candidate's own revision is ready. Before that it has no share: what has it is the newest ready one,
    which may be what was found to be worse before.
    """

    serves: str = ""
    before: str = ""
    arrived: bool = False

    def share(self, state: RolloutState) -> int:
        """What the candidate has now, in percent."""
        return state.weight if self.arrived else 0


def course_of(live: LiveObject, stable: Manifest, after: Manifest, serves: str = "") -> Course | None:
    """How what is declared now is walked where KServe runs it; None on the local target, which needs to know nothing.

    Raises DeclarationError where KServe shares no traffic, or not all of what changed. Ask `comparable` first.
    """
    if not by_kserve(live):
        return None
    mode = one_deployment({**live.manifest, "status": live.status})
    if mode:
        raise DeclarationError(
            f"a rollout is declared, and KServe runs it in its mode {mode}, where a new version has all of the traffic",
            where=str(live.ref),
            hint=f"take {ROLLOUT} away, or make it anew with {MODE}: Knative (Serverless before KServe v0.16)",
        )
    for part in ("transformer", "explainer"):
        if after["spec"].get(part) != stable["spec"].get(part):
            raise DeclarationError(
                f"a rollout is declared, and the {part} changes too: all requests would go through the new one",
                where=str(live.ref),
                hint=f"change the {part} in a commit of its own",
            )
    said = revisions(live)
    return Course(serves or said.rolled, said.created)


def taken_back(live: LiveObject | None, serves: str) -> bool:
    """Whether KServe says that a revision has all of the traffic again, as of the object as it is now."""
    return live is not None and inference_status({**live.manifest, "status": live.status}).weights.get(serves) == 100


def comparable(live: LiveObject) -> bool:
    """Whether there is a version to be compared with; on KServe one that has had all of the traffic."""
    if is_deployment(live.manifest):  # one that does not serve at all would keep its own cure waiting
        return bool(live.status.get("availableReplicas"))
    mode = one_deployment({**live.manifest, "status": live.status})
    return not by_kserve(live) or bool(mode) or revisions(live).shared


def walked(manifest: Manifest, state: RolloutState, course: Course | None) -> Manifest:
    """The candidate's manifest with the traffic that it is to have now."""
    if course is not None:
        return weighted_inference(manifest, course.share(state))
    if manifest.get("kind") == "InferenceService":
        return overlay(manifest, state)
    return stepped_rollout(manifest, None if state.phase is RolloutPhase.PROMOTED else state.weight)


def unwalked(manifest: Manifest) -> Manifest:
    """A manifest that nothing is walked of. A Rollout of ours has no steps then: what was decided goes all the way."""
    return stepped_rollout(manifest, None) if is_rollout(manifest) else manifest


def traffic_of(live: Manifest, state: RolloutState, course: Course | None) -> TrafficStatus:
    """What a live object of such a kind says of its traffic."""
    if live.get("kind") != "InferenceService":
        return rollout_status(live)
    found = course or Course(arrived=True)
    return inference_status(live, stable=found.serves, before=found.before, share=found.share(state))


def seen_in_cluster(ref: ResourceRef, live: Manifest, state: RolloutState, course: Course | None) -> LiveObject:
    """A live object as a walk has to see it: Healthy exactly when its candidate may be given more traffic."""
    said, status = traffic_of(live, state, course), health(live)
    if course is not None and not said.candidate:
        status = Health(HealthStatus.PROGRESSING, "KServe has not made a revision of it yet")  # not the one before's
    elif said.ended == "aborted":
        status = Health(HealthStatus.DEGRADED, f"its controller has aborted it: {said.message}")
    elif said.ready and status.status is not HealthStatus.DEGRADED:
        status = Health(HealthStatus.HEALTHY, status.message)
    elif status.status is not HealthStatus.DEGRADED:
        status = Health(HealthStatus.PROGRESSING, said.message or status.message)
    return LiveObject(ref, live, status)
