"""Policies of Gatekeeper and conftest at all three points: the same words about the same object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app import wiring
from customhouse.app.admission import Admission, Outcome
from customhouse.app.admission_context import AdmissionContext
from customhouse.app.admission_review import read_review
from customhouse.app.audit import Auditor, AuditReport
from customhouse.app.audit_scene import Scene
from customhouse.app.clearance import Clearance, Question, Spend
from customhouse.app.foreign_source import ForeignSource
from customhouse.app.governance import Governance, governance
from customhouse.app.named_files import NamedFiles
from customhouse.core.decision import Decision, Finding
from customhouse.core.errors import PolicyError
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.policy.adapters.guarded_foreign import GuardedForeign
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.foreign_engine import RightEngine
from customhouse.policy.waiver import Scope, Waiver

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
ENGINE = RegorusEngine()
TEMPLATE = """\
apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata: {{name: {lower}}}
spec:
  crd: {{spec: {{names: {{kind: {kind}}}}}}}
  targets:
    - target: admission.k8s.gatekeeper.sh
{operations}
      rego: |
        package {lower}
        violation[{{"msg": msg}}] {{ {body} }}
"""
CONSTRAINT = """\
apiVersion: constraints.gatekeeper.sh/v1beta1
kind: {kind}
metadata: {{name: it}}
spec:
  match: {{kinds: [{{apiGroups: ["*"], kinds: [Service]}}]}}
{spec}
"""
CONTACT = 'not input.review.object.metadata.annotations.contact; msg := "nobody to call"'
TWICE = """
          port := input.review.object.spec.ports[_].nodePort
          other := data.inventory.namespace[ns][_].Service[name]
          mine := input.review.object.metadata
          [ns, name] != [mine.namespace, mine.name]
          other.spec.ports[_].nodePort == port; msg := sprintf("%v/%v has it", [ns, name])
"""
CONFTEST = 'package main\n\ndeny contains "no host" if {\n\tinput.spec.externalName == "evil.example"\n}\n'


def policies(kind: str, body: str, *, spec: str = "", operations: str = "", conftest: str = "") -> ForeignSource:
    template = TEMPLATE.format(kind=kind, lower=kind.lower(), body=body, operations=operations)
    files = {"g/t.yaml": template.encode(), "g/c.yaml": CONSTRAINT.format(kind=kind, spec=spec).encode()}
    return ForeignSource(files, {"c/main.rego": conftest.encode()} if conftest else None)


def service(name: str = "api", **more: Any) -> dict[str, Any]:
    spec = {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30000}]}
    metadata = {"name": name, "namespace": "prod", **more.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {**spec, **more}}


def declared(*manifests: dict[str, Any]) -> tuple[Declaration, ...]:
    return tuple(Declaration(ResourceRef.of(item), item, Location("live")) for item in manifests)


def governed(source: ForeignSource, **more: Any) -> Governance:
    return replace(governance(None, None), foreign=source, **more)


def foreign(findings: tuple[Finding, ...]) -> list[tuple[str, str, str, str | None]]:
    return [
        (item.rule, item.severity.value, item.message, item.waiver)
        for item in findings
        if item.rule.partition("/")[0] in ("gatekeeper", "conftest")
    ]


def said(decision: Decision | None) -> list[tuple[str, str, str, str | None]]:
    return [] if decision is None else foreign(decision.findings)


def gate(governing: Governance, folder: Path, *manifests: dict[str, Any]) -> tuple[Decision, ...]:
    for index, item in enumerate(manifests):
        (folder / f"{index}.json.yaml").write_text(json.dumps(item))
    question = Question(governing, NamedFiles([str(folder)]), "files", (), None, "ada", Spend())
    return Clearance(ENGINE, FixedClock(NOW), folder).judge(question).decisions


def audit(governing: Governance, folder: Path, *manifests: dict[str, Any]) -> AuditReport:
    clearance = Clearance(ENGINE, FixedClock(NOW), folder)
    return Auditor(AdmissionContext(governing), ENGINE, FixedClock(NOW), clearance).audit(
        Scene("test", declared(*manifests))
    )


def admit(governing: Governance, obj: dict[str, Any], *beside: dict[str, Any], **more: Any) -> Outcome:
    context = AdmissionContext(governing, revision="c" * 40 if beside else None, declared=declared(*beside))
    return ask(Admission(context, ENGINE, FixedClock(NOW)), obj, **more)


def ask(admission: Admission, obj: Mapping[str, Any], **more: Any) -> Outcome:
    request = {
        "uid": "u",
        "kind": {"group": "", "version": "v1", "kind": obj["kind"]},
        "resource": {"group": "", "version": "v1", "resource": "services"},
        "operation": "CREATE",
        "namespace": "prod",
        "name": obj["metadata"]["name"],
        "userInfo": {"username": "ada"},
        "object": obj,
        "somethingNew": 1,
        **more,
    }
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return admission.validate(read_review(json.dumps(document).encode()))


def test_one_constraint_and_one_package_say_the_same_at_all_three_points(tmp_path: Path) -> None:
    waiver = Waiver("W-1", ("conftest/main/deny",), "ada", "r", "T-1", datetime(2026, 12, 1, tzinfo=UTC), Scope())
    governing = governed(policies("Contact", CONTACT, conftest=CONFTEST), waivers=(waiver,))
    bad = service(type="ExternalName", externalName="evil.example")
    expected = [
        ("gatekeeper/Contact/it", "error", "nobody to call", None),
        ("conftest/main/deny", "error", "no host", "W-1"),
    ]
    at_gate = gate(governing, tmp_path, bad)[0]
    at_admission = admit(governing, bad)
    at_audit = audit(governing, tmp_path, bad).audited[0].decision
    for decision in (at_gate, at_admission.decision, at_audit):
        assert sorted(said(decision)) == sorted(expected)
    assert not at_admission.answer.allowed
    assert "nobody to call" in at_admission.answer.message
    good = service(metadata={"annotations": {"contact": "ada"}})
    for decision in (gate(governing, tmp_path, good)[0], admit(governing, good).decision):
        assert said(decision) == []
    assert said(audit(governing, tmp_path, good).audited[0].decision) == []


def test_a_scoped_action_holds_where_it_is_said(tmp_path: Path) -> None:
    scopes = [("deny", "validation.gatekeeper.sh"), ("warn", "audit.gatekeeper.sh"), ("dryrun", "gator.gatekeeper.sh")]
    actions = [{"action": action, "enforcementPoints": [{"name": point}]} for action, point in scopes]
    spec = f"  enforcementAction: scoped\n  scopedEnforcementActions: {json.dumps(actions)}"
    governing = governed(policies("Contact", CONTACT, spec=spec))
    told = [
        said(gate(governing, tmp_path, service())[0]),
        said(admit(governing, service()).decision),
        said(audit(governing, tmp_path, service()).audited[0].decision),
    ]
    assert [[item[1] for item in items] for items in told] == [["note"], ["error"], ["warning"]]


def test_what_is_looked_up_is_declared_or_lives_and_unknown_decides_nothing(tmp_path: Path) -> None:
    governing = governed(policies("Twice", TWICE.strip()))
    one, other = service(), service("web")
    for decision in gate(governing, tmp_path, one, other):
        assert said(decision)[0][0] == "gatekeeper/Twice/it"
    assert said(admit(governing, one, other).decision)[0][2] == "prod/web has it"
    assert said(admit(governing, one, one).decision) == []
    assert said(audit(governing, tmp_path, one, other).audited[0].decision)[0][2] == "prod/web has it"
    context = AdmissionContext(governing)
    plain = AdmissionContext(replace(governing, foreign=None))
    digests = {Admission(item, ENGINE, FixedClock(NOW)).bundle_digest for item in (context, plain)}
    assert len(digests) == 2
    unknown = admit(governing, one)
    assert unknown.kind == "undecided"
    assert "looks up other objects" in unknown.answer.message
    assert "--repo" in unknown.answer.message


def test_what_the_bundle_does_not_see_is_still_seen_by_policies_of_others(tmp_path: Path) -> None:
    governing = governed(policies("Contact", CONTACT))
    admission = Admission(AdmissionContext(governing), ENGINE, FixedClock(NOW))
    old = service(metadata={"resourceVersion": "1", "annotations": {"contact": "ada"}})
    silent = service(metadata={"resourceVersion": "2"})
    changed = ask(admission, silent, operation="UPDATE", oldObject=old)
    assert not changed.answer.allowed
    assert "nobody to call" in changed.answer.message
    # What is there already is mended by nobody's status, finalizer or managed fields.
    going = {"deletionTimestamp": "2026-11-22T09:00:00Z"}
    before = service(metadata={"resourceVersion": "1", "finalizers": ["x"], **going})
    for new, earlier, more in (
        (service(metadata={"resourceVersion": "3", "managedFields": []}), silent, {}),
        (service(metadata=going), before, {}),
        (service(status={}), silent, {"subResource": "status"}),
    ):
        outcome = ask(admission, new, operation="UPDATE", oldObject=earlier, **more)
        assert (outcome.kind, outcome.answer.allowed) == ("unchanged", True)
    # Finalizers of what stays are content.
    kept = service(metadata={"resourceVersion": "1", "finalizers": ["x"]})
    alone = ask(admission, silent, operation="UPDATE", oldObject=kept)
    assert not alone.answer.allowed
    assert "nobody to call" in alone.answer.message
    # No Facts are kept of it, so no digest is told that somebody would ask `explain` for.
    assert (alone.kind, alone.decision, "sha256:" in alone.answer.message) == ("foreign", None, False)


@pytest.mark.parametrize(("operations", "denied"), [("", False), ("      operations: [DELETE]", True)])
def test_a_deletion_is_asked_of_templates_that_name_it(operations: str, denied: bool) -> None:
    governing = governed(policies("Contact", CONTACT, operations=operations, conftest=CONFTEST))
    bad = service(type="ExternalName", externalName="evil.example")
    outcome = admit(governing, bad, operation="DELETE", object=None, oldObject=bad)
    assert ("nobody to call" in outcome.answer.message) is denied
    assert "no host" not in outcome.answer.message


def test_the_scale_of_something_is_judged_as_what_is_declared_at_that_size() -> None:
    body = 'input.review.object.spec.replicas > 3; msg := sprintf("%v replicas", [input.review.object.spec.replicas])'
    source = policies("Few", body)
    assert source.gatekeeper is not None
    files = {path: text.replace(b"[Service]", b"[Deployment]") for path, text in source.gatekeeper.items()}
    container = {"name": "a", "image": "x", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
    app = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "api", "namespace": "prod"},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [container]}}},
    }
    scales = [
        {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "api", "namespace": "prod"},
         "spec": {"replicas": count}}
        for count in (9, 5)
    ]  # fmt: skip
    more = {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}, "subResource": "scale"}
    kind = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    context = AdmissionContext(governed(ForeignSource(files)), revision="c" * 40, declared=declared(app))
    admission = Admission(context, ENGINE, FixedClock(NOW))
    outcome = ask(admission, scales[1], oldObject=scales[0], operation="UPDATE", kind=kind, **more)
    assert not outcome.answer.allowed
    assert "Deployment prod/api" in outcome.answer.message
    assert "gatekeeper/Few/it: 5 replicas" in outcome.answer.message


def test_policies_that_do_not_compile_keep_a_generation_from_being_taken_over(tmp_path: Path) -> None:
    broken = governed(policies("Contact", "this is no rule"))
    with pytest.raises(PolicyError, match=r"g/t\.yaml"):
        Admission(AdmissionContext(broken), ENGINE, FixedClock(NOW))
    with pytest.raises(PolicyError, match=r"g/t\.yaml"):
        audit(broken, tmp_path, service())


def test_a_template_that_loops_decides_nothing_at_the_gate_and_hides_nobody_in_the_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = RightEngine(GuardedForeign(timeout_s=1.5), None)
    monkeypatch.setattr(wiring, "foreign_engine_beside", lambda engine, *, guarded: hurried)
    many = "numbers.range(1, 99999)[_]"
    body = f'a := {many}; b := {many}; a + b < 0; input.review.object.metadata.labels.loop; msg := "never"'
    governing = governed(policies("Looping", f"input.review.object.metadata.labels.loop; {body}"))
    objects = [service(str(index)) for index in range(4)]
    assert [said(decision) for decision in gate(governing, tmp_path, *objects)] == [[]] * 4
    objects[2]["metadata"]["labels"] = {"loop": "yes"}
    with pytest.raises(PolicyError, match=r"g/t\.yaml:1: Looping: .* no answer within 1\.5 s; it was ended"):
        gate(governing, tmp_path, *objects)
    report = audit(governing, tmp_path, *objects)
    assert [item.resource.name for item in report.undecided] == ["2"]
    assert "it was ended" in report.undecided[0].problem
    assert len(report.audited) == 3


def test_what_is_judged_at_admission_is_judged_in_a_process_that_the_kernel_may_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    inside = wiring.foreign_engine_beside
    monkeypatch.setattr(
        wiring,
        "foreign_engine_beside",
        lambda engine, *, guarded: asked.append(guarded) or inside(engine, guarded=guarded),
    )
    admit(governed(policies("Contact", CONTACT)), service())
    assert asked == [False]


def test_an_object_that_cannot_be_judged_is_told_by_the_audit_and_the_others_are_judged(tmp_path: Path) -> None:
    body = 'msg := {"bad": 1, "good": "nobody to call"}[input.review.object.metadata.labels.like]'
    governing = governed(policies("Contact", body))
    objects = [service(str(index), metadata={"labels": {"like": "good"}}) for index in range(5)]
    objects[3]["metadata"]["labels"]["like"] = "bad"
    report = audit(governing, tmp_path, *objects)
    assert [item.resource.name for item in report.undecided] == ["3"]
    assert "without a text" in report.undecided[0].problem
    assert [said(item.decision)[0][2] for item in report.audited] == ["nobody to call"] * 4
    assert not report.complete
