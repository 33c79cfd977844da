"""examples/admission at the gate: the webhook as it was written, and its corrected copy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from customhouse.cli.program import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "admission"


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
