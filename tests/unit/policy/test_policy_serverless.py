"""What rules see of what follows its requests: parts that sleep, starts as measured, and what cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.core.beside import target_range
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.policy.projection import project
from customhouse.policy.surroundings import Surroundings

K = "autoscaling.knative.dev/"


def _seen(version: str, kind: str, spec: dict[str, Any], notes: dict[str, Any] | None = None) -> Any:
    metadata = {"name": "a", "namespace": "n", "annotations": notes or {}}
    return project({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}).get("serverless")


def _kserve(spec: dict[str, Any], notes: dict[str, Any] | None = None) -> Any:
    return _seen("serving.kserve.io/v1beta1", "InferenceService", spec, notes)


MODEL = {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://m/a"}}


def test_a_server_has_no_such_facts() -> None:
    assert _kserve({"predictor": {**MODEL, "minReplicas": 1}}) is None
    assert _seen("apps/v1", "Deployment", {"replicas": 0}) is None
    keeps_one = {"scaleTargetRef": {"name": "d"}, "minReplicaCount": 1, "maxReplicaCount": 4}
    assert _seen("keda.sh/v1alpha1", "ScaledObject", keeps_one) is None


def test_parts_that_sleep_are_named_with_their_place() -> None:
    found = _kserve(
        {"predictor": {**MODEL, "minReplicas": 1}, "transformer": {"minReplicas": 0, "containers": []}},
        {"customhouse.dev/cold-start-seconds": "12.2"},
    )
    assert found["asleep"] == [{"what": "transformer", "pointer": "/spec/transformer/minReplicas"}]
    assert found["cold_start_seconds"] == 13
    mode = _kserve({"predictor": {**MODEL}}, {"serving.kserve.io/deploymentMode": "Serverless"})
    assert (mode["how"], mode["asleep"]) == ("knative", [])
    service = _seen("serving.knative.dev/v1", "Service", {"template": {"spec": {"containers": []}}})
    assert [part["what"] for part in service["asleep"]] == ["Service"]
    keda = _seen("keda.sh/v1alpha1", "ScaledObject", {"scaleTargetRef": {"name": "d"}, "triggers": []})
    assert (keda["how"], len(keda["asleep"])) == ("keda", 1)
    idle = {"scaleTargetRef": {"name": "d"}, "minReplicaCount": 2, "idleReplicaCount": 0}
    assert len(_seen("keda.sh/v1alpha1", "ScaledObject", idle)["asleep"]) == 1
    http = _seen("http.keda.sh/v1alpha1", "HTTPScaledObject", {"scaleTargetRef": {"name": "d"}})
    assert (http["how"], len(http["asleep"])) == ("keda-http", 1)


@pytest.mark.parametrize("said", ["soon", "-3", "1e9", "999999", "", "12,5"])
def test_a_start_that_cannot_be_read_is_not_told(said: str) -> None:
    notes = {"customhouse.dev/cold-start-seconds": said}
    assert _kserve({"predictor": {**MODEL, "minReplicas": 0}}, notes)["cold_start_seconds"] is None


def test_what_cannot_be_read_may_sleep_and_says_why() -> None:
    template = {"metadata": {"annotations": {f"{K}window": "many"}}, "spec": {"containers": []}}
    found = _seen("serving.knative.dev/v1", "Configuration", {"template": template})
    assert found["asleep"]
    assert "window is 'many'" in found["problem"]
    typo = _kserve({"predictor": {**MODEL, "minReplicas": 0}}, {f"{K}colour": "60s"})
    assert "colour is not understood" in typo["problem"]


def test_the_tier_that_a_scalers_target_asks_for_is_told() -> None:
    def declared(version: str, kind: str, spec: dict[str, Any], labels: dict[str, str]) -> Declaration:
        metadata = {"name": "d", "namespace": "n", "labels": labels}
        manifest = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
        return Declaration(ResourceRef.of(manifest), manifest, Location("a.yaml"))

    target = declared("apps/v1", "Deployment", {"template": {}}, {"customhouse.dev/tier": "critical-inference"})
    for version, kind in (("keda.sh/v1alpha1", "ScaledObject"), ("http.keda.sh/v1alpha1", "HTTPScaledObject")):
        scaler = declared(version, kind, {"scaleTargetRef": {"name": "d"}}, {})
        assert Surroundings([target, scaler]).about(scaler)["target_tier"] == "critical-inference"
        assert "target_tier" not in Surroundings([scaler]).about(scaler)
    assert "target_tier" not in Surroundings([target]).about(target)


def test_an_autoscaler_that_may_go_to_zero_is_asked_like_any_other() -> None:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 0, "maxReplicas": 3}
    assert [part["what"] for part in _seen("autoscaling/v2", "HorizontalPodAutoscaler", spec)["asleep"]] == [
        "HorizontalPodAutoscaler"
    ]
    assert _seen("autoscaling/v2", "HorizontalPodAutoscaler", {**spec, "minReplicas": 1}) is None


def test_a_scaled_object_that_is_paused_at_zero_sleeps() -> None:
    spec = {"scaleTargetRef": {"name": "d"}, "minReplicaCount": 2, "maxReplicaCount": 4}

    def paused(at: Any) -> Any:
        return _seen("keda.sh/v1alpha1", "ScaledObject", spec, {"autoscaling.keda.sh/paused-replicas": at})

    assert len(paused("0")["asleep"]) == 1
    assert paused("3") is None
    with pytest.raises(DeclarationError, match="paused-replicas is 'none'"):
        paused("none")


def test_a_scaled_object_that_is_paused_above_its_range_is_priced_and_judged_there() -> None:
    metadata = {"name": "s", "namespace": "n", "annotations": {"autoscaling.keda.sh/paused-replicas": "40"}}
    spec = {"scaleTargetRef": {"name": "d"}, "minReplicaCount": 1, "maxReplicaCount": 2}
    manifest = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata, "spec": spec}
    found = target_range(manifest, ResourceRef.of(manifest))
    assert found is not None
    assert (found[1].low, found[1].high) == (40, 40)
    assert project(manifest)["spec"]["max_replicas"] == 40
