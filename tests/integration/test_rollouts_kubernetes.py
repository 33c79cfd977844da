"""Canaries on the real Argo Rollouts controller, steered by `customhouse up` by what a real Prometheus has counted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_repository import git
from deploy_rendering import controller_file
from rollout_world import CANARY, PATIENT, RULES, declared, template
from up_world import UpWorld

from faulty_proxy import Fault, FaultyProxy, Seen
from kubernetes_plane import ControlPlane, KubernetesError
from prometheus_server import free_port, prometheus_of

INSTANCE = "argo-rollouts.argoproj.io/controller-instance-id"


def rollout(namespace: str, version: int, annotations: dict[str, str]) -> str:
    """Of four replicas, whose steps are Customhouse's to choose."""
    spec = {"replicas": 4, "selector": {"matchLabels": {"app": "score"}}, "template": template(version)}
    return declared("argoproj.io/v1alpha1", "Rollout", namespace, {**spec, "strategy": {"canary": {}}}, annotations)


def of_instance(text: str, name: str) -> str:
    """The same, for the controller of that name alone."""
    manifest = yaml.safe_load(text)
    labels = {**manifest["metadata"]["labels"], INSTANCE: name}
    return yaml.safe_dump({**manifest, "metadata": {**manifest["metadata"], "labels": labels}})


class Shop(UpWorld):
    """The repository, the cluster, and traffic that is counted as the live Rollout shares it.

    `up` has the rights that `deploy/` gives its controller, and no others.
    """

    def __init__(self, root: Path, plane: ControlPlane, prometheus: str, namespace: str) -> None:
        self.plane, self.namespace, self.touched = plane, namespace, 0
        self.place = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts/score"
        ours = controller_file(plane, Path(__file__).resolve().parents[2], root / "kubeconfig")
        rules = RULES.replace("KUBECONFIG", str(ours)).replace("PROMETHEUS", prometheus)
        super().__init__(root, rules)

    def live(self) -> Any:
        """The Rollout; empty while there is none."""
        try:
            return self.plane.call("GET", self.place)
        except KubernetesError:
            return {}

    def phase(self) -> str:
        """What its controller says of it as it is now."""
        found = self.live()
        status = found.get("status", {})
        seen = found and str(found["metadata"]["generation"]) == status.get("observedGeneration")
        return str(status.get("phase")) if seen else ""

    def written(self, patch: dict[str, Any]) -> bool:
        """Write its status while it is paused, as kubectl's plugin does.

        The object is touched with it: right after a write of its own the controller may put an older one over ours in
        its cache, and would never know.
        """
        if self.phase() == "Paused":
            self.touched += 1
            merge = "application/merge-patch+json"
            self.plane.call("PATCH", f"{self.place}/status", {"status": patch}, content=merge)
            touch = {"metadata": {"annotations": {"tests/touched": str(self.touched)}}}
            self.plane.call("PATCH", self.place, touch, content=merge)
        return True

    def settled(self, version: int) -> bool:
        """Whether the controller has given everything to a version; of one look: two would be of two moments."""
        found = self.live()
        if not found:
            return False
        image, status = found["spec"]["template"]["spec"]["containers"][0]["image"], found.get("status", {})
        ours = int(image.rpartition(":")[2], 16) == version
        seen = str(found["metadata"]["generation"]) == status.get("observedGeneration")
        return ours and seen and status.get("phase") == "Healthy" and status.get("stableRS") == status["currentPodHash"]


class Traffic:
    """Counters by revision: each scrape, a hundred requests that the Rollout's two revisions share."""

    def __init__(self) -> None:
        self.world: Shop | None = None
        self.bad = False
        self.counts: dict[str, list[int]] = {}

    def text(self) -> str:
        if self.world is None:
            return ""
        status = self.world.live().get("status", {})
        stable, current = status.get("stableRS"), status.get("currentPodHash")
        for revision in {stable, current} - {None, ""}:
            count = self.counts.setdefault(revision, [0, 0])
            count[0] += 100
            count[1] += 40 if self.bad and revision == current != stable else 0
        lines = []
        for revision, (requests, errors) in self.counts.items():
            arm = f'namespace="{self.world.namespace}",service="score",revision="{revision}"'
            lines.append(f"customhouse_requests_total{{{arm}}} {requests}")
            lines.append(f"customhouse_request_errors_total{{{arm}}} {errors}")
        return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def controller(kubernetes: ControlPlane, find_part: Callable[[str], Path]) -> ControlPlane:
    """The control plane with the Rollouts controller, and a node for its pods."""
    kubernetes.install_crds("argo-rollouts")
    capacity = {"cpu": "32", "memory": "256Gi", "pods": "500"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "rollouts", "labels": {"type": "kwok"}, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
    kubernetes.call("POST", "/api/v1/nodes", node)
    kubernetes.start(
        find_part("rollouts-controller"),
        *(f"--kubeconfig={kubernetes.kubeconfig}", "--leader-elect=false", "--loglevel=warn"),
        *(f"--metricsport={free_port()}", f"--healthzPort={free_port()}"),
    )
    return kubernetes


@pytest.fixture
def shop(controller: ControlPlane, find_part: Callable[[str], Path], tmp_path: Path) -> Iterator[tuple[Shop, Traffic]]:
    traffic = Traffic()
    namespace = controller.namespace("rollouts")
    (tmp_path / "prometheus").mkdir()
    with prometheus_of(find_part("prometheus"), tmp_path / "prometheus", traffic.text) as address:
        world = Shop(tmp_path, controller, address, namespace)
        traffic.world = world
        yield world, traffic
        world.close()


def test_a_good_canary_is_promoted_and_a_bad_one_goes_back_in_the_cluster_and_in_git(
    shop: tuple[Shop, Traffic],
) -> None:
    world, traffic = shop

    def serve(version: int, annotations: dict[str, str] = CANARY) -> str:
        return world.push({"score.yaml": rollout(world.namespace, version, annotations)}, f"Serve {version}")

    serve(1)
    world.start()
    world.until(lambda: world.settled(1), 120)

    serve(2)
    world.until(lambda: world.settled(2), 120)
    phases = [entry.body for entry in world.entries("rollout")]
    assert any("canary-50" in str(body) for body in phases), phases

    traffic.bad = True
    bad = serve(3)
    world.until(lambda: world.head != bad, 240)
    world.until(lambda: world.settled(2), 120)
    message = git(world.remote, "log", "-1", "--format=%B", "main")
    assert f"This reverts commit {bad}" in message
    assert "errors " in message
    assert "of stable at the same time" in message
    assert "at 25 %" in message
    world.until(lambda: world.overview().get("deployed") == world.head)
    assert world.settled(2)

    # Somebody with kubectl takes it out of our hands.
    traffic.bad = False
    serve(4, PATIENT)
    world.until(lambda: world.written({"pauseConditions": None}) and world.settled(4), 120)  # kubectl … promote
    world.until(lambda: not world.documents("rollout/") and not world.documents("pending/"), 120)
    told = [str(entry.body) for entry in world.entries("rollout")]
    assert any("taken-over: somebody promoted it in the cluster at 25 %" in text for text in told), told[-3:]

    bad = serve(5, PATIENT)
    world.until(lambda: world.written({"abort": True}) and world.head != bad, 240)  # kubectl … abort
    assert "it was aborted in the cluster" in git(world.remote, "log", "-1", "--format=%B", "main")
    world.until(lambda: world.settled(4), 120)
    assert world.end() == 0


@pytest.fixture
def slow(
    controller: ControlPlane, find_part: Callable[[str], Path], shop: tuple[Shop, Traffic], tmp_path: Path
) -> Iterator[FaultyProxy]:
    """A second Rollouts controller, for what is labelled with the namespace's name, behind a proxy."""
    world, proxy = shop[0], FaultyProxy(controller, controller.token)
    document = json.loads(controller.kubeconfig.read_text())
    document["clusters"][0]["cluster"] = {"server": proxy.address}
    (tmp_path / "slow").write_text(json.dumps(document))
    with (tmp_path / "slow.log").open("wb") as log:
        process = subprocess.Popen(
            [
                find_part("rollouts-controller"),
                *(f"--kubeconfig={tmp_path / 'slow'}", "--leader-elect=false", "--loglevel=warn"),
                *("--namespaced", f"--namespace={world.namespace}", f"--instance-id={world.namespace}"),
                *(f"--metricsport={free_port()}", f"--healthzPort={free_port()}"),
            ],
            stdout=log,
            stderr=log,
            cwd=tmp_path,
        )
        yield proxy
        process.kill()
        process.wait(60)
        proxy.stop()


def test_a_controller_that_put_an_older_object_over_what_a_rollback_wrote_is_made_to_look_again(
    shop: tuple[Shop, Traffic], slow: FaultyProxy
) -> None:
    """Argo Rollouts writes what a write of its own answered into its cache, also over what is newer (#4073, v1.9)."""
    world, traffic = shop

    def serve(version: int) -> str:
        text = of_instance(rollout(world.namespace, version, PATIENT), world.namespace)
        return world.push({"score.yaml": text}, f"Serve {version}")

    serve(1)
    world.start()
    world.until(lambda: world.settled(1), 120)

    def pauses(seen: Seen) -> bool:
        return seen.method == "PATCH" and "/rollouts/score/status" in seen.target and b"Rollout is paused" in seen.body

    def taken_back(line: bytes, before: int = world.live()["metadata"]["generation"]) -> bool:
        found = json.loads(line)["object"] if b'"Rollout"' in line else {}
        return found.get("kind") == "Rollout" and found["metadata"].get("generation", 0) >= before + 2

    # The answer to the last thing that the controller writes of the canary comes after the news that it goes back.
    held = slow.fault(Fault(pauses, until=taken_back))
    bad = serve(2)
    world.until(lambda: held.hit and world.phase() == "Paused", 120)
    traffic.bad = True
    world.until(lambda: world.head != bad, 120)
    world.until(lambda: world.settled(1), 120)
    assert world.end() == 0
