"""What a manifest runs: containers, resources, replicas, GPUs, spot, artifacts, each with its place."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse._kit.digest import bytes_digest
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import ResourceRef
from customhouse.core.workload import UNKNOWN_ACCELERATOR, Workload, workload

PIN = bytes_digest(b"model")


def service(predictor: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "fraud", "namespace": "risk", "annotations": annotations or {}},
        "spec": {"predictor": predictor, **spec},
    }


def deployment(pod: dict[str, Any], replicas: int | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": {"spec": pod}}
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def read(manifest: dict[str, Any]) -> Workload:
    found = workload(manifest)
    assert found is not None
    return found


def gpu_pod(**pod: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": 2}}}], **pod}


def test_an_inference_service_runs_its_model_and_its_sidecars() -> None:
    found = read(
        service(
            {
                "minReplicas": 2,
                "maxReplicas": 5,
                "model": {
                    "modelFormat": {"name": "onnx"},
                    "storageUri": "pvc://models/fraud/v2",
                    "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1"}},
                },
                "containers": [
                    {"name": "agent", "image": "r.example/agent:1", "resources": {"limits": {"cpu": "100m"}}}
                ],
            },
            {"customhouse.dev/model-digest": PIN},
        )
    )
    assert found.ref == ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "risk", "fraud")
    assert [container.name for container in found.containers] == ["kserve-container", "agent"]
    assert (found.cpu, found.memory, found.replicas_min, found.replicas_max) == (600, 2**30, 2, 5)
    assert [(a.role, a.reference, a.digest, a.pinned, a.pointer) for a in found.artifacts] == [
        ("model", "pvc://models/fraud/v2", PIN, True, "/spec/predictor/model/storageUri"),
        ("image", "r.example/agent:1", None, False, "/spec/predictor/containers/0/image"),
    ]


def test_the_images_of_a_transformer_and_an_explainer_do_not_pass_unseen() -> None:
    found = read(
        service(
            {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://m/a"}},
            transformer={
                "containers": [{"name": "t", "image": "evil.example/t:1", "resources": {"limits": {"cpu": 1}}}]
            },
            explainer={"art": {"type": "SquareAttack", "storageUri": "gs://b/explainer"}},
        )
    )
    assert {artifact.pointer: artifact.reference for artifact in found.artifacts} == {
        "/spec/predictor/model/storageUri": "pvc://m/a",
        "/spec/transformer/containers/0/image": "evil.example/t:1",
        "/spec/explainer/art/storageUri": "gs://b/explainer",
    }
    assert found.cpu == 1000


def test_both_releases_of_the_first_api_version_are_read() -> None:
    one = {"predictor": {"sklearn": {"storageUri": "gs://b/1"}, "minReplicas": 2}}
    two = {"predictor": {"custom": {"container": {"name": "c", "image": "r.example/own:2"}}}}
    manifest = service({}, default=one, canary=two)
    del manifest["spec"]["predictor"]
    found = read({**manifest, "apiVersion": "serving.kubeflow.org/v1alpha2"})
    assert {artifact.pointer: artifact.reference for artifact in found.artifacts} == {
        "/spec/default/predictor/sklearn/storageUri": "gs://b/1",
        "/spec/canary/predictor/custom/container/image": "r.example/own:2",
    }
    assert (found.pod_pointer, found.replicas_min) == ("/spec/default/predictor", 2)


def test_the_canaries_of_an_inference_service_are_read_and_each_needs_a_pin_of_its_own() -> None:
    model = {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://m/a"}
    canaries = [
        {"trafficPercent": 10, "predictor": {"name": "b", "model": {**model, "storageUri": "pvc://m/b"}}},
        {"trafficPercent": 5, "predictor": {"name": "c", "minReplicas": 2, "containers": [{"image": "r.example/c:1"}]}},
    ]
    manifest = service({"model": model, "minReplicas": 1, "maxReplicas": 3}, canary=canaries)
    manifest["metadata"]["annotations"] = {"customhouse.dev/model-digest": PIN}
    found = read(manifest)
    assert {artifact.pointer: artifact.digest for artifact in found.artifacts} == {
        "/spec/predictor/model/storageUri": PIN,
        "/spec/canary/0/predictor/model/storageUri": None,
        "/spec/canary/1/predictor/containers/0/image": None,
    }


def test_an_inference_service_without_a_predictor_is_refused_and_not_taken_for_one_without_a_model() -> None:
    manifest = service({})
    del manifest["spec"]["predictor"]
    with pytest.raises(DeclarationError, match="without a predictor"):
        workload(manifest)


def test_the_older_way_to_name_a_framework_is_read_too() -> None:
    found = read(service({"sklearn": {"storageUri": "gs://kfserving/iris@" + PIN}}))
    assert [(a.reference, a.digest) for a in found.artifacts] == [("gs://kfserving/iris@" + PIN, PIN)]


@pytest.mark.parametrize("pin", ["", "latest", "sha256:short", PIN.upper()])
def test_what_is_not_a_digest_pins_nothing(pin: str) -> None:
    found = read(service({"model": {"storageUri": "pvc://m/a"}}, {"customhouse.dev/model-digest": pin}))
    assert [(a.digest, a.pinned) for a in found.artifacts] == [(None, False)]


def test_requests_follow_limits_and_what_is_not_said_is_zero() -> None:
    container = read(deployment({"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]})).containers[0]
    assert (container.cpu_request, container.cpu_limit, container.memory_request, container.memory_limit) == (
        2000,
        2000,
        0,
        0,
    )


def test_a_pod_reserves_its_largest_init_container_or_the_sum_of_the_others() -> None:
    def cpu(value: str, **more: Any) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": value}}, **more}

    assert read(deployment({"containers": [cpu("1"), cpu("1")], "initContainers": [cpu("3")]})).cpu == 3000
    assert read(deployment({"containers": [cpu("1"), cpu("1")], "initContainers": [cpu("1")]})).cpu == 2000
    sidecar = cpu("3", restartPolicy="Always")
    assert read(deployment({"containers": [cpu("1")], "initContainers": [sidecar]})).cpu == 4000


@pytest.mark.parametrize(
    ("manifest", "replicas", "batch"),
    [
        (deployment({"containers": []}), (1, 1), False),
        (deployment({"containers": []}, 0), (0, 0), False),
        (service({"model": {}, "minReplicas": 0}), (0, 1), False),
        (service({"model": {}, "minReplicas": 3, "maxReplicas": 1}), (3, 3), False),
        (
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"parallelism": 4}},
            (4, 4),
            True,
        ),
        (
            {
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "metadata": {"name": "j"},
                "spec": {"jobTemplate": {"spec": {"parallelism": 2}}},
            },
            (2, 2),
            True,
        ),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"replicas": 9}}, (1, 1), False),
    ],
)
def test_replicas_have_kubernetes_defaults(manifest: dict[str, Any], replicas: tuple[int, int], batch: bool) -> None:
    found = read(manifest)
    assert ((found.replicas_min, found.replicas_max), found.batch) == (replicas, batch)


@pytest.mark.parametrize(
    ("pod", "accelerator"),
    [
        (gpu_pod(), UNKNOWN_ACCELERATOR),
        (gpu_pod(nodeSelector={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}), "H100"),
        (gpu_pod(nodeSelector={"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}), "T4"),
        (gpu_pod(nodeSelector={"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}), "A100-80GB"),
        (gpu_pod(nodeSelector={"cloud.google.com/gke-accelerator": "nvidia-l40s"}), "L40S"),
        (gpu_pod(nodeSelector={"customhouse.dev/accelerator": "Groq-1"}), "Groq-1"),
        ({"containers": [{"name": "c"}], "nodeSelector": {"nvidia.com/gpu.product": "H100"}}, None),
    ],
)
def test_the_gpu_class_is_the_one_that_node_selection_requires(pod: dict[str, Any], accelerator: str | None) -> None:
    assert read(deployment(pod)).accelerator == accelerator


def affinity(*terms: Any) -> dict[str, Any]:
    return {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}},
    }


def selects(key: str, *values: str, operator: str = "In") -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("pod", "spot"),
    [
        ({"nodeSelector": {"karpenter.sh/capacity-type": "spot"}}, True),
        ({"nodeSelector": {"eks.amazonaws.com/capacityType": "SPOT"}}, True),
        ({"nodeSelector": {"cloud.google.com/gke-spot": True}}, True),
        ({"nodeSelector": {"karpenter.sh/capacity-type": "on-demand"}}, False),
        ({"affinity": affinity(selects("karpenter.sh/capacity-type", "spot"))}, True),
        ({"affinity": affinity(selects("karpenter.sh/capacity-type", "spot", "on-demand"))}, False),
        ({"affinity": affinity(selects("karpenter.sh/capacity-type", "spot", operator="NotIn"))}, False),
        ({"affinity": affinity(selects("karpenter.sh/capacity-type", "spot"), selects("zone", "a"))}, False),
        ({"tolerations": [{"key": "spot"}]}, False),
        ({}, False),
    ],
)
def test_spot_is_what_the_pod_requires_and_not_what_it_tolerates(pod: dict[str, Any], spot: bool) -> None:
    assert read(deployment({"containers": [], **pod})).spot is spot


@pytest.mark.parametrize(
    ("kind", "version"),
    [("Service", "v1"), ("Deployment", "example.com/v1"), ("Pod", "serving.kserve.io/v1"), ("InferenceService", "v1")],
)
def test_other_kinds_and_other_groups_run_nothing(kind: str, version: str) -> None:
    assert workload({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}) is None


@pytest.mark.parametrize(
    ("pod", "where", "what"),
    [
        ({"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}, "/containers/0/resources", "lots"),
        ({"containers": [{"resources": {"limits": {"memory": "-1"}}}]}, "/containers/0/resources", "negative"),
        ({"containers": [{"resources": {"limits": {"nvidia.com/gpu": "0.5"}}}]}, "/0/resources", "whole number"),
        ({"containers": {"name": "c"}}, "/spec/template/spec/containers", "not a list"),
        ({"containers": ["c"]}, "/spec/template/spec/containers/0", "not a mapping"),
        ({"containers": [{"image": ["a"]}]}, "/spec/template/spec/containers/0/image", "write a text"),
        ({"containers": [{"command": "sh -c evil"}]}, "/spec/template/spec/containers/0/command", "not a list"),
        ({"containers": [{"env": 5}]}, "/spec/template/spec/containers/0/env", "not a list"),
        ({"containers": [{"resources": []}]}, "/spec/template/spec/containers/0/resources", "not a mapping"),
        (gpu_pod(affinity=affinity({"matchExpressions": [5]})), "", "matchExpression"),
        (gpu_pod(affinity=affinity({"matchExpressions": 5})), "matchExpressions", "not a list"),
    ],
)  # fmt: skip
def test_what_kubernetes_would_refuse_is_refused_with_its_place(pod: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(DeclarationError, match=what) as caught:
        workload(deployment(pod))
    assert where in caught.value.where


def test_a_model_address_that_is_not_text_is_refused_and_not_overlooked() -> None:
    with pytest.raises(DeclarationError, match="storageUri"):
        workload(service({"model": {"storageUri": ["pvc://m/a"]}}))
