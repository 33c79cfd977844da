"""`customhouse up` on a real API server: why a Deployment does not come up is told in the scheduler's own words."""

from __future__ import annotations

from pathlib import Path

import pytest
from up_world import UpWorld

from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")

RULES = """\
apiVersion: customhouse.dev/v1
target:
  kind: kubernetes
  kubeconfig: KUBECONFIG
  mode: manage
tiers:
  default: standard
  definitions: {standard: {requiredEvidence: []}}
policy:
  requireSignedCommits: false
  trustedRegistries: [registry.example/]
budgets: [{name: all, monthly: "500"}]
optimiser:
  autonomy: observe
prices:
  maxAgeDays: 3650
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: ranker
  namespace: NAMESPACE
  labels: &l
    app: ranker
    customhouse.dev/owner: a
    customhouse.dev/team: t
    customhouse.dev/project: p
    customhouse.dev/cost-centre: c
spec:
  replicas: 2
  selector: {matchLabels: {app: ranker}}
  template:
    metadata: {labels: *l}
    spec:
      nodeSelector: {pod-words.example/here: nowhere}
      tolerations: [{key: pod-words.example/here, operator: Exists, effect: NoSchedule}]
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: m
          image: registry.example/ranker@sha256:DIGEST
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
          readinessProbe: {httpGet: {path: /, port: 80}}
          livenessProbe: {httpGet: {path: /, port: 80}}
          resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 100m, memory: 64Mi}}
"""


def test_status_says_that_no_node_takes_the_pods(tmp_path: Path, kubernetes: ControlPlane) -> None:
    world = UpWorld(tmp_path, RULES.replace("KUBECONFIG", str(kubernetes.kubeconfig)))
    try:
        namespace = kubernetes.namespace("words")
        text = DEPLOYMENT.replace("NAMESPACE", namespace).replace("DIGEST", "a" * 64)
        world.push({"ranker.yaml": text}, "a ranker")
        world.start()
        world.until(lambda: "no node for it: " in world.cli("status", "-o", "json").stdout)
        said = world.cli("status", "-o", "json").stdout
        assert "0 of 2 updated replicas are available; no node for it: " in said
        assert "(2 pods)" in said

        # With a node that fits it is only what the Deployment says itself.
        labels = {"type": "kwok", "pod-words.example/here": "nowhere"}
        room = {"cpu": "4", "memory": "8Gi", "pods": "10"}
        notes = {"kwok.x-k8s.io/node": "fake"}
        node = {"metadata": {"name": namespace, "labels": labels, "annotations": notes}}
        taint = {"taints": [{"key": "pod-words.example/here", "value": "x", "effect": "NoSchedule"}]}  # for nobody else
        made = {
            "apiVersion": "v1",
            "kind": "Node",
            **node,
            "spec": taint,
            "status": {"allocatable": room, "capacity": room},
        }
        kubernetes.call("POST", "/api/v1/nodes", made)
        world.until(lambda: "no node for it" not in world.cli("status", "-o", "json").stdout)
    finally:
        world.close()
