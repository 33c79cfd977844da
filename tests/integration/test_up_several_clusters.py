"""Several clusters kept by one `customhouse up`: two real API servers that hold the same namespaces and names."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from control_repository import git
from up_world import UpWorld

from customhouse.store import open_store
from kubernetes_plane import ControlPlane, KubernetesError, start_control_plane

pytestmark = pytest.mark.part("kubernetes")

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
RULES = """\
apiVersion: customhouse.dev/v1
targets:
  east: {kubeconfig: EAST, mode: manage, paths: [clusters/east]}
  west: {kubeconfig: WEST, mode: manage, paths: [clusters/west]}
environments:
  staging: {namespaces: [ROOM], target: east}
  production: {namespaces: [LIVE], target: west, production: true}
policy: {requireSignedCommits: false}
optimiser: {autonomy: observe}
prices: {maxAgeDays: 3650}
"""
LABELLED = ("owner", "team", "project", "cost-centre")
LABELS = "".join(f"    customhouse.dev/{name}: x\n" for name in LABELLED)


def settings_of(name: str, namespace: str, text: str) -> str:
    metadata = f"  name: {name}\n  namespace: {namespace}\n  labels:\n{LABELS}"
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n{metadata}data:\n  text: {text}\n"


@pytest.fixture(scope="module")
def other(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A second cluster."""
    files = find_part("kubernetes")
    programs = {name: find_part(name) for name in PROGRAMS}
    plane = start_control_plane(tmp_path_factory.mktemp("other"), programs, files)
    yield plane
    plane.stop()


class TwoClusters(UpWorld):
    """A repository for two clusters, in which a namespace of the same name is."""

    def __init__(self, root: Path, east: ControlPlane, west: ControlPlane) -> None:
        self.east, self.west = east, west
        self.room, self.live = east.namespace("room"), east.namespace("live")
        for name in (self.room, self.live):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            west.call("POST", "/api/v1/namespaces", body)
        rules = RULES.replace("EAST", str(east.kubeconfig)).replace("WEST", str(west.kubeconfig))
        self.rules = rules.replace("ROOM", self.room).replace("LIVE", self.live)
        super().__init__(root, self.rules)

    def text(self, plane: ControlPlane, name: str, room: str = "") -> str:
        """The text of a ConfigMap; empty while there is none."""
        try:
            found = plane.call("GET", f"/api/v1/namespaces/{room or self.room}/configmaps/{name}")
        except KubernetesError:
            return ""
        return str(found["data"]["text"])

    def both(self, name: str) -> tuple[str, str]:
        return self.text(self.east, name), self.text(self.west, name)

    def cluster(self) -> dict[str, Any]:
        found: dict[str, Any] = self.overview().get("cluster", {})
        return found

    def inventories(self, plane: ControlPlane) -> dict[str, str]:
        """Inventory → what it lists, of those of this test."""
        try:
            found = plane.call("GET", "/api/v1/namespaces/customhouse-system/configmaps")["items"]
        except KubernetesError:
            return {}
        texts = {one["metadata"]["name"]: one["data"].get("objects", "") for one in found}
        return {name: text for name, text in texts.items() if self.room in text}


def a_node(plane: ControlPlane) -> None:
    """A node that KWOK plays, where there is none of this name."""
    metadata = {"name": "several", "labels": {"type": "kwok"}, "annotations": {"kwok.x-k8s.io/node": "fake"}}
    plane.apply("/api/v1/nodes/several", {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    room = {"cpu": "64", "memory": "256Gi", "pods": "500"}
    status = {"status": {"capacity": room, "allocatable": room}}
    plane.call("PATCH", "/api/v1/nodes/several/status", status, content="application/merge-patch+json")


def server_of(namespace: str, image: str) -> str:
    """A Deployment that meets every rule."""
    labels = "{app: fraud, " + ", ".join(f"customhouse.dev/{name}: x" for name in LABELLED) + "}"
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: fraud
  namespace: {namespace}
  labels: {labels}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: fraud}}}}
  template:
    metadata: {{labels: {labels}}}
    spec:
      securityContext: {{runAsNonRoot: true, runAsUser: 10001, seccompProfile: {{type: RuntimeDefault}}}}
      automountServiceAccountToken: false
      containers:
      - name: model
        image: registry.example/fraud@sha256:{image * 64}
        resources: {{requests: {{cpu: 100m, memory: 64Mi}}, limits: {{cpu: 100m, memory: 64Mi}}}}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {{drop: [ALL]}}
"""


def image_of(manifest: Mapping[str, Any]) -> str:
    """The last letter of what a Deployment runs."""
    return str(manifest["spec"]["template"]["spec"]["containers"][0]["image"])[-1]


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane, other: ControlPlane) -> Iterator[TwoClusters]:
    made = TwoClusters(tmp_path, kubernetes, other)
    yield made
    made.close()


def metrics(world: TwoClusters) -> list[str]:
    url = re.findall(r"dashboard: (\S+);", world.said())[-1]
    with urllib.request.urlopen(f"{url}metrics", timeout=60) as answer:
        return str(answer.read().decode()).splitlines()


def test_each_cluster_gets_its_own_and_loses_its_own_alone(world: TwoClusters) -> None:
    places = {
        "clusters/east/one.yaml": settings_of("one", world.room, "east"),
        "clusters/west/one.yaml": settings_of("one", world.room, "west"),
        "clusters/east/same.yaml": settings_of("same", world.room, "alike"),
        "clusters/west/same.yaml": settings_of("same", world.room, "alike"),
        "apps/here.yaml": settings_of("here", world.room, "by environment"),
        "apps/there.yaml": settings_of("there", world.live, "by environment"),
    }
    # A pod that nobody declares, in the one: the audit of that one alone sees it.
    stray = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stray", "namespace": world.room}}
    stray |= {"spec": {"containers": [{"name": "x", "image": "elsewhere.example/x:1"}]}}
    world.west.call("POST", f"/api/v1/namespaces/{world.room}/pods", stray)
    head = world.push({**places, "customhouse.yaml": world.rules + "audit: {everyMinutes: 60}\n"}, "for two clusters")
    planned = json.loads(world.cli("plan", "--repo", str(world.remote), "-o", "json").stdout)
    assert {(item["target"], item["action"], item["resource"]["name"]) for item in planned["actions"]} == {
        *(("east", "create", name) for name in ("one", "same", "here")),
        *(("west", "create", name) for name in ("one", "same", "there")),
    }
    world.start()
    world.until(lambda: world.both("one") == ("east", "west"))
    world.until(lambda: world.both("same") == ("alike", "alike"))
    world.until(lambda: world.text(world.east, "here") == "by environment")
    world.until(lambda: world.text(world.west, "there", world.live) == "by environment")
    assert world.text(world.west, "here") == world.text(world.east, "there", world.live) == ""
    (east,), (west,) = world.inventories(world.east), world.inventories(world.west)
    assert east.endswith("-east-0")
    assert west.endswith("-west-0")

    # A manual edit is put right where it was made, and told with the cluster's name.
    path = f"/api/v1/namespaces/{world.room}/configmaps/one?fieldManager=kubectl-edit"
    world.west.call("PATCH", path, {"data": {"text": "mine"}}, content="application/merge-patch+json")
    world.until(lambda: world.entries("drift"))
    (drift,) = world.entries("drift")
    assert "[west]" in drift.body["text"]
    world.until(lambda: world.both("one") == ("east", "west"))

    # What leaves one cluster's folder leaves that cluster alone.
    world.push({"clusters/west/one.yaml": None}, "west does without")
    world.until(lambda: world.both("one") == ("east", ""))
    assert world.both("same") == ("alike", "alike")

    def broken(target: str) -> list[str]:
        return [line for line in metrics(world) if f'target="{target}"' in line and f'namespace="{world.room}"' in line]

    world.until(lambda: broken("west"))
    world.until(lambda: any(line.startswith('customhouse_audit_complete{target="east"}') for line in metrics(world)))
    assert broken("east") == []

    # An environment that goes to the other cluster takes its objects along, and leaves nothing behind.
    moved = world.rules.replace("target: west", "target: east")
    world.push({"customhouse.yaml": moved}, "production moves")
    world.until(lambda: world.text(world.east, "there", world.live) == "by environment")
    world.until(lambda: world.text(world.west, "there", world.live) == "")

    # What is for no target is not guessed at: the last good state stays.
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: nobodys\n  labels:\n"
    world.push({"role.yaml": role + LABELS + "rules: []\n"}, "for nobody")
    world.problem("for none of the targets east, west", "role.yaml:1:1")
    assert head != world.overview()["deployed"]
    world.push({"role.yaml": None}, "and back")
    world.until(lambda: world.overview().get("problem") == "")
    shown = world.cli("status")
    assert (shown.returncode, "east: 4 objects" in shown.stdout, "west: 1 object" in shown.stdout) == (0, True, True), (
        shown
    )
    assert world.end() == 0
    again = world.cli("sync", "--repo", str(world.remote), "-o", "json")
    assert (again.returncode, json.loads(again.stdout)["settled"]) == (0, True), again
    assert {row["name"] for row in json.loads(again.stdout)["cluster"]["targets"]} == {"east", "west"}


def test_a_cluster_that_is_gone_holds_only_its_own(world: TwoClusters) -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # takes connections, and never says a word
    gone = world.root / "gone"
    address = f"https://127.0.0.1:{silent.getsockname()[1]}"
    gone.write_text(world.west.kubeconfig.read_text().replace(world.west.server, address))
    away = world.rules.replace(str(world.west.kubeconfig), str(gone))
    both = {
        "clusters/east/one.yaml": settings_of("one", world.room, "first"),
        "clusters/west/one.yaml": settings_of("one", world.room, "first"),
    }
    world.push({"customhouse.yaml": away, **both}, "one of two is away")
    world.start()
    world.until(lambda: world.both("one") == ("first", ""))
    second = {name: text.replace("first", "second") for name, text in both.items()}
    world.push(second, "and it goes on")
    world.until(lambda: world.both("one") == ("second", ""))
    world.problem("west: ", address)
    assert world.cluster()["targets"][0]["problem"] == ""
    assert world.cli("status").returncode == 4
    assert world.end() == 0, "also while one does not answer"
    silent.close()
    world.push({"customhouse.yaml": world.rules}, "it is back")
    world.start()
    world.until(lambda: world.both("one") == ("second", "second"))


def test_targets_that_change_places_touch_nothing_of_one_another(world: TwoClusters) -> None:
    for place, text in (("east", "east"), ("west", "west")):
        files = {f"clusters/{place}/{name}.yaml": settings_of(name, world.room, text) for name in "abc"}
        world.push({**files, f"clusters/{place}/only-{place}.yaml": settings_of(f"only-{place}", world.room, text)})
    world.start()
    world.until(lambda: world.both("a") == ("east", "west") and world.both("c") == ("east", "west"))
    world.until(lambda: world.text(world.east, "only-east") and world.text(world.west, "only-west"))
    east, west = str(world.east.kubeconfig), str(world.west.kubeconfig)
    swapped = world.rules.replace(east, "@").replace(west, east).replace("@", west)
    head = world.push({"customhouse.yaml": swapped}, "the wrong way round")
    world.until(lambda: world.overview().get("deployed") == head)
    said = world.problem("east: ", "west: ", "belongs to")
    assert "source" in said
    world.until(lambda: world.text(world.west, "only-east") == "east")
    assert world.both("a") == world.both("c") == ("east", "west")
    assert (world.text(world.east, "only-east"), world.text(world.west, "only-west")) == ("east", "west")
    # Both targets are one cluster, by two files: they are two sources in it.
    copy = world.root / "copy"
    copy.write_text(world.east.kubeconfig.read_text())
    world.push({"customhouse.yaml": world.rules.replace(west, str(copy))}, "one cluster twice")
    world.problem("west: ", "belongs to")
    assert world.text(world.east, "a") == "east"
    assert git(world.remote, "rev-parse", "main") == world.head


def test_a_release_goes_from_dev_over_staging_to_production_in_another_cluster_and_back(world: TwoClusters) -> None:
    dev, live = world.room, world.live
    environments = (
        "environments:\n"
        f"  dev: {{namespaces: [{dev}], target: east}}\n"
        f"  staging: {{namespaces: [{live}], target: east}}\n"
        f"  production: {{namespaces: [{live}], target: west, production: true}}\n"
        "tiers: {definitions: {standard: {requiredEvidence: [], requiredImageEvidence: []}}}\n"
        "policy: {requireSignedCommits: false, trustedRegistries: [registry.example]}\n"
    )
    start, end = world.rules.index("environments:"), world.rules.index("optimiser:")
    world.push({"customhouse.yaml": world.rules[:start] + environments + world.rules[end:]}, "three environments")
    for plane in (world.east, world.west):
        a_node(plane)

    def declared(image: str) -> dict[str, str | None]:
        return {"dev/fraud.yaml": server_of(dev, image)}

    first = {"clusters/east/fraud.yaml": server_of(live, "a"), "clusters/west/fraud.yaml": server_of(live, "a")}
    world.push({**declared("a"), **first}, "Serve a everywhere")

    def runs(plane: ControlPlane, namespace: str) -> str:
        return image_of(plane.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/fraud"))

    def history() -> list[tuple[str, str, str, str]]:
        with open_store(world.state / "state.db") as store:
            found = store.releases.history("fraud", 100)
            of = {item.release: store.state.get(f"release/{item.release}")["manifest"] for item in found}
        return [
            (one.resource.scene, one.resource.namespace, image_of(of[one.release]), one.phase.value) for one in found
        ]

    def merge(branch: str) -> str:
        git(world.clone, "fetch", "-q", "origin")
        git(world.clone, "checkout", "-q", "-B", "main", "origin/main")
        git(world.clone, "merge", "-q", "--no-ff", "-m", f"Merge {branch}", f"origin/{branch}")
        git(world.clone, "push", "-q", "origin", "HEAD:main")
        return git(world.clone, "rev-parse", "HEAD")

    world.start()
    world.until(lambda: {("", dev, "a", "promoted"), ("east", live, "a", "promoted")} <= set(history()), 120)
    world.until(lambda: ("west", live, "a", "promoted") in history(), 120)
    world.push(declared("b"), "Serve b in dev")
    world.until(lambda: ("", dev, "b", "promoted") in history(), 120)

    ahead = world.cli("promote", "fraud", "--to", "production", "--from", "dev", "--repo", str(world.remote))
    assert ahead.returncode == 0, "one may skip what lies between, and says so"
    git(world.remote, "branch", "-D", "customhouse/promote/fraud-to-production")
    to_staging = world.cli("promote", "fraud", "--to", "staging", "--repo", str(world.remote))
    assert to_staging.returncode == 0, to_staging.stderr
    assert "clusters/east/fraud.yaml" in to_staging.stderr
    merge("customhouse/promote/fraud-to-staging")
    world.until(lambda: ("east", live, "b", "promoted") in history(), 120)
    assert (runs(world.east, live), runs(world.west, live)) == ("b", "a")
    merged = world.cli("promote", "fraud", "--to", "production", "--repo", str(world.remote))
    assert merged.returncode == 0, merged.stderr
    assert "clusters/west/fraud.yaml" in merged.stderr
    merge("customhouse/promote/fraud-to-production")
    world.until(lambda: ("west", live, "b", "promoted") in history(), 120)
    assert runs(world.west, live) == "b"

    # Back in production alone.
    unclear = world.cli("rollback", "fraud", "--repo", str(world.remote))
    assert (unclear.returncode, f"Deployment/{live}/fraud@west" in unclear.stderr) == (2, True), unclear.stderr
    back = world.cli("rollback", f"{live}/fraud@west", "--repo", str(world.remote), "--reason", "slow")
    assert back.returncode == 0, back.stderr
    world.until(lambda: runs(world.west, live) == "a", 120)
    world.until(lambda: history()[0] == ("west", live, "a", "promoted"), 120)
    assert runs(world.east, live) == "b"
    told = json.loads(world.cli("history", "fraud", "-o", "json").stdout)
    assert [told[0][name] for name in ("target", "author", "verdict", "phase")] == [
        *("west", "Customhouse <customhouse@customhouse.dev>", "warn", "promoted"),
    ]
    assert world.end() == 0
    assert world.cli("sync", "--repo", str(world.remote)).returncode == 0
    assert (runs(world.east, live), runs(world.west, live)) == ("b", "a")
