"""The built-in rules: their own tests on the embedded engine, both sides of every rule, every line reached."""

from __future__ import annotations

import json
import re

import pytest
import regorus

from customhouse.core.errors import CustomhouseError, PolicyError, UsageError
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import builtin_bundle, load_bundle
from customhouse.policy.explain import explain, identifiers
from customhouse.policy.testrun import run_tests

BUNDLE = builtin_bundle()
RESULTS = run_tests(BUNDLE, RegorusEngine())


def test_every_test_of_the_bundle_passes_on_the_embedded_engine():
    assert [f"{item.file}:{item.line} {item.name}" for item in RESULTS if not item.passed] == []
    assert len(RESULTS) > 100


@pytest.mark.parametrize("rule", [doc.id for doc in BUNDLE.rules])
def test_every_rule_has_a_test_that_it_fires_and_one_that_it_is_silent(rule):
    names = [item.name.rpartition(".")[2] for item in RESULTS]
    stem = f"test_{rule.replace('-', '_')}"
    assert any(name.startswith(f"{stem}_fires") for name in names)
    assert any(name.startswith(f"{stem}_is_silent") for name in names)


def test_the_tests_reach_every_line_of_every_rule():
    engine = regorus.Engine()
    engine.set_enable_coverage(True)
    sources = {**BUNDLE.modules, **BUNDLE.tests}
    for name, source in sorted(sources.items()):
        engine.add_policy(name, source)
    engine.set_input_json("{}")
    for item in RESULTS:
        engine.eval_rule_as_json(item.name)
    report = json.loads(engine.get_coverage_report_as_json())
    missed = {
        file["path"]: sorted(set(file["not_covered"]) - set(file["covered"]))
        for file in report["files"]
        if file["path"] in BUNDLE.modules
    }
    assert {path: lines for path, lines in missed.items() if lines} == {}


def test_findings_say_what_their_metadata_says():
    for name, source in BUNDLE.modules.items():
        for severity, category, rule in re.findall(r'lib\.(error|warning|note)\(\s*"(\w+)",\s*"([\w-]+)"', source):
            doc = BUNDLE.rule(rule)
            assert doc is not None, f"{name}: {rule} has no METADATA"
            assert (doc.severity.value, doc.category.value) == (severity, category), rule


def test_every_documented_rule_is_one_that_can_fire():
    fired = {
        rule for source in BUNDLE.modules.values() for rule in re.findall(r'lib\.\w+\(\s*"\w+",\s*"([\w-]+)"', source)
    }
    assert {doc.id for doc in BUNDLE.rules} == fired


def test_a_failing_test_is_reported_with_its_place_and_a_doubled_one_refused():
    rule = b"package customhouse.rules.x\n\nfindings contains 1 if false\n"
    bundle = load_bundle({"x.rego": rule, "x_test.rego": b"package t\n\ntest_a if true\n\ntest_b if 1 == 2\n"})
    assert [(item.name, item.line, item.passed) for item in run_tests(bundle, RegorusEngine())] == [
        ("data.t.test_a", 3, True),
        ("data.t.test_b", 5, False),
    ]
    twice = load_bundle({"x.rego": rule, "x_test.rego": b"package t\n\ntest_a if true\n\ntest_a if false\n"})
    with pytest.raises(PolicyError, match="there twice"):
        run_tests(twice, RegorusEngine())
    with pytest.raises(PolicyError, match="no tests"):
        run_tests(load_bundle({"x.rego": rule}), RegorusEngine())


@pytest.mark.parametrize("identifier", identifiers(BUNDLE))
def test_everything_that_can_be_explained_is_explained_in_sentences(identifier):
    found = explain(identifier, BUNDLE)
    assert found.id == identifier
    assert found.title
    assert found.text.endswith(".")
    assert str(found).startswith(f"{identifier}: {found.title}")
    assert set(found.to_json()) == {"id", "title", "text", "category", "severity", "fix", "source"}


def test_a_rule_is_explained_with_where_it_is_written():
    found = explain("budget-exceeded", BUNDLE)
    file, _, line = found.source.partition(":")
    assert BUNDLE.modules[file].splitlines()[int(line) - 1] == "# METADATA"


def test_an_unknown_id_names_the_nearest():
    with pytest.raises(UsageError, match="budget-exceeded"):
        explain("budget-exeeded", BUNDLE)
    assert explain("ch010", BUNDLE).id == "CH010"
    assert CustomhouseError.code in identifiers(BUNDLE)
