"""The entry point of the rules: what it names, and how a project's own packages join."""

from __future__ import annotations

import json
import re

import pytest
import regorus

from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import QUERY, builtin_bundle, load_bundle
from customhouse.policy.lint import package_of

BUNDLE = builtin_bundle()
OWN = """package customhouse.rules.%s

findings contains {
    "rule": "own-rule", "category": "compliance", "severity": "error", "pointer": "", "message": "Own.", "fix": "Do."
} if input.own
"""


def test_the_entry_point_names_every_built_in_topic():
    for name, source in BUNDLE.modules.items():
        package = package_of(source, name)
        if package.startswith("customhouse.rules."):
            assert f"data.{package}.findings" in BUNDLE.modules["main.rego"], package


@pytest.mark.parametrize("package", ["own", '["own-team"]'])
def test_a_package_of_ones_own_joins_and_its_severity_can_be_set(package):
    source = (OWN % package).replace('rules.["own-team"]', 'rules["own-team"]')
    bundle = load_bundle({"rules/own.rego": source.encode()}, base=BUNDLE)
    facts = {"own": True, "tier": {"checks": {"own-rule": "warning"}, "relaxations": {}}, "settings": {}}
    found = RegorusEngine().evaluate(bundle.modules, bundle.data, facts, QUERY)
    assert [(item["rule"], item["severity"]) for item in found] == [("own-rule", "warning")]


def test_what_may_have_no_value_stands_in_no_head():
    """A set whose head has no value for one item loses others in the embedded engine; a body only loses that one."""
    for name, source in BUNDLE.modules.items():
        heads = re.findall(r"^findings contains lib\.(?:error|warning|note)\((.*)\) if", source, re.MULTILINE)
        for head in heads:
            assert re.fullmatch(r"[\w, ]*", re.sub(r'"(?:[^"\\]|\\.)*"', "", head)), f"{name}: {head}"


@pytest.mark.parametrize("relaxation", ["a text", 1, [], {}, {"state": 1}, {"state": "active"}])
def test_what_is_no_relaxation_relaxes_nothing_and_loses_nothing(relaxation):
    """The engine drops the findings of a whole topic where one of them has no value."""
    rules = OWN % "own" + (OWN % "own").split("\n", 1)[1].replace("own-rule", "z-rule")
    bundle = load_bundle({"rules/own.rego": rules.encode()}, base=BUNDLE)
    facts = {"own": True, "tier": {"checks": {}, "relaxations": {"z-rule": relaxation}}, "settings": {}}
    found = RegorusEngine().evaluate(bundle.modules, bundle.data, facts, QUERY)
    assert [(item["rule"], item["severity"]) for item in found] == [("own-rule", "error"), ("z-rule", "error")]


def test_the_rules_can_be_compiled_by_the_embedded_engine():
    """What it cannot compile it has to interpret, which is several times slower."""
    program = regorus.Program.compile_from_modules("{}", sorted(BUNDLE.modules.items()), [QUERY])
    machine = regorus.Rvm()
    machine.load_program(program)
    machine.set_input_json(
        '{"change":{"after":null,"operation":"delete"},"revision":null,"settings":{"require_revision":false}}'
    )
    assert [item["rule"] for item in json.loads(machine.execute())] == ["revision-absent"]
