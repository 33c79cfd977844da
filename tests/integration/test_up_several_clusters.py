"""Several clusters kept by one `customhouse up`: two real API servers that hold the same namespaces and names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from control_repository import git
from up_world import UpWorld

from kubernetes_plane import ControlPlane, KubernetesError, start_control_plane

pytestmark = pytest.mark.part("kubernetes")

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
LABELS = "".join(f"    customhouse.dev/{name}: x\n" for name in ("owner", "team", "project", "cost-centre"))


def settings_of(name: str, namespace: str, text: str) -> str:
    metadata = f"  name: {name}\n  namespace: {namespace}\n  labels:\n{LABELS}"
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n{metadata}data:\n  text: {text}\n"


@pytest.fixture(scope="module")
def other(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A second cluster: an API server with its etcd, and nothing that works in it."""
    files = find_part("kubernetes")
    programs = {name: find_part(name) for name in ("etcd", "kube-apiserver")}
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


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane, other: ControlPlane) -> Iterator[TwoClusters]:
    made = TwoClusters(tmp_path, kubernetes, other)
    yield made
    made.close()


def test_each_cluster_gets_its_own_and_loses_its_own_alone(world: TwoClusters) -> None:
    places = {
        "clusters/east/one.yaml": settings_of("one", world.room, "east"),
        "clusters/west/one.yaml": settings_of("one", world.room, "west"),
        "clusters/east/same.yaml": settings_of("same", world.room, "alike"),
        "clusters/west/same.yaml": settings_of("same", world.room, "alike"),
        "apps/here.yaml": settings_of("here", world.room, "by environment"),
        "apps/there.yaml": settings_of("there", world.live, "by environment"),
    }
    head = world.push(places, "for two clusters")
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
    gone = world.root / "gone"
    gone.write_text(world.west.kubeconfig.read_text().replace(world.west.server, "https://127.0.0.1:1"))
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
    world.problem("west: ", "127.0.0.1:1")
    assert world.cluster()["targets"][0]["problem"] == ""
    assert world.cli("status").returncode == 4
    world.push({"customhouse.yaml": world.rules}, "it is back")
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
