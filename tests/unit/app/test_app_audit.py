"""The audit without a cluster: dumps of objects, what is passed over, reports and metrics."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.money import Money
from customhouse.app import audit_reports
from customhouse.app.audit import Audited, AuditReport, Undecided
from customhouse.app.audit_reports import metrics_text, policy_reports
from customhouse.app.audit_scene import built_in, owners_of
from customhouse.cli.program import run
from customhouse.core.cost import BookRef, CostReport
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, Verdict
from customhouse.core.resource import Declaration, Location, ResourceRef

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ZERO = Money.zero("USD")
RBAC = "rbac.authorization.k8s.io/v1"


def declared(manifest: dict[str, Any]) -> Declaration:
    metadata = manifest["metadata"]
    ref = ResourceRef(manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"])
    return Declaration(ref, manifest, Location("live"))


def finding(namespace: str, rule: str = "privileged", severity: Severity = Severity.ERROR, **other: Any) -> Finding:
    ref = ResourceRef("v1", "Pod", namespace, "p")
    return Finding(rule, Category.SECURITY, severity, ref, other.pop("message", "said"), "mend it", **other)


def audited(*findings: Finding, namespace: str = "n") -> Audited:
    verdict = Verdict.DENY if any(item.severity is Severity.ERROR for item in findings) else Verdict.ALLOW
    ref = ResourceRef("v1", "Pod", namespace, "p")
    decision = Decision(ref, verdict, findings, "sha256:f", "sha256:b", Point.AUDIT, NOW)
    return Audited(decision, "uid", "new")


def report(*items: Audited, **other: Any) -> AuditReport:
    cost = CostReport("USD", BookRef("sha256:book", "2026-11-01"), ZERO, ZERO, ZERO, ZERO, ())
    made = AuditReport("test", NOW, 0.5, items, (), 0, {}, "sha256:b", cost)
    return replace(made, **other)


def binding(name: str, role: str, *subjects: dict[str, str]) -> Declaration:
    reference = {"kind": "ClusterRole", "name": role}
    return declared(
        {"apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": reference,
         "subjects": list(subjects)}
    )  # fmt: skip


def test_bindings_of_kubernetes_are_passed_over_and_none_can_hide_behind_their_names() -> None:
    masters = {"kind": "Group", "name": "system:masters"}
    everybody = {"kind": "Group", "name": "system:authenticated"}
    eve = {"kind": "User", "name": "eve"}
    assert built_in(binding("cluster-admin", "cluster-admin", masters))
    assert built_in(binding("system:basic-user", "system:basic-user", everybody))
    assert built_in(binding("system:kube-scheduler", "x", {"kind": "User", "name": "system:kube-scheduler"}))
    for hidden in (
        binding("cluster-admin", "cluster-admin", masters, eve),
        binding("system:evil", "cluster-admin", everybody),
        binding("system:basic-user", "cluster-admin", everybody),
        binding("system:evil", "cluster-admin", {"kind": "User", "name": "system:masters"}),
        binding("system:evil", "cluster-admin", {"kind": "ServiceAccount", "namespace": "models", "name": "x"}),
        binding("ours", "cluster-admin", masters),
    ):
        assert not built_in(hidden), hidden.manifest


def test_roles_named_like_those_of_kubernetes_are_only_passed_over_with_its_label() -> None:
    def role(name: str, labels: dict[str, str]) -> Declaration:
        return declared({"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": name, "labels": labels}})

    label = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    assert built_in(role("system:node", label))
    assert not built_in(role("system:node", {}))
    assert not built_in(role("models", label))


def pod(
    name: str, uid: str, cpu: str, owner: dict[str, Any] | None = None, labels: dict[str, str] | None = None
) -> Declaration:
    metadata: dict[str, Any] = {"name": name, "namespace": "n", "uid": uid, "labels": labels or {}}
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    return declared({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}})


def test_a_pod_is_only_derived_from_what_declares_as_much() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x", "", "1").manifest["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    metadata = {"name": "set", "namespace": "n", "uid": "u1"}
    set_ = declared({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec})
    claim = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set", "uid": "u1", "controller": True}
    fits, large = (pod(name, name, cpu, claim, {"a": "b", "c": "d"}) for name, cpu in (("fits", "1"), ("large", "64")))
    uncounted = pod("uncounted", "u4", "1", claim, {"a": "another"})
    assert owners_of([set_, fits, large, uncounted]) == {fits.ref: set_}
    rights = binding("rights", "cluster-admin", {"kind": "User", "name": "eve"})
    rights.manifest["metadata"]["ownerReferences"] = [claim]  # type: ignore[index]
    assert owners_of([set_, rights]) == {}


def test_reports_hold_a_namespace_each_and_waived_findings_are_skipped() -> None:
    rows = (
        finding("n"),
        finding("n", "labels", Severity.WARNING),
        finding("n", "old", waiver="w1"),
        finding("n", "note", Severity.NOTE),
    )
    undecided = (Undecided(ResourceRef("v1", "Service", "n", "broken"), "too long"),)
    (made,) = policy_reports(report(audited(*rows), audited(), undecided=undecided))
    assert made["summary"] == {"pass": 1, "fail": 1, "warn": 1, "error": 1, "skip": 1}
    assert [row["result"] for row in made["results"]] == ["fail", "warn", "skip", "error"]
    (cluster,) = policy_reports(report(audited(namespace="")))
    assert (cluster["kind"], cluster["metadata"]["name"]) == ("ClusterPolicyReport", "customhouse-audit")
    assert "namespace" not in cluster["metadata"]


def test_a_report_that_would_be_too_large_is_split_and_its_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_reports, "MAX_BYTES", 4_000)
    monkeypatch.setattr(audit_reports, "MAX_PARTS", 3)
    rows = [audited(finding("n", f"rule-{index}", message="m" * 500)) for index in range(40)]
    made = policy_reports(report(*rows))
    assert [item["metadata"]["name"] for item in made] == [f"customhouse-audit{end}" for end in ("", "-2", "-3")]
    assert all(len(json.dumps(item)) < 6_000 for item in made)
    shown = sum(len(item["results"]) for item in made)
    assert f"{40 - (shown - 1)} more findings" in made[-1]["results"][-1]["message"]


def test_metrics_count_what_no_waiver_covers_and_escape_what_they_name() -> None:
    rows = (finding("n"), finding("n", "old", waiver="w"), finding("n", 'a"b\\c\nd', Severity.WARNING))
    text = metrics_text(report(audited(*rows), audited(finding("n")), problems={"jobs.batch": "Forbidden"}))
    assert 'customhouse_violations{rule="privileged",category="security",severity="error",namespace="n"} 2\n' in text
    assert 'rule="a\\"b\\\\c\\nd"' in text
    assert "w" not in [line.partition("{")[0] for line in text.splitlines()]
    assert "customhouse_audit_complete 0\n" in text
    assert "customhouse_audit_unlisted_kinds 1\n" in text
    assert 'rule="old"' not in text


DUMP = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {**pod("p", "u", "1").manifest, "status": {"phase": "Running"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "data": {"k": "djE="}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "kube-system"}},
    ],
}


def test_dumped_objects_are_audited_without_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dump.json").write_text(json.dumps(DUMP))
    metrics = tmp_path / "audit.prom"
    assert run(["audit", "dump.json", "--engine", "embedded", "-o", "json", "--metrics-file", str(metrics)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["objects"]["judged"], told["objects"]["exempt"], told["complete"]) == (1, 1, True)
    assert {row["resource"]["name"] for row in told["decisions"]} == {"p"}
    assert metrics.read_text().startswith("# HELP customhouse_violations")


def test_what_objects_say_cannot_paint_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = pod("p", "u", "1").manifest
    container = {**hostile["spec"]["containers"][0], "image": "evil/\u001b[2J\u001b[32mall is well:latest"}
    Path("dump.json").write_text(json.dumps({**hostile, "spec": {"containers": [container]}}))
    assert run(["audit", "dump.json", "--engine", "embedded"]) in (1, 3)
    said = capsys.readouterr()
    assert "all is well" in said.out + said.err
    assert "\u001b" not in said.out + said.err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["audit", "absent"], 2, "nothing at absent"),
        (["audit", "dump.json", "--report"], 2, "exclude"),
        (["audit", "dump.json", "--every", "10m"], 2, "--every watches"),
        (["audit", "--every", "soon"], 2, "duration"),
        (["audit", "--every", "1ms"], 2, "at least 1s"),
        (["audit", "broken.yaml"], 3, "broken.yaml:2:1"),
        (["audit", "--kubeconfig", "absent"], 3, "cannot be read"),
    ],
)
def test_what_cannot_be_audited_is_said(
    arguments: list[str], status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("dump.json").write_text(json.dumps(DUMP))
    Path("broken.yaml").write_text("a: [")
    assert run([*arguments]) == status
    assert said in capsys.readouterr().err
