"""Plain Deployments, rolled out step by step: what is applied for one that is declared, and what is seen of it.

    canary, an HTTPRoute names its Service      weights; the second Deployment has a Service of its own
    canary, nothing shares requests by weight   the second Deployment behind the same Services, by its replicas
    blue-green                                  the Services' selector, from the pods of the one to those of the other

A `Lane` is what is remembered of one such Deployment. A share is given only to what is ready, and taken back when no
replica of it is. After a promotion the second Deployment serves on until the first one runs the new version whole, and
then some seconds without traffic; after an abort it is without traffic first, and then gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.app.memory import ref_of
from customhouse.app.rollout_argo import Sight
from customhouse.app.rollout_scene import Scene
from customhouse.control.rollout import RolloutState
from customhouse.control.rollout_plan import ROLLOUT
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.release import TRACK, candidate_name
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.execution.health import health
from customhouse.execution.plain_traffic import (
    CANDIDATE,
    RELEASE,
    STABLE,
    candidate_deployment,
    candidate_replicas,
    candidate_service,
    is_candidate,
    replicas_of,
    shared_route,
    stable_replicas,
    strangers_among,
    tracked_deployment,
    tracked_service,
)
from customhouse.execution.traffic import deployment_status, route_status

Read = Callable[[Sequence[ResourceRef]], Mapping[ResourceRef, LiveObject]]
Services = Callable[[ResourceRef], Sequence[Manifest]]
"""All Services in the namespace of an object, in its cluster. Raises TargetError."""
_SPREAD = timedelta(seconds=2)
"""How long a new Service is given for its endpoints to be known to every gateway, before it has a weight."""


@dataclass(frozen=True, slots=True)
class Lane:
    """What is remembered of one Deployment between looks.

    `apart`: all of its pods have our label, so that its Services may select by it. `clear`: the release for which
    nothing stands in the way of a second Deployment. `share`: what that is given now, in percent. `why`: what keeps
    it from what it is to have, in words. `landing`: the release that was promoted and is not yet whole in the first
    one. `leaving`: until when the second one stays without traffic.
    """

    ref: ResourceRef
    apart: bool = False
    ours: bool = False
    """Whether the first one was applied from here: what somebody else applies (Argo CD, Flux) is not gone back on."""
    clear: str = ""
    share: int = 0
    why: str = ""
    landing: str = ""
    bad: Manifest | None = None
    """What was rolled back, as long as it is left to answer what it was asked."""
    leaving: datetime | None = None
    whole: datetime | None = None
    """Since when the second one is whole, as long as it waits for its first share by weight."""
    drain: float = 10.0
    """How many seconds what has no traffic any more is left to answer what it was asked, and until everybody knows."""

    def to_json(self) -> dict[str, Any]:
        """For the state store."""
        return {
            "resource": self.ref.stored(),
            "apart": self.apart,
            "ours": self.ours,
            "clear": self.clear,
            "share": self.share,
            "why": self.why,
            "landing": self.landing,
            "bad": None if self.bad is None else dict(self.bad),
            "leaving": None if self.leaving is None else to_rfc3339(self.leaving),
            "whole": None if self.whole is None else to_rfc3339(self.whole),
            "drain": self.drain,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Lane:
        """The inverse of `to_json`."""
        leaving, whole = (None if value[name] is None else from_rfc3339(value[name]) for name in ("leaving", "whole"))
        return cls(
            ref_of(value["resource"]),
            apart=value["apart"],
            ours=value["ours"],
            clear=value["clear"],
            share=value["share"],
            why=value["why"],
            landing=value["landing"],
            bad=value["bad"],
            leaving=leaving,
            whole=whole,
            drain=value["drain"],
        )

    @property
    def busy(self) -> bool:
        """Whether something of a rollout that is decided is still under way."""
        return bool(self.landing) or self.leaving is not None

    def promoted(self, release: str, drain: float) -> Lane:
        """After the decision: the first Deployment has the new version to come yet, and the second one its share."""
        return replace(self, landing=release, why="", leaving=None, bad=None, drain=drain)

    def aborted(self, candidate: Manifest | None, drain: float, now: datetime) -> Lane:
        """After the decision: no traffic at once."""
        kept = Lane(self.ref, self.apart, self.ours, drain=drain)
        if candidate is None or not self.clear:
            return kept
        return replace(kept, bad=candidate, leaving=now + timedelta(seconds=drain))

    def begun(self) -> Lane:
        """When another version is to be walked: what was under way has no share any more."""
        return Lane(self.ref, self.apart, self.ours)


def is_plain(manifest: Manifest) -> bool:
    """Whether it is a Deployment that says how it is rolled out."""
    annotations = manifest["metadata"].get("annotations")
    ours = isinstance(annotations, Mapping) and ROLLOUT in annotations
    return ours and is_deployment(manifest)


def is_deployment(manifest: Manifest) -> bool:
    """Whether it is one of the apps group."""
    return manifest.get("kind") == "Deployment" and manifest.get("apiVersion") == "apps/v1"


def second_of(ref: ResourceRef) -> ResourceRef:
    """The Deployment beside one."""
    return replace(ref, name=candidate_name(ref.name))


@dataclass(frozen=True, slots=True)
class PlainCourse:
    """What one Deployment is to be now: the version that serves, and a second one, if there is, with its weight."""

    declared: Declaration
    serves: Manifest
    second: Manifest | None
    weight: int
    scene: Scene

    def second_replicas(self) -> int:
        """How many the second one is to have."""
        if self.second is None:
            return 0
        full = replicas_of(self.second)
        if self.scene.switched:
            return full
        return candidate_replicas(full, self.weight, weighted=self.scene.weighted)

    def first_replicas(self) -> int:
        """How many stay of the version that serves, while a second one has its share."""
        return stable_replicas(replicas_of(self.serves), self.weight, weighted=self.scene.weighted)

    def told(self) -> str:
        """How whole replicas make the share of this step, where nothing else does."""
        if self.scene.weighted or self.second is None:
            return ""
        ours, theirs = self.second_replicas(), self.first_replicas()
        share = 100 * ours / (ours + theirs)
        return f"by replicas, {ours} beside {theirs}: {share:.0f} % (no HTTPRoute declared here names its Service)"


def lay_out(course: PlainCourse, lane: Lane, placed: dict[ResourceRef, Declaration]) -> None:
    """Put what is applied for one Deployment into `placed`: in place of declared objects, and new ones."""
    declared, scene = course.declared, course.scene

    def put(item: Declaration, manifest: Manifest) -> None:
        ref = replace(item.ref, name=manifest["metadata"]["name"])
        placed[ref] = replace(item, ref=ref, manifest=manifest)

    there = lane.busy or bool(lane.clear)
    second = course.second if there and (lane.apart or not scene.weighted) else None
    serves = tracked_deployment(course.serves, label=scene.weighted)
    kept = course.first_replicas()
    if second is not None and not lane.busy and lane.share and kept != replicas_of(serves):
        serves = {**serves, "spec": {**serves["spec"], "replicas": kept}}
    put(declared, serves)
    if second is not None:
        stays = scene.weighted or lane.leaving is None
        put(declared, candidate_deployment(second, course.second_replicas() if stays else 0))
    if not (lane.apart and scene.weighted):
        return
    over = scene.switched and lane.share > 0 and second is not None
    for item in scene.services:
        put(item, tracked_service(placed[item.ref].manifest, CANDIDATE if over else STABLE))
        if item.ref.name in scene.asked and second is not None:
            put(item, candidate_service(item.manifest))
    for item in scene.routes:
        if lane.share and second is not None:
            put(item, shared_route(placed[item.ref].manifest, scene.asked, lane.share))


def looked_at(
    lane: Lane, course: PlainCourse, read: Read, services: Services, walk: RolloutState | None, now: datetime
) -> Lane:
    """The lane after a look at what is there. Raises TargetError when the API does not tell."""
    ref, scene = course.declared.ref, course.scene
    found = read([ref, second_of(ref)])
    if any(not item.manifest for item in found.values()):
        return replace(lane, why="its cluster does not answer")  # and nothing is taken for gone
    first, other = found.get(ref), found.get(second_of(ref))
    lane = replace(lane, ours=first is not None and bool(_release(first.manifest)))
    if not scene.weighted:
        lane = replace(lane, apart=False)
    elif first is not None and not lane.apart and _whole(first):
        labels = first.manifest["spec"]["template"].get("metadata", {}).get("labels") or {}
        lane = replace(lane, apart=labels.get(TRACK) == STABLE)
    if lane.leaving is not None:
        return replace(lane, leaving=None, bad=None, clear="") if now >= lane.leaving else lane
    if lane.landing:
        whole = first is not None and _whole(first) and _release(first.manifest) == lane.landing
        return replace(lane, landing="", share=0, leaving=now + timedelta(seconds=lane.drain)) if whole else lane
    if walk is None or course.second is None:
        return lane
    in_the_way = _in_the_way(course, lane, other, services)
    if lane.clear != walk.candidate:
        return replace(lane, share=0, why=in_the_way, clear="" if in_the_way else walk.candidate)
    after = _shared(lane, course, other, walk, now)
    unheard = _unheard(course, read) if not after.why and after.share == lane.share else ""
    return replace(after, why=in_the_way or after.why or unheard)


def _in_the_way(course: PlainCourse, lane: Lane, other: LiveObject | None, services: Services) -> str:
    """Why no second Deployment can be put beside the first one, or why its share is not what it seems; mostly empty."""
    scene, second = course.scene, course.second
    if scene.problem:
        return scene.problem
    if not lane.ours:
        return "what is declared is not applied from here yet"
    if other is not None and not _release(other.manifest):
        return f"{other.ref} is there already, and it is not of a rollout; give one of the two another name"
    if not scene.weighted or second is None:
        return ""
    known = {item.ref.name for item in scene.services} | {candidate_name(name) for name in scene.asked}
    there, names = services(course.declared.ref), {candidate_name(name) for name in scene.asked}
    taken = [item for item in there if item["metadata"].get("name") in names and not is_candidate(item)]
    if taken:
        name = taken[0]["metadata"]["name"]
        return f"Service {name} is there already, and it is not of a rollout; give one of the two another name"
    strangers = strangers_among(there, known, second)
    if strangers:
        named = ", ".join(strangers[:5])
        return (
            f"Service {named} of the same namespace selects its pods and is not declared here, so that it would route "
            "to both versions unasked; declare it, or have it select by one label more"
        )
    return "" if lane.apart else "its pods are given a label first that tells the two versions apart"


def _shared(lane: Lane, course: PlainCourse, other: LiveObject | None, walk: RolloutState, now: datetime) -> Lane:
    """The share that the second one can bear: none without a ready replica, all of its weight when it is whole."""
    if other is None or _release(other.manifest) != walk.candidate or not other.status.get("availableReplicas"):
        return replace(lane, share=0, whole=None, why="the new release is not ready yet")
    if not _whole(other) or replicas_of(other.manifest) != course.second_replicas():
        return replace(lane, whole=None, why="not all replicas of the new release are ready yet")
    if course.scene.routes and not lane.share:
        since = lane.whole or now
        if now - since < _SPREAD:
            return replace(lane, whole=since, why="its endpoints are on their way to who routes")
    return replace(lane, share=walk.weight, whole=None, why="")


def _unheard(course: PlainCourse, read: Read) -> str:
    """Which HTTPRoute its Gateway has not taken in as it is now."""
    for ref, live in read([item.ref for item in course.scene.routes]).items():
        said = route_status({**live.manifest, "status": live.status})
        if not said.ready:
            return f"{ref}: {said.message}"
    return ""


def plain_sight(ref: ResourceRef, second: Manifest | None, state: RolloutState) -> Sight:
    """Healthy when every replica that the second Deployment is to have now serves, and runs what is walked."""
    name = candidate_name(ref.name)
    if second is None:
        live = LiveObject(ref, {}, Health(HealthStatus.PROGRESSING, f"there is no Deployment {name} yet"))
        return Sight(live, why=live.health.message)
    if _release(second) != state.candidate:
        why = f"Deployment {name} runs something else yet"
        return Sight(LiveObject(ref, second, Health(HealthStatus.PROGRESSING, why)), why=why)
    said, status = deployment_status(second), health(second)
    if not said.current or status.status is not HealthStatus.DEGRADED:
        status = Health(HealthStatus.HEALTHY if said.ready else HealthStatus.PROGRESSING, said.message)
    return Sight(LiveObject(ref, second, status), name, ref.name)


def _whole(live: LiveObject) -> bool:
    return deployment_status({**live.manifest, "status": live.status}).ready


def _release(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("annotations") or {}).get(RELEASE, ""))
