"""Whose objects in a cluster are: a copy of a repository, another branch, a name that somebody else has taken."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app.in_force import Allowed
from customhouse.app.inventory_owner import place_of
from customhouse.app.noting import Noting
from customhouse.control.convergence import Conduct, Convergence
from customhouse.control.tracked import ForeignInventoryError, Inventories
from customhouse.core.cluster import ApiKind
from customhouse.core.plan import Health, HealthStatus
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.execution.sightings import Sightings
from customhouse.testing.fake_cluster import KINDS, FakeCluster
from customhouse.testing.memory import MemoryStateStore

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ORIGIN, FORK = "git.example.com/ml/models", "git.example.com/ada/models"


class World:
    """A cluster with the namespace shop, kept by whoever asks."""

    def __init__(self) -> None:
        service = ApiKind("", "v1", "Service", "services", namespaced=True, verbs=KINDS[0].verbs)
        self.cluster, self.clock = FakeCluster((*KINDS, service)), FixedClock(NOW)
        for name in ("shop", "customhouse-system"):
            self.cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def keeping(self, place: str = "", revision: str = "", budget: int = 30) -> Convergence:
        """Keeps it for a repository at `place`, with nothing that it remembers itself."""
        inventory = Inventories(self.cluster, MemoryStateStore(), "kubernetes", "shop", repository="main@1")
        inventory.revision, inventory.place = revision, place
        sight = Sightings(self.cluster, lambda _: Health(HealthStatus.HEALTHY), self.clock)
        made = Convergence(self.cluster, sight, inventory, self.clock, Conduct(prune_budget_percent=budget))
        made.load()
        if revision:
            inventory.follow()
        return made

    def applied(self, keeping: Convergence, *names: str) -> set[str]:
        """What is in the namespace after that is declared."""
        keeping.declare(tuple(service(name) for name in names))
        for _ in range(30):
            self.cluster.deliver()
            keeping.step()
            self.clock.advance(2)
        return {key[3] for key in self.cluster.objects if key[2] == "shop"}


def service(name: str) -> Declaration:
    metadata, spec = {"name": name, "namespace": "shop"}, {"selector": {"app": name}, "ports": [{"port": 80}]}
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    return Declaration(ResourceRef("v1", "Service", "shop", name), manifest, Location("a.yaml", 1))


def test_a_fork_that_is_ahead_of_its_origin_takes_nothing_over() -> None:
    world = World()
    assert world.applied(world.keeping(ORIGIN, "a" * 40), *"abcde") == set("abcde")
    with pytest.raises(ForeignInventoryError, match="a fork that is ahead, or it moved"):
        world.keeping(FORK, "b" * 40)  # its history has all of the origin's
    assert world.applied(world.keeping(ORIGIN, "c" * 40), *"bcde") == set("bcde"), "the origin goes on"


def test_a_run_from_a_checkout_does_not_make_the_inventory_anybodys() -> None:
    world = World()
    world.applied(world.keeping(ORIGIN, "a" * 40), *"ab")
    world.applied(world.keeping("", "b" * 40), *"ab")
    with pytest.raises(ForeignInventoryError, match="a fork that is ahead, or it moved"):
        world.keeping(FORK, "c" * 40)


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("https://bot:secret@Git.Example.com/ml/models.git", ORIGIN),
        ("git@git.example.com:ml/models", ORIGIN),
        ("ssh://git@git.example.com/ml/models.git/", ORIGIN),
        ("/srv/models", ""),
        ("file:///srv/models", ""),
    ],
)
def test_one_repository_is_one_place_and_a_folder_none(location: str, place: str) -> None:
    assert place_of(location) == place


def test_what_is_only_called_like_a_second_version_counts_against_the_budget() -> None:
    world = World()
    base, more = [f"m{number}" for number in range(10)], [f"m{number}-candidate" for number in range(10)]
    keeping = world.keeping(budget=10)
    world.applied(keeping, *base, *more)
    assert world.applied(keeping, *base) == {*base, *more}
    assert "pruneBudgetPercent" in keeping.blocked


def test_the_note_of_another_branch_is_left_alone_and_said() -> None:
    world = World()
    ours, theirs = Noting(world.cluster, "allowed"), Noting(world.cluster, "allowed")
    ours.note(Allowed("a" * 40, (), "main@1"))
    theirs.note(Allowed("b" * 40, (), "staging@1"))
    note = world.cluster.objects["", "ConfigMap", "customhouse-system", "allowed"].manifest["data"]
    assert '"main@1"' in str(note).replace("\\", "")
    assert "is the note of 'main@1'" in theirs.problem
    ours.note(Allowed("c" * 40, (), "main@1"))
    assert ours.problem == ""
