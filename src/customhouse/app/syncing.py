"""`customhouse sync`: what `up` does, once: judge what is new, apply what is allowed, and end when nothing is left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse.app.controlplane import ControlPlane
from customhouse.app.memory import REFUSED
from customhouse.app.settings import Settings

_PULSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Synced:
    """Where it ended. `refused` says why the branch's head is not what is deployed."""

    revision: str
    head: str
    settled: bool
    refused: str
    problem: str
    cluster: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """`{"revision","head","settled","refused","problem","cluster"}`."""
        return {
            "revision": self.revision,
            "head": self.head,
            "settled": self.settled,
            "refused": self.refused,
            "problem": self.problem,
            "cluster": self.cluster,
        }


def sync(settings: Settings, repo: str, branch: str, seconds: float, key: Path | None) -> Synced:
    """Step until all is as declared, or the time is over. Raises StateError while `up` runs on the same state."""
    plane = ControlPlane(settings, repo, branch, key=key)
    try:
        plane.start()
        end = plane.clock.monotonic() + seconds
        while True:
            plane.step()
            if _settled(plane) or _undecided(plane) or plane.clock.monotonic() >= end:
                break
            plane.wait(_PULSE_S)
        deployed, refused = plane.memory.deployed, plane.memory.get(REFUSED)
        return Synced(
            "" if deployed is None else deployed.revision,
            plane.head,
            _settled(plane),
            str(refused["text"]) if refused is not None and refused["revision"] == plane.head else "",
            plane.problem,
            {} if plane.keeping is None else plane.keeping.document(),
        )
    finally:
        plane.close(keep_serving=True)


def _settled(plane: ControlPlane) -> bool:
    if not plane.head or plane.memory.judged != plane.head or plane.rollouts.unfinished():
        return False
    if plane.memory.deployed is None:
        return True
    if plane.keeping is not None:
        return plane.keeping.settled
    return plane.report is not None and plane.report.settled


def _undecided(plane: ControlPlane) -> bool:
    """Whether nothing could be decided about the head: asking again is for `up`, or for the next sync."""
    refused = plane.memory.get(REFUSED)
    return refused is not None and refused["revision"] == plane.head != plane.memory.judged
