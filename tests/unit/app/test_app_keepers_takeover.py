"""Taking over a cluster: what was heard before this process may write, or in a step that came to nothing, counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app.clusterkeeping import ClusterKeeping
from customhouse.app.target_spec import ClusterSpec
from customhouse.core.cluster import ApiKind
from customhouse.core.errors import TargetError
from customhouse.core.plan import Health, HealthStatus
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.core.sight import TOUCHED
from customhouse.execution.sightings import Sightings
from customhouse.testing.fake_cluster import KINDS, FakeCluster
from customhouse.testing.memory import MemoryStateStore

ROLLOUTS = ApiKind("argoproj.io", "v1alpha1", "Rollout", "rollouts", namespaced=True, verbs=("get", "list", "watch"))
KEY = ("argoproj.io", "Rollout", "default", "score")


def rollout() -> Declaration:
    manifest = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "score", "namespace": "default"},
        "spec": {"replicas": 2},
    }
    return Declaration(ResourceRef.of(manifest), manifest, Location("score.yaml"))


class Lease:
    """An election that somebody else has won."""

    problem, holder, leads = "", "another", False


class Room:
    """A cluster with Rollouts and who keeps it, as of a start of the control plane."""

    def __init__(self) -> None:
        self.cluster, self.clock = FakeCluster([*KINDS, ROLLOUTS]), FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "customhouse-system"}})
        self.state, self.declared, self.well = MemoryStateStore(), [rollout()], True
        self.start()

    def start(self, source: str = "shop") -> None:
        self.lease = Lease()
        self.sight = Sightings(self.cluster, self.health, self.clock)
        self.keeping = ClusterKeeping(self.cluster, self.sight, self.state, self.clock, source, lambda _: "main@1")
        self.keeping.stand = lambda: self.lease

    def health(self, manifest: Any) -> Health:
        well = manifest.get("status", {}).get("well", True)
        return Health(HealthStatus.HEALTHY if well else HealthStatus.PROGRESSING, "")

    def step(self, after_s: float = 0.0) -> Any:
        self.clock.advance(after_s)
        self.cluster.deliver()
        return self.keeping.keep(self.declared, ClusterSpec(mode="manage"), "c" * 40)

    def says(self, generation: int, observed: str, *, well: bool = True) -> None:
        """What its controller says of the Rollout."""
        stored = self.cluster.objects[KEY].manifest
        stored["metadata"]["generation"] = generation
        stored["status"] = {"observedGeneration": observed, "well": well}
        self.cluster.put({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": stored["metadata"]})

    def word(self) -> str | None:
        said: str | None = (self.cluster.objects[KEY].manifest["metadata"].get("annotations") or {}).get(TOUCHED)
        return said


@pytest.fixture
def room() -> Room:
    made = Room()
    made.lease.leads = True
    for _ in range(5):
        made.step(1)
    assert KEY in made.cluster.objects
    return made


def test_a_write_that_a_controller_lost_is_made_up_for_by_who_comes_after_who_wrote_it(room: Room) -> None:
    """A kill right after a rollback: the next one hears of all objects before it is elected."""
    room.says(7, "6")
    room.start()
    for _ in range(5):
        room.step(1)
    assert room.word() is None  # it may not write
    room.lease.leads = True
    for _ in range(5):
        room.step(1)
    assert room.word() == "7.1"


def test_what_is_heard_in_a_step_that_comes_to_nothing_is_told_by_the_next_one(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = room.declared[0].ref
    room.says(1, "1", well=False)
    room.step(1)
    assert room.keeping.live[ref].health.status is HealthStatus.PROGRESSING
    room.says(1, "1")
    convergence = room.keeping._convergence
    assert convergence is not None
    save = convergence.inventory.save

    def refused() -> None:
        raise TargetError("it does not answer")

    monkeypatch.setattr(convergence.inventory, "save", refused)
    with pytest.raises(TargetError):
        room.step(1)
    monkeypatch.setattr(convergence.inventory, "save", save)
    for _ in range(3):
        room.step(1)
    assert room.keeping.live[ref].health.status is HealthStatus.HEALTHY


def test_what_another_source_has_is_not_touched(room: Room) -> None:
    room.state = MemoryStateStore()
    room.start("another")
    room.lease.leads = True
    for _ in range(3):
        room.step(1)
    room.says(7, "6")
    for _ in range(6):
        said = room.step(1)
    assert "it belongs to the source 'shop'" in said.problem
    assert room.word() is None
