"""What the tests of the policy plane share: a good release, its Facts, and what an API server makes of an object."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from customhouse._kit.money import Money
from customhouse.core.change import Actor, ActorKind, Change, Operation, Revision, SignatureState
from customhouse.core.cost import BookRef, BudgetState, WorkloadCost
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.policy.facts import (
    ArtifactEvidence,
    ArtifactRef,
    BudgetImpact,
    FactsContext,
    PolicySettings,
)
from customhouse.policy.tiers import TierJudgement, TierSpec

NOW = datetime(2026, 1, 31, 10, tzinfo=UTC)
DIGEST = "sha256:" + "1" * 64
LABELS = {f"customhouse.dev/{name}": "x" for name in ("owner", "team", "project", "cost-centre")}
HARDENED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
AROUND = {
    "default_deny": {"ingress": True, "egress": True},
    "workloads": 1,
    "role": None,
    "target_found": None,
    "rivals": [],
    "metrics": True,
    "tracing": True,
    "node_pools": [],
}
"""What stands around a good release (`policy.surroundings`)."""
RESOURCES = {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}


def service(**model: Any) -> dict[str, Any]:
    """A KServe InferenceService to which no rule objects."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "fraud",
            "namespace": "models",
            "labels": dict(LABELS),
            "annotations": {"customhouse.dev/model-digest": DIGEST},
        },
        "spec": {
            "predictor": {
                "automountServiceAccountToken": False,
                "minReplicas": 1,
                "maxReplicas": 2,
                "model": {
                    "modelFormat": {"name": "onnx"},
                    "storageUri": "pvc://models/fraud",
                    "resources": copy.deepcopy(RESOURCES),
                    "securityContext": copy.deepcopy(HARDENED),
                    **model,
                },
            }
        },
    }


def deployment(**container: Any) -> dict[str, Any]:
    """A Deployment to which no rule objects."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "models", "labels": dict(LABELS)},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "name": "web",
                            "image": f"apexlogic.com/web:1.0@{DIGEST}",
                            "resources": copy.deepcopy(RESOURCES),
                            "securityContext": copy.deepcopy(HARDENED),
                            **container,
                        }
                    ],
                },
            },
        },
    }


def declared(manifest: Mapping[str, Any], file: str = "release.yaml") -> Declaration:
    """A Declaration at line 1 of a file."""
    return Declaration(ResourceRef.of(manifest), manifest, Location(file, 1, 1))


def revision(signature: SignatureState = SignatureState.VERIFIED, *, descends: bool = True) -> Revision:
    return Revision("a" * 40, (), "Ada <ada@example.com>", NOW, "change", signature, "ada", (), descends)


def created(manifest: Mapping[str, Any], by: Revision | None = None) -> Change:
    declaration = declared(manifest)
    actor = Actor(ActorKind.PERSON, "Ada <ada@example.com>")
    return Change(Operation.CREATE, declaration.ref, None, declaration, by or revision(), actor)


def deleted(manifest: Mapping[str, Any], by: Revision | None = None) -> Change:
    declaration = declared(manifest)
    actor = Actor(ActorKind.PERSON, "Ada <ada@example.com>")
    return Change(Operation.DELETE, declaration.ref, declaration, None, by or revision(), actor)


def evidence(kind: EvidenceKind, predicate: Mapping[str, Any] | None = None, **changes: Any) -> Evidence:
    said = {"verdict": "clean"} if kind is EvidenceKind.SCAN and predicate is None else predicate or {}
    item = Evidence(DIGEST, kind, f"https://example.com/{kind}", said, NOW, "release", True, DIGEST)
    return replace(item, **changes)


def context(manifest: Mapping[str, Any], items: Sequence[Evidence] | None = None, **changes: Any) -> FactsContext:
    """What the app would know about a good release: all evidence, a price, a budget with room."""
    ref = ResourceRef.of(manifest)
    kinds = (EvidenceKind.SIGNATURE, EvidenceKind.SCAN, EvidenceKind.BOM)
    given = [evidence(kind) for kind in kinds] if items is None else list(items)
    model = ArtifactRef("model", "pvc://models/fraud", DIGEST, True, "/spec/predictor/model/storageUri")
    budget = BudgetState("risk", Money.parse("1000"), Money.parse("300"), Money.parse("500"), Money.parse("700"))
    values: dict[str, Any] = {
        "as_of": NOW,
        "book": BookRef(DIGEST, "2026-01-01"),
        "tier": TierJudgement(spec=TierSpec(gpu_classes=("L4",), max_replicas=5, replica_ceiling=Money.parse("2500"))),
        "artifacts": (ArtifactEvidence(model, tuple(given)),) if ref.kind == "InferenceService" else (),
        "cost_after": WorkloadCost(ref, Money.parse("50.25"), Money.parse("50.25"), Money.parse("100.50")),
        "budgets": (BudgetImpact(budget, Money.parse("50.25")),),
        "settings": PolicySettings(trusted_registries=("apexlogic.com/",)),
        "surroundings": AROUND,
    }
    return FactsContext(**{**values, **changes})


def served(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The object as an API server gives it back: metadata, status and the documented defaults filled in."""
    live = copy.deepcopy(dict(manifest))
    metadata = live["metadata"] = dict(live["metadata"])
    metadata |= {
        "uid": "8f7c",
        "resourceVersion": "12",
        "generation": 3,
        "creationTimestamp": "2026-01-31T10:00:00Z",
        "managedFields": [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
    }
    metadata.setdefault("namespace", "default")
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "deployment.kubernetes.io/revision": "4",
    }
    live["status"] = {"observedGeneration": 3, "conditions": []}
    if live["apiVersion"] not in ("v1", "apps/v1", "batch/v1"):
        return live  # an API server knows no defaults of other people's kinds
    kind, spec = live["kind"], live.setdefault("spec", {})
    if kind == "Pod":
        _default_pod(spec)
    elif kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        template = spec.setdefault("template", {})
        template.setdefault("metadata", {})["creationTimestamp"] = None
        _default_pod(template.setdefault("spec", {}), live=False)
    if kind in ("Deployment", "StatefulSet"):
        spec.setdefault("replicas", 1)
        spec.setdefault("revisionHistoryLimit", 10)
    if kind == "Deployment":
        rolling = {"maxUnavailable": "25%", "maxSurge": "25%"}
        spec.setdefault("strategy", {"type": "RollingUpdate", "rollingUpdate": rolling})
        spec.setdefault("progressDeadlineSeconds", 600)
    elif kind == "StatefulSet":
        spec.setdefault("podManagementPolicy", "OrderedReady")
        spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    elif kind == "DaemonSet":
        spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}})
    elif kind == "Job":
        defaults = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed"}
        for key, value in {**defaults, "suspend": False}.items():
            spec.setdefault(key, value)
        metadata["labels"] = {
            **(metadata.get("labels") or {}),
            "batch.kubernetes.io/job-name": "x",
            "controller-uid": "y",
        }
    elif kind == "Service":
        spec |= {"clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ipFamilies": ["IPv4"]}
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        for port in spec.get("ports", ()):
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port["port"])
    return live


def _default_pod(spec: dict[str, Any], *, live: bool = True) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    for item in [*spec.get("initContainers", ()), *spec.get("containers", ())]:
        item.setdefault("terminationMessagePath", "/dev/termination-log")
        item.setdefault("terminationMessagePolicy", "File")
        item.setdefault("imagePullPolicy", "IfNotPresent")
        resources = item.setdefault("resources", {})
        for key, value in resources.get("limits", {}).items():
            resources.setdefault("requests", {}).setdefault(key, value)
        for port in item.get("ports", ()):
            port.setdefault("protocol", "TCP")
        if live:
            mount = {"name": "kube-api-access-x1", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
            item.setdefault("volumeMounts", []).append({**mount, "readOnly": True})
    if live:
        spec |= {"nodeName": "node-1", "priority": 0, "preemptionPolicy": "PreemptLowerPriority"}
        spec.setdefault("serviceAccountName", "default")
        spec.setdefault("volumes", []).append({"name": "kube-api-access-x1", "projected": {"sources": []}})
        for name in ("not-ready", "unreachable"):
            toleration = {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": "NoExecute"}
            spec.setdefault("tolerations", []).append({**toleration, "tolerationSeconds": 300})


_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
_IMAGES = st.sampled_from(
    [
        "nginx",
        "nginx:latest",
        "apexlogic.com/web:1.0",
        f"apexlogic.com/web@{DIGEST}",
        "apexlogic.com.evil.io/web:1",
        "../evil",
        "localhost:5000/a/b:c",
    ]
)
_CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "privileged": st.booleans(),
        "runAsUser": st.sampled_from([0, 1000]),
        "runAsNonRoot": st.booleans(),
        "allowPrivilegeEscalation": st.booleans(),
        "capabilities": st.fixed_dictionaries(
            {}, optional={"add": st.just(["SYS_ADMIN"]), "drop": st.sampled_from([["ALL"], ["NET_RAW"], []])}
        ),
    },
)
_CONTAINERS = st.fixed_dictionaries(
    {"name": _NAMES, "image": _IMAGES},
    optional={
        "resources": st.fixed_dictionaries(
            {},
            optional={
                "limits": st.dictionaries(
                    st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]), st.sampled_from(["1", "2", 4])
                ),
                "requests": st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["100m", "1Gi", 1])),
            },
        ),
        "securityContext": _CONTEXTS,
        "env": st.lists(
            st.sampled_from(
                [
                    {"name": "LEVEL", "value": "info"},
                    {"name": "DB_PASSWORD", "value": "hunter2!"},
                    {"name": "STORAGE_URI", "value": "s3://x"},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ]
            ),
            max_size=3,
        ),
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(1, 65535)}), max_size=2),
    },
)
pod_specs = st.fixed_dictionaries(
    {"containers": st.lists(_CONTAINERS, min_size=1, max_size=3)},
    optional={
        "initContainers": st.lists(_CONTAINERS, max_size=1),
        "hostNetwork": st.booleans(),
        "hostPID": st.booleans(),
        "securityContext": _CONTEXTS.map(lambda value: {k: v for k, v in value.items() if k.startswith("runAs")}),
        "volumes": st.lists(
            st.sampled_from([{"name": "a", "hostPath": {"path": "/etc"}}, {"name": "b", "emptyDir": {}}]), max_size=2
        ),
        "nodeSelector": st.sampled_from(
            [{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, {"customhouse.dev/capacity": "spot"}]
        ),
    },
)


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Objects of the kinds that run something, good and bad."""
    kind = draw(st.sampled_from(["Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "InferenceService"]))
    group = {"Pod": "v1", "Job": "batch/v1", "InferenceService": "serving.kserve.io/v1beta1"}
    pod = draw(pod_specs)
    metadata: dict[str, Any] = {"name": draw(_NAMES), "labels": draw(st.sampled_from([{}, dict(LABELS)]))}
    if draw(st.booleans()):
        metadata["namespace"] = "models"
    spec: dict[str, Any] = {"template": {"spec": pod}}
    if kind == "Pod":
        spec = pod
    elif kind == "InferenceService":
        model = draw(_CONTAINERS)
        spec = {"predictor": {**pod, "model": {**model, "storageUri": "pvc://models/fraud"}}}
        if draw(st.booleans()):
            spec["predictor"]["maxReplicas"] = draw(st.integers(0, 9))
        if draw(st.booleans()):
            spec["transformer"] = draw(pod_specs)
    elif kind in ("Deployment", "StatefulSet") and draw(st.booleans()):
        spec["replicas"] = draw(st.integers(0, 9))
    # A copy: sampled values are shared between examples, and a test may damage what it is given.
    return copy.deepcopy({"apiVersion": group.get(kind, "apps/v1"), "kind": kind, "metadata": metadata, "spec": spec})
