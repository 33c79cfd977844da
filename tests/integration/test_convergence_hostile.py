"""What must not happen to a real API server whoever edits, copies or loses what lies in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from convergence_world import ConvergenceWorld, config_map, deployment

from customhouse._kit.clock import SystemClock
from customhouse.control.convergence import Conduct, Convergence
from customhouse.control.tracked import FOLLOWED, LABEL, OWNER, ForeignInventoryError, Inventories, Tracked
from customhouse.core.errors import StateError, TargetError
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from customhouse.execution.health import health
from customhouse.execution.sightings import Sightings
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")
_NAMESPACES = "/api/v1/namespaces"


@pytest.fixture
def world(kubernetes: ControlPlane) -> Iterator[ConvergenceWorld]:
    made = ConvergenceWorld(kubernetes)
    yield made
    made.end()


def created(world: ConvergenceWorld, namespace: str, manifest: dict[str, Any]) -> Any:
    """Made by a person, with no apply."""
    return world.plane.call("POST", f"{_NAMESPACES}/{namespace}/configmaps?fieldManager=kubectl-create", manifest)


def test_a_row_that_somebody_wrote_into_the_inventory_deletes_nothing(world: ConvergenceWorld) -> None:
    place, victims = world.plane.namespace("victim"), world.plane.namespace("rows")
    manifests = [config_map(f"c{number}", place) for number in range(4)]
    world.declare(*manifests)
    world.settle()
    precious = created(world, place, config_map("precious", place, text="theirs"))
    room = world.plane.call("GET", f"{_NAMESPACES}/{victims}")
    rows = [
        ["v1", "ConfigMap", place, "precious", precious["metadata"]["uid"], 0],
        ["v1", "Namespace", "", victims, room["metadata"]["uid"], 0],
    ]
    name = "inventory-repository-0"
    before = world.get("ConfigMap", world.home, name)["data"]["objects"]
    text = "\n".join([before, *(json.dumps(row) for row in rows)])
    world.patch("ConfigMap", world.home, name, {"data": {"objects": text}})
    world.restart()
    world.declare(*manifests)
    world.settle()
    assert world.get("ConfigMap", place, "precious")["data"] == {"text": "theirs"}
    assert "deletionTimestamp" not in world.plane.call("GET", f"{_NAMESPACES}/{victims}")["metadata"]
    said = {ref.name: reason for made in world.rounds for ref, reason in made.released}
    assert said == dict.fromkeys(("precious", victims), "all of its fields are others'")


def test_an_inventory_that_is_given_to_another_source_stops_it(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("given")
    mine = [config_map(f"mine{number}", place) for number in range(4)]
    world.declare(*mine)
    world.settle()
    other = ConvergenceWorld(world.plane, "another")
    try:
        other.convergence.inventory.namespace = world.home
        other.declare(config_map("theirs", place))
        other.settle()
    finally:
        other.end()
    edit = {"metadata": {"annotations": {"customhouse.dev/inventory": "repository"}}}
    world.patch("ConfigMap", world.home, "inventory-another-0", edit)
    with pytest.raises(StateError, match="part 0 of the inventory of 'repository'"):
        world.restart()
    assert "theirs" in world.versions("ConfigMap", place)


def test_what_the_state_knows_of_another_cluster_says_nothing_of_this_one(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("elsewhere")
    world.declare(config_map("one", place), config_map("two", place))
    world.settle()
    (known,) = world.state.keys("tracked-in/")
    world.state.put({known: "the uid of another cluster's kube-system"})
    name = "inventory-repository-0"
    world.delete("ConfigMap", world.home, name)
    world.restart()
    assert not world.convergence.inventory.entries
    world.declare(config_map("one", place))
    world.settle()
    assert "two" in world.versions("ConfigMap", place)
    assert not [item for made in world.rounds for item in (*made.drift, *made.removed, *made.released)]
    world.restart()
    assert [entry.ref.name for entry in world.convergence.inventory.entries.values()] == ["one"]


def test_observing_again_writes_no_inventory(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("observed")
    world.declare(config_map("one", place), config_map("two", place))
    world.settle()
    before = world.versions("ConfigMap", world.home)
    world.conduct = Conduct(writes=False)
    world.restart()
    world.declare(config_map("one", place, {"customhouse.dev/prune": "disabled"}))
    world.convergence.step()
    assert world.versions("ConfigMap", world.home) == before


def test_what_is_declared_is_no_addition_of_who_made_it_before(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("adopted")
    created(world, place, config_map("one", place, text="same"))
    world.declare(config_map("one", place, text="same"))
    world.settle()
    edit = {"metadata": {"labels": {"mine": "too"}, "annotations": {"note": "by hand"}}}
    world.patch("ConfigMap", place, "one", edit)
    world.until(lambda: world.convergence.drifting)
    (told,) = world.convergence.drifting.values()
    assert {one.diff.pointer for one in told.fields} == {"/metadata/labels/mine", "/metadata/annotations/note"}


def test_what_anybody_adds_to_what_runs_is_told_under_whatever_name(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("sidecar")
    world.declare(deployment("model", place))
    world.settle()
    side = {"name": "side", "image": "example/evil:1"}
    manifest = deployment("model", place)
    manifest["spec"] = {"template": {"spec": {"containers": [side]}}}
    path = f"/apis/apps/v1/namespaces/{place}/deployments/model"
    world.plane.apply(path, manifest, manager="some-controller")
    world.until(lambda: world.convergence.drifting)
    (told,) = world.convergence.drifting.values()
    assert {one.manager for one in told.fields} == {"some-controller"}
    assert "/spec/template/spec/containers/1/image" in {one.diff.pointer for one in told.fields}


def test_an_inventory_belongs_to_the_repository_that_it_names_until_that_is_edited(world: ConvergenceWorld) -> None:
    place, name = world.plane.namespace("copied"), "inventory-repository-0"
    mine = [config_map(f"mine{number}", place) for number in range(4)]
    world.declare(*mine)
    world.settle()
    assert OWNER not in world.get("ConfigMap", world.home, name)["metadata"]["annotations"]
    world.repository = "main@1"
    world.restart()
    world.declare(*mine)
    world.settle()
    live = world.get("ConfigMap", world.home, name)
    assert live["metadata"]["annotations"][OWNER] == "main@1"
    assert [made.applied for made in world.rounds[-1:] if made.applied] == []

    other = ConvergenceWorld(world.plane)
    other.state, other.home, other.repository = type(world.state)(), world.home, "main@2"
    try:
        with pytest.raises(ForeignInventoryError, match="another repository, 'main@1'"):
            other.restart()
        inventory = other.convergence.inventory
        inventory.namespace = world.home  # as if there had been none yet when it began
        inventory.put(Tracked(ResourceRef("v1", "ConfigMap", place, "mine0")))
        with pytest.raises(ForeignInventoryError):
            inventory.save()
        assert not other.state.keys("tracked/")
        assert world.get("ConfigMap", world.home, name)["data"] == live["data"]
        assert "theirs" not in world.versions("ConfigMap", place)

        world.patch("ConfigMap", world.home, name, {"metadata": {"annotations": {OWNER: "main@2"}}})
        with pytest.raises(ForeignInventoryError, match="'main@2'"):
            world.convergence.inventory.restore()
        other.restart()
        other.declare(*mine[:3])
        other.settle()
        assert "mine3" not in other.versions("ConfigMap", place)
    finally:
        other.end()


def test_rights_that_are_lost_never_read_as_nothing_being_there(
    world: ConvergenceWorld, kubernetes: ControlPlane, tmp_path: Path
) -> None:
    place, rights = kubernetes.namespace("lost"), "/apis/rbac.authorization.k8s.io/v1"
    accounts = f"{_NAMESPACES}/{world.home}/serviceaccounts"
    kubernetes.call("POST", accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ours"}})
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    access = json.loads(kubernetes.kubeconfig.read_text())
    access["users"][0]["user"] = {"token": kubernetes.call("POST", f"{accounts}/ours/token", asked)["status"]["token"]}
    (tmp_path / "kubeconfig").write_text(json.dumps(access))
    group = {"apiVersion": "rbac.authorization.k8s.io/v1"}

    def grant(kind: str, path: str, verbs: list[str]) -> None:
        metadata, rules = {"name": place}, [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]
        kubernetes.apply(
            f"{path}{kind.lower()}s/{place}", {**group, "kind": kind, "metadata": metadata, "rules": rules}
        )
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": place}
        bound = {"subjects": [{"kind": "ServiceAccount", "name": "ours", "namespace": world.home}], "roleRef": ref}
        binding = {**group, "kind": f"{kind}Binding", "metadata": metadata, **bound}
        kubernetes.apply(f"{path}{kind.lower()}bindings/{place}", binding)

    everywhere, here = f"{rights}/", f"{rights}/namespaces/{world.home}/"
    grant("ClusterRole", everywhere, ["get", "list", "watch", "create", "patch", "delete"])
    grant("Role", here, ["list", "create", "patch"])

    def refused(look: Callable[[], Any]) -> str:
        try:
            look()
        except TargetError as error:
            return str(error) if "forbidden" in str(error) else ""
        return ""

    def begin() -> None:
        world.end()
        world.cluster = KubernetesCluster(read_access([tmp_path / "kubeconfig"]), {}, SystemClock())
        world.sight = Sightings(world.cluster, health, SystemClock())
        inventory = Inventories(world.cluster, world.state, "test", world.source, world.home)
        world.convergence = Convergence(world.cluster, world.sight, inventory, SystemClock(), world.conduct)
        world.convergence.load()

    maps = [config_map(f"c{number}", place) for number in range(4)]
    kubernetes.until(lambda: not refused(begin))
    world.declare(*maps)
    world.settle()
    one = ResourceRef("v1", "ConfigMap", place, "c0")
    for again in (False, True):  # in the middle of its work, and after a restart
        grant("ClusterRole", everywhere, ["create", "patch", "delete"])
        kubernetes.until(lambda: refused(lambda: world.cluster.get([one])))
        if again:
            begin()
        world.declare(*maps[:3])
        kubernetes.until(lambda: refused(world.convergence.step))
        assert len(world.convergence.inventory.entries) == 4
    assert {f"c{number}" for number in range(4)} < world.versions("ConfigMap", place).keys()
    grant("Role", here, ["create", "patch"])
    kubernetes.until(lambda: refused(begin))
    # With its rights it goes on where it was.
    grant("Role", here, ["list", "create", "patch"])
    grant("ClusterRole", everywhere, ["get", "list", "watch", "create", "patch", "delete"])
    kubernetes.until(lambda: not refused(begin))
    world.declare(*maps[:3])
    world.until(lambda: "c3" not in world.versions("ConfigMap", place))


def test_every_note_of_what_was_applied_last_counts_whatever_it_is_called(world: ConvergenceWorld) -> None:
    inventory = world.convergence.inventory
    inventory.revision = "a" * 40
    inventory.unlike = lambda found: "" if found == "a" * 40 else "which is strange"
    inventory.follow()
    assert world.get("ConfigMap", world.home, "followed-repository")["data"] == {"revision": "a" * 40}
    metadata = {"labels": {FOLLOWED: "v1"}, "annotations": {LABEL: "repository"}}
    for name, data in (("another", {"revision": "b" * 40}), ("empty", None)):
        note = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": data}
        created(world, world.home, note)
        with pytest.raises(ForeignInventoryError, match="which is strange") as error:
            inventory.others()
        assert f"delete configmap {name}" in (error.value.hint or "")
        world.delete("ConfigMap", world.home, name)
    inventory.others()
    # Somebody else's source is none of ours.
    strange = {"name": "theirs", "labels": {FOLLOWED: "v1"}, "annotations": {LABEL: "theirs"}}
    created(
        world, world.home, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": strange, "data": {"revision": "c"}}
    )
    inventory.restore()
