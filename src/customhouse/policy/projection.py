"""Typed projections: what of a Kubernetes object the policies see.

One pure function a kind. The fields that matter, the API server's documented defaults filled in, quantities as
integers (CPU millicores, memory bytes), list order kept, `status` and what servers and controllers write dropped: the
file in Git and the live object made from it give the same projection. Keys are snake_case. Values of Secrets never
appear in a projection, and a literal that looks like a credential is replaced by what it looks like (Facts are stored).

`spec.predictor.canaryTrafficPercent` is dropped on purpose: the rollout sets it on the live object, Git does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from customhouse._kit.canonical import MAX_SAFE_INTEGER, CanonicalError, canonical_json
from customhouse._kit.digest import json_digest
from customhouse._kit.quantity import QuantityError, parse_bytes
from customhouse.core.errors import CannotDecideError, DeclarationError
from customhouse.core.fields import escaped
from customhouse.core.remembering import remembered
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.workload import models_of
from customhouse.policy import projection_cluster, projection_content, reading
from customhouse.policy.limits import PLAIN, surely_within, written
from customhouse.policy.pods import project_workload
from customhouse.policy.projection_kinds import (
    inference_graph,
    labelled,
    limit_range,
    machines,
    persistent_volume,
    resource_claim,
    resource_quota,
    settled_body,
    without_defaults,
)
from customhouse.policy.reading import entries, flag, mapping, number, text
from customhouse.policy.serverless import serverless_facts

MAX_STRING = 64 * 1024
"""Longest string of a projection in UTF-8 bytes; the engines' text built-ins are super-linear on hostile strings."""
MAX_DOCUMENT = 1024 * 1024
"""Largest projection and largest Facts document, in bytes of canonical JSON."""
MAX_DEPTH = 100
"""Levels of an object; KServe's own CRDs have more than 32, and the engine's JSON reader stops at 128."""
CLUSTER_SCOPED = frozenset(
    {
        "APIService",
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterServingRuntime",
        "CustomResourceDefinition",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "RuntimeClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    }
)
# Written by kubectl and by controllers of Kubernetes itself (kubernetes.io/docs/reference/labels-annotations-taints).
_SERVER_ANNOTATIONS = (
    "kubectl.kubernetes.io/",
    "deployment.kubernetes.io/",
    "deprecated.daemonset.template.generation",
    "control-plane.alpha.kubernetes.io/",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "volume.beta.kubernetes.io/",
    "autoscaling.alpha.kubernetes.io/",
    "batch.kubernetes.io/",
    "endpoints.kubernetes.io/",
)
_SERVER_LABELS = (
    "kubernetes.io/metadata.name",
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/",
    "apps.kubernetes.io/pod-index",
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/",
)


def project(manifest: Manifest, ref: ResourceRef | None = None, *, part: bool = False) -> dict[str, Any]:
    """The projection of one object; `ref` is taken when the caller knows better than the manifest (its namespace).

    Raises DeclarationError for an object that Kubernetes would refuse to read, CannotDecideError for one that is too
    deep, or whose projection is too large or has a text of more than 64 KiB (the values of a ConfigMap may be longer).
    `part`: it becomes part of a document whose bounds are looked at as a whole.
    """
    if not remembered(_looked, manifest, "limits", None):
        _within_limits(manifest, "", 0, longest=None)
    try:
        ref = ref or ResourceRef.of(manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise DeclarationError("the object has no apiVersion, kind or metadata.name") from error
    metadata = mapping(manifest, "metadata", "")
    group, slash, _ = ref.api_version.rpartition("/")
    namespace = "" if ref.kind in CLUSTER_SCOPED else ref.namespace or "default"
    kind_projection = _KINDS.get((group if slash else "", ref.kind), _generic)
    result = {
        "api_version": ref.api_version,
        "kind": ref.kind,
        "namespace": namespace,
        "name": ref.name,
        "labels": _texts(labelled(manifest, ref.api_version, ref.kind), "labels", _SERVER_LABELS),
        "annotations": _texts(metadata, "annotations", _SERVER_ANNOTATIONS),
        "workload": project_workload(manifest, ref),
        "spec": kind_projection(manifest),
    }
    follows = serverless_facts(manifest, ref)
    if follows is not None:
        result["serverless"] = follows
    if not part:
        check_bounds(result, f"{ref}")
    return result


def is_typed(ref: ResourceRef) -> bool:
    """Whether a kind has a projection of its own; of any other all that is not known to be a default is one digest."""
    group, slash, _ = ref.api_version.rpartition("/")
    return (group if slash else "", ref.kind) in _KINDS


def is_plain(manifest: Manifest) -> bool:
    """Whether an object is surely within the limits and has no fractions: then its projection has none either."""
    return remembered(_looked, manifest, "limits", None) == PLAIN


def _looked(manifest: Manifest, *_: object) -> int:
    return surely_within(manifest, depth=MAX_DEPTH, longest=None, largest=MAX_SAFE_INTEGER)


def check_bounds(value: Any, what: str, plain: Sequence[Any] = ()) -> bytes:
    """The canonical JSON of a document that is not too large for the engines. Raises CannotDecideError.

    `plain` are parts of it that are projections of plain objects.
    """
    text = written(value, depth=MAX_DEPTH, plain=plain)
    if text is not None and len(text) <= MAX_STRING:  # no text in it can be longer than all of it
        return text
    _within_limits(value, "", 0, longest=MAX_STRING)
    try:
        text = canonical_json(value)
    except CanonicalError as error:
        raise CannotDecideError(f"{what} cannot be judged: {error}") from error
    if len(text) > MAX_DOCUMENT:
        raise CannotDecideError(
            f"{what} is {len(text)} bytes as canonical JSON; the limit is {MAX_DOCUMENT}", hint="split the object"
        )
    return text


def _within_limits(value: Any, pointer: str, depth: int, *, longest: int | None) -> None:
    if not depth and surely_within(value, depth=MAX_DEPTH, longest=longest, largest=MAX_SAFE_INTEGER):
        return
    if depth > MAX_DEPTH:
        raise CannotDecideError(f"nested more than {MAX_DEPTH} levels deep", where=pointer[:200])
    if isinstance(value, str):
        if longest is not None and len(value.encode("utf-8", "surrogatepass")) > longest:
            raise CannotDecideError(
                f"a text of more than {longest} bytes",
                where=pointer[:200],
                hint="keep it in a ConfigMap or an artifact",
            )
    elif isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise DeclarationError(f"the number {value} is beyond 2^53-1", where=pointer[:200])
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise DeclarationError(f"the key {key!r} is not text", where=pointer[:200])
            _within_limits(key, pointer, depth, longest=longest)
            _within_limits(item, f"{pointer}/{key[:64]}", depth + 1, longest=longest)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _within_limits(item, f"{pointer}/{index}", depth + 1, longest=longest)


def _texts(metadata: Mapping[str, Any], key: str, dropped: tuple[str, ...]) -> dict[str, str]:
    values = mapping(metadata, key, "/metadata")
    result: dict[str, str] = {}
    for name, value in values.items():
        if name.startswith(dropped):
            continue
        if not isinstance(value, str):
            raise DeclarationError(f"{name} is {value!r}; quote it: it has to be text", where=f"/metadata/{key}")
        result[name] = reading.redacted(name, value)
    return result


def _spec(manifest: Manifest) -> Mapping[str, Any]:
    return mapping(manifest, "spec", "")


def _inference_service(manifest: Manifest) -> dict[str, Any]:
    spec = _spec(manifest)
    predictor = mapping(spec, "predictor", "/spec")
    return {
        "components": sorted(key for key in spec if isinstance(spec[key], Mapping)),
        # KServe: 0 or absent is "no upper bound", which is not the same as a bound that equals minReplicas.
        "max_replicas": number(predictor, "maxReplicas", "/spec/predictor", None) or None,
        "scale_metric": text(predictor, "scaleMetric", "/spec/predictor", None),
        "scale_target": number(predictor, "scaleTarget", "/spec/predictor", None),
        "container_concurrency": number(predictor, "containerConcurrency", "/spec/predictor", None),
        "timeout_seconds": number(predictor, "timeout", "/spec/predictor", None),
    }


def _deployment(manifest: Manifest) -> dict[str, Any]:
    spec = _spec(manifest)
    strategy = mapping(spec, "strategy", "/spec")
    rolling = mapping(strategy, "rollingUpdate", "/spec/strategy")
    kind = text(strategy, "type", "/spec/strategy", "RollingUpdate")
    rolls = kind == "RollingUpdate"
    return {
        "selector": _selector(spec, "selector", "/spec"),
        "strategy": kind,
        "max_unavailable": str(rolling.get("maxUnavailable", "25%")) if rolls else None,
        "max_surge": str(rolling.get("maxSurge", "25%")) if rolls else None,
        "min_ready_seconds": number(spec, "minReadySeconds", "/spec", 0),
        "paused": flag(spec, "paused", "/spec", default=False),
        "progress_deadline_seconds": number(spec, "progressDeadlineSeconds", "/spec", 600),
    }


def _stateful_set(manifest: Manifest) -> dict[str, Any]:
    spec = _spec(manifest)
    return {
        "selector": _selector(spec, "selector", "/spec"),
        "service_name": text(spec, "serviceName", "/spec", ""),
        "pod_management_policy": text(spec, "podManagementPolicy", "/spec", "OrderedReady"),
        "strategy": text(mapping(spec, "updateStrategy", "/spec"), "type", "/spec/updateStrategy", "RollingUpdate"),
        "claims": [
            {"name": text(mapping(claim, "metadata", place), "name", place, ""), **_claim(claim, place)}
            for claim, place in entries(spec, "volumeClaimTemplates", "/spec")
        ],
    }


def _daemon_set(manifest: Manifest) -> dict[str, Any]:
    spec = _spec(manifest)
    return {
        "selector": _selector(spec, "selector", "/spec"),
        "strategy": text(mapping(spec, "updateStrategy", "/spec"), "type", "/spec/updateStrategy", "RollingUpdate"),
    }


def _replica_set(manifest: Manifest) -> dict[str, Any]:
    return {"selector": _selector(_spec(manifest), "selector", "/spec")}


def _job_spec(spec: Mapping[str, Any], place: str) -> dict[str, Any]:
    return {
        "parallelism": number(spec, "parallelism", place, 1),
        "completions": number(spec, "completions", place, 1),
        "backoff_limit": number(spec, "backoffLimit", place, 6),
        "active_deadline_seconds": number(spec, "activeDeadlineSeconds", place, None),
        "ttl_seconds_after_finished": number(spec, "ttlSecondsAfterFinished", place, None),
        "suspend": flag(spec, "suspend", place, default=False),
        "disruptions_ignored": _disruptions_ignored(spec, place),
    }


def _disruptions_ignored(spec: Mapping[str, Any], place: str) -> bool:
    """Whether a podFailurePolicy does not count what an eviction or a lost node ended."""
    policy = mapping(spec, "podFailurePolicy", place)
    for rule, at in entries(policy, "rules", f"{place}/podFailurePolicy"):
        conditions = [text(item, "type", here, "") for item, here in entries(rule, "onPodConditions", at)]
        if "DisruptionTarget" in conditions:
            return text(rule, "action", at, "") == "Ignore"
    return False


def _job(manifest: Manifest) -> dict[str, Any]:
    return _job_spec(_spec(manifest), "/spec")


def _cron_job(manifest: Manifest) -> dict[str, Any]:
    spec = _spec(manifest)
    return {
        "schedule": text(spec, "schedule", "/spec", ""),
        "time_zone": text(spec, "timeZone", "/spec", None),
        "concurrency_policy": text(spec, "concurrencyPolicy", "/spec", "Allow"),
        "suspend": flag(spec, "suspend", "/spec", default=False),
        "job": _job_spec(
            mapping(mapping(spec, "jobTemplate", "/spec"), "spec", "/spec/jobTemplate"), "/spec/jobTemplate/spec"
        ),
    }


def _pod(manifest: Manifest) -> dict[str, Any]:
    return {"restart_policy": text(_spec(manifest), "restartPolicy", "/spec", "Always")}


def _service(manifest: Manifest) -> dict[str, Any]:
    spec = _spec(manifest)
    return {
        "type": text(spec, "type", "/spec", "ClusterIP"),
        "selector": {str(key): str(value) for key, value in mapping(spec, "selector", "/spec").items()},
        "session_affinity": text(spec, "sessionAffinity", "/spec", "None"),
        "external_name": text(spec, "externalName", "/spec", None),
        "external_ips": reading.texts(spec, "externalIPs", "/spec"),
        "load_balancer_source_ranges": reading.texts(spec, "loadBalancerSourceRanges", "/spec"),
        "ports": [
            {
                "name": text(port, "name", place, ""),
                "port": number(port, "port", place, 0),
                "protocol": text(port, "protocol", place, "TCP"),
                # The API server's default: the port's own number.
                "target_port": str(port.get("targetPort") or port.get("port")),
            }
            for port, place in entries(spec, "ports", "/spec")
        ],
    }


def _service_account(manifest: Manifest) -> dict[str, Any]:
    return {
        "automount_token": flag(manifest, "automountServiceAccountToken", "", default=True),
        "image_pull_secrets": [
            text(entry, "name", place, "") for entry, place in entries(manifest, "imagePullSecrets", "")
        ],
    }


_PORTS = {"/*/ports/*/protocol": "TCP"}


def _network_policy(manifest: Manifest) -> dict[str, Any]:
    spec = _spec(manifest)
    # networking.k8s.io/v1: Ingress always, Egress when there are egress rules.
    types = reading.texts(spec, "policyTypes", "/spec") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return {
        "pod_selector": _selector(spec, "podSelector", "/spec"),
        "policy_types": types,
        "ingress": json_digest(without_defaults(spec.get("ingress") or [], _PORTS)),
        "egress": json_digest(without_defaults(spec.get("egress") or [], _PORTS)),
        "ingress_rules": len(entries(spec, "ingress", "/spec")),
        "egress_rules": len(entries(spec, "egress", "/spec")),
    }


def _claim(manifest: Manifest, place: str = "") -> dict[str, Any]:
    spec = mapping(manifest, "spec", place)
    requests = mapping(mapping(spec, "resources", f"{place}/spec"), "requests", f"{place}/spec/resources")
    try:
        size = parse_bytes(requests.get("storage", 0))
    except QuantityError as error:
        raise DeclarationError(f"storage: {error}", where=f"{place}/spec/resources/requests/storage") from error
    return {
        "access_modes": reading.texts(spec, "accessModes", f"{place}/spec"),
        "storage_class": text(spec, "storageClassName", f"{place}/spec", None),
        "storage_bytes": size,
        "volume_mode": text(spec, "volumeMode", f"{place}/spec", "Filesystem"),
    }


def _namespace(_: Manifest) -> dict[str, Any]:
    return {}


def _role(manifest: Manifest) -> dict[str, Any]:
    return {
        "rules": [
            {
                "api_groups": reading.texts(rule, "apiGroups", place),
                "resources": reading.texts(rule, "resources", place),
                "resource_names": reading.texts(rule, "resourceNames", place),
                "urls": reading.texts(rule, "nonResourceURLs", place),
                "verbs": reading.texts(rule, "verbs", place),
                "pointer": place,
            }
            for rule, place in entries(manifest, "rules", "")
        ]
    }


def _binding(manifest: Manifest) -> dict[str, Any]:
    role = mapping(manifest, "roleRef", "")
    return {
        "role": {"kind": text(role, "kind", "/roleRef", ""), "name": text(role, "name", "/roleRef", "")},
        "subjects": [
            {
                "kind": text(subject, "kind", place, ""),
                "name": text(subject, "name", place, ""),
                "namespace": text(subject, "namespace", place, ""),
                "pointer": place,
            }
            for subject, place in entries(manifest, "subjects", "")
        ],
    }


def _generic(manifest: Manifest) -> dict[str, Any]:
    """Any other kind: everything but type, metadata, status, pods and what its CRD fills in, as one digest."""
    body = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    settled = settled_body(manifest, str(manifest.get("apiVersion")), str(manifest.get("kind")))
    # Models that the table of kinds knows are artifacts: each needs its pin and its evidence.
    pinned = {artifact.pointer for artifact in models_of(manifest)}
    uris = _model_uris(manifest.get("spec"), "/spec")
    try:
        return {
            "digest": json_digest(settled),
            "models": [model for model in uris if model["pointer"] not in pinned],
            "credentials": list(projection_content.credentials(body, "")),
        }
    except CanonicalError as error:
        raise DeclarationError(f"the object has no JSON form: {error}") from error


def _model_uris(value: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Models that other kinds load, such as a TrainedModel (storageUri) or an LLMInferenceService (model.uri)."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            place = f"{pointer}/{escaped(key)}"
            named = key in ("storageUri", "modelUri") or (key == "uri" and "/model/" in place)
            if named and isinstance(item, str):
                yield {"pointer": place, "uri": item}
            else:
                yield from _model_uris(item, place)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _model_uris(item, f"{pointer}/{index}")


def _selector(values: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    selector = mapping(values, key, place)
    return {
        "labels": {str(k): str(v) for k, v in mapping(selector, "matchLabels", f"{place}/{key}").items()},
        "expressions": len(entries(selector, "matchExpressions", f"{place}/{key}")),
    }


_KINDS: Mapping[tuple[str, str], Callable[[Manifest], dict[str, Any]]] = {
    ("serving.kserve.io", "InferenceService"): _inference_service,
    ("", "Pod"): _pod,
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("", "Service"): _service,
    ("", "ServiceAccount"): _service_account,
    ("", "ConfigMap"): projection_content.config_map,
    ("", "Secret"): projection_content.secret,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("autoscaling", "HorizontalPodAutoscaler"): projection_cluster.autoscaler,
    ("autoscaling.k8s.io", "VerticalPodAutoscaler"): projection_cluster.vertical_autoscaler,
    ("keda.sh", "ScaledObject"): projection_cluster.scaled_object,
    ("keda.sh", "ScaledJob"): projection_cluster.scaled_job,
    ("karpenter.sh", "NodePool"): projection_cluster.node_pool,
    ("networking.k8s.io", "Ingress"): projection_cluster.ingress,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): projection_cluster.webhooks,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): projection_cluster.webhooks,
    ("customhouse.dev", "RepositoryFiles"): projection_cluster.repository_files,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PersistentVolume"): persistent_volume,
    ("", "ResourceQuota"): resource_quota,
    ("", "LimitRange"): limit_range,
    ("", "ReplicationController"): _namespace,
    ("resource.k8s.io", "ResourceClaim"): resource_claim,
    ("resource.k8s.io", "ResourceClaimTemplate"): resource_claim,
    ("serving.kserve.io", "InferenceGraph"): inference_graph,
    ("cluster.x-k8s.io", "MachineDeployment"): machines,
    ("cluster.x-k8s.io", "MachineSet"): machines,
    ("cluster.x-k8s.io", "MachinePool"): machines,
    ("", "Namespace"): _namespace,
    ("rbac.authorization.k8s.io", "Role"): _role,
    ("rbac.authorization.k8s.io", "ClusterRole"): _role,
    ("rbac.authorization.k8s.io", "RoleBinding"): _binding,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _binding,
}
