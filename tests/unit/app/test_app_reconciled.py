"""What Argo CD and Flux say of what they reconcile: entered once, and what they brought up is in the history."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from customhouse.app.memory import DEPLOYED, PENDING, Memory, key_of
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
