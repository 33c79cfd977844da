"""`gate -o sarif` against the schema of OASIS, and against what GitHub says that it demands of an upload."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft4Validator

from customhouse.cli.program import run

SCHEMA = Path(__file__).parent / "sarif" / "sarif-schema-2.1.0.json"
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: "odd[name](x)", namespace: default}
spec:
  hostNetwork: true
  containers:
    - name: main
      image: nginx:latest
      securityContext: {privileged: true}
"""


@pytest.fixture(scope="module")
def validator() -> Draft4Validator:
    return Draft4Validator(json.loads(SCHEMA.read_text()))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "pöd.yaml").write_text(POD)
    monkeypatch.chdir(tmp_path)
    assert run(["gate", "a folder", "-o", "sarif", "--engine", "embedded"]) == 1
    return json.loads(capsys.readouterr().out)


def test_the_schema_refuses_what_is_wrong(validator: Draft4Validator) -> None:
    assert not validator.is_valid({"version": "2.1.0", "runs": [{"tool": {"driver": {}}}]})


def test_the_log_is_valid(log: dict[str, object], validator: Draft4Validator) -> None:
    assert [error.message for error in validator.iter_errors(log)] == []


def test_github_can_show_it(log: dict[str, object]) -> None:
    (run_,) = log["runs"]
    rules = run_["tool"]["driver"]["rules"]
    assert len(rules) >= 40
    assert len(run_["results"]) >= 5
    for rule in rules:
        assert rule["shortDescription"]["text"]
        assert rule["fullDescription"]["text"]
        assert rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        assert len(rule["properties"]["tags"]) <= 10
        assert ("security-severity" in rule["properties"]) == ("security" in rule["properties"]["tags"])
    for result in run_["results"]:
        (place,) = result["locations"]
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        assert uri == "a%20folder/p%C3%B6d.yaml"
        assert place["physicalLocation"]["region"]["startLine"] >= 1
        assert place["physicalLocation"]["region"]["startColumn"] >= 1
        assert re.fullmatch("[0-9a-f]{32}:1", result["partialFingerprints"]["primaryLocationLineHash"])
        assert not re.search(r"(?<!\\)\[", result["message"]["text"])
