"""What an InferenceService says of its revisions, as KServe v0.16 and Knative v1.20 write it.

- `status.observedGeneration` is that of the Knative Service (or of the Deployment), and says nothing of the
  InferenceService's own: whether KServe has seen the latest is told by the shares and the name of the newest revision
  (`inference_service_status.go`: PropagateStatus, PropagateRawStatus).
- In the mode Standard (once RawDeployment) there is one Deployment, and no shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from customhouse.core.resource import Manifest
from customhouse.execution.health.seen import conditions, items, mapping, number, said, state, text

SHARE = "canaryTrafficPercent"
MODE = "serving.kserve.io/deploymentMode"
_ONE_DEPLOYMENT = ("Standard", "RawDeployment", "ModelMesh")


@dataclass(frozen=True, slots=True)
class Revisions:
    """Of the predictor. `newest` is the share of the newest ready revision, whichever that is; None: not said."""

    mode: str = ""
    created: str = ""
    ready: str = ""
    rolled: str = ""
    """The last that had everything; of the one before it is `previous`."""
    previous: str = ""
    weights: Mapping[str, int] = field(default_factory=dict)
    newest: int | None = None
    observed: int = 0
    """The generation of what KServe made of it."""
    fine: bool = False
    message: str = ""

    @property
    def shared(self) -> bool:
        """Whether there are revisions to share traffic between: one has had all of it."""
        return bool(self.rolled) and self.mode not in _ONE_DEPLOYMENT

    @property
    def arrived(self) -> bool:
        """Whether the newest revision is ready."""
        return self.fine and bool(self.created) and self.created == self.ready

    def as_asked(self, share: int) -> bool:
        """Whether the newest has that share. Before anything was rolled out, KServe gives it all, whatever is asked."""
        return self.newest == (share if self.rolled else 100)


def revisions_of(live: Manifest) -> Revisions:
    """What a live InferenceService says of its predictor."""
    status = mapping(live, "status")
    part = mapping(mapping(status, "components"), "predictor")
    weights: dict[str, int] = {}
    newest: int | None = None
    for item in items(part, "traffic"):
        name, share = text(item, "revisionName"), number(item, "percent")
        weights[name] = weights.get(name, 0) + share
        if item.get("latestRevision") is True:
            newest = share
    found = conditions(status)
    ready = found.get("Ready", {})
    return Revisions(
        mode=text(status, "deploymentMode"),
        created=text(part, "latestCreatedRevision"),
        ready=text(part, "latestReadyRevision"),
        rolled=text(part, "latestRolledoutRevision"),
        previous=text(part, "previousRolledoutRevision"),
        weights=weights,
        newest=newest,
        observed=number(status, "observedGeneration"),
        fine=state(ready) == "True",
        message=said(ready) or said(found.get("PredictorReady", {})),
    )


def declared_share(manifest: Manifest) -> int:
    """The share that is asked for the newest ready revision; 100 where nothing is said."""
    return number(mapping(mapping(manifest, "spec"), "predictor"), SHARE, 100)


def one_deployment(manifest: Manifest) -> str:
    """The mode, when it is one in which KServe shares no traffic, of a live or a declared object; empty otherwise.

    What the status says counts: KServe never changes the mode of what is there.
    """
    mode = text(mapping(manifest, "status"), "deploymentMode")
    found = mode or text(mapping(mapping(manifest, "metadata"), "annotations"), MODE)
    return found if found in _ONE_DEPLOYMENT else ""
