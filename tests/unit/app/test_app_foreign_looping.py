"""`policy verify` and rules that never come to an end: no verdict, in time, and the rest is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from customhouse.app import foreign_conftest, foreign_suites
from customhouse.app.foreign_conftest import judge_files
from customhouse.app.foreign_suites import verify
from customhouse.app.settings import Settings
from customhouse.core.errors import PolicyError

LOOP = "a := numbers.range(1, 99999)[_]; b := numbers.range(1, 99999)[_]; a + b < 0"
TEMPLATE = """\
apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata: {name: loops}
spec:
  crd: {spec: {names: {kind: Loops}}}
  targets:
    - target: admission.k8s.gatekeeper.sh
      rego: |
        package loops
        violation[{"msg": "never"}] { input.review.object.metadata.name == "endless"; LOOP }
        violation[{"msg": "bad"}] { input.review.object.metadata.name == "bad" }
""".replace("LOOP", LOOP)
CONSTRAINT = "{apiVersion: constraints.gatekeeper.sh/v1beta1, kind: Loops, metadata: {name: it}}\n"
SUITE = """\
kind: Suite
apiVersion: test.gatekeeper.sh/v1alpha1
tests:
  - name: %s
    template: ../template.yaml
    constraint: ../constraint.yaml
    cases: [{name: only, object: object.yaml, assertions: [{violations: %s}]}]
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for module in (foreign_suites, foreign_conftest):
        monkeypatch.setattr(module, "LIMIT_S", 0.4)
    return Settings(tmp_path / "state", engine="embedded")


def _suites(folder: Path, *names: str) -> None:
    (folder / "template.yaml").write_text(TEMPLATE)
    (folder / "constraint.yaml").write_text(CONSTRAINT)
    for number, name in enumerate(names):
        place = folder / str(number)
        place.mkdir()
        (place / "suite.yaml").write_text(SUITE % (name, "yes" if name == "bad" else "no"))
        (place / "object.yaml").write_text(f"{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}}}\n")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_suite_that_loops_has_no_verdict_and_the_others_have_theirs(
    tmp_path: Path, settings: Settings, processes: int
) -> None:
    _suites(tmp_path, "good", "endless", "bad", "fine")
    found = verify(settings, [str(tmp_path)], processes=processes)
    assert (found.suites, found.passed, found.exit_status) == (4, 3, 3)
    (failed,) = found.failed
    assert failed.suite == f"{tmp_path}/1/suite.yaml"
    assert "no answer within 0.4 s of processor time" in failed.reason
    assert failed.undecided


def test_many_that_loop_are_not_waited_for(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_suites, "_ENDED", 1)
    _suites(tmp_path, *["endless"] * 4)
    with pytest.raises(PolicyError, match=r"1/suite\.yaml: the suites could not be run: .* was ended"):
        verify(settings, [str(tmp_path)], processes=1)


@pytest.mark.parametrize(
    ("condition", "combine", "said"),
    [
        ('input.name == "endless"', False, r"0\.yaml and the 1 files after it could not be judged"),
        ('input[_].contents.name == "endless"', True, "the files could not be judged"),
        ("true", False, "the policies could not be loaded"),
    ],
)
def test_a_package_that_loops_is_ended(
    tmp_path: Path, settings: Settings, condition: str, combine: bool, said: str
) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "files").mkdir()
    rule = f'package main\n\ndeny contains "never" if {{\n\t{condition}\n\t{LOOP}\n}}\n'
    (tmp_path / "policy" / "main.rego").write_text(rule)
    for number, name in enumerate(("good", "endless")):
        (tmp_path / "files" / f"{number}.yaml").write_text(f"name: {name}\n")
    with pytest.raises(PolicyError, match=f"{said}: no answer within 0.4 s of processor time") as caught:
        judge_files(settings, str(tmp_path / "policy"), [str(tmp_path / "files")], combine=combine)
    assert "loops" in caught.value.hint
