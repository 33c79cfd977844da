"""Touching: a Rollout whose controller has lost what was written is written once more, seldom, and put back after."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.control.touching import Touching, generations
from customhouse.core.cluster import ApiKind, Apply
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import ResourceRef
from customhouse.core.sight import TOUCHED, fingerprint, key_of
from customhouse.execution.sightings import Sightings
from customhouse.testing.fake_cluster import KINDS, FakeCluster

ROLLOUTS = ApiKind("argoproj.io", "v1alpha1", "Rollout", "rollouts", namespaced=True, verbs=("get", "list", "watch"))
API = "argoproj.io/v1alpha1"


class Room:
    """One cluster with Rollouts, and who touches them; `step` brings the news first."""

    def __init__(self) -> None:
        self.cluster, self.clock = FakeCluster([*KINDS, ROLLOUTS]), FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.sight = Sightings(self.cluster, lambda _: Health(HealthStatus.HEALTHY, ""), self.clock)
        self.touching = Touching(self.cluster, self.sight, self.clock)
        self.ours: dict[Any, ResourceRef] = {}
        self.sent: list[Any] = []
        self.cluster.before = lambda what, about: self.sent.append(about) if what == "change" else None

    def rollout(self, name: str, generation: int, observed: Any, kind: str = "Rollout", **metadata: Any) -> ResourceRef:
        ref = ResourceRef(API if kind == "Rollout" else "v1", kind, "default", name)
        body = {"name": name, "namespace": "default", "generation": generation, **metadata}
        self.cluster.put({"apiVersion": ref.api_version, "kind": kind, "metadata": body})
        stored = self.cluster.objects[key_of(ref)]
        stored.manifest["metadata"].update(body)
        stored.manifest["status"] = {"observedGeneration": observed}
        self.cluster.put({"apiVersion": ref.api_version, "kind": kind, "metadata": body, "said": generation})
        self.ours[key_of(ref)] = ref
        self.sight.follow(list(self.ours.values()))
        return ref

    def step(self, after_s: float = 0.0) -> int:
        """The number of writes."""
        self.clock.advance(after_s)
        self.cluster.deliver()
        before = len(self.sent)
        self.touching.step(self.sight.news(), self.ours)
        return len(self.sent) - before

    def word(self, name: str = "score") -> str | None:
        found = self.cluster.objects["argoproj.io", "Rollout", "default", name].manifest["metadata"]
        said: str | None = (found.get("annotations") or {}).get(TOUCHED)
        return said


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_controller_that_is_late_is_made_to_look_again_less_and_less_often(room: Room) -> None:
    room.rollout("score", 7, "6")
    assert room.step() == 0
    assert room.step(2.9) == 0
    assert room.touching.problems() == ()
    assert room.step(0.2) == 1
    assert room.word() == "7.1"
    assert "Rollout default/score: its controller has not taken in what was written" in room.touching.problems()[0]
    assert [room.step(1.0) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    assert room.word() == "7.2"
    assert sum(room.step(10.0) for _ in range(8640)) <= 10 + 86_400 / 300
    assert room.sent[0].manager not in ("", "customhouse")


def test_a_controller_that_has_seen_it_is_left_alone_and_the_word_goes(room: Room) -> None:
    room.rollout("score", 7, "6")
    room.step()
    room.step(4)
    before = fingerprint(room.cluster.objects["argoproj.io", "Rollout", "default", "score"].manifest)
    room.rollout("score", 7, "7", annotations={TOUCHED: "7.1"})
    assert room.step(1) == 1
    assert room.sent[-1].manifest["metadata"].get("annotations") is None
    assert room.touching.problems() == ()
    assert sum(room.step(100) for _ in range(10)) == 0
    after = fingerprint(room.cluster.objects["argoproj.io", "Rollout", "default", "score"].manifest)
    assert before == after  # nobody takes it for drift


def test_what_is_written_anew_has_its_time_again(room: Room) -> None:
    room.rollout("score", 7, "6")
    room.step()
    room.rollout("score", 8, "6")
    assert room.step(2) == 0
    assert room.step(2) == 0
    assert room.step(1.5) == 1


@pytest.mark.parametrize("observed", ["", None, "5f6d8c", "9" * 40, {}, True, "7", 7, "8"])
def test_what_says_nothing_or_is_not_late_is_left_alone(room: Room, observed: Any) -> None:
    room.rollout("score", 7, observed)
    assert sum(room.step(20) for _ in range(5)) == 0


def test_only_rollouts_of_ours_that_are_not_going_are_touched(room: Room) -> None:
    room.rollout("text", 7, None, kind="ConfigMap")
    room.rollout("going", 7, "6", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x/y"])
    left = room.rollout("left", 7, "6")
    room.step()
    del room.ours[key_of(left)]
    assert sum(room.step(20) for _ in range(5)) == 0


def test_what_cannot_be_written_is_told_and_tried_again(room: Room) -> None:
    key = key_of(room.rollout("score", 7, "6"))
    room.cluster.refused.add(key)
    room.step()
    room.step(4)
    assert "that was refused: denied" in room.touching.problems()[0]
    room.cluster.down = True
    room.step(10)
    assert "that was refused: no answer" in room.touching.problems()[0]
    room.cluster.down = False
    room.cluster.refused.clear()
    assert room.step(20) == 1
    assert room.word() == "7.3"


def test_one_that_was_made_anew_meanwhile_is_not_the_one_that_is_touched(room: Room) -> None:
    room.rollout("score", 7, "6")
    room.step()
    room.cluster.take_away(("argoproj.io/v1alpha1", "Rollout", "default", "score"))
    room.cluster.objects.pop(("argoproj.io", "Rollout", "default", "score"), None)
    room.clock.advance(4)
    room.touching.step((), room.ours)
    assert isinstance(room.sent[-1], Apply)
    assert ("argoproj.io", "Rollout", "default", "score") not in room.cluster.objects


def test_generations_are_numbers() -> None:
    live = LiveObject(
        ResourceRef(API, "Rollout", "n", "s"),
        {"metadata": {"generation": 3}},
        Health(HealthStatus.UNKNOWN, ""),
        {"observedGeneration": "2"},
    )
    assert generations(live) == (3, 2)
