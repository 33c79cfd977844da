"""Every kind of the table, and what no table knows: where its pods are, how many, and what they load."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from customhouse.core.errors import DeclarationError
from customhouse.core.kinds import KINDS
from customhouse.core.podsets import PodSet, pod_sets
from customhouse.core.workload import models_of, workload
from kind_samples import SAMPLES, Sample


def sets(manifest: dict[str, Any]) -> tuple[PodSet, ...]:
    return pod_sets(manifest, manifest["apiVersion"], manifest["kind"])


def thing(spec: Any, kind: str = "Thing", group: str = "example.org/v1", **more: Any) -> dict[str, Any]:
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "x", **more}, "spec": spec}


def pod(**resources: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "r/c:1", "resources": {"limits": resources}}]}


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_every_kind_has_its_pods_where_the_table_says(sample: Sample) -> None:
    found = sets(sample.manifest())
    assert tuple((one.name, one.replicas_min, one.replicas_max, one.accelerators) for one in found) == sample.runs
    assert not any(one.found for one in found)


def test_every_row_of_the_table_has_a_sample_or_is_one_of_few() -> None:
    shown = {(s.api_version.rpartition("/")[0], s.kind) for s in SAMPLES}
    left = {key for key in KINDS if key not in shown and KINDS[key].pods}
    assert left == {
        *(("extensions", kind) for kind in ("Deployment", "ReplicaSet", "DaemonSet")),
        ("serving.kubeflow.org", "InferenceService"),
        ("serving.kserve.io", "LLMInferenceServiceConfig"),
        ("serving.kserve.io", "ClusterStorageContainer"),
        ("mlops.seldon.io", "ServerConfig"),
        ("kubeflow.org", "MXJob"),
        ("kubeflow.org", "Notebook"),
        *(("trainer.kubeflow.org", kind) for kind in ("TrainingRuntime", "ClusterTrainingRuntime")),
        ("serving.knative.dev", "Configuration"),
        ("argoproj.io", "Experiment"),
        ("argoproj.io", "ClusterWorkflowTemplate"),
    }


@pytest.mark.parametrize(
    ("spec", "pointers"),
    [
        ({"template": {"spec": pod()}}, ["/spec/template/spec"]),
        ({"tasks": [{"steps": [{"image": "r/a", "name": "a"}]}]}, ["/spec/tasks/0"]),
        ({"deep": [[{"er": {"engines": [{"image": "r/a", "args": []}]}}]]}, ["/spec/deep/0/0/er"]),
        ({"job": {"image": "r/a", "command": ["x"]}}, ["/spec/job"]),
        ({"a": {"spec": pod()}, "b": {"spec": pod()}}, ["/spec/a/spec", "/spec/b/spec"]),
        ({"containers": [{"securityContext": {"privileged": True}}]}, ["/spec"]),
        ({"images": [{"name": "x", "newTag": "1"}]}, []),
        ({"image": "only/a-picture"}, []),
        ({"containers": "text"}, []),
    ],
)
def test_pods_in_a_kind_nobody_knows_are_found_by_their_look(spec: Any, pointers: list[str]) -> None:
    assert [one.pointer for one in sets(thing(spec))] == pointers


def test_a_pod_outside_of_the_spec_and_beside_a_known_place_is_found_too() -> None:
    assert [one.pointer for one in sets({**thing({}), "template": {"spec": pod()}})] == ["/template/spec"]
    rollout = thing({"template": {"spec": pod()}, "shadow": {"spec": pod()}}, "Rollout", "argoproj.io/v1alpha1")
    assert [(one.pointer, one.found) for one in sets(rollout)] == [
        ("/spec/template/spec", False),
        ("/spec/shadow/spec", True),
    ]


def test_counts_beside_pods_of_an_unknown_kind_multiply() -> None:
    spec = {"replicas": 2, "groups": [{"minReplicas": 3, "maxReplicas": 5, "pod": pod()}, {"parallelism": 4, **pod()}]}
    assert [(one.replicas_min, one.replicas_max) for one in sets(thing(spec))] == [(6, 10), (8, 8)]


def test_a_kind_of_the_table_under_another_group_is_an_unknown_one() -> None:
    found = sets(thing({"template": {"spec": pod()}}, "Deployment"))
    assert [one.found for one in found] == [True]
    assert workload(thing({"template": {"spec": pod()}}, "Deployment")) is None


def test_an_object_of_thousands_of_pods_is_refused() -> None:
    with pytest.raises(DeclarationError, match="more than 500 sets"):
        sets(thing([pod() for _ in range(600)]))
    with pytest.raises(DeclarationError, match="more than 500 sets"):
        sets(thing({"podSets": [{"template": {"spec": pod()}} for _ in range(600)]}, "Workload", "kueue.x-k8s.io/v1"))


@pytest.mark.parametrize("value", ["many", -1, True, 1.5, [1], "1.5", "٣"])
def test_a_count_that_is_no_whole_number_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        sets(thing({"replicas": value, "template": {"spec": pod()}}, "Rollout", "argoproj.io/v1alpha1"))
    assert caught.value.where == "/spec/replicas"


@pytest.mark.parametrize(
    ("limits", "selector", "classes", "share"),
    [
        ({"nvidia.com/gpu": 2}, "NVIDIA-H100-80GB-HBM3", ("H100",), Fraction(2)),
        ({"nvidia.com/mig-1g.10gb": 1}, "NVIDIA-H100-80GB-HBM3", ("H100",), Fraction(1, 7)),
        ({"nvidia.com/mig-3g.40gb": 2}, "NVIDIA-A100-SXM4-80GB", ("A100-80GB",), Fraction(1)),
        ({"nvidia.com/mig-7g.80gb": 1}, "NVIDIA-A100-SXM4-80GB", ("A100-80GB",), Fraction(1)),
        ({"nvidia.com/mig-1g.10gb": 1}, "NVIDIA-L4", ("L4",), None),
        ({"nvidia.com/mig-1g.10gb": 1}, None, ("unknown",), None),
        ({"nvidia.com/gpu": 1}, "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", ("A100-40GB",), Fraction(1, 7)),
        ({"nvidia.com/gpu": 1}, "Tesla-T4-SHARED", ("T4",), None),
        ({"nvidia.com/gpu.shared": 1}, "NVIDIA-L4", ("L4",), None),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpucores": 30}, "NVIDIA-L4", ("L4",), Fraction(3, 10)),
        ({"nvidia.com/gpu": 2, "nvidia.com/gpumem-percentage": 50}, "NVIDIA-L4", ("L4",), Fraction(1)),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpumem": 3000}, "NVIDIA-L4", ("L4",), None),
        ({"aliyun.com/gpu-mem": 8}, None, ("unknown",), None),
        ({"koordinator.sh/gpu-core": 50}, None, ("unknown",), Fraction(1, 2)),
        ({"aws.amazon.com/neuron": 16}, None, ("aws.amazon.com/neuron",), Fraction(16)),
        ({"habana.ai/gaudi": 8}, None, ("habana.ai/gaudi",), Fraction(8)),
        ({"google.com/tpu": 4}, None, ("google.com/tpu",), Fraction(4)),
        ({"gpu.intel.com/i915": 1}, None, ("unknown",), Fraction(1)),
        ({"rdma/ib": 1}, None, (), Fraction(0)),
        ({"nvidia.com/gpu": 0}, None, (), Fraction(0)),
    ],
)
def test_accelerators_are_counted_in_whole_cards_or_not_at_all(
    limits: dict[str, Any], selector: str | None, classes: tuple[str, ...], share: Fraction | None
) -> None:
    spec = pod(**limits)
    if selector:
        spec["nodeSelector"] = {"nvidia.com/gpu.product": selector}
    (one,) = sets(thing({"template": {"spec": spec}}, "Deployment", "apps/v1"))
    assert (one.accelerator_classes, one.accelerator_share) == (classes, share)


def test_a_tpu_has_the_class_that_the_node_label_names() -> None:
    spec = pod(**{"google.com/tpu": 4})
    spec["nodeSelector"] = {"cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice"}
    (one,) = sets(thing({"template": {"spec": spec}}, "Deployment", "apps/v1"))
    assert one.accelerator_classes == ("TPU-V5E",)


def test_two_classes_in_one_pod_are_both_told() -> None:
    spec = pod(**{"nvidia.com/gpu": 1, "google.com/tpu": 1})
    (one,) = sets(thing({"template": {"spec": spec}}, "Deployment", "apps/v1"))
    assert one.accelerator_classes == ("google.com/tpu", "unknown")


@pytest.mark.parametrize(
    ("image", "command", "arguments", "model", "pointer"),
    [
        ("vllm/vllm-openai:v0.9", [], ["--model", "meta-llama/L"], "meta-llama/L", "args/1"),
        ("vllm/vllm-openai:v0.9", [], ["--model=s3://b/m"], "s3://b/m", "args/0"),
        ("docker.io/vllm/vllm-openai", ["vllm", "serve", "org/m"], [], "org/m", "command/2"),
        ("r/vllm-openai", ["sh", "-c", "vllm serve org/m --port 80"], [], "org/m", "command/2"),
        ("nvcr.io/nvidia/tritonserver:25.01", ["tritonserver"], ["--model-repository=s3://b"], "s3://b", "args/0"),
        ("ghcr.io/huggingface/text-generation-inference:3", [], ["--model-id", "org/m"], "org/m", "args/1"),
        ("lmsysorg/sglang:v0.4", ["python", "-m", "x", "--model-path", "org/m"], [], "org/m", "command/4"),
        ("tensorflow/serving:2.16", [], ["--model_base_path=/models/a"], "/models/a", "args/0"),
        ("kserve/huggingfaceserver:v0.16", [], ["--model_dir=/mnt/models"], None, None),
        ("somebody/serving:1", [], ["--model_base_path=/models/a"], None, None),
        ("apexlogic.com/app:1", [], ["--model", "org/m"], None, None),
    ],
)
def test_models_in_the_arguments_of_known_servers_are_artifacts(
    image: str, command: list[str], arguments: list[str], model: str | None, pointer: str | None
) -> None:
    container = {"name": "c", "image": image, "command": command, "args": arguments}
    (one,) = sets(thing({"template": {"spec": {"containers": [container]}}}, "Deployment", "apps/v1"))
    models = [(a.reference, a.pointer.removeprefix("/spec/template/spec/containers/0/")) for a in one.artifacts[:-1]]
    assert models == ([] if model is None else [(model, pointer)])


def test_a_digest_annotation_pins_the_only_model_and_none_of_several() -> None:
    pin = "sha256:" + "a" * 64
    annotations = {"customhouse.dev/model-digest": pin}
    spec = {"model": {"uri": "s3://m/base"}, "template": pod()}
    one = thing(spec, "LLMInferenceService", "serving.kserve.io/v1alpha1", annotations=annotations)
    assert [artifact.digest for artifact in models_of(one)] == [pin]
    spec = {"model": {"uri": "s3://m/base", "lora": {"adapters": [{"uri": f"s3://m/a@{pin}"}]}}, "template": pod()}
    two = thing(spec, "LLMInferenceService", "serving.kserve.io/v1alpha1", annotations=annotations)
    assert [(artifact.reference[:8], artifact.digest) for artifact in models_of(two)] == [
        ("s3://m/b", None),
        ("s3://m/a", pin),
    ]


def test_a_leader_without_a_template_of_its_own_is_made_from_the_workers() -> None:
    spec = {"replicas": 2, "leaderWorkerTemplate": {"size": 4, "workerTemplate": {"spec": pod()}}}
    found = sets(thing(spec, "LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1"))
    assert [(one.name, one.replicas_min) for one in found] == [("worker", 8)]


def test_ranges_count_only_where_the_autoscaler_is_on() -> None:
    group = {"replicas": 2, "minReplicas": 0, "maxReplicas": 50, "template": {"spec": pod()}}
    spec: dict[str, Any] = {"headGroupSpec": {"template": {"spec": pod()}}, "workerGroupSpecs": [group]}
    fixed = sets(thing(spec, "RayCluster", "ray.io/v1"))[1]
    assert (fixed.replicas_min, fixed.replicas_max) == (2, 2)
    spec["enableInTreeAutoscaling"] = True
    scaled = sets(thing(spec, "RayCluster", "ray.io/v1"))[1]
    assert (scaled.replicas_min, scaled.replicas_max, scaled.bounded) == (0, 50, True)
    group["maxReplicas"] = 2**31 - 1
    unbounded = sets(thing(spec, "RayCluster", "ray.io/v1"))[1]
    assert (unbounded.replicas_max, unbounded.bounded) == (1, False)
