"""examples/admission at the gate: the webhook as it was written, and its corrected copy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from customhouse.cli.program import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "admission"


def test_a_waiver_with_a_slip_of_the_pen_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "customhouse.yaml").write_text(
        "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false, waivers: waivers.json}\n"
    )
    waiver = {"id": "W-1", "rules": ["container-rooot", "gatekeeper/Gone/gone"], "owner": "a", "reason": "r"}
    more = {"ticket": "T", "expires": "2027-01-15T00:00:00Z", "scope": {"namespace": "image-policy"}}
    (tmp_path / "waivers.json").write_text(json.dumps([{**waiver, **more}]))
    config = str(tmp_path / "customhouse.yaml")
    assert run(["gate", "--config", config, str(EXAMPLE / "webhook.yaml"), "--engine", "embedded"]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("waiver")]
    assert told == ["waiver W-1 is of no use: no rule is called 'container-rooot'; did you mean 'container-root'?"]


@pytest.mark.parametrize(
    ("path", "status", "errors"),
    [
        (
            "webhook.yaml",
            1,
            {
                "container-capabilities",
                "container-privilege-escalation",
                "container-root",
                "container-seccomp",
                "cost-unpriced",
                "image-not-pinned",
                "image-untrusted-registry",
                "labels-missing",
                "resources-missing",
            },
        ),
        ("corrected", 0, set()),
    ],
)
def test_the_example_is_judged_as_its_page_says(
    path: str, status: int, errors: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(EXAMPLE / "customhouse.yaml")
    found = run(["gate", "--config", config, str(EXAMPLE / path), "-o", "json", "-q", "--engine", "embedded"])
    said = json.loads(capsys.readouterr().out)
    assert {item["rule"] for item in said["findings"] if item["severity"] == "error"} == errors
    assert found == status
