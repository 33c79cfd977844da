"""What is on its way, for `history`, and what the gate has said of a commit, for `plan`: from a state alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.digest import json_digest
from customhouse.app import wiring
from customhouse.app.gateword import gate_word
from customhouse.app.memory import DEPLOYED, PENDING, REFUSED, ROLLOUT, Memory, key_of
from customhouse.app.records import history
from customhouse.app.settings import Settings
from customhouse.control.rollout import begin
from customhouse.control.rollout_plan import RolloutPlan
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, Verdict
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
SCORE = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "shop", "score")
OTHER = ResourceRef("apps/v1", "Deployment", "shop", "other")
COMMIT = "c" * 40


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "state")


def decided(settings: Settings, *, revision: str = COMMIT, message: str = "", at: datetime = NOW) -> Decision:
    """A Decision on record: a denial where there is a message."""
    facts = {"artifacts": [], "of": revision}
    found = Finding("own", Category.SECURITY, Severity.ERROR, SCORE, message, "mend it", "/spec", None, None)
    decision = Decision(
        resource=SCORE,
        verdict=Verdict.DENY if message else Verdict.ALLOW,
        findings=(found,) if message else (),
        facts_digest=json_digest(facts),
        bundle_digest="sha256:" + "b" * 64,
        point=Point.GATE,
        decided_at=at,
        locations=(None,) if message else (),
        revision=revision,
    )
    with wiring.store(settings) as opened:
        opened.decisions.record(decision, facts)
    return decision


def remember(settings: Settings, values: dict[str, Any]) -> None:
    with wiring.store(settings) as opened:
        Memory(opened.state).put(values)


def pending(ref: ResourceRef, decision: str, release: str = "sha256:new") -> dict[str, Any]:
    value = {"resource": ref.stored(), "release": release, "revision": COMMIT, "author": "Ada", "artifact": ""}
    return {key_of(PENDING, ref): {**value, "verdict": "allow", "decision": decision, "noted": True}}


def test_a_release_on_its_way_and_one_that_was_aborted_are_in_the_history(settings: Settings) -> None:
    decision = decided(settings)
    walk = begin(RolloutPlan(steps=(20, 50)), SCORE, stable="sha256:old", candidate="sha256:new", now=NOW)
    rollout = {key_of(ROLLOUT, SCORE): {"state": walk.to_json(), "stable": {}, "commit": COMMIT}}
    remember(settings, {**pending(SCORE, decision.digest), **rollout, **pending(OTHER, "", "sha256:slow")})
    aborted = Release(
        SCORE, "sha256:bad", "d" * 40, "Ada", "", "allow", "", RolloutPhase.ROLLED_BACK, NOW, "errors: 5 % to 1 %"
    )
    with wiring.store(settings) as opened:
        opened.releases.record(aborted)
    row = {"kind": "Deployment", "namespace": "shop", "name": "other", "release": "sha256:slow"}
    told = {"releases": [{**row, "health": "Progressing", "message": "0 of 1 replicas are ready"}]}
    (settings.state / "overview.json").write_text(json.dumps(told))
    rows = history(settings, None, 50)
    assert [(item["resource"]["name"], item["phase"], item["reason"]) for item in rows] == [
        ("score", "canary", "20 % of the traffic"),
        ("other", "pending", "Progressing: 0 of 1 replicas are ready"),
        ("score", "rolled-back", "errors: 5 % to 1 %"),
    ]
    assert rows[0]["at"] == "2026-11-23T10:00:00Z"
    assert [item["phase"] for item in history(settings, "score", 50)] == ["canary", "rolled-back"]
    assert len(history(settings, None, 1)) == 1
    (settings.state / "overview.json").write_text("{")
    assert history(settings, "other", 5)[0]["reason"] == "not healthy yet"


def test_what_the_gate_said_of_a_commit_is_told_as_it_stands_on_record(settings: Settings) -> None:
    assert gate_word(settings, COMMIT) is None
    assert not settings.state.exists()
    decided(settings, revision="a" * 40, message="of another commit")
    assert gate_word(settings, COMMIT) is None
    decided(settings)
    at = "2026-11-23T10:00:00Z"
    assert gate_word(settings, COMMIT) == {"verdict": "allow", "at": at, "text": "", "deployed": False}
    for number in range(5):
        decided(settings, message=f"no {number}")
    denied = gate_word(settings, COMMIT)
    assert denied is not None
    assert (denied["verdict"], denied["deployed"]) == ("deny", False)
    assert denied["text"].startswith("InferenceService score: no ")
    assert denied["text"].endswith("; and 2 more")
    remember(settings, {REFUSED: {"revision": COMMIT, "text": "cccccccccccc is denied, the last good state stays"}})
    assert gate_word(settings, COMMIT) == {**denied, "text": "cccccccccccc is denied, the last good state stays"}
    other = "e" * 40
    remember(settings, {REFUSED: {"revision": other, "text": "could not decide about eeee: no evidence"}})
    undecided = {
        "verdict": "undecided",
        "at": "",
        "text": "could not decide about eeee: no evidence",
        "deployed": False,
    }
    assert gate_word(settings, other) == undecided
    remember(settings, {REFUSED: None, DEPLOYED: {"revision": other, "paths": [], "governed_by": other}})
    assert gate_word(settings, other) == {"verdict": "allow", "at": "", "text": "", "deployed": True}
