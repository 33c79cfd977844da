"""Packages of conftest: which rules are asked, what they say, what they except."""

from __future__ import annotations

import pytest

from customhouse.core.decision import Severity
from customhouse.core.errors import PolicyError
from customhouse.core.resource import ResourceRef
from customhouse.policy.adapters.regorus_foreign import EmbeddedForeign
from customhouse.policy.conftest import combined, judge_documents, load_conftest
from customhouse.policy.foreign_engine import RightEngine
from customhouse.policy.foreign_findings import ForeignObject, ForeignPolicies, foreign_findings

ENGINE = RightEngine(EmbeddedForeign(), None)
V1 = """package main

deny contains msg if { input.bad; msg := "bad" }
deny_named contains {"msg": msg, "level": 3} if { input.named; msg := "named" }
violation_other contains {"msg": "other"} if { input.other }
warn contains "careful" if { input.odd }
denyish contains "never" if { true }
exception contains rules if { input.excused; rules := ["named", "deny"] }
"""
V0 = 'package main\ndeny[msg] { input.bad; msg = "old" } { input.odd; msg = "odd" }'


def told(modules, document, **options):
    policies = load_conftest(modules, ENGINE, options.pop("data", None))
    [messages] = judge_documents(policies, [("a/b.yaml", document)], ENGINE, **options)
    return [(message.rule, message.text, message.warning) for message in messages]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, []),
        ({"bad": 1}, [("deny", "bad", False)]),
        ({"named": 1}, [("deny_named", "named", False)]),
        ({"other": 1, "odd": 1}, [("violation_other", "other", False), ("warn", "careful", True)]),
        ({"bad": 1, "named": 1, "other": 1, "excused": 1}, [("violation_other", "other", False)]),
    ],
)
def test_rules_are_found_by_name_and_excepted_by_suffix(document, expected):
    assert told({"m.rego": V1}, document) == expected


def test_rego_of_before_opa_1_is_read_as_it_is():
    assert told({"m.rego": V0}, {"bad": 1, "odd": 1}) == [("deny", "odd", False), ("deny", "old", False)]


def test_details_of_a_message_are_kept():
    policies = load_conftest({"m.rego": V1}, ENGINE)
    [[message]] = judge_documents(policies, [("", {"named": 1})], ENGINE)
    assert message.details == {"level": 3}


def test_namespaces_are_packages():
    modules = {"m.rego": V1, "n.rego": 'package team.a\nwarn contains "a" if { input.bad }\n'}
    policies = load_conftest(modules, ENGINE)
    assert policies.namespaces == ("main", "team.a")
    assert told(modules, {"bad": 1}, namespaces=["team.a"]) == [("warn", "a", True)]
    with pytest.raises(PolicyError, match="namespace other"):
        told(modules, {}, namespaces=["other"])


def test_data_and_the_name_of_the_file_are_there():
    module = 'package main\ndeny contains m if { m := sprintf("%s %s %s", [data.who, data.conftest.file.name, data.conftest.file.dir]) }'  # noqa: E501 - one rule
    assert told({"m.rego": module}, {}, data={"who": "me"}) == [("deny", "me b.yaml a", False)]


def test_combine_gives_all_documents_at_once():
    module = 'package main\ndeny contains m if { m := sprintf("%d in %s", [count(input), input[0].path]) }'
    policies = load_conftest({"m.rego": module}, ENGINE)
    together = combined([("z", {}), ("a", {})])
    assert [item.text for item in judge_documents(policies, [("Combined", together)], ENGINE)[0]] == ["2 in a"]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("package main\ndeny := true\n", "no set of messages"),
        ("package main\ndeny contains 5 if { true }\n", "neither a text"),
        ("package main\ndeny contains m if { m := \n", "m.rego"),
        ("deny := 1", "does not start with its package"),
    ],
)
def test_what_says_nothing_readable_cannot_be_decided(module, said):
    with pytest.raises(PolicyError) as error:
        told({"m.rego": module}, {})
    assert said in str(error.value)


def test_no_policy_is_not_a_pass():
    with pytest.raises(PolicyError, match="no policy"):
        load_conftest({"m_test.rego": V1}, ENGINE)


def test_findings_have_the_one_format():
    policies = ForeignPolicies("sha256:0", conftest=load_conftest({"m.rego": V1}, ENGINE), namespaces=("main",))
    item = ForeignObject(ResourceRef("v1", "Pod", "x", "a"), {"apiVersion": "v1", "kind": "Pod", "bad": 1, "odd": 1})
    found = foreign_findings([item], policies, ENGINE, inventory=None)[0]
    assert [(finding.rule, finding.severity) for finding in found] == [
        ("conftest/main/deny", Severity.ERROR),
        ("conftest/main/warn", Severity.WARNING),
    ]
