"""Templates and constraints of Gatekeeper: what is read, what is refused, what a violation does."""

from __future__ import annotations

import pytest

from customhouse.core.decision import Category, Point, Severity
from customhouse.core.errors import PolicyError
from customhouse.core.resource import ResourceRef
from customhouse.policy.adapters.regorus_foreign import EmbeddedForeign
from customhouse.policy.constraints import SchemaError
from customhouse.policy.foreign_engine import RightEngine
from customhouse.policy.foreign_findings import ForeignObject, ForeignPolicies, foreign_findings
from customhouse.policy.gatekeeper import Gatekeeper, load_policies
from customhouse.policy.gatekeeper_review import inventory_of, review_of_object, review_of_request
from customhouse.policy.gatekeeper_suite import run_suite
from customhouse.policy.gatekeeper_template import Document

REGO = 'package need\n\nviolation[{"msg": m}] {\n  not input.review.object.metadata.labels[input.parameters.label]\n  m := sprintf("no %v", [input.parameters.label])\n}\n'  # noqa: E501 - one module
ENGINE = RightEngine(EmbeddedForeign(), None)
SCOPED = {"enforcementAction": "scoped", "parameters": {}}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "x"}}


def template(rego=REGO, *, schema=None, version="v1", code=None, name="need", operations=None, libs=None):
    target = {"target": "admission.k8s.gatekeeper.sh", **({"code": code} if code else {"rego": rego})}
    target |= {"operations": operations} if operations else {}
    target |= {"libs": libs} if libs else {}
    schema = schema or {"type": "object", "properties": {"label": {"type": "string", "default": "team"}}}
    crd = {"spec": {"names": {"kind": "Need"}, "validation": {"openAPIV3Schema": schema}}}
    return Document(
        {
            "apiVersion": f"templates.gatekeeper.sh/{version}",
            "kind": "ConstraintTemplate",
            "metadata": {"name": name},
            "spec": {"crd": crd, "targets": [target]},
        },
        "template.yaml:1",
    )


def constraint(spec=None, *, kind="Need", name="it"):
    value = {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec if spec is not None else {"parameters": {"label": "team"}},
    }
    return Document(value, "constraint.yaml:7")


def judge(documents, review=None, point=Point.GATE, inventory=()):
    gatekeeper = Gatekeeper(load_policies(documents), ENGINE)
    found = gatekeeper.judge([review or review_of_object(POD)], inventory_of(inventory), point)
    return [(violation.action, violation.message) for violation in found[0]]


def test_defaults_of_the_schema_reach_the_policy():
    assert judge([template(), constraint({"parameters": {}})]) == [("deny", "no team")]


def test_both_versions_of_rego_are_read_from_code():
    newer = 'package need\n\nviolation contains {"msg": m} if {\n  some c in [1]\n  m := sprintf("v%d", [c])\n}\n'
    code = [{"engine": "Rego", "source": {"version": "v1", "rego": newer}}]
    assert judge([template(code=code), constraint()]) == [("deny", "v1")]
    code = [{"engine": "Rego", "source": {"rego": REGO}}]
    assert judge([template(code=code), constraint()]) == [("deny", "no team")]


def test_libs_are_imported():
    lib = 'package lib.texts\n\nhello(name) = x { x := concat(" ", ["hello", name]) }\n'
    rego = 'package need\nimport data.lib.texts.hello\nviolation[{"msg": m}] { m := hello("you") }'
    assert judge([template(rego, libs=[lib]), constraint()]) == [("deny", "hello you")]


@pytest.mark.parametrize(
    ("action", "told"), [("deny", "deny"), ("warn", "warn"), ("dryrun", "dryrun"), ("something", "dryrun")]
)
def test_an_enforcement_action_is_what_a_violation_does(action, told):
    assert judge([template(), constraint({"enforcementAction": action, "parameters": {}})]) == [(told, "no team")]


def test_scoped_actions_hold_where_they_are_scoped_to():
    scoped = [
        {"action": "warn", "enforcementPoints": [{"name": "gator.gatekeeper.sh"}]},
        {"action": "deny", "enforcementPoints": [{"name": "validation.gatekeeper.sh"}]},
        {"action": "dryrun", "enforcementPoints": [{"name": "*"}]},
    ]
    documents = [template(), constraint({**SCOPED, "scopedEnforcementActions": scoped})]
    assert judge(documents) == [("warn", "no team")]
    assert judge(documents, point=Point.ADMISSION) == [("deny", "no team")]
    assert judge(documents, point=Point.AUDIT) == [("dryrun", "no team")]


def test_scoped_without_scopes_is_refused():
    with pytest.raises(PolicyError, match="scopedEnforcementActions") as error:
        judge([template(), constraint({"enforcementAction": "scoped"})])
    assert error.value.where == "constraint.yaml:7"


def test_a_template_for_some_operations_is_not_asked_about_others_at_admission():
    documents = [template(operations=["DELETE"]), constraint()]
    created = review_of_request({"operation": "CREATE", "object": POD})
    assert judge(documents, created, Point.ADMISSION) == []
    assert judge(documents, created, Point.AUDIT) == [("deny", "no team")]
    deleted = review_of_request({"operation": "DELETE", "oldObject": POD})
    assert judge(documents, deleted, Point.ADMISSION) == [("deny", "no team")]


def test_the_inventory_is_what_a_constraint_may_look_up():
    rego = 'package need\nviolation[{"msg": n}] { data.inventory.namespace[_]["apps/v1"].Deployment[n] }'
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "y"}}
    assert judge([template(rego), constraint()], inventory=[other, POD]) == [("deny", "d")]


def test_an_object_whose_namespace_cannot_be_selected_is_rejected_with_the_reason():
    selector = {"match": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}
    [(action, message)] = judge([template(), constraint(selector)])
    assert action == "deny"
    assert "missing Namespace" in message


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ([template("package need\nviolation[{"), constraint()], "do not compile"),
        ([template("package need\ndeny[x] { x := 1 }"), constraint()], "no rule violation"),
        ([template(REGO.replace("input.review", "data.secrets")), constraint()], "data.secrets may not be read"),
        ([template(REGO, libs=["package other\nx = 1"]), constraint()], "does not begin with lib"),
        ([template(REGO + "\ny { http.send({}) }"), constraint()], "http.send is refused"),
        ([template(REGO + '\ny { external_data({"provider": "p"}) }'), constraint()], "external_data is refused"),
        ([template(version="v9"), constraint()], "no ConstraintTemplate"),
        ([template(name="other"), constraint()], "has to be 'need'"),
        ([template(), template(), constraint()], "a second template"),
        ([template(), constraint(), constraint()], "a second Need/it"),
        ([template(), constraint(kind="Other")], "no template declares the kind Other"),
        ([template(), constraint(name="Not A Name")], "no DNS label"),
        ([template(), constraint({"parameters": {"label": 1}})], "must be of type string"),
        ([template(), constraint({"parameters": {"labelz": "x"}})], "spec.parameters.labelz"),
        ([template(), constraint({"match": {"scope": "Clustered"}})], "must be one of"),
        ([template(), constraint({"match": {"kindz": []}})], "spec.match.kindz"),
        ([template(code=[{"engine": "K8sNativeValidation", "source": {}}]), constraint()], "written in CEL"),
        ([template('package need\nviolation["a text"] { true }'), constraint()], "without a text as msg"),
    ],
)
def test_what_cannot_be_read_is_refused_and_judges_nothing(broken, said):
    with pytest.raises(PolicyError) as error:
        judge(broken)
    assert said in str(error.value)


def test_legacy_schemas_let_unknown_parameters_through():
    assert judge([template(version="v1beta1"), constraint({"parameters": {"label": "x", "more": 1}})]) == [
        ("deny", "no x")
    ]


def test_findings_have_the_one_format():
    documents = [template(), constraint({"enforcementAction": "warn", "parameters": {}})]
    ref = ResourceRef("v1", "Pod", "x", "a")
    policies = ForeignPolicies("sha256:0", load_policies(documents))
    [[finding]] = foreign_findings([ForeignObject(ref, POD)], policies, ENGINE, inventory={})
    assert (finding.rule, finding.severity, finding.category) == (
        "gatekeeper/Need/it",
        Severity.WARNING,
        Category.COMPLIANCE,
    )
    assert finding.message == "no team"
    assert "constraint.yaml:7" in finding.fix


def _run(cases, files, **test):
    value = {"kind": "Suite", "tests": [{"name": "t", "template": "t", "constraint": "c", "cases": cases, **test}]}
    return run_suite(Document(value, "suite.yaml:1"), "suite.yaml", lambda name: files[name], ENGINE)


FILES = {"t": [template()], "c": [constraint()], "o": [Document(POD, "o.yaml:1")]}


@pytest.mark.parametrize(
    ("assertion", "passes"),
    [
        ({}, True),
        ({"violations": "yes"}, True),
        ({"violations": False}, False),
        ({"violations": 1}, True),
        ({"violations": 2}, False),
        ({"violations": 1, "message": "^no t"}, True),
        ({"violations": "no", "message": "^other$"}, True),
        ({"message": "^other$"}, False),
    ],
)
def test_assertions_count_violations_that_match(assertion, passes):
    run = _run([{"name": "c", "object": "o", "assertions": [assertion]}], FILES)
    assert (run.cases, run.passed, len(run.failed)) == (1, int(passes), int(not passes))
    assert not any(item.undecided for item in run.failed)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"name": "c", "object": "o", "assertions": []}, "at least one assertion"),
        ({"name": "c", "object": "o", "assertions": [{"message": "["}]}, "cannot be read"),
        ({"name": "c", "object": "o", "assertions": [{"violations": -1}]}, "not negative"),
        ({"name": "c", "object": "c2", "assertions": [{}]}, "holds 2 objects"),
        ({"name": "c", "assertions": [{}]}, "object is missing"),
    ],
)
def test_a_case_that_cannot_be_run_has_not_passed(case, said):
    run = _run([case], {**FILES, "c2": [Document(POD, "2"), Document(POD, "3")]})
    assert run.passed == 0
    assert said in run.failed[0].reason
    assert run.failed[0].undecided


def test_an_expected_misfit_is_a_pass_and_only_then():
    misfit = {**FILES, "c": [constraint({"parameters": {"label": 1}})]}
    assert _run([], misfit, invalid=True).failed == []
    assert "fits" in _run([], FILES, invalid=True).failed[0].reason
    with pytest.raises(SchemaError):
        load_policies([template(), constraint({"parameters": {"label": 1}})])


def test_an_unknown_key_of_a_suite_is_an_error():
    with pytest.raises(PolicyError, match="assertion"):
        _run([{"name": "c", "object": "o", "assertion": []}], FILES)
