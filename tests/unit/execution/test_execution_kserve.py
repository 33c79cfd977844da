"""An InferenceService with another share of the traffic, and what KServe says of its revisions."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.core.errors import DeclarationError
from customhouse.core.plan import HealthStatus
from customhouse.execution.health import health
from customhouse.execution.health.revisions import one_deployment
from customhouse.execution.kserve import inference_status, weighted_inference


def inference(percent: int | None = None) -> dict[str, Any]:
    predictor: dict[str, Any] = {"model": {"modelFormat": {"name": "onnx"}}}
    if percent is not None:
        predictor["canaryTrafficPercent"] = percent
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "spec": {"predictor": predictor}}


def test_an_inference_service_gets_a_share_and_loses_it_when_it_has_everything() -> None:
    declared = inference()
    assert weighted_inference(declared, 20) == inference(20)
    assert weighted_inference(inference(20), None) == declared == inference()


def kserve_live(created: str, ready: str, *, observed: int = 3, rolled: str = "p-00001") -> dict[str, Any]:
    predictor = {
        "latestCreatedRevision": created,
        "latestReadyRevision": ready,
        "previousRolledoutRevision": "p-00000",
        "latestRolledoutRevision": rolled,
        "traffic": [
            {"revisionName": "p-00001", "percent": 80, "tag": "prev"},
            {"revisionName": created, "percent": 20, "latestRevision": True},
        ],
    }
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"observedGeneration": observed, "components": {"predictor": predictor}, "conditions": conditions}
    return {**inference(20), "metadata": {"generation": 3}, "status": status}


def test_a_candidate_of_kserve_is_ready_when_its_own_revision_is_and_the_shares_are_as_asked() -> None:
    said = inference_status(kserve_live("p-00002", "p-00002"))
    assert (said.ready, said.stable, said.candidate) == (True, "p-00001", "p-00002")
    assert said.weights == {"p-00001": 80, "p-00002": 20}
    assert inference_status(kserve_live("p-00002", "p-00002", rolled="p-00002")).stable == "p-00000", "it had 100 %"
    assert not inference_status(kserve_live("p-00002", "p-00001")).ready
    assert not inference_status(kserve_live("p-00002", "p-00002"), share=50).ready, "not yet"
    assert not inference_status(inference(20)).ready
    early = inference_status(kserve_live("p-00002", "p-00002"), stable="p-00002", before="p-00002", share=20)
    assert early.candidate == "", "the newest is the one that served when the walk began"


@pytest.mark.parametrize("percent", [-1, 101, 2.5, True])
def test_what_is_no_share_is_refused(percent: Any) -> None:
    with pytest.raises(DeclarationError, match="is not a share of the traffic"):
        weighted_inference(inference(), percent)


@pytest.mark.parametrize(
    ("created", "ready", "observed", "spec", "status", "why"),
    [
        ("p-00002", "p-00002", 3, 20, HealthStatus.HEALTHY, ""),
        # What KServe calls its observed generation is the Knative Service's: it may be older, and newer too.
        ("p-00002", "p-00002", 1, 20, HealthStatus.HEALTHY, ""),
        (
            "p-00002",
            "p-00002",
            9,
            50,
            HealthStatus.PROGRESSING,
            "its newest revision has 20 % of the traffic, not 50 %",
        ),
        ("p-00002", "p-00001", 3, 20, HealthStatus.PROGRESSING, "revision p-00002 is not ready"),
    ],
)
def test_health_goes_by_shares_and_revisions(
    created: str, ready: str, observed: int, spec: int, status: HealthStatus, why: str
) -> None:
    live = kserve_live(created, ready, observed=observed)
    live["status"]["deploymentMode"] = "Knative"
    found = health(weighted_inference(live, spec))
    assert found.status is status
    assert why in found.message


def test_a_mode_without_shares_is_read_from_the_status_and_else_from_the_annotation() -> None:
    asked = {"metadata": {"annotations": {"serving.kserve.io/deploymentMode": "RawDeployment"}}}
    assert one_deployment(asked) == "RawDeployment"
    assert one_deployment({**asked, "status": {"deploymentMode": "Knative"}}) == "", "it is never changed"
    assert one_deployment({"status": {"deploymentMode": "Standard"}}) == "Standard"
    assert one_deployment({}) == ""


def test_a_revision_that_knative_has_given_up_is_degraded_although_kserve_says_that_it_goes_on() -> None:
    live = kserve_live("p-00002", "p-00001")
    failed = {"status": "False", "reason": "RevisionFailed", "message": "0/3 nodes have a GPU"}
    live["status"]["conditions"] = [{"type": kind, **failed} for kind in ("Ready", "PredictorReady")]
    live["status"]["modelStatus"] = {"transitionStatus": "InProgress"}
    found = health(live)
    assert (found.status, found.message) == (HealthStatus.DEGRADED, "Ready: 0/3 nodes have a GPU")


STOPPED = {"type": "Stopped", "status": "False"}


@pytest.mark.parametrize(
    ("conditions", "observed", "status"),
    [
        # KServe v0.16, before Knative has looked at the router: nothing is said of it yet.
        ([STOPPED], None, HealthStatus.PROGRESSING),
        # The observed generation is that of the router's Deployment, which an edit of the graph need not change.
        ([{"type": "Ready", "status": "True"}, STOPPED], 1, HealthStatus.HEALTHY),
        ([{"type": "Ready", "status": "False", "reason": "RevisionFailed"}, STOPPED], 3, HealthStatus.DEGRADED),
        ([{"type": "Ready", "status": "Unknown", "reason": "Deploying"}, STOPPED], 3, HealthStatus.PROGRESSING),
        ([{"type": "Stopped", "status": "True"}], 3, HealthStatus.SUSPENDED),
        (None, None, HealthStatus.PROGRESSING),
    ],
)
def test_a_graph_is_well_when_its_router_is(conditions: Any, observed: int | None, status: HealthStatus) -> None:
    said = {"conditions": conditions, "observedGeneration": observed} if conditions else {}
    graph = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "InferenceGraph", "metadata": {"generation": 3}}
    assert health({**graph, "spec": {}, "status": {k: v for k, v in said.items() if v is not None}}).status is status
