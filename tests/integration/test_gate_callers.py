"""Declared callers at the gate: generated policies pass, an opened one is denied, whichever of the two was changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from admission_world import LABELS, start_webhook
from control_repository import git

RULES = """\
apiVersion: customhouse.dev/v1
policy: {requireSignedCommits: false}
prices: {maxAgeDays: 3650}
"""
WORKLOADS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: model, namespace: risk, annotations: {customhouse.dev/callers: "web, monitoring/app=prometheus"}}
spec:
  selector: {matchLabels: {app: model}}
  template:
    metadata: {labels: {app: model}}
    spec: {containers: [{name: a, image: x, ports: [{containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: risk, annotations: {customhouse.dev/callers: none}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: a, image: x}]}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main", str(tmp_path))
    (tmp_path / "customhouse.yaml").write_text(RULES)
    (tmp_path / "all.yaml").write_text(WORKLOADS)
    return tmp_path


def customhouse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("customhouse")
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def told(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What the gate finds about callers."""
    done = customhouse(folder, "gate", *arguments, "--engine", "embedded", "-o", "json")
    found = json.loads(done.stdout)["findings"]
    return [one for one in found if one["rule"] == "network-callers-differ"]


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "change")


def test_what_is_generated_passes_and_a_policy_that_is_opened_later_is_denied(repository: Path) -> None:
    assert {one["resource"]["name"] for one in told(repository, ".")} == {"model", "web"}

    first, second = (customhouse(repository, "network", "generate", "all.yaml") for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    (repository / "policies.yaml").write_text(first.stdout)
    assert told(repository, ".") == []
    commit(repository)

    opened = list(yaml.safe_load_all(first.stdout))
    mine = next(one for one in opened if one["metadata"]["name"] == "deployment-model-callers")
    mine["spec"]["ingress"].append({"from": [{"namespaceSelector": {}}]})
    (repository / "policies.yaml").write_text(yaml.safe_dump_all(opened))
    commit(repository)
    (finding,) = told(repository, "--repo", ".")
    assert finding["resource"]["kind"] == "NetworkPolicy"
    assert finding["severity"] == "error"
    assert "Deployment risk/model: NetworkPolicy deployment-model-callers lets in pods of every" in finding["message"]


def test_a_policy_that_goes_leaves_its_workload_open_and_that_is_denied(repository: Path) -> None:
    made = customhouse(repository, "network", "generate", "all.yaml").stdout
    (repository / "policies.yaml").write_text(made)
    commit(repository)
    (repository / "policies.yaml").unlink()
    commit(repository)
    said = {one["message"] for one in told(repository, "--repo", ".")}
    assert "Deployment risk/web: no NetworkPolicy selects its pods: everyone may call it." in said


def test_files_in_which_nobody_declares_callers_make_no_policies(repository: Path) -> None:
    (repository / "all.yaml").write_text(WORKLOADS.replace("customhouse.dev/callers", "callers"))
    done = customhouse(repository, "network", "generate", "all.yaml")
    assert done.returncode == 2
    assert "no workload of 2 has the annotation customhouse.dev/callers" in done.stderr
    assert done.stdout == ""


def test_an_annotation_that_names_nobody_is_an_error_with_its_place(repository: Path) -> None:
    (repository / "all.yaml").write_text(WORKLOADS.replace("web, monitoring", "Web!, monitoring"))
    done = customhouse(repository, "network", "generate", "all.yaml")
    assert done.returncode == 3
    assert "'Web!' names nobody" in done.stderr
    assert "all.yaml" in done.stderr
    assert told(repository, ".")[0]["message"].startswith("customhouse.dev/callers")


def test_a_policy_that_somebody_brings_in_by_hand_is_held_against_the_callers_at_admission(repository: Path) -> None:
    policies = customhouse(repository, "network", "generate", "all.yaml").stdout
    (repository / "policies.yaml").write_text(policies)
    commit(repository)
    webhook = start_webhook(repository, "--repo", ".")
    try:
        opened = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "mine", "namespace": "risk", "labels": LABELS},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": {}}]}]},
        }
        answer = webhook.judge(opened)
        assert answer["allowed"] is False
        assert (
            "Deployment risk/model: NetworkPolicy mine lets in pods of every namespace" in answer["status"]["message"]
        )
        narrow = {**opened, "spec": {"podSelector": {"matchLabels": {"app": "another"}}, "policyTypes": ["Ingress"]}}
        assert "network-callers-differ" not in json.dumps(webhook.judge(narrow))
        declared = next(
            one for one in yaml.safe_load_all(policies) if one["metadata"]["name"] == "deployment-model-callers"
        )
        answer = webhook.judge(declared, operation="DELETE", object=None, oldObject=declared)
        assert answer["allowed"] is False
        assert "network-callers-differ" in answer["status"]["message"]
    finally:
        webhook.stop()
