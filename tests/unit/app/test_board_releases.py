"""What became of each release, in a word; versions by the names people gave; proposals that were overtaken are gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse._kit.money import Money
from customhouse.app.board import Board
from customhouse.app.governance import Governance, governance
from customhouse.app.memory import PENDING, PROPOSAL, RELEASE, Memory, key_of
from customhouse.app.releaserows import ReleaseRows
from customhouse.app.rollouts import Rollouts
from customhouse.app.succession import release_name
from customhouse.core.cost import Charge
from customhouse.core.observation import Observation
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.testing.memory import MemoryDecisionLog, MemoryMeasurements, MemoryReleaseLog, MemoryStateStore

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
SERVICE = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "shop", "score")
JOB = ResourceRef("batch/v1", "Job", "shop", "train")


def service(version: str) -> dict[str, Any]:
    model = {"modelFormat": {"name": "onnx"}, "storageUri": f"pvc://models/score/{version}"}
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.kind,
        "metadata": {"name": SERVICE.name, "namespace": SERVICE.namespace},
        "spec": {"predictor": {"model": {**model, "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}}},
    }


def job() -> dict[str, Any]:
    container = {"name": "main", "image": "apexlogic.com/fraud/trainer@sha256:" + "ab" * 32}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": JOB.name, "namespace": JOB.namespace},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


def declared(manifest: dict[str, Any]) -> Declaration:
    return Declaration(ResourceRef.of(manifest), manifest, Location("x.yaml", 1, 1))


class Plane:
    """As much of a control plane as a board reads, over the stores that the contract tests hold to the real ones."""

    def __init__(self) -> None:
        self.memory = Memory(MemoryStateStore())
        self.rollouts = Rollouts(self.memory)
        self.store = SimpleNamespace(
            releases=MemoryReleaseLog(), measurements=MemoryMeasurements(), decisions=MemoryDecisionLog()
        )
        self.ledger = None
        self.clock = FixedClock(AT)
        self.live: dict[ResourceRef, LiveObject] = {}
        self.seen: list[Observation] = []
        self.target = SimpleNamespace(observe=lambda: self.seen, port=8000)
        self.source = SimpleNamespace(is_ancestor=lambda ancestor, revision: ancestor <= revision)
        self._governing = governance(None, None, None)
        self._kept = ReleaseRows(self)  # type: ignore[arg-type]

    def governing(self) -> Governance:
        return self._governing

    def ran(self, ref: ResourceRef, release: str, phase: RolloutPhase, reason: str = "", revision: str = "1") -> None:
        self.store.releases.record(
            Release(ref, release, revision, "Ada <a@b.c>", "", "allow", "", phase, self.clock.now(), reason)
        )
        self.clock.advance(1)

    def serves(self, traffic: dict[str, int], status: HealthStatus = HealthStatus.HEALTHY) -> None:
        split = [{"revisionName": release, "percent": percent} for release, percent in traffic.items()]
        state = {"components": {"predictor": {"traffic": split}}}
        self.live[SERVICE] = LiveObject(SERVICE, service("v1"), Health(status, "as it is"), state)

    def rows(self, *declarations: Declaration, charges: tuple[Charge, ...] = ()) -> list[Any]:
        at = AT + timedelta(hours=1)
        made = list(ReleaseRows(self).rows(declarations, charges, at))  # type: ignore[arg-type]
        for _ in range(2):  # who keeps rows from picture to picture shows what one shows that has just begun
            assert list(self._kept.rows(declarations, charges, at)) == made
        return made


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.mark.parametrize(
    ("health", "word"),
    [
        (HealthStatus.HEALTHY, "complete"),
        (HealthStatus.DEGRADED, "failed"),
        (HealthStatus.PROGRESSING, "running"),
        (HealthStatus.SUSPENDED, "suspended"),
    ],
)
def test_a_job_is_running_complete_or_failed(plane: Plane, health: HealthStatus, word: str) -> None:
    plane.ran(JOB, "j1", RolloutPhase.PROMOTED)
    plane.live[JOB] = LiveObject(JOB, job(), Health(health, ""), {})
    assert [row.state for row in plane.rows(declared(job()))] == [word]


def test_a_job_that_was_cleared_away_is_still_complete_and_one_that_left_git_is_removed(plane: Plane) -> None:
    plane.ran(JOB, "j1", RolloutPhase.PROMOTED)
    assert [row.state for row in plane.rows(declared(job()))] == ["complete"]
    assert [row.state for row in plane.rows()] == ["removed"]


def test_a_service_is_known_by_its_versions_and_what_became_of_them(plane: Plane) -> None:
    for release, version in (("r1", "v1"), ("r2", "v2"), ("r3", "v3")):
        plane.memory.put({f"{RELEASE}{release}": {"manifest": service(version)}})
    plane.ran(SERVICE, "r1", RolloutPhase.PROMOTED)
    plane.ran(SERVICE, "r2", RolloutPhase.ROLLED_BACK, "log-loss 0.4 against 0.1")
    plane.ran(SERVICE, "r3", RolloutPhase.PROMOTED)
    plane.serves({"r3": 100})
    rows = plane.rows(declared(service("v3")))
    assert [(row.version, row.state, row.weight) for row in rows] == [
        ("v3", "serving", 100),
        ("v2", "rolled back", None),
        ("v1", "replaced", None),
    ]
    assert rows[0].source == "pvc://models/score/v3"
    assert rows[0].endpoint == "http://127.0.0.1:8000/shop/score/v2/models/score"
    assert [row.endpoint for row in rows[1:]] == ["", ""]
    assert rows[0].per_hour is not None
    assert rows[1].per_hour is None
    assert rows[1].message == "log-loss 0.4 against 0.1"


def test_a_release_on_its_way_is_shown_before_what_it_replaces(plane: Plane) -> None:
    from customhouse.app.controlplane import release_name

    coming = declared(service("v2"))
    name = release_name(coming)
    pending = {"release": name, "artifact": "", "revision": "2", "author": "Ada", "resource": SERVICE.to_json()}
    plane.memory.put({key_of(PENDING, SERVICE): pending, f"{RELEASE}{name}": {"manifest": service("v2")}})
    plane.ran(SERVICE, "r1", RolloutPhase.PROMOTED)
    plane.serves({"r1": 100}, HealthStatus.PROGRESSING)
    assert [(row.version, row.state, row.phase) for row in plane.rows(coming)] == [
        ("v2", "starting", "pending"),
        ("", "serving", "promoted"),
    ]


def test_a_release_that_ran_twice_is_one_row_with_its_latest_phase(plane: Plane) -> None:
    plane.ran(SERVICE, "r1", RolloutPhase.PROMOTED, revision="1")
    plane.ran(SERVICE, "r2", RolloutPhase.ROLLED_BACK, "replaced by abc before it was promoted")
    plane.ran(SERVICE, "r1", RolloutPhase.PROMOTED, revision="3")
    plane.serves({"r1": 100})
    rows = plane.rows(declared(service("v1")))
    assert [(row.release, row.revision, row.state) for row in rows] == [("r1", "3", "serving"), ("r2", "1", "replaced")]


def test_what_a_release_was_charged_is_exact_and_its_own(plane: Plane) -> None:
    plane.ran(SERVICE, "r1", RolloutPhase.PROMOTED)
    plane.ran(SERVICE, "r2", RolloutPhase.PROMOTED)
    charges = tuple(
        Charge(SERVICE, release, "", AT, AT + timedelta(hours=1), category, Money(pico, "USD"))
        for release, category, pico in (("r1", "compute", 1), ("r1", "memory", 2), ("r2", "compute", 5))
    )
    rows = plane.rows(declared(service("v1")), charges=charges)
    assert {row.release: row.charged for row in rows} == {"r1": "0.000000000003", "r2": "0.000000000005"}


def test_a_proposal_about_an_older_release_is_not_shown(plane: Plane) -> None:
    plane.ran(SERVICE, "r2", RolloutPhase.PROMOTED, revision="5")
    manifest = service("v1")
    about = {"resource": SERVICE.to_json(), "branch": "b", "title": "t", "saving": "1", "risk": "r", "commit": "c"}
    edits = [{"pointer": "/spec/predictor/minReplicas", "value": "2"}]
    plane.memory.put(
        {
            f"{PROPOSAL}old": {**about, "id": "old", "base": "4", "edits": edits},
            f"{PROPOSAL}new": {**about, "id": "new", "base": "6", "edits": edits},
        }
    )
    rows = plane.rows(declared(manifest))
    board = Board(plane)  # type: ignore[arg-type]
    assert [row.id for row in board._proposals((declared(manifest),), rows)] == ["new"]


def test_a_row_follows_whatever_it_is_made_of(plane: Plane) -> None:
    key = key_of(PENDING, SERVICE)
    declaration = declared(service("v1"))
    release = release_name(declaration)
    value = {"release": release, "artifact": "", "revision": "1", "author": "Ada", "resource": SERVICE.to_json()}
    plane.memory.put({key: {**value, "at": "2026-03-01T10:00:00Z"}})
    (before,) = plane.rows(declaration)
    assert (before.version, before.state, before.per_hour) == ("", "starting", None)
    plane.memory.put({f"{RELEASE}{release}": {"manifest": service("v1")}})
    (told,) = plane.rows(declaration)
    assert told.version == "v1"
    plane.serves({release: 10}, HealthStatus.DEGRADED)
    (serving,) = plane.rows(declaration)
    assert (serving.health, serving.weight) == ("Degraded", 10)
    assert serving.per_hour is not None
    plane.memory.put({key: {**value, "at": "2026-03-01T10:00:00Z", "reason": "it is slow"}})
    assert plane.rows(declaration)[0].message == "it is slow"
    plane.memory.put({key: None})
    plane.ran(SERVICE, release, RolloutPhase.PROMOTED)
    assert [row.state for row in plane.rows(declaration)] == ["serving"]
    assert [row.state for row in plane.rows()] == ["removed"]
    charge = Charge(SERVICE, release, "", AT, AT + timedelta(hours=1), "compute", Money(7, "USD"))
    assert plane.rows(declaration, charges=(charge,))[0].charged == "0.000000000007"
    plane.target.port = 9000
    assert ":9000/" in plane.rows(declaration)[0].endpoint
