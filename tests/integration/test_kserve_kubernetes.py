"""Services and graphs on KServe's real controller, kept by `customhouse up`; canaries by what a Prometheus counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_repository import git
from up_world import UpWorld, service

from customhouse.core.plan import HealthStatus
from customhouse.execution.health import health
from customhouse.execution.health.revisions import MODE
from customhouse.store import open_store
from kserve_controller import LABEL, SERVING, Knative, kserve_on
from kubernetes_plane import ControlPlane, KubernetesError
from prometheus_server import prometheus_of

pytestmark = [pytest.mark.part("kubernetes"), pytest.mark.part("kserve-manager"), pytest.mark.part("prometheus")]

RULES = """\
apiVersion: customhouse.dev/v1
target:
  kind: kubernetes
  kubeconfig: KUBECONFIG
  mode: manage
  pruneBudgetPercent: 100
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
OWNED = {f"customhouse.dev/{name}": "x" for name in ("owner", "team", "project", "cost-centre")}
ANALYSIS = "min-requests=200, min-labelled=0, latency-ratio=5"


class Shop(UpWorld):
    """The repository, a namespace, Knative in it, and traffic that is counted as Knative splits it."""

    def __init__(self, root: Path, plane: ControlPlane, prometheus: str, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        rules = RULES.replace("KUBECONFIG", str(plane.kubeconfig)).replace("PROMETHEUS", prometheus)
        super().__init__(root, rules)

    def declared(self, model: str, way: str = "canary", name: str = "score") -> str:
        """The service at a model, with a canary or blue-green, or with none."""
        number = int(model.removeprefix("v"))
        text = service(f"sha256:{number:064x}", model, name=name, analysis=ANALYSIS)
        text = text.replace("namespace: shop", f"namespace: {self.namespace}")
        steps = '    customhouse.dev/rollout-steps: "20,50"\n'
        if not way:
            text = re.sub(r"    customhouse.dev/rollout.*\n", "", text)
        if way == "blue-green":
            text = text.replace("rollout: canary", "rollout: blue-green").replace(steps, "")
        return text

    def live(self, kind: str = "inferenceservices", name: str = "score", version: str = "v1beta1") -> Any:
        try:
            return self.plane.call("GET", f"{SERVING}/{version}/namespaces/{self.namespace}/{kind}/{name}")
        except KubernetesError as error:
            if error.status != 404:
                raise
            return {}

    @property
    def tip(self) -> str:
        """`head`, without a program: it is asked many times a second."""
        return (self.remote / "refs" / "heads" / "main").read_text().strip()

    def promoted(self, commit: str) -> bool:
        """Whether the commit is what is deployed, and nothing is on its way."""
        if self.overview().get("deployed") != commit:
            return False
        with open_store(self.state / "state.db") as store:
            return not any(store.state.keys(name) for name in ("pending/", "rollout/", "landing/", "held/"))


class Traffic:
    """Counters by revision: each scrape, four hundred requests, shared as Knative shares them."""

    def __init__(self, knative: Knative, namespace: str) -> None:
        self.knative, self.namespace = knative, namespace
        self.bad: set[str] = set()
        """Models of whose answers some fail."""
        self.counts: dict[str, list[int]] = {}

    def text(self) -> str:
        for revision, share in dict(self.knative.split).items():
            count = self.counts.setdefault(revision, [0, 0])
            count[0] += 4 * share
            count[1] += share if self.knative.models[revision] in self.bad else 0
        lines = []
        for revision, (requests, errors) in self.counts.items():
            arm = f'namespace="{self.namespace}",service="score",revision="{revision}"'
            lines.append(f"customhouse_requests_total{{{arm}}} {requests}")
            lines.append(f"customhouse_request_errors_total{{{arm}}} {errors}")
        return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def kserve(
    kubernetes: ControlPlane, find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    with kserve_on(kubernetes, find_part("kserve-manager"), tmp_path_factory.mktemp("kserve")) as plane:
        yield plane


@pytest.fixture
def shop(
    kserve: ControlPlane, find_part: Callable[[str], Path], tmp_path: Path
) -> Iterator[tuple[Shop, Knative, Traffic]]:
    namespace = kserve.namespace("kserve", {LABEL: "yes"})
    knative = Knative(kserve, namespace)
    traffic = Traffic(knative, namespace)
    (tmp_path / "prometheus").mkdir()
    try:
        with prometheus_of(find_part("prometheus"), tmp_path / "prometheus", traffic.text) as address:
            world = Shop(tmp_path, kserve, address, namespace)
            yield world, knative, traffic
            world.close()
    finally:
        knative.close()


def test_versions_are_walked_on_kserve_and_a_bad_one_never_gets_traffic_again(
    shop: tuple[Shop, Knative, Traffic],
) -> None:
    world, knative, traffic = shop

    def serve(model: str, way: str = "canary") -> str:
        return world.push({"score.yaml": world.declared(model, way)}, f"Serve {model}")

    first = serve("v1")
    world.start()
    world.until(lambda: world.promoted(first), 180)
    assert knative.shares == [{"v1": 100}]

    second = serve("v2")
    world.until(lambda: world.promoted(second), 180)
    assert knative.shares[1:] == [{"v1": 100, "v2": 0}, {"v1": 80, "v2": 20}, {"v1": 50, "v2": 50}, {"v2": 100}]

    traffic.bad.add("v3")
    before, bad = len(knative.shares), serve("v3")
    world.until(lambda: world.tip != bad, 180)
    world.until(lambda: world.promoted(world.tip), 180)
    message = git(world.remote, "log", "-1", "--format=%B", "main")
    assert f"This reverts commit {bad}" in message
    assert "of stable at the same time" in message
    # Its revision stays the newest ready one until that of the revert is: it has no share then.
    assert knative.shares[before:] == [{"v2": 100, "v3": 0}, {"v2": 80, "v3": 20}, {"v2": 100, "v3": 0}, {"v2": 100}]

    traffic.bad.add("v4")
    before, bad = len(knative.shares), serve("v4", "blue-green")
    world.until(lambda: world.tip != bad, 180)
    world.until(lambda: world.promoted(world.tip), 180)
    assert knative.shares[before:] == [{"v2": 100, "v4": 0}, {"v4": 100}, {"v2": 100, "v4": 0}, {"v2": 100}]

    knative.broken = lambda model: model == "v5"
    before, bad = len(knative.shares), serve("v5")
    world.until(lambda: world.tip != bad, 180)
    world.until(lambda: world.promoted(world.tip), 180)
    assert "the new release does not become ready" in git(world.remote, "log", "-1", "--format=%B", "main")
    assert knative.shares[before:] == [], "it never had any traffic"

    before = len(knative.shares)
    back = world.cli("rollback", "score", "--repo", str(world.remote), "--reason", "slow")
    assert back.returncode == 0, back.stderr
    world.until(lambda: world.promoted(world.tip), 180)
    assert knative.shares[before:] == [{"v1": 100}], "what was good is not tried again, and waits until it is ready"

    graph(world, knative)
    refused(world)
    assert world.end() == 0


def graph(world: Shop, knative: Knative) -> None:
    """A graph waits for the services that it names, is what KServe's controller says of it, and goes before they do."""
    knative.broken = lambda model: model == "v6"
    steps = [{"serviceName": "score", "name": "a"}, {"serviceName": "other", "name": "b"}]
    metadata = {"name": "both", "namespace": world.namespace, "labels": OWNED}
    nodes = {"root": {"routerType": "Sequence", "steps": steps}}
    document = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "InferenceGraph", "metadata": metadata}
    files = {
        "graph.yaml": yaml.safe_dump({**document, "spec": {"nodes": nodes}}),
        "other.yaml": world.declared("v6", "", name="other"),
    }
    commit = world.push(files, "Call one after the other")

    def waiting() -> list[str]:
        return [str(item["for"]) for item in world.overview().get("cluster", {}).get("waiting", ())]

    world.until(lambda: any("/other" in text for text in waiting()), 180)
    assert world.live("inferencegraphs", "both", "v1alpha1") == {}
    knative.broken = lambda model: False
    world.until(lambda: world.promoted(commit), 180)
    world.until(lambda: health(world.live("inferencegraphs", "both", "v1alpha1")).status is HealthStatus.HEALTHY, 180)
    world.push({"graph.yaml": None, "other.yaml": None}, "Call neither")
    world.until(lambda: not world.live(name="other") and not world.live("inferencegraphs", "both", "v1alpha1"), 180)


def refused(world: Shop) -> None:
    """Where KServe keeps one Deployment, a canary would be everybody's at once: it is refused."""

    def plain(model: str, way: str) -> str:
        text = world.declared(model, way, name="plain")
        local = f"    networking.kserve.io/visibility: cluster-local\n  annotations:\n    {MODE}: Standard\n"
        return world.push({"plain.yaml": text.replace("  annotations:\n", local)}, f"Plain {model}")

    first = plain("v1", "canary")
    world.until(lambda: world.promoted(first), 180)
    assert world.live(name="plain")["status"]["deploymentMode"] == "Standard"
    plain("v2", "canary")
    world.problem("could not decide", "in its mode Standard, where a new version has all of the traffic", seconds=180)
    assert world.live(name="plain")["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/v1"
    second = plain("v2", "")
    world.until(lambda: world.promoted(second), 180)
    place = f"/apis/apps/v1/namespaces/{world.namespace}/deployments/plain-predictor"
    assert "pvc://models/v2" in str(world.plane.call("GET", place)["spec"]["template"])
