"""The verbs that read a state directory, after a real `customhouse up` served a release from it and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from control_repository import git
from gate_world import KEY, MODEL, Said
from test_cli_contract import PROGRAM

from customhouse.app.initialise import Founding, initialise
from customhouse.cli.program import run

WAIT_S = 40.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose first model was deployed, promoted and charged for by `up`, which has ended since."""
    root = tmp_path_factory.mktemp("served") / "repository"
    initialise(root, Founding(windows=2, window_seconds=1), os.environ["PATH"], example=True)
    attest = ["model", "attest", str(root / MODEL), "--repo", str(root), "--key", str(root / KEY)]
    assert run([*attest, "--name", "first-model", "--version", "v1"]) == 0
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "A first model")
    log = (root.parent / "up.log").open("w")
    process = subprocess.Popen([PROGRAM, "up", "--port", "0"], cwd=root, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + WAIT_S
        while not _charged(root):
            assert process.poll() is None, (root.parent / "up.log").read_text()
            assert time.monotonic() < deadline, (root.parent / "up.log").read_text()
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        log.close()
    assert process.returncode == 0
    return root


def _charged(root: Path) -> bool:
    place = root / ".customhouse" / "overview.json"
    picture = json.loads(place.read_text()) if place.exists() else {}
    promoted = any(row["phase"] == "promoted" for row in picture.get("releases", ()))
    return promoted and Decimal(picture["costs"]["month_to_date"]) > 0


@pytest.fixture
def ask(served: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(served)

    def command(*arguments: str) -> Said:
        capsys.readouterr()
        status = run(arguments)
        printed = capsys.readouterr()
        return Said(status, printed.out, printed.err)

    return command


def test_status_says_what_ran(ask: Any) -> None:
    said = ask("status", "-o", "json")
    assert said.status == 0
    assert said.err == ""
    (row,) = said.json["releases"]
    assert (row["name"], row["namespace"], row["phase"]) == ("first-model", "default", "promoted")
    table = ask("status")
    assert "default/first-model" in table.out
    assert "v1" in table.out


def test_history_has_commit_author_verdict_artifact_time_and_version(ask: Any, served: Path) -> None:
    (row,) = ask("history", "-o", "json").json
    assert row["revision"] == git(served, "rev-parse", "HEAD")
    assert row["author"] == "Ada <ada@example.com>"
    assert (row["verdict"], row["phase"], row["version"]) == ("allow", "promoted", "v1")
    assert row["artifact"].startswith("sha256:")
    assert ask("history", "nothing", "-o", "json").json == []
    assert "first-model" in ask("history", "first-model").out


def test_trace_walks_from_the_model_to_the_charge(ask: Any) -> None:
    found = ask("trace", "first-model", "-o", "json").json
    kinds = {node["kind"] for node in found["nodes"]}
    assert kinds >= {"model", "decision", "commit", "deployment", "charge"}
    assert found["proofs"]
    artifact = ask("history", "-o", "json").json[0]["artifact"]
    assert ask("trace", artifact).status == 0
    assert ask("trace", "sha256:" + "0" * 64).status != 0


def test_every_command_says_the_same_money(ask: Any) -> None:
    report = ask("cost", "report", "-o", "json").json
    assert sum((Decimal(row["amount"]) for row in report["rows"]), Decimal(0)) == Decimal(report["month_to_date"]) > 0
    forecast = ask("cost", "forecast", "-o", "json").json
    assert forecast["month_to_date"] == report["month_to_date"]
    assert Decimal(forecast["low"]) <= Decimal(forecast["mean"]) <= Decimal(forecast["high"])
    estimate = ask("cost", "estimate", "models", "-o", "json").json
    assert forecast["declared_monthly"] == estimate["monthly_after"]
    gate = ask("gate", "-o", "json").json
    assert gate["cost"]["monthly_after"] == estimate["monthly_after"]
    assert gate["cost"]["budgets"][0]["month_to_date"] == report["month_to_date"]


def test_the_ledger_verifies_and_every_entry_is_proved(ask: Any) -> None:
    report = ask("ledger", "verify", "-o", "json").json
    assert report["ok"] is True
    for index in range(report["size"]):
        assert ask("ledger", "proof", str(index)).status == 0


def test_a_decision_is_explained_by_the_beginning_of_its_digest(ask: Any) -> None:
    decision = ask("history", "-o", "json").json[0]["decision"]
    said = ask("explain", decision.removeprefix("sha256:")[:12])
    assert said.status == 0
    assert "Customhouse allows InferenceService default/first-model." in said.out
    assert ask("explain", "evidence-missing").status == 0
    assert ask("explain", "CH013").status == 0


def test_the_plan_is_empty_when_all_is_applied_and_full_where_nothing_ever_was(ask: Any, tmp_path: Path) -> None:
    assert ask("plan", "-o", "json").json["actions"] == []
    fresh = ask("plan", "-o", "json", "--state", str(tmp_path / "none")).json
    assert [action["action"] for action in fresh["actions"]] == ["create"]
    assert not (tmp_path / "none").exists()


def test_the_optimiser_answers(ask: Any) -> None:
    said = ask("optimise", "recommend", "-o", "json")
    assert said.status == 0
    assert isinstance(said.json["recommendations"], list)


def test_proposals_are_branches_of_the_repository(ask: Any, served: Path) -> None:
    found = ask("optimise", "propose", "-o", "json")
    assert found.status == 0
    for proposal in found.json["proposals"]:
        assert git(served, "rev-parse", "--verify", proposal["branch"])
        assert ask("gate", "--base", "main", "--head", proposal["branch"]).status == 0


def test_an_open_problem_is_exit_4(ask: Any, served: Path, tmp_path: Path) -> None:
    picture = json.loads((served / ".customhouse" / "overview.json").read_text())
    picture["problem"] = "the last commit is denied"
    (tmp_path / "overview.json").write_text(json.dumps(picture))
    said = ask("status", "--state", str(tmp_path))
    assert said.status == 4
    assert "problem: the last commit is denied" in said.out
    assert ask("status", "--state", str(tmp_path), "-o", "json").json["problem"] == "the last commit is denied"


def test_doctor_finds_nothing_missing(ask: Any) -> None:
    said = ask("doctor", "-o", "json")
    assert said.status == 0
    assert {row["name"]: row["state"] for row in said.json["checks"]}["state"] == "ok"


def test_rollback_writes_the_commit_that_undoes_the_release(ask: Any, served: Path) -> None:
    assert ask("rollback", "elsewhere/first-model").status == 2
    head = git(served, "rev-parse", "HEAD")
    said = ask("rollback", "default/first-model", "--reason", "a test asks for it")
    assert said.status == 0, said.err
    commit = said.out.strip()
    assert git(served, "rev-parse", "main") == commit
    assert git(served, "rev-parse", f"{commit}^") == head
    assert "a test asks for it" in git(served, "log", "-1", "--format=%B", commit)
    assert not (served / "models" / "first-model.yaml").exists()
