"""A change of the rules is a change: it is judged under the rules before it, like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from control_repository import clone, git, remote, write

from customhouse.app.gatekeeping import GateRequest, judge
from customhouse.app.settings import read_settings
from customhouse.core.decision import Verdict
from customhouse.core.errors import ConfigError

__all__ = ["clone", "remote"]

RULES = """\
apiVersion: customhouse.dev/v1
policy:
  requireSignedCommits: true
trust:
  allowedSigners: trust/allowed_signers
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGpjEPlRxTQJ2Vj1tQG5r0HjU1mY0S1hT3m2v2mQb0nX"
SIGNERS = f'ada@example.com namespaces="git" {KEY}\n'


@pytest.fixture
def founded(clone: Path) -> Path:
    write(clone, {"customhouse.yaml": RULES, "trust/allowed_signers": SIGNERS})
    return clone


def findings(clone: Path, base: str = "HEAD^") -> tuple[Verdict, set[str]]:
    found = judge(read_settings(state=str(clone / ".state")), GateRequest(str(clone), base=base, head="HEAD"))
    return found.verdict, {item.rule for decision in found.decisions for item in decision.findings}


@pytest.mark.parametrize(
    "files",
    [
        {"customhouse.yaml": RULES.replace("true", "false")},
        {"trust/allowed_signers": SIGNERS.replace("ada@", "mallory@")},
        {"customhouse.yaml": None},
    ],
    ids=["signatures no longer required", "another signer", "no rules at all"],
)
def test_an_unsigned_commit_cannot_loosen_the_rules(founded: Path, files: dict[str, str | None]) -> None:
    write(founded, files)
    verdict, rules = findings(founded)
    assert verdict is Verdict.DENY
    assert "commit-signature" in rules


def test_taking_the_rules_away_is_denied_whoever_signs(clone: Path) -> None:
    write(clone, {"customhouse.yaml": "apiVersion: customhouse.dev/v1\npolicy:\n  requireSignedCommits: false\n"})
    write(clone, {"customhouse.yaml": None, "README.md": "x"})
    verdict, rules = findings(clone)
    assert verdict is Verdict.DENY
    assert rules == {"governance-removed"}


def test_a_change_of_the_rules_is_seen_and_allowed(clone: Path) -> None:
    rules = "apiVersion: customhouse.dev/v1\npolicy:\n  requireSignedCommits: false\n"
    write(clone, {"customhouse.yaml": rules})
    write(clone, {"customhouse.yaml": rules + "  trustedRegistries: [example.com/]\n"})
    assert findings(clone) == (Verdict.WARN, {"governance-changed"})


def test_a_commit_about_something_else_changes_no_rules(founded: Path) -> None:
    write(founded, {"README.md": "hello"})
    assert findings(founded) == (Verdict.ALLOW, set())


def test_rules_that_name_a_missing_file_cannot_be_merged(founded: Path) -> None:
    write(founded, {"trust/allowed_signers": None, "README.md": "x"})
    with pytest.raises(ConfigError, match="trust/allowed_signers"):
        findings(founded)


def test_a_branch_that_is_merely_behind_has_not_removed_the_rules(clone: Path) -> None:
    start = write(clone, {"README.md": "before there were rules"})
    rules = "apiVersion: customhouse.dev/v1\npolicy:\n  requireSignedCommits: false\n"
    base = write(clone, {"customhouse.yaml": rules})
    git(clone, "checkout", "-q", "-b", "old", start)
    write(clone, {"NOTES.md": "started before the rules"})
    assert findings(clone, base) == (Verdict.ALLOW, set())


def test_the_note_of_the_allowed_commit_is_nobodys_to_declare(clone: Path) -> None:
    """`up` would write it over its own, and another commit would rule the webhook."""
    note = NOTE.replace("namespace: shop", "namespace: customhouse-system").format("customhouse-allowed")
    write(clone, {"customhouse.yaml": PATHS.format("apps")})
    write(clone, {"apps/note.yaml": note})
    verdict, rules = findings(clone)
    assert verdict is Verdict.DENY
    assert "own-books" in rules


PATHS = "apiVersion: customhouse.dev/v1\npaths: [{}]\npolicy:\n  requireSignedCommits: false\n"
NOTE = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {}
  namespace: shop
data: {{text: x}}
"""


@pytest.mark.parametrize(
    ("narrow", "wide", "gone"),
    [("apps", "apps, jobs", True), ("apps, jobs", "apps", False)],
    ids=["narrower", "wider"],
)
def test_what_paths_bring_or_take_is_told_of_the_commit_that_does_so(
    clone: Path, narrow: str, wide: str, gone: bool
) -> None:
    """As `up` goes: the commit that alters `paths` is judged and applied with those before it."""
    files = {"apps/one.yaml": NOTE.format("one"), "jobs/two.yaml": NOTE.format("two")}
    write(clone, {"customhouse.yaml": PATHS.format(wide), **files})
    write(clone, {"README.md": "so that it has been judged"})
    write(clone, {"customhouse.yaml": PATHS.format(narrow)})
    assert changed(clone) == {("update", "customhouse.yaml")}
    write(clone, {"README.md": "something else"})
    assert changed(clone) == {("delete" if gone else "create", "two")}
    assert changed(clone, "HEAD~2") == {("update", "customhouse.yaml")}  # both at once: a merge is one commit
    write(clone, {"README.md": "and more"})
    assert changed(clone) == set()
    git(clone, "checkout", "-q", "-b", "behind", "HEAD~3")
    write(clone, {"README.md": "of a branch"})
    assert changed(clone, "HEAD^") == set()
    assert changed(clone, "main") == set()


def changed(clone: Path, base: str = "HEAD^") -> set[tuple[str, str]]:
    """Operation and name of each object; a file that was judged and is there still is warned of."""
    state = str(clone.parent / "state")
    found = judge(read_settings(state=state), GateRequest(str(clone), base=base, head="HEAD"))
    rules = {item.rule for decision in found.decisions for item in decision.findings}
    objects = {(item.operation.value, item.ref.name) for item in found.changes if item.ref.kind != "RepositoryFiles"}
    assert ("file-not-judged" in rules) == ("delete" in {operation for operation, _ in objects})
    return objects
