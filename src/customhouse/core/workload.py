"""Workloads: one typed reading of the kinds that run something, shared by policy, prices, placement and targets.

Kinds: KServe InferenceService, Pod, Deployment, StatefulSet, ReplicaSet, DaemonSet, Job, CronJob. Kubernetes'
documented defaults are filled in (requests follow limits; replicas 1; InferenceService minReplicas 1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse._kit.quantity import QuantityError, parse_bytes, parse_count, parse_milli
from customhouse.core.errors import DeclarationError
from customhouse.core.evidence import ArtifactRef
from customhouse.core.resource import PREFIX, Manifest, ResourceRef

MODEL_DIGEST = PREFIX + "model-digest"
"""Annotation that pins what a storageUri must hold when the URI itself cannot (`pvc://`, `s3://`)."""

UNKNOWN_ACCELERATOR = "unknown"

_TEMPLATES: Mapping[str, str] = {
    "Pod": "",
    "Deployment": "/spec/template",
    "StatefulSet": "/spec/template",
    "ReplicaSet": "/spec/template",
    "DaemonSet": "/spec/template",
    "Job": "/spec/template",
    "CronJob": "/spec/jobTemplate/spec/template",
}
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Pod": ("",),
    "Deployment": ("apps",),
    "StatefulSet": ("apps",),
    "ReplicaSet": ("apps",),
    "DaemonSet": ("apps",),
    "Job": ("batch",),
    "CronJob": ("batch",),
    "InferenceService": ("serving.kserve.io", "serving.kubeflow.org"),  # the second is the name before KServe
}
_ACCELERATOR_LABELS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "amd.com/gpu.product-name",
    PREFIX + "accelerator",
)
# Order matters: the first marker that stands by itself in the upper-cased label value names the class (no L4: an L40).
_ACCELERATOR_MARKERS = (
    ("GB200", "GB200"),
    ("B300", "B300"),
    ("B200", "B200"),
    ("H200", "H200"),
    ("H100", "H100"),
    ("A100-80GB", "A100-80GB"),
    ("A100-SXM4-80GB", "A100-80GB"),
    ("A100-PCIE-80GB", "A100-80GB"),
    ("A100-SXM4-40GB", "A100-40GB"),
    ("A100-PCIE-40GB", "A100-40GB"),
    ("A100", "A100-40GB"),
    ("A10G", "A10G"),
    ("A10", "A10"),
    ("L40S", "L40S"),
    ("L4", "L4"),
    ("T4G", "T4G"),
    ("T4", "T4"),
    ("V100", "V100"),
    ("P100", "P100"),
    ("P4", "P4"),
    ("K80", "K80"),
    ("MI300X", "MI300X"),
)
_NO_ACCELERATORS = (
    "rdma/",
    "vpc.amazonaws.com/",
    "networking.gke.io.networks/",
    "openshift.io/",
    "devices.kubevirt.io/",
    "smarter-devices/",
    "requests.",
    "limits.",
)
"""Extended resources that come with the machine: network devices and the like."""
_LABELLED = ("nvidia.com/", "amd.com/", "gpu.intel.com/")
"""Makers whose node labels name the class; the devices of others are their own class."""
_SPOT_LABELS: Mapping[str, str] = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-provisioning": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
    PREFIX + "capacity": "spot",
}


@dataclass(frozen=True, slots=True)
class Container:
    """One container. CPU in millicores, memory in bytes; 0 means: not set. `pointer` is its place in the manifest."""

    name: str
    image: str
    pointer: str
    cpu_request: int
    cpu_limit: int
    memory_request: int
    memory_limit: int
    accelerators: int
    init: bool = False
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    """Names of the extended resources that `accelerators` counts."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Literal values only; values by reference are not resolved here."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What one object runs. `pod_pointer` is the JSON pointer of the pod spec (the predictor for KServe)."""

    ref: ResourceRef
    pod_pointer: str
    pod: Mapping[str, Any]
    containers: tuple[Container, ...]
    replicas_min: int
    replicas_max: int
    accelerator: str | None
    """GPU class (`H100`, `A100-80GB` …), `unknown` when GPUs are asked for without naming one, None without GPUs."""
    spot: bool
    batch: bool
    artifacts: tuple[ArtifactRef, ...]

    @property
    def cpu(self) -> int:
        """Millicores one replica reserves: the sum of its containers, or its largest init container."""
        return _effective(self.containers, lambda c: c.cpu_request)

    @property
    def memory(self) -> int:
        """Bytes one replica reserves."""
        return _effective(self.containers, lambda c: c.memory_request)

    @property
    def accelerators(self) -> int:
        """Whole accelerators of one replica."""
        return _effective(self.containers, lambda c: c.accelerators)


def workload(manifest: Manifest, ref: ResourceRef | None = None) -> Workload | None:
    """The workload that a manifest declares; None for kinds that run nothing.

    Raises DeclarationError (with the JSON pointer in `where`) for a spec that Kubernetes would refuse.
    """
    kind = manifest.get("kind")
    if not isinstance(kind, str):
        raise DeclarationError(f"kind is {kind!r}; write a text", where="/kind")
    group, slash, _ = str(manifest.get("apiVersion", "")).rpartition("/")
    if kind not in _GROUPS or (group if slash else "") not in _GROUPS[kind]:
        return None
    ref = ref or ResourceRef.of(manifest)
    if kind == "InferenceService":
        return _inference_service(manifest, ref)
    pointer = _TEMPLATES[kind]
    template = _at(manifest, pointer)
    pod = _mapping(template, "spec", pointer)
    pod_pointer = f"{pointer}/spec"
    containers = tuple(_containers(pod, pod_pointer))
    low, high = _replicas(kind, manifest)
    return Workload(
        ref=ref,
        pod_pointer=pod_pointer,
        pod=pod,
        containers=containers,
        replicas_min=low,
        replicas_max=high,
        accelerator=_accelerator(pod, containers),
        spot=_spot(pod),
        batch=kind in ("Job", "CronJob"),
        artifacts=tuple(_images(containers)),
    )


def _inference_service(manifest: Manifest, ref: ResourceRef) -> Workload:
    spec = _mapping(manifest, "spec", "")
    # v1alpha2 kept the same components one level down, and a second set for the canary.
    roots = [("/spec", spec)] + [(f"/spec/{key}", _mapping(spec, key, "/spec")) for key in ("default", "canary")]
    places = [place for place, root in roots if root.get("predictor") is not None]
    if not places:
        raise DeclarationError("an InferenceService without a predictor", where="/spec/predictor")
    containers: list[Container] = []
    artifacts: list[ArtifactRef] = []
    # A transformer and an explainer are pods beside the predictor: their images and needs are the release's too.
    for place, root in roots:
        for name in ("predictor", "transformer", "explainer"):
            more, others = _component(manifest, _mapping(root, name, place), f"{place}/{name}")
            containers.extend(more)
            artifacts.extend(others)
    pointer = f"{places[0]}/predictor"
    predictor = _at(manifest, pointer)
    low = _count(predictor, "minReplicas", pointer, default=1)
    high = _count(predictor, "maxReplicas", pointer, default=0)
    return Workload(
        ref=ref,
        pod_pointer=pointer,
        pod=predictor,
        containers=tuple(containers),
        replicas_min=low,
        # KServe: a missing or zero maxReplicas means no upper bound of its own; the declared minimum is what is known.
        replicas_max=max(low, high, 1),
        accelerator=_accelerator(predictor, containers),
        spot=_spot(predictor),
        batch=False,
        artifacts=tuple(artifacts),
    )


def _component(
    manifest: Manifest, component: Mapping[str, Any], pointer: str
) -> tuple[list[Container], list[ArtifactRef]]:
    """The containers and artifacts of one component of an InferenceService; the model's own container first."""
    containers = list(_containers(component, pointer))
    worker = _mapping(component, "workerSpec", pointer)
    containers.extend(_containers(worker, f"{pointer}/workerSpec"))
    custom = _mapping(component, "custom", pointer)
    if custom.get("container") is not None:  # v1alpha2
        place = f"{pointer}/custom/container"
        containers.append(_container(_mapping(custom, "container", f"{pointer}/custom"), place, init=False, name=""))
    artifacts: list[ArtifactRef] = []
    for key in (key for key in component if _is_model(key, component[key])):
        place = f"{pointer}/{key}"
        model = _mapping(component, key, pointer)
        containers.insert(0, _container(model, place, init=False, name="kserve-container"))
        artifacts.extend(_model_artifact(manifest, model, place))
    artifacts.extend(_images(containers))
    return containers, artifacts


def _is_model(key: str, value: Any) -> bool:
    return key == "model" or (isinstance(value, Mapping) and "storageUri" in value)


def _model_artifact(manifest: Manifest, model: Mapping[str, Any], pointer: str) -> Iterator[ArtifactRef]:
    uri = _text(model, "storageUri", pointer)
    if not uri:
        return
    annotations = _mapping(_mapping(manifest, "metadata", ""), "annotations", "/metadata")
    _, at, tail = uri.rpartition("@")
    pinned = tail if at and is_digest(tail) else str(annotations.get(MODEL_DIGEST, ""))
    digest = pinned if is_digest(pinned) else None
    yield ArtifactRef("model", uri, digest, digest is not None, f"{pointer}/storageUri")


def _images(containers: tuple[Container, ...] | list[Container]) -> Iterator[ArtifactRef]:
    for container in containers:
        if container.image:
            _, at, tail = container.image.rpartition("@")
            digest = tail if at and is_digest(tail) else None
            yield ArtifactRef("image", container.image, digest, digest is not None, f"{container.pointer}/image")


def _containers(pod: Mapping[str, Any], pointer: str) -> Iterator[Container]:
    for key in ("initContainers", "containers"):
        for index, item in enumerate(_list(pod, key, pointer)):
            place = f"{pointer}/{key}/{index}"
            if not isinstance(item, Mapping):
                raise DeclarationError("a container is not a mapping", where=place)
            yield _container(item, place, init=key == "initContainers", name=_text(item, "name", place))


def _container(item: Mapping[str, Any], pointer: str, *, init: bool, name: str) -> Container:
    resources = _mapping(item, "resources", pointer)
    limits = _mapping(resources, "limits", f"{pointer}/resources")
    requests = {**limits, **_mapping(resources, "requests", f"{pointer}/resources")}
    place = f"{pointer}/resources"
    # A sidecar (initContainer with restartPolicy Always) runs beside the others, so it counts with them.
    return Container(
        name=name,
        image=_text(item, "image", pointer),
        pointer=pointer,
        cpu_request=_read(parse_milli, requests, "cpu", place),
        cpu_limit=_read(parse_milli, limits, "cpu", place),
        memory_request=_read(parse_bytes, requests, "memory", place),
        memory_limit=_read(parse_bytes, limits, "memory", place),
        accelerators=sum(_read(parse_count, requests, key, place) for key in requests if _is_accelerator(key)),
        devices=tuple(sorted(key for key in requests if _is_accelerator(key))),
        init=init and item.get("restartPolicy") != "Always",
        command=tuple(str(word) for word in _list(item, "command", pointer)),
        arguments=tuple(str(word) for word in _list(item, "args", pointer)),
        environment={
            str(entry["name"]): str(entry.get("value", ""))
            for entry in _list(item, "env", pointer)
            if isinstance(entry, Mapping) and "name" in entry and "valueFrom" not in entry
        },
    )


def _is_accelerator(resource: str) -> bool:
    """Every extended resource counts as an accelerator unless it is known to cost nothing by itself.

    A list of what is one would make the next maker's accelerator free.
    """
    return "/" in resource and not resource.startswith(_NO_ACCELERATORS)


def _read(parse: Callable[[Any], int], values: Mapping[str, Any], key: str, pointer: str) -> int:
    if values.get(key) is None:
        return 0
    try:
        value = parse(values[key])
    except QuantityError as error:
        raise DeclarationError(f"{key}: {error}", where=pointer) from error
    if value < 0:
        raise DeclarationError(f"{key} is negative", where=pointer)
    return value


def _replicas(kind: str, manifest: Manifest) -> tuple[int, int]:
    spec = _mapping(manifest, "spec", "")
    if kind == "Job":
        count = _count(spec, "parallelism", "/spec", default=1)
        return count, count
    if kind == "CronJob":
        job = _mapping(_mapping(spec, "jobTemplate", "/spec"), "spec", "/spec/jobTemplate")
        count = _count(job, "parallelism", "/spec/jobTemplate/spec", default=1)
        return count, count
    count = 1 if kind == "Pod" else _count(spec, "replicas", "/spec", default=1)
    return count, count


def _count(values: Mapping[str, Any], key: str, pointer: str, default: int) -> int:
    value = values.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DeclarationError(f"{key} is {value!r}; write a whole number", where=f"{pointer}/{key}")
    return value


def _accelerator(pod: Mapping[str, Any], containers: tuple[Container, ...] | list[Container]) -> str | None:
    if not any(container.accelerators for container in containers):
        return None
    for device in (device for container in containers for device in container.devices):
        if not device.startswith(_LABELLED):
            return device
    for value in _node_values(pod, _ACCELERATOR_LABELS):
        upper = value.upper()
        return next((name for marker, name in _ACCELERATOR_MARKERS if _stands_alone(marker, upper)), value)
    return UNKNOWN_ACCELERATOR


def _stands_alone(marker: str, text: str) -> bool:
    return re.search(rf"(?<![A-Z0-9]){re.escape(marker)}(?![A-Z0-9])", text) is not None


def _spot(pod: Mapping[str, Any]) -> bool:
    return any(
        value.lower() == wanted.lower() for key, wanted in _SPOT_LABELS.items() for value in _node_values(pod, (key,))
    )


def _node_values(pod: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    """Values that node selection *requires* for some label: nodeSelector, or required affinity with one value."""
    selector = _mapping(pod, "nodeSelector", "")
    for key in keys:
        if key in selector:
            yield str(selector[key])
    affinity = _mapping(_mapping(pod, "affinity", ""), "nodeAffinity", "")
    required = _mapping(affinity, "requiredDuringSchedulingIgnoredDuringExecution", "")
    terms = _list(required, "nodeSelectorTerms", "")
    if len(terms) != 1 or not isinstance(terms[0], Mapping):  # terms are alternatives: with several, none is required
        return
    for expression in _list(terms[0], "matchExpressions", ""):
        if not isinstance(expression, Mapping):
            raise DeclarationError("a matchExpression is not a mapping")
        values = _list(expression, "values", "")
        if expression.get("key") in keys and expression.get("operator") == "In" and len(values) == 1:
            yield str(values[0])


def _effective(containers: tuple[Container, ...], read: Callable[[Container], int]) -> int:
    running = sum(read(container) for container in containers if not container.init)
    return max([running, *(read(container) for container in containers if container.init)])


def _mapping(values: Any, key: str, pointer: str) -> Mapping[str, Any]:
    value = values.get(key) if isinstance(values, Mapping) else None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DeclarationError(f"{key} is not a mapping", where=f"{pointer}/{key}")
    return value


def _list(values: Mapping[str, Any], key: str, pointer: str) -> Sequence[Any]:
    value = values.get(key)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise DeclarationError(f"{key} is not a list", where=f"{pointer}/{key}")
    return value


def _text(values: Mapping[str, Any], key: str, pointer: str) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DeclarationError(f"{key} is {value!r}; write a text", where=f"{pointer}/{key}")
    return value


def _at(manifest: Manifest, pointer: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = manifest
    place = ""
    for part in pointer.split("/")[1:]:
        value = _mapping(value, part, place)
        place += f"/{part}"
    return value
