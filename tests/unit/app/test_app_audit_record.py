"""What an audit records: denials and changes, once; nothing of a clean repeat; no more at once than is bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse.app import wiring
from customhouse.app.admission_clerk import _Books
from customhouse.app.audit_record import AuditRecord, Kept
from customhouse.app.auditing import AuditRequest, run_audit
from customhouse.app.memory import GATES_ONLY
from customhouse.app.settings import Settings, read_settings
from customhouse.cli.program import run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = tmp_path / "customhouse.yaml"
    config.write_text("apiVersion: customhouse.dev/v1\npolicy: {requiredLabels: [], requireSignedCommits: false}\n")
    return read_settings(state=str(tmp_path / "state"), engine="embedded", config=str(config))


def role(name: str, verb: str = "get") -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": "team"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}],
    }


def audit(settings: Settings, *objects: dict[str, Any]) -> Kept:
    place = settings.workspace / "dump.yaml"
    place.write_text(yaml.safe_dump_all(objects))
    return run_audit(settings, AuditRequest((str(place),), record=True)).kept


def stored(settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=False)
        entries = [dict(entry.body) for _, entry in ledger.entries() if entry.kind == "audit"]
        return entries, [dict(row) for row in opened.decisions.recent()]


def test_a_denial_is_recorded_once_and_its_end_too(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(settings, role("good"), role("bad", "*")) == Kept(1)
    entries, (row,) = stored(settings)
    assert [(entry["verdict"], entry["resource"]["name"]) for entry in entries] == [("deny", "bad")]
    assert row["envelope"]["point"] == "audit"
    command = ["explain", entries[0]["decision"], "--state", str(settings.state)]
    assert run(command) == 0
    assert "an object that no commit declares" in capsys.readouterr().out

    assert audit(settings, role("good"), role("bad", "*")) == Kept()
    assert stored(settings) == (entries, [row])

    assert audit(settings, role("good"), role("bad", "list")) == Kept(1)
    assert [entry["verdict"] for entry in stored(settings)[0]] == ["deny", "allow"]
    assert audit(settings, role("good"), role("bad", "list")) == Kept()
    # What is gone is forgotten: the same again is something new.
    assert audit(settings, role("good", "*")) == Kept(1)
    assert audit(settings, role("bad")) == Kept()
    assert audit(settings, role("good", "*")) == Kept(1)


def test_what_is_beyond_the_bound_is_recorded_by_the_next_audits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AuditRecord.__init__, "__defaults__", (2,))
    objects = [role(f"bad-{number}", "*") for number in range(5)]
    assert [audit(settings, *objects) for _ in range(4)] == [Kept(2, 3), Kept(2, 1), Kept(1), Kept()]
    assert {entry["resource"]["name"] for entry in stored(settings)[0]} == {f"bad-{n}" for n in range(5)}


def test_what_could_not_be_judged_is_not_forgotten(settings: Settings) -> None:
    assert audit(settings, role("bad", "*")) == Kept(1)
    broken = {**role("broken"), "rules": [{"verbs": "no list"}]}
    assert audit(settings, broken) == Kept()  # not complete: what is missing may be there
    assert audit(settings, role("bad", "*")) == Kept()


def test_a_state_that_only_audits_or_the_webhook_write_knows_nothing_of_what_was_spent(
    settings: Settings, tmp_path: Path
) -> None:
    audit(settings, role("bad", "*"))
    other = read_settings(state=str(tmp_path / "webhook"), engine="embedded")
    _Books(other).store.close()
    for each in (settings, other):
        with wiring.store(each) as opened:
            assert opened.state.get(GATES_ONLY) is True


def test_only_a_state_that_is_named_is_written(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(settings.workspace)
    monkeypatch.delenv("CUSTOMHOUSE_STATE", raising=False)
    Path("dump.json").write_text(json.dumps(role("bad", "*")))
    assert run(["audit", "dump.json", "--engine", "embedded"]) == 1
    assert not Path(".customhouse").exists()
    assert run(["audit", "dump.json", "--engine", "embedded", "--state", "named"]) == 1
    assert Path("named", wiring.STORE_FILE).exists()
