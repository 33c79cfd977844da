"""What the local target says of a service whose replicas are ready, while its traffic is on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from customhouse.core.plan import HealthStatus
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local.live import _health
from customhouse.execution.adapters.local.records import Replica, RevisionRecord, ServiceRecord
from customhouse.execution.objects import Serving, serving

MANIFEST = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {
        "name": "fraud",
        "namespace": "fraud",
        "annotations": {"customhouse.dev/model-digest": "sha256:" + "a" * 64},
    },
    "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/fraud"}}},
}
GATEWAY: dict[str, object] = {"services": {}}


def one(percent: int | None) -> Serving:
    return replace(serving(MANIFEST), percent=percent, replicas=1)


@pytest.mark.parametrize(
    ("shifted", "percent", "status"),
    [
        (False, 10, HealthStatus.PROGRESSING),
        (True, 10, HealthStatus.HEALTHY),
        # Declared whole: ready and shifted, but the old release is stable until the next tick promotes this one.
        (True, None, HealthStatus.PROGRESSING),
    ],
)
def test_a_candidate_is_healthy_when_it_has_the_share_that_is_declared(shifted, percent, status):
    ready = Replica("r1")
    ready.ready = True
    revisions = {"old": RevisionRecord(one(None), [ready]), "new": RevisionRecord(one(percent), [ready])}
    record = ServiceRecord(ResourceRef.of(MANIFEST), MANIFEST, "old", "new", shifted, revisions)
    assert _health(record, GATEWAY).status is status
