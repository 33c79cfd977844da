"""A bundle on trial: told in the envelope, counted, never decisive; promoted and withdrawn by a commit."""

from __future__ import annotations

from pathlib import Path

import pytest
from control_repository import clone, remote, write
from hypothesis import given
from hypothesis import strategies as st
from policy_world import OPEN, Terminal, config_map, record, rule, terminal

from customhouse.core.decision import Verdict
from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.canary import Canary

__all__ = ["clone", "remote", "terminal"]

TRIAL = OPEN + "  canary: {{bundle: next, mode: {mode}, namespaces: [{namespaces}]}}\n"
FILES = {"a.json": config_map("rather-long-name", "bank"), "b.json": config_map("rather-long-name", "shop")}


def test_a_candidate_is_told_for_its_namespaces_and_changes_no_decision(clone: Path, terminal: Terminal) -> None:
    state = terminal.root / ".customhouse"
    write(clone, {"customhouse.yaml": OPEN, "README.md": "x"})
    write(clone, {"customhouse.yaml": TRIAL.format(mode="dryrun", namespaces="bank"), "next/names.rego": rule()})
    assert terminal("gate", "--repo", clone, "--base", "HEAD^").status == 0
    write(clone, FILES)
    decisions = {item.resource.namespace: item for item in record(clone, state)}
    assert {item.verdict for item in decisions.values()} == {Verdict.ALLOW}
    assert decisions["shop"].canary is None
    trial = decisions["bank"].canary
    assert trial is not None
    assert (trial["verdict"], trial["would_deny"], [item["rule"] for item in trial["added"]]) == (
        "deny",
        True,
        ["names-long"],
    )
    # The body is that of the rules in force: with and without a trial the digests are the same.
    assert decisions["bank"].bundle_digest == decisions["shop"].bundle_digest == builtin_bundle().digest
    assert "canary" not in decisions["bank"].body()
    assert "canary" in decisions["bank"].envelope()
    counted = terminal("policy", "canary", "-o", "json").json["candidates"]
    ((candidate, found),) = counted.items()
    assert candidate == trial["bundle_digest"]
    assert (found["judged"], found["would_deny"], found["by_rule"], found["by_namespace"]) == (
        1,
        1,
        {"names-long": 1},
        {"bank": 1},
    )
    assert "1 would be denied" in terminal("policy", "canary").out
    # Promoted: the folder becomes the bundle, and now it denies. Withdrawn: the key goes, and nothing is said.
    write(clone, {"customhouse.yaml": OPEN + "  bundle: next\n"})
    write(clone, {"a.json": config_map("rather-long-name", "bank", more="x")})
    (denied,) = record(clone, state)
    assert (denied.verdict, denied.canary) == (Verdict.DENY, None)
    write(clone, {"customhouse.yaml": OPEN})
    write(clone, {"a.json": config_map("rather-long-name", "bank", more="y")})
    (allowed,) = record(clone, state)
    assert (allowed.verdict, allowed.canary) == (Verdict.ALLOW, None)


def test_a_candidate_that_breaks_is_said_and_shuts_nothing(clone: Path, terminal: Terminal) -> None:
    broken = 'package customhouse.rules.own\n\nfindings contains "no finding" if input.change\n'
    write(clone, {"customhouse.yaml": TRIAL.format(mode="warn", namespaces="'*'"), "next/own.rego": broken})
    write(clone, FILES)
    decisions = record(clone, terminal.root / ".customhouse")
    assert {item.verdict for item in decisions} == {Verdict.ALLOW}
    assert {item.canary["verdict"] for item in decisions if item.canary} == {None}
    gate = terminal("gate", "--repo", clone, "--base", "HEAD^", "-o", "json")
    assert (gate.status, gate.err.count("the candidate could not decide")) == (0, 2)
    # A candidate that can: `warn` shows the author what would be denied, and denies nothing.
    write(clone, {"next/own.rego": rule("own"), "b.json": None})
    write(clone, {"a.json": config_map("rather-long-name", "bank", more="x")})
    warned = terminal("gate", "--repo", clone, "--base", "HEAD^", "-o", "json")
    assert warned.status == 0
    assert "ConfigMap bank/rather-long-name would be denied by own-long" in warned.err
    (shown,) = warned.json["decisions"]
    assert (shown["verdict"], shown["canary"]["verdict"]) == ("allow", "deny")
    assert all("no finding" in item.canary["problem"] for item in decisions)


@pytest.mark.parametrize(
    ("canary", "said"),
    [
        ("{share: 10}", "it names one of bundle"),
        ("{bundle: next}", "it is for nobody"),
        ("{bundle: next, share: 101}", "share is 101"),
        ("{bundle: next, share: 10, mode: deny}", "mode is 'deny'"),
        ("{source: a.tar.gz, share: 10}", "neither digest nor key"),
    ],
)
def test_a_trial_that_means_nothing_is_refused_at_its_line(
    clone: Path, terminal: Terminal, canary: str, said: str
) -> None:
    write(clone, {"customhouse.yaml": f"{OPEN}  canary: {canary}\n"})
    done = terminal("gate", "--repo", clone, "--base", "HEAD")
    assert done.status == 3
    assert said in done.err
    assert "customhouse.yaml:" in done.err


@given(st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), max_size=30), st.integers(0, 100))
def test_who_is_on_trial_depends_on_the_namespace_and_the_candidate_alone(names: list[str], share: int) -> None:
    bundle = builtin_bundle()
    asked = [Canary(bundle, share=share).covers(name) for name in names]
    assert asked == [Canary(bundle, mode="warn", share=share).covers(name) for name in names]
    more = [Canary(bundle, share=min(100, share + 10)).covers(name) for name in names]
    assert all(later or not now for now, later in zip(asked, more, strict=True))
    assert all(Canary(bundle, share=100).covers(name) and not Canary(bundle, share=0).covers(name) for name in names)


def test_a_share_is_about_that_share_of_many_namespaces() -> None:
    canary = Canary(builtin_bundle(), share=25)
    assert 2300 < sum(canary.covers(f"team-{number}") for number in range(10_000)) < 2700
