"""`customhouse policy` as a person uses it: test, lint, build, and replay over what was really recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from control_repository import clone, git, remote, write
from policy_world import OPEN, Terminal, config_map, record, rule, terminal

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.app import wiring
from customhouse.app.settings import read_settings
from customhouse.core.decision import Point
from customhouse.core.facts import Facts
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.gate import Gate

__all__ = ["clone", "remote", "terminal"]

CASES = """
configuration: {policy: {trustedRegistries: [apexlogic.com/]}}
cases:
  - name: a short name is fine
    manifest: {apiVersion: v1, kind: ConfigMap, metadata: {name: ok}, data: {a: b}}
    expect: {verdict: allow, excludes: [names-long]}
  - name: a long one is not
    manifest: {apiVersion: v1, kind: ConfigMap, metadata: {name: far-too-long-a-name}, data: {a: b}}
    expect: {verdict: deny, findings: [names-long, revision-absent], messages: [far-too-long-a-name is too long]}
  - name: nor where the facts say so
    manifest: {apiVersion: v1, kind: ConfigMap, metadata: {name: ok}, data: {a: b}}
    set: {/change/resource/name: another-long-name}
    expect: {includes: [names-long]}
  - name: a waiver lets it pass
    manifest: {apiVersion: v1, kind: ConfigMap, metadata: {name: far-too-long-a-name, namespace: shop}, data: {a: b}}
    waivers:
    - {id: w, rules: [names-long], owner: a, reason: r, ticket: T, expires: "2026-02-01T00:00:00Z", scope: {name: far*}}
    expect: {verdict: allow}
  - name: until it has expired
    asOf: "2026-03-01T00:00:00Z"
    manifest: {apiVersion: v1, kind: ConfigMap, metadata: {name: far-too-long-a-name, namespace: shop}, data: {a: b}}
    waivers:
    - {id: w, rules: [names-long], owner: a, reason: r, ticket: T, expires: "2026-02-01T00:00:00Z", scope: {name: far*}}
    expect: {verdict: deny}
"""


def test_table_cases_and_rego_tests_count_for_coverage(terminal: Terminal) -> None:
    terminal.write("own/names.rego", rule())
    terminal.write("own/names_cases.yaml", CASES)
    done = terminal("policy", "test", "own", "--min-coverage", "100", "-o", "json")
    assert done.status == 0, done.out
    found = done.json
    assert (found["cases"], found["cases_passed"], found["failed"]) == (5, 5, [])
    assert found["coverage"]["files"] == {"own/names.rego": 100.0}


def test_a_case_that_comes_out_otherwise_says_what_was_found(terminal: Terminal) -> None:
    terminal.write("own/names.rego", rule())
    terminal.write("own/names_cases.yaml", CASES.replace("excludes: [names-long]", "includes: [names-long]"))
    done = terminal("policy", "test", "own", "-o", "json")
    assert done.status == 1
    (failed,) = done.json["cases_failed"]
    assert (failed["name"], failed["index"], failed["problems"]) == (
        "a short name is fine",
        0,
        ["names-long finds nothing"],
    )


def test_a_package_without_rules_has_nothing_to_cover(terminal: Terminal) -> None:
    terminal.write("own/names.rego", "package customhouse.rules.names\n")
    terminal.write("own/names_cases.yaml", CASES.partition("  - name: a long one")[0])
    done = terminal("policy", "test", "own", "--coverage", "-o", "json")
    assert (done.status, done.json["coverage"]["files"]) == (0, {}), done.err


def test_lines_that_no_test_reaches_are_named(terminal: Terminal) -> None:
    terminal.write("own/names.rego", rule() + "\nextra if {\n\tinput.never\n\tinput.ever\n}\n")
    terminal.write("own/names_cases.yaml", CASES)
    done = terminal("policy", "test", "own", "--min-coverage", "100", "-o", "json")
    assert done.status == 1
    assert [(item["rule"], item["lines"]) for item in done.json["coverage"]["missed"]] == [
        ("customhouse.rules.names.extra", [20, 21])
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cases: []", "0 cases"),
        ("{}", "no list `cases`"),
        ("cases: [{name: a}]", "expect says nothing"),
        ("cases: [{name: a, expect: {verdict: maybe}, facts: {}}]", "allow, warn or deny"),
        ("cases: [{name: a, expect: {verdict: deny}}]", "one of manifest, manifests and facts"),
        ("cases: [{name: a, expected: {}, facts: {}}]", "unknown: expected"),
        ("cases: &a [*a]", "aliases are refused"),
        ("cases: [" + "[" * 60 + "]" * 60 + "]", "levels deep"),
    ],
)
def test_a_table_that_cannot_be_read_is_no_pass(terminal: Terminal, text: str, said: str) -> None:
    terminal.write("own/names.rego", rule())
    terminal.write("own/names_cases.yaml", text)
    done = terminal("policy", "test", "own")
    assert done.status == 3
    assert said in done.err
    assert "names_cases.yaml" in done.err


def test_a_case_cannot_read_files_elsewhere(terminal: Terminal) -> None:
    terminal.write("secret.yaml", config_map("ok"))
    terminal.write("own/names.rego", rule())
    terminal.write("own/names_cases.yaml", "cases: [{name: a, manifests: ../secret.yaml, expect: {verdict: allow}}]")
    done = terminal("policy", "test", "own", "-o", "json")
    assert done.status == 1
    assert "no file beside the table" in done.json["cases_failed"][0]["problems"][0]


def test_lint_tells_place_and_fix_and_its_sarif_has_them_too(terminal: Terminal) -> None:
    terminal.write("own/names.rego", rule().replace("input.change.resource.kind !=", "http.send({}) !="))
    done = terminal("policy", "lint", "own", "-o", "json")
    assert done.status == 1
    (found,) = done.json["findings"]
    assert (found["rule"], found["file"], found["line"]) == ("lint-call", "own/names.rego", 15)
    (result,) = terminal("policy", "lint", "own", "-o", "sarif").json["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert (result["level"], place["artifactLocation"]["uri"], place["region"]["startLine"]) == (
        "error",
        "own/names.rego",
        15,
    )
    terminal.write("own/names.rego", rule())
    assert terminal("policy", "lint", "own").status == 0


def test_a_bundle_is_built_the_same_twice_and_linted_and_tested_as_an_archive(terminal: Terminal) -> None:
    terminal.write("own/names.rego", rule())
    first = terminal("policy", "build", "own", "--out", "a.tar.gz", "--version", "1.4.0")
    second = terminal("policy", "build", "own", "--out", "b.tar.gz", "--version", "1.4.0")
    assert first.status == 0
    assert first.out == second.out
    assert (terminal.root / "a.tar.gz").read_bytes() == (terminal.root / "b.tar.gz").read_bytes()
    assert terminal("policy", "lint", "a.tar.gz").status == 0
    (terminal.root / "c.tar.gz").write_bytes((terminal.root / "a.tar.gz").read_bytes()[:-20])
    broken = terminal("policy", "lint", "c.tar.gz")
    assert broken.status == 3
    assert "c.tar.gz: the archive is cut off" in broken.err


@pytest.fixture
def recorded(clone: Path, terminal: Terminal) -> Path:
    """A state with decisions of three commits, one of them denied."""
    state = terminal.root / ".customhouse"
    write(clone, {"customhouse.yaml": OPEN, "README.md": "a shop"})
    write(clone, {"a.json": config_map("short"), "b.json": config_map("rather-long-name", "bank")})
    record(clone, state)
    write(clone, {"a.json": config_map("short", x="y")})
    record(clone, state)
    write(
        clone,
        {"pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: a, image: b}]\n"},
    )
    assert any(item.verdict.value == "deny" for item in record(clone, state))
    return clone


def test_replay_under_the_same_rules_says_the_same_byte_for_byte(recorded: Path, terminal: Terminal) -> None:
    done = terminal("policy", "replay", "--repo", recorded, "-o", "json")
    assert done.status == 0, done.err
    assert (done.json["judged"], done.json["same"], done.json["decisions"]) == (4, 4, [])
    gate = Gate(RegorusEngine(), builtin_bundle())
    with wiring.store(read_settings(state=str(terminal.root / ".customhouse"))) as opened:
        for row in opened.decisions.recorded():
            again = gate.rejudge(
                Facts(row["facts"]),
                point=Point(row["envelope"]["point"]),
                decided_at=from_rfc3339(row["envelope"]["decided_at"]),
            )
            assert canonical_json(again.body()) == canonical_json(row["body"])
            assert again.digest == row["digest"]


def test_replay_says_who_would_be_hit_by_a_candidate(recorded: Path, terminal: Terminal) -> None:
    terminal.write("next/names.rego", rule())
    done = terminal("policy", "replay", "--repo", recorded, "--bundle", "next", "-o", "json")
    assert done.status == 1
    found = done.json
    assert (found["judged"], found["newly_denied"], found["newly_allowed"], found["same"]) == (4, 1, 0, 3)
    assert (found["by_rule"], found["by_namespace"], found["by_team"]) == (
        {"names-long": 1},
        {"bank": 1},
        {"team-bank": 1},
    )
    (hit,) = found["decisions"]
    assert (hit["effect"], hit["resource"]["name"], hit["before"], hit["after"]) == (
        "newly-denied",
        "rather-long-name",
        "allow",
        "deny",
    )
    assert hit["messages"] == ["rather-long-name is too long."]
    table = terminal("policy", "replay", "--repo", recorded, "--bundle", "next")
    assert "ConfigMap bank/rather-long-name" in table.out
    # A waiver that would come with it takes the hit away; a window that ends before it has nothing to say.
    waiver = [{"id": "w", "rules": ["names-long"], "owner": "ada", "reason": "r", "ticket": "T-1"}]
    soon = to_rfc3339(datetime.now(UTC) + timedelta(days=30))
    waiver[0] |= {"expires": soon, "scope": {"namespace": "bank"}}  # type: ignore[dict-item]
    terminal.write("waivers.yaml", json.dumps(waiver))
    eased = terminal(
        "policy", "replay", "--repo", recorded, "--bundle", "next", "--waivers", "waivers.yaml", "-o", "json"
    )
    assert (eased.status, eased.json["newly_denied"], eased.json["changed"]) == (0, 0, 1)
    assert terminal("policy", "replay", "--bundle", "next", "--since", "2100-01-01T00:00:00Z").status == 0


def test_replay_counts_what_it_cannot_judge_and_refuses_what_was_changed(recorded: Path, terminal: Terminal) -> None:
    broken = (
        rule().replace("findings contains lib.error(", "findings contains broken(") + "\nbroken(_, _, _, _, _) := 1\n"
    )
    terminal.write("next/names.rego", broken)
    done = terminal("policy", "replay", "--repo", recorded, "--bundle", "next", "-o", "json")
    assert (done.status, done.json["undecided"]) == (3, 1)
    assert any("no finding" in reason for reason in done.json["undecided_reasons"])
    for text, status in (("nonsense", 2), ("-3d", 2), ("30d", 0)):
        assert terminal("policy", "replay", "--repo", recorded, "--since", text).status == status
    assert terminal("policy", "replay", "--state", "elsewhere").status == 2
    import sqlite3

    with sqlite3.connect(terminal.root / ".customhouse" / "state.db") as database:
        database.execute("UPDATE facts SET document = replace(document, 'rather-long-name', 'innocent')")
    database.close()
    assert terminal("policy", "replay", "--repo", recorded).status == 5


def test_new_rules_that_break_on_any_kind_of_object_are_not_taken_over(clone: Path, terminal: Terminal) -> None:
    write(clone, {"customhouse.yaml": OPEN, "README.md": "x"})
    broken = (
        'package customhouse.rules.own\n\nfindings contains "no finding" if input.change.resource.kind == "CronJob"\n'
    )
    write(clone, {"customhouse.yaml": OPEN + "  bundle: policies\n", "policies/own.rego": broken})
    done = terminal("gate", "--repo", clone, "--base", "HEAD^")
    assert done.status == 3
    assert "cannot judge the create of a CronJob" in done.err
    git(clone, "reset", "-q", "--hard", "HEAD^")
    write(clone, {"customhouse.yaml": OPEN + "  bundle: policies\n", "policies/own.rego": rule()})
    assert terminal("gate", "--repo", clone, "--base", "HEAD^").status == 0
