"""Releases: what `history`, `status` and the dashboard show of one workload over time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from customhouse.core.resource import PREFIX, ResourceRef


class RolloutPhase(StrEnum):
    """The state machine of a release (control.rollout)."""

    PENDING = "pending"
    CANARY = "canary"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"


@dataclass(frozen=True, slots=True)
class Release:
    """One version of one workload that was deployed, or that the gate refused."""

    resource: ResourceRef
    release: str
    """The digest of the declared manifest, shortened by nobody."""
    revision: str
    author: str
    artifact: str
    """The model's digest; empty when the workload has none."""
    verdict: str
    decision: str
    """The Decision's digest."""
    phase: RolloutPhase
    at: datetime
    reason: str = ""


TRACK = PREFIX + "track"
"""Label of the pods of a plain Deployment that is rolled out: `stable`, or `candidate` for those of the second one."""
_CANDIDATE = "-candidate"


def candidate_name(name: str) -> str:
    """What a rollout calls the object that it puts beside a declared one, within the length that a label may have.

    >>> candidate_name("score")
    'score-candidate'
    """
    return f"{name[: 63 - len(_CANDIDATE)].rstrip('-.')}{_CANDIDATE}"
