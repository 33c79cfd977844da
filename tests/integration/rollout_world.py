"""What the tests of rollouts on a cluster share: rules, a workload's template, and a repository that is followed."""

from __future__ import annotations

from typing import Any

import yaml

RULES = """\
apiVersion: customhouse.dev/v1
target:
  kind: kubernetes
  kubeconfig: KUBECONFIG
  mode: manage
  pruneBudgetPercent: 5
metrics:
  prometheus: PROMETHEUS
tiers:
  definitions:
    standard:
      requiredEvidence: []
      requiredImageEvidence: []
policy:
  requireSignedCommits: false
  trustedRegistries: [registry.example]
optimiser:
  autonomy: observe
prices:
  maxAgeDays: 3650
"""
CANARY = {
    "customhouse.dev/rollout": "canary",
    "customhouse.dev/rollout-steps": "25,50",
    "customhouse.dev/rollout-analysis": "min-requests=200, min-labelled=0, latency-ratio=5",
}
PATIENT = {**CANARY, "customhouse.dev/rollout-analysis": "min-requests=100000000, min-labelled=0"}

LABELS = {"app": "score", **{f"customhouse.dev/{name}": "x" for name in ("owner", "team", "project", "cost-centre")}}


def template(version: int) -> dict[str, Any]:
    """Of pods that meet every rule; the version is the digest of its image."""
    container = {
        "name": "score",
        "image": f"registry.example/score@sha256:{version:064x}",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
        "livenessProbe": {"httpGet": {"path": "/", "port": 8080}},
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "10m", "memory": "16Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "containers": [container],
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    return {"metadata": {"labels": LABELS}, "spec": pod}


def declared(api: str, kind: str, namespace: str, spec: dict[str, Any], annotations: dict[str, str]) -> str:
    """A document of an object called `score`."""
    metadata = {"name": "score", "namespace": namespace, "labels": LABELS, "annotations": annotations}
    return yaml.safe_dump({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}, sort_keys=False)
