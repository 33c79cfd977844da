"""A walk on Argo Rollouts: which of its revisions is which, and what somebody else made of it in the middle.

Who may write the object's status may promote it (`kubectl argo rollouts promote`) or abort it. Both are followed, and
said: the first ends the walk with the new version, the second with the one before, as if it had been found worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from customhouse.control.rollout import RolloutState
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.execution.health import health
from customhouse.execution.traffic import rollout_status

_SAME_AFTER_S = 60.0
"""How long a controller that names no new revision is given to make one."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The pod template hashes when a walk began: the one that was stable, and the newest. Empty: not known."""

    stable: str = ""
    newest: str = ""


UNMARKED = Marks()


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of one walk: the object, its two revisions (empty: `why`), and how somebody else has ended it."""

    live: LiveObject
    candidate: str = ""
    stable: str = ""
    why: str = ""
    promoted: str = ""


def marks_of(live: LiveObject) -> Marks:
    """As the object is before another template is applied."""
    said = rollout_status({**live.manifest, "status": live.status})
    newest = live.status.get("currentPodHash")
    return Marks(said.stable, newest if isinstance(newest, str) else "")


def argo_sight(ref: ResourceRef, live: Manifest, state: RolloutState, marks: Marks, now: datetime) -> Sight:
    """Healthy exactly when the candidate may be given more, Degraded only by what is said of the candidate."""
    said, status = rollout_status(live, before=marks.newest), health(live)
    told = said.message or status.message
    if not said.current:
        seen = Health(HealthStatus.PROGRESSING, "its controller has not taken it in as it is now")
    elif said.ended == "aborted":
        seen = Health(HealthStatus.DEGRADED, f"it was aborted in the cluster: {told}")
    elif status.status is HealthStatus.DEGRADED:
        seen = status
    else:
        seen = Health(HealthStatus.HEALTHY if said.ready else HealthStatus.PROGRESSING, told)
    found = LiveObject(ref, live, seen)
    if said.candidate and said.stable:
        return Sight(found, said.candidate, said.stable)
    if said.ended == "promoted" and marks.stable and said.stable != marks.stable:
        return Sight(found, promoted=f"somebody promoted it in the cluster at {state.weight} %, before it was decided")
    newest = rollout_status(live)
    late = (now - state.started_at).total_seconds() >= _SAME_AFTER_S
    if late and newest.current and newest.ended == "promoted" and newest.stable == marks.newest:
        return Sight(found, promoted="its pods are the same as before: its controller made nothing new of the change")
    return Sight(found, why=f"its controller names no second revision yet{': ' if told else ''}{told}")
