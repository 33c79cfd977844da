"""Traffic that is steered on a real API server: what its controllers make of the objects."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.execution.kserve import weighted_inference
from customhouse.execution.traffic import stepped_rollout
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")


def test_weights_are_fields_that_the_real_kinds_have(kubernetes: ControlPlane) -> None:
    namespace = kubernetes.namespace("traffic")
    kubernetes.install_crds("kserve", "argo-rollouts")
    strict = "?fieldManager=tests&force=true&fieldValidation=Strict"

    def applied(path: str, manifest: Any) -> Any:
        whole = f"{path.format(namespace)}/{manifest['metadata']['name']}{strict}"
        return kubernetes.call("PATCH", whole, manifest, content="application/apply-patch+yaml")

    model = {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/a"}
    kserve = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "x"}}
    kserve["spec"] = {"predictor": {"model": model}}
    at = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices"
    assert applied(at, weighted_inference(kserve, 20))["spec"]["predictor"]["canaryTrafficPercent"] == 20
    assert "canaryTrafficPercent" not in applied(at, weighted_inference(kserve, None))["spec"]["predictor"]

    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "r/x:1"}]}}
    walked = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "x"}}
    walked["spec"] = {"selector": {"matchLabels": {"app": "x"}}, "template": template, "strategy": {"canary": {}}}
    at = "/apis/argoproj.io/v1alpha1/namespaces/{}/rollouts"
    steps = applied(at, stepped_rollout(walked, 20))["spec"]["strategy"]["canary"]["steps"]
    assert steps == [{"setWeight": 20}, {"pause": {}}]
    # No list at all would be Argo's own walk, and an empty one its controller takes away again.
    decided = applied(at, stepped_rollout(walked, None))["spec"]["strategy"]["canary"]["steps"]
    assert decided == [{"setWeight": 100}]
