"""What the gate says of real commits: which rule speaks, at which line, under whose rules, at what price."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from control_repository import git
from gate_world import DECLARATION, KEY, MODEL, Shell, released, shell, snapshot

from customhouse._kit.clock import FixedClock, to_rfc3339
from customhouse.app import wiring

__all__ = ["released", "shell"]

GPU = 'memory: 256Mi\n          nvidia.com/gpu: "{count}"\n        limits'


def edit(*pairs: tuple[str, str]) -> Callable[[Shell], None]:
    def change(shell: Shell) -> None:
        for old, new in pairs:
            shell.edit(DECLARATION, old, new)

    return change


def gpus(count: int, product: str, tier: str | None = None) -> Callable[[Shell], None]:
    pairs = [
        ("memory: 256Mi\n        limits", GPU.format(count=count)),
        ("  predictor:\n", f"  predictor:\n    nodeSelector:\n      nvidia.com/gpu.product: {product}\n"),
    ]
    if tier:
        pairs.append(("tier: experiment", f"tier: {tier}"))
    return edit(*pairs)


DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: default
  labels: {customhouse.dev/owner: a, customhouse.dev/team: b, customhouse.dev/project: c,
           customhouse.dev/cost-centre: d}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: web
          image: IMAGE
          resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 100m, memory: 64Mi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
"""
PIN = "@sha256:" + "1" * 64


def deploy(image: str) -> Callable[[Shell], None]:
    return lambda shell: shell.write("models/web.yaml", DEPLOYMENT.replace("IMAGE", image))


def batch(shell: Shell) -> None:
    """A Job in the tier `batch`, which has to run on spot capacity and does not."""
    job = DEPLOYMENT.replace("apps/v1", "batch/v1").replace("Deployment", "Job").replace("IMAGE", f"{TRUSTED}{PIN}")
    job = job.replace("  replicas: 1\n  selector: {matchLabels: {app: web}}\n", "")
    job = job.replace("cost-centre: d", "cost-centre: d, customhouse.dev/tier: batch")
    shell.write("models/job.yaml", job.replace("      automount", "      restartPolicy: Never\n      automount"))


def no_signature(shell: Shell) -> None:
    shell.edit(DECLARATION, "maxReplicas: 1", "maxReplicas: 2")
    next(shell.path(".evidence").rglob("signature.sigstore.json")).unlink()


def signed_by_a_stranger(shell: Shell) -> None:
    assert shell.run("init", "stranger", "-q").status == 0
    attest = ["model", "attest", MODEL, "--name", "first-model", "--version", "v1"]
    assert shell.run(*attest, "--key", "stranger/.customhouse/keys/evidence.key").status == 0
    shutil.rmtree(shell.path("stranger"))
    shell.edit(DECLARATION, "maxReplicas: 1", "maxReplicas: 2")


def malicious(shell: Shell) -> None:
    """A pickle that runs a program when it is loaded, inspected and signed like any other model."""
    shell.write("artifacts/evil/model.pkl", b"cos\nsystem\n(S'true'\ntR.")
    attest = [
        "model",
        "attest",
        "artifacts/evil",
        "--name",
        "first-model",
        "--version",
        "v2",
        "--key",
        KEY,
        "-o",
        "json",
    ]
    done = shell.run(*attest)
    assert done.json["verdict"] == "malicious"
    text = shell.path(DECLARATION).read_text().replace("first-model/v1", "evil").replace("name: onnx", "name: sklearn")
    shell.write(DECLARATION, re.sub("sha256:[0-9a-f]{64}", done.json["digest"], text))


TRUSTED = "registry.example.com/web"

# What is changed, the rules that must speak as errors and the line of each.
DENIED = {
    "a label is missing": (edit(("    customhouse.dev/owner: you\n", "")), {("labels-missing", 7)}),
    "a tier that the namespace may not use": (
        edit(("tier: experiment", "tier: critical-inference")),
        # It is judged as the default tier then, which wants provenance as well.
        {("tier-not-granted", 12), ("evidence-missing", 24)},
    ),
    "no limits": (
        edit(("        limits:\n          cpu: 250m\n          memory: 256Mi\n", "")),
        {("resources-missing", 25)},
    ),
    "root": (
        edit(("runAsNonRoot: true", "runAsNonRoot: false"), ("runAsUser: 10001", "runAsUser: 0")),
        {("container-root", 32)},
    ),
    "no digest": (
        lambda shell: shell.write(
            DECLARATION,
            re.sub(r".*model-digest.*\n", "    customhouse.dev/note: x\n", shell.path(DECLARATION).read_text()),
        ),
        {("model-not-pinned", 24), ("evidence-missing", 24)},
    ),
    "eight H100": (gpus(8, "NVIDIA-H100-80GB-HBM3"), {("gpu-class", 32), ("budget-exceeded", 2)}),
    "too many replicas": (edit(("maxReplicas: 1", "maxReplicas: 9")), {("replicas-over-bound", 19)}),
    "a registry that nobody trusts": (
        deploy(f"registry.example.com.evil.example/web{PIN}"),
        {("image-untrusted-registry", 18)},
    ),
    "an image without a digest": (deploy(f"{TRUSTED}:1.2"), {("image-not-pinned", 18)}),
    "batch work that is not on spot capacity": (
        batch,  # the tier makes every check, so it also asks what stands around the Job and what is known of its image
        {("spot-required", 11), ("network-default-deny", 1), ("image-evidence-missing", 17)},
    ),
    "an unsigned model": (no_signature, {("evidence-missing", 24)}),
    "evidence signed by a stranger": (signed_by_a_stranger, {("evidence-unverified", 24)}),
    "a malicious model": (malicious, {("model-scan", 24)}),
}


@pytest.mark.parametrize("case", DENIED.values(), ids=DENIED.keys())
def test_a_change_is_denied_by_the_rule_that_is_meant(
    shell: Shell, case: tuple[Callable[[Shell], None], set[tuple[str, int]]]
) -> None:
    change, rules = case
    change(shell)
    before = snapshot(shell.root)
    said = shell.run("gate", "--worktree", "-o", "json")
    assert said.status == 1, said.err
    errors = [item for item in said.json["findings"] if item["severity"] == "error"]
    assert {(item["rule"], item["line"]) for item in errors} == rules
    assert all(item["fix"] and item["message"] and item["file"].startswith("models/") for item in errors)
    assert snapshot(shell.root) == before


def test_a_denial_for_cost_has_the_figures_and_a_cheaper_way(shell: Shell) -> None:
    gpus(8, "NVIDIA-H100-80GB-HBM3")(shell)
    found = shell.run("gate", "--worktree", "-o", "json").json
    (finding,) = [item for item in found["findings"] if item["rule"] == "budget-exceeded"]
    assert "limit 500.00 USD" in finding["message"]
    assert "Cheaper: " in finding["message"]
    before, after = Decimal(found["cost"]["monthly_before"]), Decimal(found["cost"]["monthly_after"])
    assert after > 10_000 > before
    assert Decimal(finding["cost_delta"]) == pytest.approx(after - before, abs=Decimal("0.00001"))


def test_the_rules_of_the_base_judge_not_those_that_the_change_brings(shell: Shell) -> None:
    shell.edit("customhouse.yaml", "[registry.example.com/]", "[registry.example.com/, other.example/]")
    deploy(f"other.example/web{PIN}")(shell)
    shell.commit("trust a registry, and use it at once")
    first = shell.run("gate", "-o", "json")
    assert first.status == 1
    assert "image-untrusted-registry" in {item["rule"] for item in first.json["findings"]}
    # In two changes, the second under the rules of the first, it is allowed.
    shell.write("models/web.yaml", DEPLOYMENT.replace("IMAGE", f"other.example/web{PIN}") + "# again\n")
    shell.commit("later")
    assert shell.run("gate", "--base", "HEAD^", "-o", "json").status == 0


def test_a_branch_answers_for_its_own_changes_only(shell: Shell) -> None:
    git(shell.root, "checkout", "-q", "-b", "feature")
    shell.edit(DECLARATION, "memory: 256Mi", "memory: 300Mi")
    shell.commit("more memory")
    git(shell.root, "checkout", "-q", "main")
    deploy("evil.example/web:latest")(shell)
    shell.commit("got in around the gate")
    said = shell.run("gate", "--base", "main", "--head", "feature", "-o", "json")
    assert said.status == 0
    assert [item["resource"]["name"] for item in said.json["cost"]["workloads"]] == ["first-model"]


def test_taking_a_release_away_costs_nothing_and_is_allowed(shell: Shell) -> None:
    shell.path(DECLARATION).unlink()
    shell.commit("retire it")
    said = shell.run("gate", "-o", "json")
    assert said.status == 0
    assert Decimal(said.json["cost"]["monthly_after"]) == 0
    assert Decimal(said.json["cost"]["monthly_before"]) > 0


def test_a_commit_that_changes_nothing_of_ours_is_allowed(shell: Shell) -> None:
    shell.write("README.md", "hello")
    shell.commit("words")
    said = shell.run("gate", "-o", "json")
    assert (said.status, said.json["verdict"], said.json["findings"]) == (0, "allow", [])


def test_a_waiver_is_shown_and_lets_the_change_in_until_it_expires(shell: Shell) -> None:
    waiver = """\
- id: W-1
  rules: [labels-missing]
  owner: ada@example.com
  reason: moved from another team, labels follow
  ticket: OPS-1
  expires: "EXPIRES"
  scope: {namespace: default, name: first-model}
"""
    shell.edit(
        "customhouse.yaml", "  requireSignedCommits: false", "  requireSignedCommits: false\n  waivers: waivers.yaml"
    )
    shell.write("waivers.yaml", waiver.replace("EXPIRES", to_rfc3339(datetime.now(UTC) + timedelta(days=30))))
    shell.commit("a waiver")
    shell.edit(DECLARATION, "    customhouse.dev/owner: you\n", "")
    said = shell.run("gate", "--worktree", "-o", "json")
    assert said.status == 0
    assert [item["waiver"] for item in said.json["findings"] if item["rule"] == "labels-missing"] == ["W-1"]
    git(shell.root, "checkout", "-q", DECLARATION)
    shell.write("waivers.yaml", waiver.replace("EXPIRES", "2020-01-01T00:00:00Z"))
    shell.commit("it ran out")
    shell.edit(DECLARATION, "    customhouse.dev/owner: you\n", "")
    assert shell.run("gate", "--worktree").status == 1


def test_named_files_are_read_wherever_they_lie(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout below a hidden folder, or beside the working directory, is not an empty one."""
    hidden = tmp_path / ".runner" / "checkout"
    hidden.mkdir(parents=True)
    shutil.copytree(shell.path("models"), hidden / "models")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for path in (
        hidden,
        hidden / "models",
        hidden / "models" / "first-model.yaml",
        "../.runner",
        "../repository/models",
    ):
        priced = shell.run("cost", "estimate", path, "-o", "json")
        assert [work["resource"]["name"] for work in priced.json["workloads"]] == ["first-model"], path
        assert shell.run("gate", path).status == 1


def test_another_repository_can_be_priced_as_a_folder(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = shell.run("cost", "estimate", "repository", "-o", "json")
    assert said.status == 0, said.err
    assert [work["resource"]["name"] for work in said.json["workloads"]] == ["first-model"]


def test_the_whole_repository_named_as_files_is_judged_like_the_repository(shell: Shell) -> None:
    said = shell.run("gate", ".", "--config", "customhouse.yaml", "-o", "json")
    assert said.status == 0
    assert said.json["cost"] == {
        **shell.run("gate", "-o", "json").json["cost"],
        "budgets": said.json["cost"]["budgets"],
    }


@pytest.mark.part("opa")
def test_both_engines_say_the_same_to_the_byte(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, find_part: Callable[[str], Path]
) -> None:
    """The embedded engine and OPA itself, at one moment: one digest over verdict, findings, Facts and bundle."""
    at = wiring.clock().now()
    monkeypatch.setattr(wiring, "clock", lambda: FixedClock(at))
    monkeypatch.setenv("PATH", f"{find_part('opa').parent}{os.pathsep}{os.environ['PATH']}")
    gpus(8, "NVIDIA-H100-80GB-HBM3")(shell)
    embedded, opa = (shell.run("gate", "--worktree", "-o", "json", "--engine", name) for name in ("embedded", "opa"))
    assert (embedded.status, opa.status) == (1, 1)
    one, other = embedded.json, opa.json
    for part in (one, other, *one["decisions"], *other["decisions"]):
        assert part.pop("timings")
    assert one == other


def test_an_engine_that_is_not_there_is_a_clear_error(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    git_only = shell.root.parent / "programs"
    git_only.mkdir()
    (git_only / "git").symlink_to(shutil.which("git") or "git")
    monkeypatch.setenv("PATH", str(git_only))
    said = shell.run("gate", "--engine", "opa")
    assert said.status == 2
    assert "`opa` is not on PATH" in said.err
    assert shell.run("gate", "--engine", "auto").status == 0
