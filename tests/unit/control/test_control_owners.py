"""CODEOWNERS as forges read it: the last match wins, patterns are gitignore's, sections are lists of their own."""

from __future__ import annotations

import pytest

from customhouse.control.owners import read_owners
from customhouse.core.errors import SourceError


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*", "deep/down/file.yaml", True),
        ("*.js", "src/app.js", True),
        ("*.js", "src/app.jsx", False),
        ("/build/logs/", "build/logs/a/b.txt", True),
        ("/build/logs/", "x/build/logs/b.txt", False),
        ("docs/*", "docs/start.md", True),
        ("docs/*", "docs/more/start.md", False),
        ("apps/", "some/apps/x/y.yaml", True),
        ("apps/", "apps", False),
        ("/apps/github", "apps/github/x.yaml", True),
        ("/apps/github", "apps/githubber/x.yaml", False),
        ("**/logs", "deep/logs/x", True),
        ("a/**/z.yaml", "a/z.yaml", True),
        ("a/**/z.yaml", "a/b/c/z.yaml", True),
        ("/a/**", "a/b/c", True),
        ("/a/**", "b/a/c", False),
        ("we\\ ird.yaml", "we ird.yaml", True),
        ("v?.yaml", "v1.yaml", True),
        ("v?.yaml", "v/.yaml", False),
        ("customhouse.yaml", "nested/customhouse.yaml", True),
        ("a+b.yaml", "aab.yaml", False),
    ],
)
def test_patterns(pattern: str, path: str, matches: bool) -> None:
    assert bool(read_owners(f"{pattern} @ada").of(path)) is matches


def test_the_last_line_that_matches_decides_and_may_free_a_file() -> None:
    owners = read_owners("* @everyone-lead\n/finance/ @fin # money\n/finance/notes.md\n")
    assert [rule.owners for rule in owners.of("finance/budget.yaml")] == [("@fin",)]
    assert [rule.owners for rule in owners.of("readme.md")] == [("@everyone-lead",)]
    assert owners.of("finance/notes.md") == ()


def test_who_is_missing_is_told_with_the_line() -> None:
    owners = read_owners("customhouse.yaml @sec @ada\n/budgets/ @org/finops\n")
    (missing,) = owners.missing(["customhouse.yaml", "budgets/a.yaml"], ["Ada"])
    assert (missing[0], missing[1].line) == ("budgets/a.yaml", 2)
    # A person who calls himself like a team is not the team.
    assert owners.missing(["budgets/a.yaml"], ["finops", "org"]) == (missing,)
    assert owners.missing(["budgets/a.yaml"], ["org/finops"]) == (missing,)
    assert owners.teams == ("org/finops",)
    assert owners.missing(["budgets/a.yaml"], ["ada"], {"org/finops": frozenset({"bob"})}) == (missing,)
    assert owners.missing(["budgets/a.yaml"], ["ada"], {"org/finops": frozenset({"Ada"})}) == ()


def test_sections_each_ask_for_their_own_owner() -> None:
    owners = read_owners("[Money] @fin\n*.yaml\n\n[Security][2] @ann @bob\nsecret.yaml\n\n^[Docs]\n*.yaml @writer\n")
    named = [(rule.section, rule.approvals) for rule in owners.of("secret.yaml")]
    assert named == [("money", 1), ("security", 2), ("docs", 0)]
    missing = owners.missing(["secret.yaml"], ["fin", "ann"])
    assert [rule.section for _, rule in missing] == ["security"]
    assert owners.missing(["secret.yaml"], ["fin", "ann", "bob"]) == ()


@pytest.mark.parametrize("line", ["!x.yaml @ada", "x.yaml ada", "x.yaml @", "x.yaml @a@b"])
def test_a_line_that_would_silently_match_nothing_is_an_error(line: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_owners(f"* @ada\n{line}\n")
    assert caught.value.where == "CODEOWNERS:2"


def test_a_hostile_file_is_bounded() -> None:
    with pytest.raises(SourceError, match="bytes"):
        read_owners("#" * (4 * 1024 * 1024))
    with pytest.raises(SourceError, match="characters"):
        read_owners("a/" * 10_000 + " @ada")
    assert not read_owners("**/" * 200 + "x @ada").of("a/" * 400 + "y")
