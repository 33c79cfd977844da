"""Probes: small objects of every kind that rules meet, judged under new rules before those come into force.

Rules that break on a CronJob, say, would shut the gate for everything beside which one stands, and also for the commit
that mends them. So whoever brings rules has them asked about all of these first, as created, changed and removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from customhouse.core.decision import Point
from customhouse.core.errors import CannotDecideError, PolicyError
from customhouse.core.facts import Facts
from customhouse.core.ports import PolicyEngine
from customhouse.policy.bundle import QUERY
from customhouse.policy.gate import Gate

_DIGEST = "sha256:" + "0" * 64
_LABELS = {f"customhouse.dev/{name}": "probe" for name in ("owner", "team", "project", "cost-centre")}
_SELECTOR = {"matchLabels": {"app": "probe"}}


def _container(name: str, **more: Any) -> dict[str, Any]:
    limits = {"cpu": "500m", "memory": "256Mi"}
    given = {"name": name, "image": f"registry.example.com/{name}@{_DIGEST}", "resources": {"limits": limits}}
    return {**given, **more}


def _pod(gpu: bool = False, **more: Any) -> dict[str, Any]:
    container = _container("main", env=[{"name": "LEVEL", "value": "info"}], ports=[{"containerPort": 8080}])
    if gpu:
        container["resources"] = {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}}
    return {
        "containers": [container, {"name": "bare", "image": "bare"}],
        "initContainers": [_container("first")],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "host", "hostPath": {"path": "/var/run"}}],
        **more,
    }


def _template(**more: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "probe"}}, "spec": _pod(**more)}


def _objects(replicas: int) -> Iterable[tuple[str, str, dict[str, Any]]]:
    """(apiVersion, kind, everything beside metadata)."""
    job = {"backoffLimit": 1, "template": _template(restartPolicy="Never", gpu=True)}
    scaled = {"replicas": replicas, "selector": _SELECTOR, "template": _template()}
    worker = {"replicas": replicas, "restartPolicy": "Never", "template": _template(gpu=True)}
    group = {"groupName": "workers", "replicas": replicas, "rayStartParams": {}, "template": _template(gpu=True)}
    yield "apps/v1", "Deployment", {"spec": scaled}
    yield "apps/v1", "StatefulSet", {"spec": {**scaled, "serviceName": "probe"}}
    yield "apps/v1", "DaemonSet", {"spec": {"selector": _SELECTOR, "template": _template()}}
    yield "v1", "Pod", {"spec": _pod()}
    yield "batch/v1", "Job", {"spec": {**job, "parallelism": replicas}}
    yield "batch/v1", "CronJob", {"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}}}
    model = {"modelFormat": {"name": "onnx"}, "storageUri": "s3://models/probe"}
    predictor = {"minReplicas": 1, "maxReplicas": replicas, "model": model}
    yield "serving.kserve.io/v1beta1", "InferenceService", {"spec": {"predictor": predictor}}
    yield "serving.knative.dev/v1", "Service", {"spec": {"template": {"spec": _pod()}}}
    yield "argoproj.io/v1alpha1", "Rollout", {"spec": scaled}
    steps = {"entrypoint": "main", "templates": [{"name": "main", "container": _container("step")}]}
    yield "argoproj.io/v1alpha1", "Workflow", {"spec": steps}
    yield "kubeflow.org/v1", "PyTorchJob", {"spec": {"pytorchReplicaSpecs": {"Worker": worker}}}
    head = {"rayStartParams": {}, "template": _template()}
    yield "ray.io/v1", "RayCluster", {"spec": {"headGroupSpec": head, "workerGroupSpecs": [group]}}
    jobs = [{"name": "workers", "replicas": replicas, "template": {"spec": job}}]
    yield "jobset.x-k8s.io/v1alpha2", "JobSet", {"spec": {"replicatedJobs": jobs}}
    sets = {"replicas": replicas, "leaderWorkerTemplate": {"size": 2, "workerTemplate": _template()}}
    yield "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", {"spec": sets}
    yield "example.com/v1", "Unheard", {"spec": {"anything": {"template": _template()}}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "deployment"}
    scaler = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": replicas}
    yield "autoscaling/v2", "HorizontalPodAutoscaler", {"spec": scaler}
    yield "v1", "Service", {"spec": {"selector": {"app": "probe"}, "ports": [{"port": 80 + replicas}]}}
    yield "networking.k8s.io/v1", "NetworkPolicy", {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": f"{replicas}Gi"}}}
    yield "v1", "PersistentVolumeClaim", {"spec": claim}
    yield "v1", "ConfigMap", {"data": {"level": str(replicas)}}
    yield "v1", "Secret", {"type": "Opaque", "data": {}}
    yield "v1", "ServiceAccount", {"automountServiceAccountToken": replicas > 1}
    yield "v1", "Namespace", {"spec": {"finalizers": [f"probe-{replicas}"]}}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"][:replicas]}]
    yield "rbac.authorization.k8s.io/v1", "Role", {"rules": rules}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "role"}
    subjects = [{"kind": "ServiceAccount", "name": f"probe-{n}", "namespace": "probe"} for n in range(replicas)]
    yield "rbac.authorization.k8s.io/v1", "RoleBinding", {"roleRef": role, "subjects": subjects}


def probe_files(replicas: int) -> Mapping[str, bytes]:
    """The objects as a file of Declarations; another number of replicas is a change of each."""
    listed = [
        {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": kind.lower(), "namespace": "probe", "labels": {**_LABELS, "probe": str(replicas)}},
            **rest,
        }
        for api_version, kind, rest in _objects(replicas)
    ]
    return {"probes.json": json.dumps({"apiVersion": "v1", "kind": "List", "items": listed}).encode()}


class ProbeTree:
    """Revisions `1` and `2` of the probes, and `none` without any, as a SourceTree."""

    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        """The one file."""
        return {} if rev == "none" or prefix not in ("", "probes.json") else probe_files(int(rev))

    def read(self, rev: str, path: str) -> bytes | None:
        """That file."""
        return self.files(rev).get(path)


def check(gate: Gate, engine: PolicyEngine, probes: Sequence[Facts], now: datetime) -> None:
    """Ask the rules about every probe. Raises PolicyError that names the object on which they break.

    What they find does not count: only that they can say something.
    """
    together = getattr(engine, "evaluate_all", None)
    answers: Sequence[Any] = [None] * len(probes)
    if together is not None:
        with suppress(PolicyError):  # which one it was is found by asking one by one
            answers = together(gate.bundle.modules, gate.bundle.data, [item.document for item in probes], QUERY)
    for facts, answer in zip(probes, answers, strict=True):
        try:
            gate.rejudge(facts, point=Point.GATE, decided_at=now, answer=answer)
        except CannotDecideError as error:
            about = facts.document["change"]
            raise PolicyError(
                f"the new rules cannot judge the {about['operation']} of a {about['resource']['kind']}: {error}",
                where=error.where,
                hint="once merged, they would shut the gate, also for the commit that mends them",
            ) from error
