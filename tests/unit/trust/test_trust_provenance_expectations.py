"""Expectations against provenance: what is not as expected is named with both places; the Build level and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import provenance_documents as documents
from customhouse.trust.provenance_expectations import (
    Expectation,
    Expected,
    MaterialRule,
    Statement,
    Verified,
    age_check,
    verify_statement,
)
from customhouse.trust.provenance_level import LOCAL_TARGET, Builder, level_of
from customhouse.trust.provenance_patterns import matches, problem_of, says

DATA = f"sha256:{documents.SHA['d']}"
BUILDERS = (Builder("https://github.com/acme/fraud/.github/workflows/build.yml@refs/heads/*", 3, ("ci",), "c.yaml:3"),)
EXPECTATION = Expectation(
    name="fraud",
    artifacts=("pvc://models/fraud/*",),
    builders=("https://github.com/acme/**",),
    min_level=3,
    build_types=("https://actions.github.io/buildtypes/workflow/v1",),
    repositories=("https://github.com/acme/*",),
    refs=("refs/heads/main",),
    reviewed_commit=True,
    allowed_parameters=("workflow.ref", "workflow.repository"),
    parameters={"workflow.path": ".github/workflows/*.yml"},
    materials=(
        MaterialRule(uri="git+https://github.com/acme/fraud@**", place="c.yaml:20"),
        MaterialRule(name="dataset", registered=True, place="c.yaml:21"),
    ),
    other_materials=False,
    max_age_days=30,
    places={"": "c.yaml:10", "builders": "c.yaml:12", "source": "c.yaml:13"},
)
EXPECTED = Expected(BUILDERS, {"transactions": (DATA,)}, (EXPECTATION,))


def document() -> dict[str, Any]:
    """GitHub's, with a dataset."""
    made = documents.github()
    made["buildDefinition"]["resolvedDependencies"].append(
        {"name": "dataset", "uri": "s3://data/transactions", "digest": {"sha256": documents.SHA["d"]}}
    )
    return made


def verified(
    predicate: dict[str, Any], *, signer: str = "ci", reviewed: Callable[[str], bool] | None = lambda _: True
) -> Verified:
    return verify_statement(Statement(predicate, signer, True), EXPECTED, EXPECTATION, reviewed)


def unmet(predicate: dict[str, Any], **options: Any) -> set[str]:
    return {check.check for check in verified(predicate, **options).unmet}


def test_provenance_as_expected_meets_every_check() -> None:
    found = verified(document())
    assert found.unmet == ()
    assert found.level.number == 3
    assert {check.check for check in found.checks} == {
        "signature",
        "builder",
        "build-type",
        "source-repository",
        "source-ref",
        "parameter:workflow.path",
        "level",
        "source-commit",
        "material:git+https://github.com/acme/fraud@**",
        "material:dataset",
    }


def _set(value: Any, *path: Any) -> Callable[[Any], None]:
    def change(found: Any) -> None:
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = value

    return change


WORKFLOW = ("buildDefinition", "externalParameters", "workflow")
RESOLVED = ("buildDefinition", "resolvedDependencies")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_set("https://evil.example/acme", "runDetails", "builder", "id"), {"builder", "level"}),
        (_set("https://github.com/acme/other", "runDetails", "builder", "id"), {"level"}),
        (_set("https://other.example/type", "buildDefinition", "buildType"), {"build-type"}),
        (_set("refs/heads/topic", *WORKFLOW, "ref"), {"source-ref"}),
        (_set("other.sh", *WORKFLOW, "path"), {"parameter:workflow.path"}),
        (_set("x", *WORKFLOW, "debug"), {"parameters"}),
        (_set(documents.SHA["e"], *RESOLVED, 1, "digest", "sha256"), {"material:dataset"}),
        (_set("model", *RESOLVED, 1, "name"), {"material:dataset", "other-materials"}),
        (_set({}, *RESOLVED, 1, "digest"), {"material:dataset"}),
    ],
)
def test_each_change_is_named(change: Callable[[Any], None], named: set[str]) -> None:
    changed = document()
    change(changed)
    assert unmet(changed) == named


def test_another_repository_is_named() -> None:
    changed = document()
    changed["buildDefinition"]["externalParameters"]["workflow"]["repository"] = "https://github.com/evil/fraud"
    assert {"source-repository", "source-commit"} <= unmet(changed)


def test_a_second_dataset_that_nobody_registered_is_named_beside_one_that_is() -> None:
    changed = document()
    listed = changed["buildDefinition"]["resolvedDependencies"]
    listed.append({**listed[1], "digest": {"sha256": documents.SHA["e"]}})
    (problem,) = verified(changed).unmet
    assert (problem.check, problem.at, problem.place) == (
        "material:dataset",
        "/buildDefinition/resolvedDependencies/2",
        "c.yaml:21",
    )
    assert "not registered" in problem.message


def test_a_commit_that_was_not_reviewed_and_one_that_cannot_be_asked_about_are_not_met() -> None:
    assert unmet(document(), reviewed=lambda _: False) == {"source-commit"}
    (problem,) = verified(document(), reviewed=None).unmet
    assert "no Git history" in problem.message


def test_a_builder_counts_only_with_its_own_signer() -> None:
    found = verified(document(), signer="somebody")
    assert found.level.number == 1
    assert {check.check for check in found.unmet} == {"level"}
    assert "signed by somebody, who does not sign for" in found.level.reason


def test_what_does_not_verify_has_level_0_and_says_why() -> None:
    found = verify_statement(Statement(document(), None, False, "changed after signing"), EXPECTED, EXPECTATION)
    assert found.level.number == 0
    assert "changed after signing" in found.level.reason
    assert "signature" in {check.check for check in found.unmet}


def test_what_cannot_be_read_meets_nothing() -> None:
    found = verify_statement(Statement({"buildDefinition": []}, "ci", True), EXPECTED, EXPECTATION)
    assert (found.level.number, [check.check for check in found.unmet]) == (0, ["readable"])


def test_both_places_are_told() -> None:
    changed = document()
    changed["runDetails"]["builder"]["id"] = "https://evil.example/acme"
    problem = next(check for check in verified(changed).unmet if check.check == "builder")
    assert (problem.at, problem.place) == ("/runDetails/builder/id", "c.yaml:12")
    assert "evil.example" in problem.message


def test_the_local_target_reaches_level_1_whatever_is_declared() -> None:
    declared = [Builder(LOCAL_TARGET, 3, ("ci",))]
    found = level_of(LOCAL_TARGET, "ci", verified=True, problem="", declared=declared)
    assert found.number == 1
    assert "could read the key" in found.reason


def test_age_is_asked_of_a_time_that_is_told() -> None:
    now = datetime(2026, 4, 1, tzinfo=UTC)
    for issued, met in ((now - timedelta(days=29), True), (now - timedelta(days=31), False), (None, False)):
        found = age_check(EXPECTATION, issued, now)
        assert found is not None
        assert found.met is met


def test_an_expectation_covers_references_without_digest_and_tag() -> None:
    images = Expectation("i", ("registry.example/acme/*",), role="image")
    assert images.covers("image", f"registry.example/acme/app:1@sha256:{'a' * 64}")
    assert images.covers("image", "registry.example/acme/app")
    assert not images.covers("model", "registry.example/acme/app")
    assert not images.covers("image", "registry.example/acme/app/other")


@pytest.mark.parametrize(
    ("role", "pattern", "reference"),
    [
        ("model", "pvc://models/fraud/*", "pvc://models/./fraud//v1"),
        ("model", "pvc://models/fraud/*", "PVC://models/fraud/v1/"),
        ("image", "registry.example/acme/*", "Registry.Example:443/acme/app:1"),
        ("image", "docker.io/library/*", "python:3"),
        ("image", "docker.io/acme/*", f"acme/app@sha512:{'a' * 128}"),
        ("image", "docker.io/acme/*", "index.docker.io/acme/app"),
        ("image", "python", "python:3"),
        ("model", "oci://registry.example/models/*", f"oci://registry.example/models/fraud:v1@sha256:{'a' * 64}"),
        ("model", "oci://registry.example/models/fraud", "oci://registry.example/models/fraud:v1"),
    ],
)
def test_another_spelling_does_not_lead_past_an_expectation(role: str, pattern: str, reference: str) -> None:
    assert Expectation("e", (pattern,)).covers(role, reference)


def test_a_parameter_without_a_name_is_seen() -> None:
    changed = document()
    changed["buildDefinition"]["externalParameters"][""] = "x"
    assert unmet(changed) == {"parameters"}
    changed["buildDefinition"]["externalParameters"][""] = {"workflow": {"ref": "refs/heads/main"}}
    assert unmet(changed) == {"parameters"}


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [
        ("https://github.com/acme/*", "https://github.com/acme/app", True),
        ("https://github.com/acme/*", "https://github.com/acme/app/fork", False),
        ("https://github.com/acme/**", "https://github.com/acme/app/fork", True),
        ("refs/tags/v*", "refs/tags/v1.2", True),
        ("refs/tags/v*", "refs/tags/w1", False),
        ("**a**", "b" * 100, False),
        ("*/*", "a/b", True),
        ("*/*", "a/b/c", False),
        ("a.c", "abc", False),
        ("", "", True),
        ("*", "a\nb", True),
    ],
)
def test_patterns(pattern: str, text: str, answer: bool) -> None:
    assert matches(pattern, text) is answer


@pytest.mark.parametrize(
    "pattern", ["https://*/acme", "*", "**", "http*://a/b", "https://git*.com/a", "a***b", "*a" * 9]
)
def test_patterns_that_would_believe_everybody_are_refused(pattern: str) -> None:
    assert problem_of(pattern, address=True)


@pytest.mark.parametrize(
    ("said", "met"),
    [
        ('["python", "fit.py", "--out=/models/line/v1", "--seed=1"]', True),
        ('["python", "fit.py", "--out=/models/line/v1", "--rows=elsewhere", "--seed=1"]', False),
        ('["python", "fit.py", "--out=/models/line/v1\\", \\"--rows=elsewhere", "--seed=1"]', True),
        ('["python", "fit.py", "--out=/models/line/", "--seed=1"]', True),
        ('["python", "fit.py", "--seed=1"]', False),
        ('["python", "fit.py", "--out=/models/line/v1", ["--seed=1"]]', False),
        ("python fit.py --out=/models/line/v1 --seed=1", False),
        ("[" * 50_000, False),
    ],
)
def test_a_wildcard_in_a_command_stays_within_its_argument(said: str, met: bool) -> None:
    assert says('["python", "fit.py", "--out=/models/line/*", "--seed=1"]', said) is met


def test_a_pattern_that_is_no_list_is_one_text() -> None:
    assert says("refs/tags/*", "refs/tags/v1")
    assert not says("refs/tags/*", '["refs/tags/v1"]')
    assert not says("[a-*", "b")
    assert says("[a-*", "[a-b")
