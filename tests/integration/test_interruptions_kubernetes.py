"""Nodes that are taken away, on a real API server: cordoned, drained in order, and the work goes on elsewhere.

The scheduler, the Job and ReplicaSet controllers and the eviction API are real. Nodes and pods are KWOK's, and what a
kubelet does when a pod is asked to end (its phase becomes Failed) is done here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_rendering import applied, controller_file, objects
from rollout_world import LABELS, template
from test_up_kubernetes import ClusterWorld

from kubernetes_plane import WORKS, ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")

AWS = "aws-node-termination-handler/spot-itn"
PATIENCE_S = 120
INTERRUPTIONS = """\
  interruptions:
    - {machines: "g4dn[.].*", percentPerMonth: 20, lostMinutes: 30}
"""
MARK = "customhouse.dev/interruption"


class SpotWorld(ClusterWorld):
    """Nodes of one's own, and `up` with the controller's shipped rights on them."""

    def __init__(self, root: Path, plane: ControlPlane, repository: Path) -> None:
        super().__init__(root, plane, "manage")
        self.name = f"spot-{secrets.token_hex(3)}"
        account = controller_file(plane, repository, root / "account")
        shipped = repository / "deploy/kustomize/components/interruptions/rbac.yaml"
        applied(plane, objects(shipped.read_text()))
        rules = self.rules.replace(str(plane.kubeconfig), str(account))
        rules = rules.replace("  mode: manage\n", "  mode: manage\n  interruptions: drain\n")
        rules = rules.replace("  maxAgeDays: 3650\n", "  maxAgeDays: 3650\n  provider: aws\n  region: us-east-1\n")
        rules = rules.replace("policy:\n", "policy:\n  trustedRegistries: [registry.example]\n")
        self.rules = rules + INTERRUPTIONS + "tiers:\n  definitions:\n    standard: {requiredEvidence: []}\n"
        self.push({"customhouse.yaml": self.rules}, "drain")
        self.nodes: list[str] = []

    def node(self, name: str) -> str:
        """A spot machine."""
        full = f"{self.name}-{name}"
        amounts = {"cpu": "4", "memory": "16Gi", "pods": "110"}
        labels = {
            "type": "kwok",
            "world": self.name,
            "karpenter.sh/capacity-type": "spot",
            "node.kubernetes.io/instance-type": "g4dn.xlarge",
            "topology.kubernetes.io/region": "us-east-1",
        }
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": full, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "spec": {
                "providerID": f"aws:///us-east-1a/{full}",
                "taints": [{"key": "world", "value": self.name, "effect": "NoSchedule"}],
            },
            "status": {
                "allocatable": amounts,
                "capacity": amounts,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        }
        self.plane.call("POST", "/api/v1/nodes", node)
        self.nodes.append(full)
        # The taint of a new node is taken away by Kubernetes.
        self.plane.until(lambda: len(self.spec(full)["taints"]) == 1, PATIENCE_S)
        return full

    def spec(self, node: str) -> Any:
        return self.plane.call("GET", f"/api/v1/nodes/{node}")["spec"]

    def marked(self, node: str) -> bool:
        return MARK in self.plane.call("GET", f"/api/v1/nodes/{node}")["metadata"]["annotations"]

    def taints(self, node: str, *keys: str) -> None:
        """What a handler writes: these taints beside the world's own."""
        own = [{"key": "world", "value": self.name, "effect": "NoSchedule"}]
        own += [{"key": key, "value": "", "effect": "NoSchedule"} for key in keys]
        path = f"/api/v1/nodes/{node}?fieldManager=handler"
        self.plane.call("PATCH", path, {"spec": {"taints": own}}, content="application/merge-patch+json")

    def pods(self, app: str = "") -> list[dict[str, Any]]:
        found = self.plane.call("GET", f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        return [item for item in found if not app or item["metadata"]["labels"].get("app") == app]

    def running(self, app: str) -> dict[str, str]:
        """Name → node of the pods that run and are not on their way out."""
        return {
            item["metadata"]["name"]: item["spec"]["nodeName"]
            for item in self.pods(app)
            if item["status"].get("phase") == "Running" and not item["metadata"].get("deletionTimestamp")
        }

    def end_what_is_asked(self) -> None:
        """The kubelet's part: a process that was sent SIGTERM has ended."""
        for item in self.pods():
            if item["metadata"].get("deletionTimestamp") and item["status"].get("phase") == "Running":
                path = f"/api/v1/namespaces/{self.namespace}/pods/{item['metadata']['name']}/status"
                try:
                    self.plane.call(
                        "PATCH", path, {"status": {"phase": "Failed"}}, content="application/merge-patch+json"
                    )
                except KubernetesError as error:
                    if error.status != 404:
                        raise

    def texts(self, word: str) -> list[str]:
        """Entries about interruptions that have a word."""
        return [entry.body["text"] for entry in self.entries("interruption") if word in entry.body["text"]]

    def pinned(self, version: int, app: str) -> dict[str, Any]:
        made = template(version)
        made["metadata"] = {"labels": {**LABELS, "app": app}}
        made["spec"]["nodeSelector"] = {"world": self.name}
        made["spec"]["tolerations"] = [{"key": "world", "operator": "Exists", "effect": "NoSchedule"}]
        return made

    def document(self, api: str, kind: str, name: str, spec: dict[str, Any]) -> str:
        metadata = {"name": name, "namespace": self.namespace, "labels": {**LABELS, "app": name}}
        return yaml.safe_dump({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}, sort_keys=False)

    def training(self) -> str:
        """A Job that saves its state, and whose evictions are no failures."""
        pod = self.pinned(1, "train")
        pod["metadata"]["annotations"] = {"customhouse.dev/checkpoint": "/checkpoints"}
        pod["metadata"]["labels"][WORKS] = "on"
        pod["spec"] |= {"restartPolicy": "Never", "terminationGracePeriodSeconds": 60}
        container = pod["spec"]["containers"][0]
        for probe in ("readinessProbe", "livenessProbe", "ports"):
            del container[probe]
        container["volumeMounts"] = [{"name": "state", "mountPath": "/checkpoints"}]
        container["env"] = [{"name": "CUSTOMHOUSE_CHECKPOINT_DIR", "value": "/checkpoints"}]
        pod["spec"]["volumes"] = [{"name": "state", "emptyDir": {"sizeLimit": "1Gi"}}]
        ignored = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
        return self.document(
            "batch/v1",
            "Job",
            "train",
            {"backoffLimit": 0, "podFailurePolicy": {"rules": [ignored]}, "template": pod},
        )

    def scores(self, replicas: int = 2) -> str:
        selector = {"matchLabels": {"app": "score"}}
        spec = {"replicas": replicas, "selector": selector, "template": self.pinned(2, "score")}
        return self.document("apps/v1", "Deployment", "score", spec)

    def budget(self, available: int) -> str:
        spec = {"minAvailable": available, "selector": {"matchLabels": {"app": "score"}}}
        return self.document("policy/v1", "PodDisruptionBudget", "score", spec)

    def stranger(self, node: str) -> None:
        """Somebody's pod on the node, which Git does not declare."""
        pod = self.pinned(3, "stranger")
        container = {"name": "main", "image": "pause"}
        spec = {**pod["spec"], "nodeName": node, "containers": [container], "securityContext": {}}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger", "labels": {"app": "stranger"}}}
        self.plane.call("POST", f"/api/v1/namespaces/{self.namespace}/pods", {**body, "spec": spec})

    def close(self) -> None:
        super().close()
        for node in self.nodes:
            try:
                self.plane.call("DELETE", f"/api/v1/nodes/{node}")
            except KubernetesError as error:
                if error.status != 404:
                    raise


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane, repository_root: Path) -> Iterator[SpotWorld]:
    made = SpotWorld(tmp_path, kubernetes, repository_root)
    yield made
    made.close()


def test_what_is_declared_leaves_a_node_that_goes_and_works_elsewhere_and_nothing_else_is_touched(
    world: SpotWorld,
) -> None:
    first = world.node("a")
    head = world.push(
        {"job.yaml": world.training(), "score.yaml": world.scores(), "budget.yaml": world.budget(1)}, "work"
    )
    world.start()
    world.until(lambda: world.overview().get("deployed") == head, PATIENCE_S)
    world.until(lambda: len(world.running("train")) == 1 and len(world.running("score")) == 2, PATIENCE_S)
    world.stranger(first)
    world.until(lambda: world.running("stranger") == {"stranger": first}, PATIENCE_S)
    trained, served = set(world.running("train")), set(world.running("score"))
    second = world.node("b")

    # 1. The notice: the node takes no new pods, and each of ours is asked; a second notice changes nothing.
    world.taints(first, AWS)
    world.until(lambda: world.spec(first).get("unschedulable") is True, PATIENCE_S)
    world.taints(first, AWS, "cloud.google.com/impending-node-termination")

    def moved() -> bool:
        world.end_what_is_asked()
        nodes = {*world.running("train").values(), *world.running("score").values()}
        return nodes == {second} and len(world.running("score")) == 2

    world.until(moved, PATIENCE_S)
    assert world.running("stranger") == {"stranger": first}
    assert not trained & set(world.running("train"))
    assert not served & set(world.running("score"))
    job = world.plane.call("GET", f"/apis/batch/v1/namespaces/{world.namespace}/jobs/train")
    assert job["status"].get("failed", 0) == 0  # an eviction is no failure of the Job

    # 2. Each pod once in the ledger, with what it lost beside what was expected.
    world.until(lambda: len(world.texts("runs again")) == 3, PATIENCE_S)
    evicted = [entry for entry in world.entries("interruption") if "was evicted" in entry.body["text"]]
    assert sorted(entry.body["pod"].split("/")[1] for entry in evicted) == sorted(trained | served)
    again = [entry.body for entry in world.entries("interruption") if "runs again" in entry.body["text"]]
    assert {body["lost"]["expected_minutes"] for body in again} == {30}
    assert all(float(body["lost"]["cost"]) >= 0 < float(body["lost"]["expected_cost"]) for body in again)
    assert world.texts(f"node {first} goes")
    shown = world.cli("status").stdout
    assert f"node {first} goes by" in shown
    assert f"{world.namespace}/stranger: stays: Git does not declare it" in shown

    # 3. The notice is taken back: what we set is taken away, and only that.
    world.taints(first)
    world.until(lambda: not world.spec(first).get("unschedulable") and not world.marked(first), PATIENCE_S)
    world.until(lambda: world.texts("was taken back"), PATIENCE_S)

    # 4. So is what was set when nobody asks for it any more, whatever the node says of itself.
    world.taints(first, AWS)
    world.until(lambda: world.spec(first).get("unschedulable") is True, PATIENCE_S)
    world.push({"customhouse.yaml": world.rules.replace("interruptions: drain", "interruptions: 'off'")}, "off")
    world.until(lambda: not world.spec(first).get("unschedulable") and not world.marked(first), PATIENCE_S)
    assert world.end() == 0


def test_a_budget_is_held_a_kill_in_the_middle_repeats_nothing_and_a_node_that_vanishes_is_told(
    world: SpotWorld,
) -> None:
    first, second = world.node("a"), world.node("b")
    head = world.push({"score.yaml": world.scores(), "budget.yaml": world.budget(2)}, "a budget that lets none go")
    world.start()
    world.until(lambda: world.overview().get("deployed") == head, PATIENCE_S)
    world.until(lambda: len(world.running("score")) == 2, PATIENCE_S)
    before = world.running("score")
    gone = next(iter(before.values()))
    other = second if gone == first else first
    name = next(name for name, node in before.items() if node == gone)

    # 1. The budget says no: the pod stays, and `status` says why.
    world.taints(gone, AWS)
    world.until(lambda: "its PodDisruptionBudget lets none go now" in world.cli("status").stdout, PATIENCE_S)
    assert world.running("score") == before

    # 2. Killed in the middle; the next one goes on with the time that was written on the node.
    assert world.process is not None
    said = world.plane.call("GET", f"/api/v1/nodes/{gone}")["metadata"]["annotations"][MARK]
    world.process.kill()
    world.process.wait(60)
    world.push({"budget.yaml": world.budget(1)}, "one may go")
    world.start()
    world.until(lambda: gone not in world.running("score").values() and len(world.running("score")) == 2, PATIENCE_S)
    assert world.plane.call("GET", f"/api/v1/nodes/{gone}")["metadata"]["annotations"][MARK] == said
    world.until(lambda: world.texts("runs again"), PATIENCE_S)
    left = [entry.body["pod"] for entry in world.entries("interruption") if "was evicted" in entry.body["text"]]
    assert left.count(f"{world.namespace}/{name}") == 1
    assert len(left) == list(before.values()).count(gone)
    assert len(world.texts(f"node {gone} goes")) == 1

    # 3. The machine goes: that is told, and its Node is not made anew by what we say of it.
    world.plane.call("DELETE", f"/api/v1/nodes/{gone}")
    world.until(lambda: world.texts(f"node {gone} is gone"), PATIENCE_S)

    # 4. One that vanishes before anybody was told takes its pods with it.
    world.taints(other, "node.kubernetes.io/out-of-service")
    world.until(lambda: world.texts(f"node {other} is gone"), PATIENCE_S)
    world.plane.call("DELETE", f"/api/v1/nodes/{other}")
    world.until(lambda: world.texts("was lost with its node"), PATIENCE_S)
    names = [item["metadata"]["name"] for item in world.plane.call("GET", "/api/v1/nodes")["items"]]
    assert not {gone, other} & set(names)
