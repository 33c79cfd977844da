"""Provenance at the gate: expectations of the base revision, the Build level of a tier, and the same by hand."""

from __future__ import annotations

from control_repository import git
from gate_world import KEY, MODEL, Shell, released, shell

__all__ = ["released", "shell"]

JOB = """apiVersion: batch/v1
kind: Job
metadata: {name: train, namespace: models}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: train, image: "registry.example/train@sha256:%s", command: [python, train.py], args: [--seed=1]}
"""
DATA = f"sha256:{'d' * 64}"
EXPECTED = """provenance:
  datasets: {transactions: ["%s"]}
  builders:
    - {id: "https://customhouse.dev/builders/local-target", level: 1, signers: [evidence]}
  expectations:
    - name: first
      artifacts: ["pvc://**"]
      builders: ["https://customhouse.dev/builders/local-target"]
      minLevel: 1
      parameters:
        allowed: [job]
        values: {command: '["python", "train.py", "--seed=1"]'}
      materials:
        - {name: dataset, registered: true}
        - {name: code, uri: "registry.example/train@**"}
        - {name: code, uri: "git+self"}
      otherMaterials: denied
"""


def declare(shell: Shell, level: int = 0) -> None:
    """The base revision: what is expected, and a model whose provenance the Job made."""
    text = shell.path("customhouse.yaml").read_text()
    if level:
        text = text.replace("tiers:\n", f"tiers:\n  definitions: {{experiment: {{provenanceLevel: {level}}}}}\n")
    shell.write("customhouse.yaml", f"{text}\n{EXPECTED % DATA}")
    shell.write("job.yaml", JOB % ("c" * 64))
    shell.commit("the Job")
    attest(shell, DATA)
    shell.commit("what is expected")


def attest(shell: Shell, dataset: str) -> None:
    done = shell.run(
        "model", "attest", shell.path(MODEL), "--repo", shell.root, "--key", shell.path(KEY), "--name", "first-model",
        "--version", "v1", "--dataset", f"transactions={dataset}", "--job", shell.path("job.yaml"),
    )  # fmt: skip
    assert done.status == 0, done.err


def findings(shell: Shell) -> list[tuple[str, str]]:
    shell.edit("models/first-model.yaml", "name: first-model", "name: second-model")
    git(shell.root, "checkout", "-q", "-b", "topic")
    shell.commit("the change")
    done = shell.run("gate", "--base", "main", "-o", "json")
    return [(f["rule"], f["message"]) for f in done.json["findings"] if f["rule"].startswith("provenance-")]


def test_provenance_as_expected_passes_the_gate(shell: Shell) -> None:
    declare(shell)
    assert findings(shell) == []


def test_another_dataset_than_a_registered_one_is_denied_with_both_places(shell: Shell) -> None:
    declare(shell)
    attest(shell, f"sha256:{'e' * 64}")
    ((rule, message),) = findings(shell)
    assert rule == "provenance-expected"
    assert "not registered" in message
    assert "/buildDefinition/resolvedDependencies/0, expected at customhouse.yaml:" in message


def test_the_branch_cannot_expect_less_than_its_base(shell: Shell) -> None:
    declare(shell)
    attest(shell, f"sha256:{'e' * 64}")
    shell.edit("customhouse.yaml", "registered: true", "registered: false")
    assert [rule for rule, _ in findings(shell)] == ["provenance-expected"]


def test_a_tier_that_asks_for_level_3_refuses_what_the_local_target_made(shell: Shell) -> None:
    declare(shell, level=3)
    ((rule, message),) = findings(shell)
    assert rule == "provenance-level"
    assert "reaches SLSA Build level 1, and tier experiment asks for 3" in message


def test_by_hand_it_says_level_and_every_check(shell: Shell) -> None:
    declare(shell)
    (bundle,) = shell.root.glob(".evidence/*/provenance.sigstore.json")
    done = shell.run("model", "provenance", bundle, "--artifact", "pvc://artifacts/first-model/v1", "-o", "json")
    assert done.status == 0, done.out + done.err
    assert done.json["level"] == 1
    assert {row["check"] for row in done.json["checks"]} >= {
        "builder",
        "level",
        "material:dataset",
        "parameter:command",
    }
    plain = shell.run("model", "provenance", bundle)
    assert plain.status == 0
    assert "SLSA Build L1: declared at customhouse.yaml:" in plain.out


def test_by_hand_what_nobody_signed_is_not_met(shell: Shell) -> None:
    shell.write(
        "bare.json",
        '{"buildDefinition": {"buildType": "t", "externalParameters": {}}, "runDetails": {"builder": {"id": "b"}}}',
    )
    done = shell.run("model", "provenance", shell.path("bare.json"))
    assert done.status == 1
    assert "SLSA Build L0" in done.out
