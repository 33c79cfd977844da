"""Keepers: whoever is silent holds up nobody, and whoever answers in time wakes nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app import keepers
from customhouse.app.clusterkeeping import ClusterKeeping
from customhouse.app.controlplane import ControlPlane
from customhouse.app.governance import Governance, governance
from customhouse.app.keepers import Keepers
from customhouse.app.memory import REMOVING, Memory, key_of
from customhouse.app.noting import Noting
from customhouse.app.outbox import Outbox
from customhouse.app.target_spec import ClusterSpec
from customhouse.app.wiring_health import Judging
from customhouse.control.placing import Placing
from customhouse.core.errors import SourceError, TargetError
from customhouse.core.plan import Health, HealthStatus
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.execution.sightings import Sightings
from customhouse.testing.fake_cluster import FakeCluster
from customhouse.testing.memory import MemoryStateStore
from customhouse.testing.target_contracts import eventually


def settings_of(name: str, text: str = "first") -> Declaration:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
    return Declaration(ResourceRef.of(manifest), {**manifest, "data": {"text": text}}, Location(f"{name}.yaml"))


class Room:
    """One cluster that can fall silent, and who keeps it."""

    def __init__(self) -> None:
        self.cluster, self.clock, self.wakes = FakeCluster(), FixedClock(datetime(2026, 1, 1, tzinfo=UTC)), 0
        self.cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "customhouse-system"}})
        self.speaks = threading.Event()
        self.speaks.set()
        self.cluster.before = lambda _what, _about: self.answer()
        self.sight = Sightings(self.cluster, lambda _: Health(HealthStatus.HEALTHY, ""), self.clock)
        self.keeping = ClusterKeeping(
            self.cluster, self.sight, MemoryStateStore(), self.clock, "shop", lambda _: "main@1"
        )
        found = keepers._Keeper("", self.keeping, Judging(lambda _rule, _end: None))
        self.keepers = Keepers({"": found}, Placing(), self.wake)
        plain = governance(None, None)
        self.governing: Governance = replace(
            plain, configuration=replace(plain.configuration, cluster=ClusterSpec(mode="manage"))
        )

    def answer(self) -> None:
        if not self.speaks.wait(60):
            raise TargetError("it does not answer")

    def wake(self) -> None:
        self.wakes += 1

    def keep(self, *declared: Declaration) -> Any:
        self.cluster.deliver()
        return self.keepers.keep(declared, self.governing, "c" * 40, "git.example.com/shop", lambda _: None)

    def texts(self) -> dict[str, str]:
        kept = {key: item for key, item in self.cluster.objects.items() if key[:2] == ("", "ConfigMap")}
        return {key[3]: item.manifest["data"]["text"] for key, item in kept.items() if key[2] == "default"}


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    made = Room()
    monkeypatch.setattr(keepers, "_PATIENCE_S", 60.0)
    yield made
    made.speaks.set()
    assert made.keepers.rest()


def test_a_step_in_time_is_over_when_it_is_asked_for_and_wakes_nobody(room: Room) -> None:
    one = settings_of("one")
    for _ in range(3):
        made = room.keep(one)
    assert room.texts() == {"one": "first"}
    assert (made.problem, room.keepers.busy, room.wakes) == ("", False, 0)
    assert room.keepers.applied(one.ref)
    assert room.keepers.settled
    assert room.keepers.live.keys() == {one.ref}
    assert room.keepers.document()["objects"] == 1


def test_a_single_cluster_that_is_silent_holds_up_nobody_and_has_the_newest_when_it_speaks(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = settings_of("one"), settings_of("two"), settings_of("two", "newer")
    for _ in range(3):
        room.keep(one)
    room.speaks.clear()
    monkeypatch.setattr(keepers, "_PATIENCE_S", 0.01)
    made = room.keep(one, two)  # and comes back
    assert (made.done, room.keepers.busy, room.keepers.settled) == (set(), True, False)
    assert not room.keepers.applied(one.ref)  # of nothing is said that it is there as it is declared
    assert room.keepers.holds(settings_of("other").ref)
    assert room.keepers.live.keys() == {one.ref}
    assert room.keepers.document()["objects"] == 1
    room.keep(one, three)
    assert room.texts() == {"one": "first"}
    room.speaks.set()
    eventually(lambda: room.keep(one, three) and room.keepers.settled and not room.keepers.busy)
    assert room.texts() == {"one": "first", "two": "newer"}
    assert room.wakes > 0  # who was late says when he has come


def test_what_goes_wrong_in_a_step_is_told_until_one_comes_to_something(room: Room) -> None:
    one = settings_of("one")
    room.keep(one)
    room.cluster.down = True
    two = settings_of("two")
    assert room.keep(one, two).problem == "no answer"
    assert not room.keepers.settled
    room.cluster.down = False
    eventually(lambda: room.keep(one, two) and room.keepers.settled)
    assert room.keep(one, two).problem == ""
    room.keeping._repository = ""
    room.keeping._identify = _unreadable
    assert "it is gone" in room.keep(one, two).problem
    assert not room.keepers.settled


def test_what_is_left_to_somebody_else_is_not_said_to_be_deleted_when_he_deletes_it(room: Room) -> None:
    one, two = settings_of("one"), settings_of("two")
    for _ in range(3):
        room.keep(one, two)
    del room.cluster.objects["", "ConfigMap", "default", "one"]
    room.cluster.put({**one.manifest, "data": {"text": "theirs"}})
    memory = Memory(MemoryStateStore())
    memory.put({key_of(REMOVING, one.ref): {"resource": one.ref.stored(), "revision": "c" * 40}})
    ledger = SimpleNamespace(append=lambda entries: pytest.fail(f"{entries[0].body}"))
    there = {one.ref: "his"}
    plane: Any = SimpleNamespace(
        memory=memory,
        keeping=room.keepers,
        outbox=Outbox(memory, ledger),  # type: ignore[arg-type]
        target=SimpleNamespace(read=lambda _: there),
        clock=room.clock,
    )
    for _ in range(3):
        ControlPlane._note_removals(plane, room.keep(two))
    assert room.texts() == {"one": "theirs", "two": "first"}
    there.clear()
    ControlPlane._note_removals(plane, room.keep(two))


def test_what_customhouse_keeps_its_books_in_is_nobodys_to_declare(room: Room) -> None:
    """A commit that was allowed, whatever rules it was allowed by, writes neither the note nor an inventory."""
    allowed = {"schema": "customhouse.dev/allowed/v1", "revision": "d" * 40}
    books = [
        book("v1", "ConfigMap", "noted-here", data={"allowed.json": json.dumps(allowed)}),
        book("v1", "ConfigMap", "inventory-shop-0", data={"objects": ""}),
        book("v1", "ConfigMap", "any", labels={"customhouse.dev/inventory": "v1"}),
        book("v1", "ConfigMap", "followed-shop"),
    ]
    room.keeping.noting = Noting(room.cluster, "noted-here")
    one, beside = settings_of("one"), book("v1", "ConfigMap", "settings")
    for _ in range(3):
        made = room.keep(one, beside, *books)
    assert room.texts() == {"one": "first"}
    kept = {key[3] for key in room.cluster.objects if key[:3] == ("", "ConfigMap", "customhouse-system")}
    assert "settings" in kept
    assert kept.isdisjoint({"noted-here", "any"})
    assert (
        "ConfigMap customhouse-system/noted-here is left alone: Customhouse keeps its own books in it" in made.problem
    )
    there = room.cluster.objects["", "ConfigMap", "customhouse-system", "inventory-shop-0"].manifest
    assert "one" in there["data"]["objects"]
    room.keep(one)
    room.keep(one)  # and what it left is not deleted as ours
    assert "inventory-shop-0" in {key[3] for key in room.cluster.objects}


def book(api: str, kind: str, name: str, **other: Any) -> Declaration:
    metadata = {"name": name, "namespace": "customhouse-system", "labels": other.pop("labels", {})}
    manifest = {"apiVersion": api, "kind": kind, "metadata": metadata, **other}
    return Declaration(ResourceRef.of(manifest), manifest, Location(f"{name}.yaml"))


def _unreadable(_: str) -> str:
    raise SourceError("it is gone")


def test_what_nobody_expected_is_raised_with_its_traceback(room: Room) -> None:
    def broken(_what: str, _about: Any) -> None:
        raise ZeroDivisionError

    room.cluster.before = broken
    with pytest.raises(ZeroDivisionError):
        room.keep(settings_of("one"))
