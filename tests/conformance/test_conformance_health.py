"""The health of given objects of the built-in kinds and of KServe, against the statuses that came with them."""

from __future__ import annotations

import csv
from pathlib import Path

import yaml

from customhouse.execution.health import health


def _status(path: Path) -> set[str]:
    return {health(item).status.value for item in yaml.safe_load_all(path.read_text()) if item}


def test_every_given_object_of_a_built_in_kind_has_its_status(shared_data: Path) -> None:
    folder = shared_data / "health" / "_builtin"
    rows = list(csv.DictReader((folder / "cases.csv").read_text().splitlines()))
    wrong = {
        row["input"]: found
        for row in rows
        if (found := _status(folder / "testdata" / row["input"])) != {row["expected_status"] or "Unknown"}
    }
    assert len(rows) >= 50
    assert wrong == {}


def test_every_given_inference_service_has_its_status_and_a_message(shared_data: Path) -> None:
    folder = shared_data / "health" / "serving.kserve.io" / "InferenceService"
    cases = yaml.safe_load((folder / "health_test.yaml").read_text())["tests"]
    assert len(cases) >= 10
    for case in cases:
        found = health(yaml.safe_load((folder / case["inputPath"]).read_text()))
        assert found.status.value == case["healthStatus"]["status"], case["inputPath"]
        assert found.message
