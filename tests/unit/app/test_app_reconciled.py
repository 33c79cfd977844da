"""What Argo CD and Flux say of what they reconcile: entered once, and what they brought up is in the history."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from customhouse.app.memory import DEPLOYED, PENDING, REFUSED, Memory, key_of
from customhouse.app.reconciled import reconciled
from customhouse.core.application import Engine, ReconcilerStatus, SyncStatus
from customhouse.core.release import RolloutPhase
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.testing.memory import MemoryStateStore

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
COMMIT = "ab" * 20
OWNER = ResourceRef("argoproj.io/v1alpha1", "Application", "argocd", "fraud")
MODEL = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "models", "fraud")
MANIFEST = {
    "apiVersion": MODEL.api_version,
    "kind": MODEL.kind,
    "metadata": {"name": "fraud", "namespace": "models"},
    "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/fraud"}}},
}
SAID = ReconcilerStatus(OWNER, Engine.ARGOCD, SyncStatus.SYNCED, "Healthy", COMMIT, at="2026-11-22T11:59:00Z")


@pytest.fixture
def memory() -> Memory:
    found = Memory(MemoryStateStore())
    value = {
        "resource": MODEL.stored(),
        "release": "sha256:" + "1" * 64,
        "revision": COMMIT,
        "author": "Ann",
        "artifact": "",
        "verdict": "allow",
        "decision": "sha256:" + "2" * 64,
        "noted": False,
    }
    found.put({DEPLOYED: {"revision": COMMIT, "paths": [], "governed_by": COMMIT}, key_of(PENDING, MODEL): value})
    return found


DECLARED = [Declaration(MODEL, MANIFEST, Location("fraud.yaml"), owner=OWNER)]


def test_what_is_said_is_entered_once_and_what_is_in_sync_at_the_judged_commit_is_promoted(memory: Memory) -> None:
    made = reconciled({OWNER: SAID}, memory, DECLARED, NOW)
    assert [item.kind for item in made.entries] == ["reconciled", "deployment", "rollout"]
    assert made.entries[0].body["text"] == f"argocd says of {OWNER}: Synced, Healthy at {COMMIT[:12]}"
    (release,) = made.releases
    assert (release.phase, release.resource) == (RolloutPhase.PROMOTED, MODEL)
    assert release.reason == f"argocd says of {OWNER}: Synced and Healthy"
    memory.put(made.documents)
    again = reconciled({OWNER: replace(SAID, at="2026-11-22T12:03:00Z")}, memory, DECLARED, NOW)
    assert (again.entries, again.releases, again.documents) == ([], [], {})


@pytest.mark.parametrize(
    "said",
    [
        replace(SAID, health="Degraded"),
        replace(SAID, health="Progressing"),
        replace(SAID, sync=SyncStatus.OUT_OF_SYNC),
        replace(SAID, revision="cd" * 20),
        replace(SAID, revision=""),
        replace(SAID, revision=COMMIT[:7]),
        replace(SAID, current=False),
        replace(SAID, ref=replace(OWNER, name="another")),
    ],
)
def test_anything_else_that_is_said_is_entered_and_promotes_nothing(memory: Memory, said: ReconcilerStatus) -> None:
    made = reconciled({said.ref: said}, memory, DECLARED, NOW)
    assert [item.kind for item in made.entries] == ["reconciled"]
    assert made.releases == []
    assert all(value is not None for value in made.documents.values())


DENIED = "ef" * 20
REFUSED_NOW = {REFUSED: {"revision": DENIED, "text": "denied"}}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (replace(SAID, revision=DENIED), f"argocd has applied {DENIED[:12]}, which was denied"),
        (replace(SAID, revision=f"{'12' * 20},{DENIED}"), f"argocd has applied {DENIED[:12]}, which was denied"),
        (replace(SAID, attempted=DENIED), f"argocd tries to apply {DENIED[:12]}, which was denied"),
    ],
)
def test_a_denied_commit_that_somebody_applies_is_told_for_as_long_as_it_is_so(
    memory: Memory, said: ReconcilerStatus, told: str
) -> None:
    memory.put(REFUSED_NOW)
    made = reconciled({OWNER: said}, memory, DECLARED, NOW)
    assert made.problem == f"{told} ({OWNER})"
    assert made.entries[0].body["text"].startswith(f"{told}, and says of {OWNER}: ")
    memory.put(made.documents)
    again = reconciled({OWNER: said}, memory, DECLARED, NOW)
    assert (again.entries, again.problem) == ([], made.problem)


def test_a_commit_about_which_could_not_be_decided_is_not_called_denied(memory: Memory) -> None:
    memory.put({REFUSED: {"revision": DENIED, "text": "", "denied": False}})
    made = reconciled({OWNER: replace(SAID, revision=DENIED)}, memory, DECLARED, NOW)
    assert made.problem == f"argocd has applied {DENIED[:12]}, about which could not be decided ({OWNER})"


def test_a_commit_that_nobody_judged_is_told_after_a_minute_and_one_that_is_behind_never(memory: Memory) -> None:
    ahead = replace(SAID, revision=DENIED, at="2026-11-22T11:59:30Z")
    assert reconciled({OWNER: ahead}, memory, DECLARED, NOW).problem == ""
    later = NOW + timedelta(minutes=2)
    made = reconciled({OWNER: ahead}, memory, DECLARED, later)
    assert made.problem == f"argocd has applied {DENIED[:12]}, which nobody has allowed here ({OWNER})"
    asked = []

    def is_ancestor(commit: str, deployed: str) -> bool:
        asked.append((commit, deployed))
        return True

    for _ in range(3):
        assert reconciled({OWNER: ahead}, memory, DECLARED, later, is_ancestor).problem == ""
    assert asked == [(DENIED, COMMIT)]
    for other in (replace(ahead, revision="1.2.3"), replace(ahead, elsewhere=True)):
        assert reconciled({OWNER: other}, memory, DECLARED, later).problem == ""
