"""examples/tiers: one workload under two tiers, the Decisions that are expected, by both engines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app import wiring
from customhouse.cli.program import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "tiers"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEPT = ("rule", "category", "severity", "message", "fix", "waiver", "line", "column")


def expected(tier: str) -> Any:
    return json.loads((EXAMPLE / "expected" / f"{tier}.json").read_text(encoding="utf-8"))


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)

    def judge(tier: str, at: datetime = NOW, engine: str = "embedded") -> dict[str, Any]:
        monkeypatch.setattr(wiring, "clock", lambda: FixedClock(at))
        text = (EXAMPLE / "workload.yaml").read_text(encoding="utf-8")
        (tmp_path / "workload.yaml").write_text(text.replace("tier: critical-inference", f"tier: {tier}"))
        config = str(EXAMPLE / "customhouse.yaml")
        capsys.readouterr()
        status = run(["gate", "--config", config, "workload.yaml", "-o", "json", "-q", "--engine", engine])
        said = json.loads(capsys.readouterr().out)
        own = [item for item in said["findings"] if item["resource"]["kind"] == "Deployment"]
        found = [{key: item[key] for key in KEPT} for item in own]
        return {"status": status, "verdict": said["verdict"], "findings": found}

    return judge


@pytest.mark.parametrize("tier", ["critical-inference", "batch"])
def test_the_decision_is_the_one_that_is_expected(gate: Callable[..., Any], tier: str) -> None:
    assert gate(tier) == expected(tier)


@pytest.mark.part("opa")
@pytest.mark.parametrize("tier", ["critical-inference", "batch"])
def test_opa_makes_the_same_decision(
    gate: Callable[..., Any], tier: str, find_part: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{find_part('opa').parent}{os.pathsep}{os.environ['PATH']}")
    assert gate(tier, engine="opa") == expected(tier)


def test_a_relaxation_stops_working_on_its_day(gate: Callable[..., Any]) -> None:
    said = gate("critical-inference", datetime(2027, 1, 31, tzinfo=UTC))
    assert said["status"] == 1
    (found,) = [item for item in said["findings"] if item["severity"] == "error"]
    assert found["rule"] == "pod-token-mounted"
    assert found["message"].endswith(
        "The relaxation by ada@example.com (RISK-214) does not hold: it ended on 2027-01-31T00:00:00Z."
    )
