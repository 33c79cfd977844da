"""What an InferenceService and a Job ask of a target that runs them as processes: typed, checked, nothing guessed.

What this reading does not understand it refuses with the JSON pointer; a setting that would be ignored silently is a
promise broken.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse._kit.digest import is_digest, json_digest
from customhouse.core.errors import DeclarationError
from customhouse.core.kpa import ScaleRule
from customhouse.core.resource import PREFIX, Manifest, ResourceRef
from customhouse.core.serverless import kserve
from customhouse.core.workload import Container, Workload, workload

_NOT_TEMPLATE = ("minReplicas", "maxReplicas", "canaryTrafficPercent", "canary")
_CLAIM = re.compile(r"pvc://([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(?:/(.*?))?(?:@sha256:[0-9a-f]{64})?")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KEEP = PREFIX + "rollout-keep"
"""Set while all of the traffic is on trial (control.rollout_plan)."""
DEFAULT_TIMEOUT_S = 30
DEFAULT_QUEUE = 64
DEFAULT_GRACE_S = 30
"""Kubernetes' own `terminationGracePeriodSeconds`."""
CHECKPOINT = PREFIX + "checkpoint"
CHECKPOINT_VARIABLE = "CUSTOMHOUSE_CHECKPOINT_DIR"


@dataclass(frozen=True, slots=True)
class Serving:
    """One predictor, ready to run. `release` names its revision; memory in bytes, CPU in millicores, 0: no limit."""

    namespace: str
    name: str
    release: str
    storage_uri: str
    claim: str
    path: str
    digest: str
    cpu_limit: int
    memory_limit: int
    replicas: int
    percent: int | None
    """Share of the traffic in percent while it is on trial, the version before kept running; None: all of it."""
    timeout_s: int
    queue: int
    scale: ScaleRule | None = None
    """How it follows its requests; None: always `replicas`."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder that a Job sees at `path`: of a claim (below `sub_path`), or empty and its own (`claim` is None)."""

    path: str
    claim: str | None
    sub_path: str


@dataclass(frozen=True, slots=True)
class JobRun:
    """One Job, ready to run. `digest` is that of its spec: the same digest is never run twice."""

    namespace: str
    name: str
    digest: str
    image: str
    image_digest: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, tuple[str, str]]
    """Variable → (secret, key); resolved when it starts, never written."""
    mounts: tuple[Mount, ...]
    deadline_s: int | None
    retries: int
    cpu_limit: int
    memory_limit: int
    grace_s: int = DEFAULT_GRACE_S
    """Seconds that it gets to end when it is asked to."""
    checkpoint: str = ""
    """Where it saves its state when it is asked to end, and goes on from; empty: it saves nothing."""


def release_of(manifest: Manifest) -> str:
    """The digest that names the revision of an InferenceService.

    It covers the predictor without replica counts and traffic share, and the pinned model digest. Two manifests with
    the same release run the same thing; scaling or moving traffic makes no new revision. Raises DeclarationError.
    """
    work = _work(manifest)
    predictor = {key: value for key, value in work.pod.items() if key not in _NOT_TEMPLATE}
    models = [artifact.digest for artifact in work.artifacts if artifact.role == "model"]
    return json_digest({"predictor": predictor, "digest": models[0] if models else None})


def serving(manifest: Manifest) -> Serving:
    """Read an InferenceService of modelFormat onnx. Raises DeclarationError for what cannot be served as declared."""
    work = _work(manifest)
    spec = manifest["spec"]
    for key in ("transformer", "explainer"):
        if spec.get(key):
            raise DeclarationError(f"the local target runs no {key}", where=f"/spec/{key}")
    models = [artifact for artifact in work.artifacts if artifact.role == "model"]
    if not models:
        raise DeclarationError("no model with a storageUri", where="/spec/predictor/model")
    artifact = models[0]
    model_pointer = artifact.pointer.rpartition("/")[0]
    model = work.pod[model_pointer.rpartition("/")[2]]
    kind = (model.get("modelFormat") or {}).get("name") if "modelFormat" in model else model_pointer.rpartition("/")[2]
    if kind != "onnx":
        raise DeclarationError(f"the local target serves onnx, not {kind}", where=f"{model_pointer}/modelFormat/name")
    match = _CLAIM.fullmatch(artifact.reference)
    if match is None:
        raise DeclarationError(
            f"{artifact.reference} is not pvc://CLAIM/PATH",
            where=artifact.pointer,
            hint="the local target reads models from folders that customhouse.yaml names as volumes",
        )
    if artifact.digest is None:
        raise DeclarationError(
            "the model's digest is not pinned",
            where=artifact.pointer,
            hint="add the annotation customhouse.dev/model-digest: sha256:…",
        )
    scaled = kserve(manifest)
    if scaled is not None and not scaled.rule.maximum:
        raise DeclarationError(
            "scales by its requests without an upper end",
            where="/spec/predictor/maxReplicas",
            hint="declare maxReplicas: this machine is not unbounded",
        )
    container = next(c for c in work.containers if c.pointer == model_pointer)
    ref = work.ref
    return Serving(
        namespace=_dns(ref.namespace, "/metadata/namespace"),
        name=_dns(ref.name, "/metadata/name"),
        release=release_of(manifest),
        storage_uri=artifact.reference,
        claim=match[1],
        path=_confined(match[3] or "", artifact.pointer),
        digest=artifact.digest,
        cpu_limit=container.cpu_limit,
        memory_limit=container.memory_limit,
        replicas=work.replicas_min if scaled is None else scaled.rule.minimum,
        percent=_percent(work.pod, kept=_annotations(manifest).get(_KEEP) == "stable"),
        timeout_s=_whole(work.pod, "timeout", "/spec/predictor", default=DEFAULT_TIMEOUT_S, low=1, high=3600),
        queue=_whole(work.pod, "containerConcurrency", "/spec/predictor", default=0, low=0, high=10_000)
        or DEFAULT_QUEUE,
        scale=None if scaled is None else scaled.rule,
    )


def job_run(manifest: Manifest) -> JobRun:
    """Read a batch/v1 Job with one container. Raises DeclarationError for what cannot be run as declared."""
    work = _work(manifest)
    containers = work.containers
    if len(containers) != 1:
        raise DeclarationError(
            f"{len(containers)} containers; the local target runs Jobs of one", where=f"{work.pod_pointer}/containers"
        )
    container = containers[0]
    raw = work.pod["containers"][0]
    image, at, digest = container.image.rpartition("@")
    if not at or not is_digest(digest):
        raise DeclarationError(
            f"the image {container.image!r} is not pinned",
            where=f"{container.pointer}/image",
            hint="write name@sha256:…",
        )
    spec = manifest["spec"]
    for key in ("parallelism", "completions"):
        if spec.get(key, 1) != 1:
            raise DeclarationError(f"the local target runs one pod a Job, not {spec[key]}", where=f"/spec/{key}")
    if spec.get("suspend"):
        raise DeclarationError("the local target does not hold suspended Jobs", where="/spec/suspend")
    words = (*container.command, *container.arguments)
    if not container.command:
        raise DeclarationError(
            "no command",
            where=f"{container.pointer}/command",
            hint="an image folder has no entry point; name the program",
        )
    deadline = spec.get("activeDeadlineSeconds")
    mounts = tuple(_mounts(work, raw, container))
    return JobRun(
        namespace=_dns(work.ref.namespace, "/metadata/namespace"),
        name=_dns(work.ref.name, "/metadata/name"),
        digest=json_digest({"name": work.ref.name, "namespace": work.ref.namespace, "spec": spec}),
        image=re.sub(r":[\w.-]+$", "", image),
        image_digest=digest,
        words=words,
        environment=container.environment,
        secrets=dict(_secrets(raw, container)),
        mounts=mounts,
        deadline_s=None
        if deadline is None
        else _whole(spec, "activeDeadlineSeconds", "/spec", default=0, low=1, high=10**7),
        retries=_whole(spec, "backoffLimit", "/spec", default=6, low=0, high=100),
        cpu_limit=container.cpu_limit,
        memory_limit=container.memory_limit,
        grace_s=_whole(
            work.pod, "terminationGracePeriodSeconds", work.pod_pointer, default=DEFAULT_GRACE_S, low=0, high=86_400
        ),
        checkpoint=_checkpoint(spec, mounts),
    )


def _checkpoint(spec: Mapping[str, Any], mounts: tuple[Mount, ...]) -> str:
    """The path of the annotation. Raises DeclarationError where what is saved there would be lost with the run."""
    template = spec.get("template")
    metadata = template.get("metadata") if isinstance(template, Mapping) else None
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    path = annotations.get(CHECKPOINT) if isinstance(annotations, Mapping) else None
    if not path:
        return ""
    where = "/spec/template/metadata/annotations/customhouse.dev~1checkpoint"
    if not isinstance(path, str) or not path.startswith("/") or posixpath.normpath(path) != path:
        raise DeclarationError(f"the checkpoint path {path!r} is not a plain absolute path", where=where)
    kept = [mount.path for mount in mounts if mount.claim is not None]
    if not any(path == mount or path.startswith(mount + "/") for mount in kept):
        raise DeclarationError(
            f"nothing that is saved at {path} outlives the run",
            where=where,
            hint="mount a persistentVolumeClaim there",
        )
    return path


def _work(manifest: Manifest) -> Workload:
    work = workload(manifest, ResourceRef.of(manifest))
    if work is None:
        raise DeclarationError(f"{manifest.get('kind')} runs nothing")
    return work


def _secrets(raw: Mapping[str, Any], container: Container) -> Iterator[tuple[str, tuple[str, str]]]:
    if raw.get("envFrom"):
        raise DeclarationError("envFrom is not read", where=f"{container.pointer}/envFrom", hint="name each variable")
    for index, entry in enumerate(raw.get("env") or ()):
        if "valueFrom" not in entry:
            continue
        reference = (entry["valueFrom"] or {}).get("secretKeyRef")
        if not isinstance(reference, Mapping) or not reference.get("name") or not reference.get("key"):
            raise DeclarationError("only secretKeyRef is resolved", where=f"{container.pointer}/env/{index}/valueFrom")
        yield str(entry["name"]), (str(reference["name"]), str(reference["key"]))


def _mounts(work: Workload, raw: Mapping[str, Any], container: Container) -> Iterator[Mount]:
    volumes = {volume.get("name"): volume for volume in work.pod.get("volumes") or ()}
    for index, mount in enumerate(raw.get("volumeMounts") or ()):
        where = f"{container.pointer}/volumeMounts/{index}"
        volume = volumes.get(mount.get("name"))
        if volume is None:
            raise DeclarationError(f"no volume {mount.get('name')!r}", where=where)
        path = str(mount.get("mountPath", "")).rstrip("/")
        if not path.startswith("/") or posixpath.normpath(path) != path:
            raise DeclarationError(f"mountPath {path!r} is not a plain absolute path", where=f"{where}/mountPath")
        sub_path = _confined(str(mount.get("subPath", "")), f"{where}/subPath")
        if "persistentVolumeClaim" in volume:
            yield Mount(path, str(volume["persistentVolumeClaim"].get("claimName", "")), sub_path)
        elif "emptyDir" in volume:
            yield Mount(path, None, sub_path)
        else:
            raise DeclarationError("only persistentVolumeClaim and emptyDir volumes are mounted", where=where)


def _annotations(manifest: Manifest) -> Mapping[str, Any]:
    found = manifest["metadata"].get("annotations")
    return found if isinstance(found, Mapping) else {}


def _percent(predictor: Mapping[str, Any], *, kept: bool = False) -> int | None:
    value = predictor.get("canaryTrafficPercent")
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= 100:
        raise DeclarationError(
            f"canaryTrafficPercent is {value!r}; write 0 to 100", where="/spec/predictor/canaryTrafficPercent"
        )
    return None if value == 100 and not kept else value


def _whole(values: Mapping[str, Any], key: str, pointer: str, *, default: int, low: int, high: int) -> int:
    value = values.get(key)
    if value is None:
        return default
    if type(value) is not int or not low <= value <= high:
        raise DeclarationError(f"{key} is {value!r}; write {low} to {high}", where=f"{pointer}/{key}")
    return value


def _dns(name: str, pointer: str) -> str:
    if not _DNS_LABEL.fullmatch(name):
        raise DeclarationError(f"{name!r} is not a DNS label", where=pointer)
    return name


def _confined(path: str, pointer: str) -> str:
    """A relative path without a way out. Raises DeclarationError."""
    clean = path.strip("/")
    if "\0" in path or any(part in ("..", ".", "") for part in clean.split("/") if clean):
        raise DeclarationError(f"the path {path!r} leads out of its volume", where=pointer)
    return clean
