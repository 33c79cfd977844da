"""Landings: a new version on KServe that nobody walks counts as promoted once what runs it is there and ready.

After a rollback the newest ready revision is the one that was found to be worse, and a new version without a share of
its own would give that one everything until it is ready itself. Such a landing is *still*: the new version has no share
at all before it is ready, and the revision that serves keeps the traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.app.memory import ref_of
from customhouse.core.plan import HealthStatus, LiveObject
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.execution.health.revisions import SHARE, Revisions, declared_share, revisions_of

_MADE_NOTHING = timedelta(minutes=5)
"""After this long KServe is believed to have made nothing new of a change: what is healthy is it."""


@dataclass(frozen=True, slots=True)
class Landing:
    """A release on its way; `before` and `observed` are the newest revision and the generation that there were."""

    ref: ResourceRef
    release: str
    before: str
    observed: int
    at: datetime
    still: bool

    def to_json(self) -> dict[str, Any]:
        """For the state store."""
        return {
            "resource": self.ref.stored(),
            "release": self.release,
            "before": self.before,
            "observed": self.observed,
            "at": to_rfc3339(self.at),
            "still": self.still,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Landing:
        """The inverse of `to_json`."""
        at = from_rfc3339(value["at"])
        return cls(ref_of(value["resource"]), value["release"], value["before"], value["observed"], at, value["still"])

    def landed(self, live: LiveObject, now: datetime) -> bool:
        """Whether what runs it is there and ready."""
        said, healthy = revisions(live), live.health.status is HealthStatus.HEALTHY
        if self.before:
            share = 0 if self.still else declared_share(live.manifest)
            if said.created != self.before:
                return said.arrived and said.as_asked(share)
        elif said.observed > self.observed:
            return healthy
        return healthy and not self.still and now - self.at >= _MADE_NOTHING


def revisions(live: LiveObject) -> Revisions:
    """What KServe says of its revisions; its status may be beside the manifest."""
    return revisions_of(live.manifest if "status" in live.manifest else {**live.manifest, "status": live.status})


def by_kserve(live: LiveObject) -> bool:
    """Whether it is an InferenceService of a cluster."""
    return live.ref.kind == "InferenceService" and "local" not in live.status


def landing_of(release: str, manifest: Manifest, live: LiveObject, now: datetime, *, back: bool) -> Landing | None:
    """The landing of what is declared now; None where it is not KServe's, or KServe has made nothing of it yet.

    `back`: the release before was taken the traffic away, or was about to be tried.
    """
    if not by_kserve(live):
        return None
    said = revisions(live)
    if not said.created and not said.observed:
        return None
    ours = SHARE not in manifest["spec"]["predictor"]  # who declares a share walks by hand
    still = ours and said.shared and (back or said.rolled != said.created)
    return Landing(live.ref, release, said.created, said.observed, now, still)
