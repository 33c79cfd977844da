"""How a version's share of the traffic is set on KServe, where Knative keeps the versions as revisions.

`spec.predictor.canaryTrafficPercent` is the share of the newest revision *that is ready*; the rest has the revision
that had everything before (KServe v0.16 `ksvc_reconciler.go`, Knative v1.20 `traffic.go`). So until a new revision is
ready its share is that of the version before it, be that good or bad, and only 0 is safe then. Every annotation of the
InferenceService is part of the revision: another annotation is another revision.
"""

from __future__ import annotations

from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Manifest
from customhouse.execution.health.revisions import SHARE, declared_share, revisions_of
from customhouse.execution.traffic import TrafficStatus


def weighted_inference(manifest: Manifest, percent: int | None) -> Manifest:
    """An InferenceService whose newest ready revision gets `percent` of the traffic; None: all of it, and for good."""
    if percent is not None and (type(percent) is not int or not 0 <= percent <= 100):
        raise DeclarationError(f"{percent!r} is not a share of the traffic", hint="write 0 to 100")
    predictor = {key: value for key, value in manifest["spec"]["predictor"].items() if key != SHARE}
    if percent is not None:
        predictor[SHARE] = percent
    return {**manifest, "spec": {**manifest["spec"], "predictor": predictor}}


def inference_status(live: Manifest, *, stable: str = "", before: str = "", share: int | None = None) -> TrafficStatus:
    """Of an InferenceService as KServe's controller reports it.

    Who began a walk knows the revision that served then (`stable`), the newest that there was (`before`: a candidate is
    neither) and which `share` is meant; what is not given is read from the object itself.
    """
    said = revisions_of(live)
    # KServe calls a revision rolled out once it has had everything: before that the stable one is the latest of them,
    # and from then on the one before.
    serving = stable or (said.rolled if said.rolled != said.created else said.previous)
    candidate = said.created if said.created not in ("", serving, before) else ""
    current = said.as_asked(declared_share(live) if share is None else share)
    message = said.message
    if not message and said.created != said.ready:
        message = f"revision {said.created} is not ready"
    elif not message and not current:
        message = "the shares are not set yet"
    return TrafficStatus(current, current and said.arrived, serving, candidate, said.weights, message=message)
