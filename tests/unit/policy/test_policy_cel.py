"""Templates in CEL alone: bindings, variables, messages, failure policy, and what is refused."""

from __future__ import annotations

import sys

import pytest

from customhouse.app import wiring
from customhouse.core.decision import Point
from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.regorus_foreign import EmbeddedForeign
from customhouse.policy.foreign_engine import RightEngine
from customhouse.policy.gatekeeper import Gatekeeper, load_policies
from customhouse.policy.gatekeeper_review import review_of_object, review_of_request
from customhouse.policy.gatekeeper_template import Document

ENGINE = RightEngine(EmbeddedForeign(), None)
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "a", "namespace": "x"},
    "spec": {"containers": [{"name": "one", "image": "good/one"}, {"name": "two", "image": "bad/two"}]},
}
IMAGES = "variables.anyObject.spec.containers.filter(c, !variables.params.repos.exists(r, c.image.startsWith(r)))"


def judge(source, parameters=None, review=None, *, cel=None):
    template = {
        "apiVersion": "templates.gatekeeper.sh/v1",
        "kind": "ConstraintTemplate",
        "metadata": {"name": "need"},
        "spec": {
            "crd": {"spec": {"names": {"kind": "Need"}}},
            "targets": [
                {
                    "target": "admission.k8s.gatekeeper.sh",
                    "code": [{"engine": "K8sNativeValidation", "source": source}],
                }
            ],
        },
    }
    constraint = {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": "Need",
        "metadata": {"name": "it"},
        "spec": {} if parameters is None else {"parameters": parameters},
    }
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    template["spec"]["crd"]["spec"]["validation"] = schema
    policies = load_policies([Document(template, "template.yaml:1"), Document(constraint, "constraint.yaml:1")])
    gatekeeper = Gatekeeper(policies, ENGINE, cel or wiring.cel_engine())
    gatekeeper.check()
    found = gatekeeper.judge([review or review_of_object(POD)], {}, Point.GATE)[0]
    return [violation.message for violation in found]


def validation(expression, **more):
    return {"validations": [{"expression": expression, **more}]}


@pytest.fixture(autouse=True)
def _installed(request):
    if "absent" not in request.node.name:
        pytest.importorskip("cel_expr_python")


def test_variables_and_parameters_are_bound_and_the_message_is_computed():
    source = {
        "variables": [
            {"name": "bad", "expression": f"{IMAGES}.map(c, c.name)"},
            {"name": "shown", "expression": "variables.bad.join(', ')"},
        ],
        **validation("size(variables.bad) == 0", messageExpression="'not allowed: ' + variables.shown", message="no"),
    }
    assert judge(source, {"repos": ["good/"]}) == ["not allowed: two"]
    assert judge(source, {"repos": ["good/", "bad/"]}) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"message": "fixed"}, "fixed"),
        ({}, "failed expression: object.kind == 'X'"),
        ({"message": "fixed", "messageExpression": "''"}, "fixed"),
        ({"message": "fixed", "messageExpression": "object.none"}, "fixed"),
        ({"message": "fixed", "messageExpression": "'a\\nb'"}, "fixed"),
    ],
)
def test_a_message_falls_back(more, said):
    assert judge(validation("object.kind == 'X'", **more)) == [said]


def test_an_error_denies_unless_the_template_ignores_errors():
    [said] = judge(validation("object.spec.none == 1"))
    assert said.startswith("expression 'object.spec.none == 1' resulted in error: ")
    assert judge({**validation("object.spec.none == 1"), "failurePolicy": "Ignore"}) == []
    bomb = "object.spec.containers.all(a, [1,2,3,4,5,6,7,8,9].all(b, [b].all(c, c > 0)))"
    deep = "[0,1,2,3,4,5,6,7,8,9]"
    huge = f"{deep}.all(a, {deep}.all(b, {deep}.all(c, {deep}.all(d, {deep}.all(e, a + b + c + d + e >= 0)))))"
    assert judge(validation(bomb)) == []
    [said] = judge(validation(huge))
    assert "budget" in said


def test_conditions_of_the_template_come_first():
    never = {**validation("false"), "matchConditions": [{"name": "services", "expression": "object.kind == 'Service'"}]}
    assert judge(never) == []
    broken = {**never, "matchConditions": [{"name": "x", "expression": "object.none == 1"}]}
    assert len(judge(broken)) == 1
    assert judge({**broken, "failurePolicy": "Ignore"}) == []


def test_a_variable_that_has_no_value_is_no_absent_one():
    bad = {"variables": [{"name": "x", "expression": "object.none"}]}
    assert judge({**bad, **validation("true || variables.x == 1")}) == []
    for expression in ("variables.x == 1", "!has(variables.x)", "variables.?x.orValue(1) == 1", "!('x' in variables)"):
        [said] = judge({**bad, **validation(expression)})
        assert "resulted in error" in said
        assert "none" in said


def test_a_deletion_has_no_object_but_an_old_one():
    request = {"uid": "1", "operation": "DELETE", "kind": {}, "oldObject": POD, "userInfo": {"username": "ada"}}
    review = review_of_request(request)
    told = [
        "object == null && oldObject.kind == 'Pod' && variables.anyObject.kind == 'Pod'",
        "request.operation == 'DELETE' && request.userInfo.username == 'ada'",
    ]
    assert judge(validation(" && ".join(told)), review=review) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (validation("object.kind == "), "does not compile"),
        (validation("quantity('1Gi').isLessThan(quantity('2Gi'))"), "quantity"),
        (validation("1 + 1"), "neither true nor false"),
        (validation(""), "no expression"),
        ({"validations": []}, "no validation"),
        ({"validations": "x"}, "list of mappings"),
        ({**validation("true"), "paramKind": {}}, "'paramKind'"),
        ({**validation("true"), "failurePolicy": "Maybe"}, "'Maybe'"),
        (validation("(" * 5000 + "true" + ")" * 5000), "recursion limit"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(source, said):
    with pytest.raises(PolicyError, match="Need") as caught:
        judge(source)
    assert said in str(caught.value)
    assert "template.yaml:1" in str(caught.value)


def test_where_the_engine_is_absent_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PolicyError, match=r"CEL alone") as caught:
        judge(validation("true"))
    assert "customhouse[cel]" in str(caught.value)
