"""The given half of Gatekeeper's library, unmodified, with the embedded engine alone: every case has to pass."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from customhouse.cli.program import run


def test_the_given_library_passes_whole(shared_data, capsys):
    library = shared_data / "policies" / "gatekeeper-library"
    status = run(["policy", "verify", str(library), "-o", "json", "--engine", "embedded", "-q"])
    told = json.loads(capsys.readouterr().out)
    assert told == {"suites": 30, "tests": 43, "cases": 130, "passed": 130, "skipped": 0, "failed": []}
    assert status == 0


def test_templates_that_carry_cel_too_say_the_same_in_cel_alone(shared_data, capsys, tmp_path):
    pytest.importorskip("cel_expr_python")
    library = tmp_path / "library"
    cases = 0
    for path in sorted((shared_data / "policies" / "gatekeeper-library").rglob("template.yaml")):
        if "K8sNativeValidation" not in path.read_text():
            continue
        folder = library / path.parent.name
        shutil.copytree(path.parent, folder)
        template = yaml.safe_load(path.read_text())
        target = template["spec"]["targets"][0]
        target["code"] = [code for code in target["code"] if code["engine"] != "Rego"]
        target.pop("rego", None)
        (folder / "template.yaml").write_text(yaml.safe_dump(template))
        cases += 1
    assert cases > 0
    status = run(["policy", "verify", str(library), "-o", "json", "--engine", "embedded", "-q"])
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] == []
    assert told["passed"] == told["cases"] > cases
    assert status == 0
