"""`policy.gatekeeper` and `policy.conftest` at the gate: the base revision's, on raw objects, in the one format."""

from __future__ import annotations

import pytest
from gate_world import DECLARATION, Shell, released, shell

__all__ = ["released", "shell"]

TEMPLATE = """\
apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata: {name: needannotation}
spec:
  crd: {spec: {names: {kind: NeedAnnotation}}}
  targets:
    - target: admission.k8s.gatekeeper.sh
      rego: |
        package needannotation
        violation[{"msg": msg}] {
          not input.review.object.metadata.annotations["example.com/contact"]
          msg := sprintf("%v has no contact", [input.review.object.metadata.name])
        }
"""
CONSTRAINT = """\
apiVersion: constraints.gatekeeper.sh/v1beta1
kind: NeedAnnotation
metadata: {name: contact}
spec:
  enforcementAction: %s
  match: {kinds: [{apiGroups: ["*"], kinds: [InferenceService]}]}
"""
CONFTEST = """\
package main

warn contains msg if {
	input.kind == "InferenceService"
	msg := sprintf("%s is watched", [input.metadata.name])
}
"""


def govern(shell: Shell, action: str = "deny", *, conftest: bool = False) -> None:
    """Commit such policies; the rules before them judge this commit."""
    shell.write("gatekeeper/template.yaml", TEMPLATE)
    shell.write("gatekeeper/constraint.yaml", CONSTRAINT % action)
    keys = "policy:\n  gatekeeper: gatekeeper\n"
    if conftest:
        shell.write("conftest/main.rego", CONFTEST)
        keys += "  conftest: conftest\n"
    shell.edit("customhouse.yaml", "policy:\n", keys)
    shell.commit("Policies of others")


def change(shell: Shell) -> None:
    shell.edit(DECLARATION, "memory: 256Mi", "memory: 257Mi")
    shell.commit("Some more memory")


def foreign(said) -> list[tuple[str, str, str]]:
    return [
        (item["rule"], item["severity"], item["message"])
        for item in said.json["findings"]
        if item["rule"].partition("/")[0] in ("gatekeeper", "conftest")
    ]


def test_a_constraint_and_a_package_of_conftest_speak_at_the_gate(shell):
    govern(shell, conftest=True)
    change(shell)
    said = shell.run("gate", "--base", "HEAD~1", "--head", "HEAD", "-o", "json")
    assert sorted(foreign(said)) == [
        ("conftest/main/warn", "warning", "first-model is watched"),
        ("gatekeeper/NeedAnnotation/contact", "error", "first-model has no contact"),
    ]
    assert said.status == 1


def test_a_change_cannot_take_away_the_constraint_that_denies_it(shell):
    govern(shell)
    shell.write("gatekeeper/constraint.yaml", CONSTRAINT % "dryrun")
    change(shell)
    said = shell.run("gate", "--base", "HEAD~1", "--head", "HEAD", "-o", "json")
    assert ("gatekeeper/NeedAnnotation/contact", "error", "first-model has no contact") in foreign(said)
    assert said.status == 1


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("gatekeeper/template.yaml", TEMPLATE.replace("violation[", "violation["[:-1]), "gatekeeper/template.yaml"),
        ("gatekeeper/constraint.yaml", "", "customhouse.yaml"),
    ],
)
def test_policies_that_cannot_be_loaded_keep_the_gate_shut(shell, name, text, where):
    govern(shell)
    shell.write(name, text)
    shell.commit("Broken")
    said = shell.run("gate", "--base", "HEAD~1", "--head", "HEAD", "-o", "json")
    assert said.status == 3
    assert where in said.err or "no constraint" in said.err
