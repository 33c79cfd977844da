"""Lint: every finding about somebody's modules with its place, and what keeps an engine alive."""

from __future__ import annotations

import pytest

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.lint import check_modules
from customhouse.policy.lint_report import lint_files

ENGINE = RegorusEngine()
META = """# METADATA
# title: t
# description: d
# custom:
#   id: {0}
#   category: cost
#   severity: note
#   fix: f
"""
HEAD = "package customhouse.rules.mine\n\nimport data.customhouse.lib\n\n"
RULE = META.format("mine") + 'findings contains lib.note("cost", "mine", "", "m", "f") if {body}\n'


def lint(source: str, name: str = "mine.rego") -> list[tuple[str, str, int, int]]:
    found = lint_files({name: source.encode()}, ENGINE, builtin_bundle())
    assert all(item.file == name for item in found)
    return [(item.rule, item.severity, item.line, item.column) for item in found]


def test_a_good_rule_and_the_built_in_ones_have_no_finding():
    assert lint(HEAD + RULE.replace("{body}", "input.change")) == []
    bundle = builtin_bundle()
    files = {name: source.encode() for name, source in {**bundle.modules, **bundle.tests}.items()}
    assert [item for item in lint_files(files, ENGINE) if item.severity == "error"] == []


@pytest.mark.parametrize(
    ("body", "rule", "severity", "line", "column"),
    [
        ('http.send({"url": "x"})', "lint-call", "error", 13, 61),
        ("time.now_ns() > 0", "lint-call", "error", 13, 61),
        ("1 in numbers.range(1, input.count)", "lint-unbounded-range", "error", 13, 66),
        ("1 in numbers.range(1, 99999)", "lint-unbounded-range", "error", 13, 66),
        ("helper(1) == 1\n\nhelper(n) := helper(n)", "lint-recursion", "error", 15, 1),
        ("used\n\nused := 1\n\nused := 2", "lint-conflict", "error", 17, 1),
        ("used\n\ndefault used := 1\n\ndefault used := 2", "lint-conflict", "error", 17, 1),
        ("f(1)\n\nf(a) if a\n\nf(a, b) if a == b", "lint-conflict", "error", 17, 1),
        ("1 in internal\n\ninternal := [1]", "lint-conflict", "error", 15, 1),
        ("input.x\n\ndeny[msg] { msg := 1 }", "lint-rego-v0", "error", 15, 11),
        ("input.x {", "lint-syntax", "error", 13, 69),
        ("nowhere > 1", "lint-syntax", "error", 13, 61),
        ("input.x\n\nunused if input.y", "lint-unreachable", "warning", 15, 1),
    ],
)
def test_what_is_wrong_is_said_at_its_place(body: str, rule: str, severity: str, line: int, column: int):
    assert (rule, severity, line, column) in lint(HEAD + RULE.replace("{body}", body))


def test_rules_that_nothing_asks_are_errors_where_a_reader_would_think_that_they_judge():
    misspelt = "package customhouse.rules.mine\n\nfindins contains 1\n"
    assert ("lint-never-judged", "error", 1, 1) in lint(misspelt)
    assert lint("package customhouse.rules.mine\n") == [("lint-never-judged", "error", 1, 1)]
    deep = (HEAD + RULE.replace("{body}", "input.x")).replace("rules.mine", "rules.team.mine")
    assert ("lint-never-judged", "error", 13, 1) in lint(deep)


def test_a_rule_reached_through_functions_aliases_and_whole_packages_is_no_finding():
    source = (
        "package customhouse.rules.mine\n\nimport data.customhouse.lib\nimport data.team.words as said\n\n"
        + RULE.replace("{body}", "{\n\tsome word in said.all\n\tfits(word)\n}")
        + "\nfits(word) if word == least\n\nleast := 1\n"
    )
    other = "package team.words\n\nall contains x if some x in more\n\nmore := [1, 2]\n"
    found = lint_files({"a.rego": source.encode(), "b.rego": other.encode()}, ENGINE, builtin_bundle())
    assert [(item.rule, item.where) for item in found] == []


def test_a_rule_id_is_there_once_also_beside_the_built_in_ones():
    taken = (HEAD + RULE.replace("{body}", "input.x")).replace("id: mine", "id: image-not-pinned")
    assert ("lint-id-twice", "error", 5, 1) in lint(taken)


def test_metadata_is_missed_and_a_second_body_needs_none():
    bare = HEAD + 'findings contains lib.note("cost", "mine", "", "m", "f") if input.x\n'
    assert lint(bare) == [("lint-no-metadata", "warning", 5, 1)]
    second = HEAD + RULE.replace("{body}", "input.x") + "\n" + bare.removeprefix(HEAD).replace("input.x", "input.y")
    assert lint(second) == []


def test_deep_brackets_are_refused_before_an_engine_reads_them():
    """5,000 of them keep the embedded engine busy for longer than any gate waits."""
    deep = HEAD + RULE.replace("{body}", "input.x == " + "[" * 5000 + "]" * 5000)
    assert lint(deep) == [("lint-unreadable", "error", 13, 136)]
    with pytest.raises(PolicyError, match="nested more than 64 deep"):
        check_modules({"mine.rego": deep})


def test_all_files_are_looked_at_and_not_the_first_broken_one_alone():
    files = {"a.rego": b"\xff", "b.rego": b"x := 1\n", "c.rego": b"package c\n\nx := `\n", "data.json": b"{"}
    found = lint_files(files, ENGINE, builtin_bundle())
    assert [item.file for item in found] == ["a.rego", "b.rego", "c.rego"]
    assert {item.severity for item in found} == {"error"}


@pytest.mark.parametrize(
    "source",
    [
        "f(a) := f(a)\n",
        "f(a) := g(a)\n\ng(a) := data.customhouse.rules.mine.f(a)\n",
        "f(a) := 1 if\ng(a)\n\ng(a) if f(a)\n",
        'f(a) := data["customhouse"].rules.mine.f(a)\n',
    ],
)
def test_functions_that_call_themselves_never_reach_the_engine(source: str):
    """The embedded engine runs out of stack on them, which no `except` catches: the process is gone."""
    with pytest.raises(PolicyError, match="calls itself"):
        check_modules({"mine.rego": f"package customhouse.rules.mine\n\nx if f(1)\n\n{source}"})
