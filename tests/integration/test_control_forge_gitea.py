"""Reviews and protections read from a real Gitea, and judged."""

from __future__ import annotations

import os
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from execution_world import eventually

from conftest import parts_folder
from customhouse.app.controlplane import ControlPlane
from customhouse.app.forge_settings import ForgeSpec
from customhouse.app.memory import PROTECTION
from customhouse.app.protections import ProtectionWatch
from customhouse.app.reviewing import review_of
from customhouse.app.settings import Settings
from customhouse.cli.program import run
from customhouse.control.adapters.forges.gitea import Gitea
from customhouse.control.adapters.git import GitRepository
from customhouse.core.errors import SourceError
from customhouse.core.forge import Protection
from customhouse.trust.ledger import parse_entry
from forge_gitea import GiteaServer

pytestmark = pytest.mark.part("gitea")


@pytest.fixture(scope="module")
def gitea(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GiteaServer]:
    server = GiteaServer(find_part("gitea"), parts_folder() / "gitea", tmp_path_factory.mktemp("gitea"))
    yield server
    server.stop()


def _merge(gitea: GiteaServer, repository: str, pull: int, person: str = "ada") -> str:
    for _ in range(200):
        try:
            gitea.call("POST", f"/repos/{repository}/pulls/{pull}/merge", {"Do": "merge"}, person)
            break
        except urllib.error.HTTPError as error:
            if error.code != 405:  # it still looks whether the branch can be merged
                raise
            time.sleep(0.05)
    return str(gitea.call("GET", f"/repos/{repository}/branches/main")["commit"]["id"])


def _pull(gitea: GiteaServer, repository: str, branch: str, person: str = "ada") -> int:
    body = {"title": branch, "head": branch, "base": "main"}
    return int(gitea.call("POST", f"/repos/{repository}/pulls", body, person)["number"])


def _approve(gitea: GiteaServer, repository: str, pull: int, person: str, event: str = "APPROVED") -> None:
    gitea.call("POST", f"/repos/{repository}/pulls/{pull}/reviews", {"event": event, "body": "seen"}, person)


def test_protection_is_told_and_its_absence_too(gitea: GiteaServer) -> None:
    gitea.repository("guarded")
    forge = Gitea("ada/guarded", gitea.tokens["ada"], url=gitea.url)
    bare = forge.protection("main")
    assert (bare.protected, bare.force_push, bare.required_reviews) == (False, True, 0)
    rule = {"rule_name": "main", "required_approvals": 2, "require_signed_commits": True, "enable_push": False}
    gitea.call("POST", "/repos/ada/guarded/branch_protections", rule)
    told = forge.protection("main")
    assert told == Protection("main", True, 2, False, True, False, administrators_bound=False, unknown=told.unknown)
    with pytest.raises(SourceError, match="no branch"):
        forge.protection("absent")


def test_only_approvals_of_the_last_state_by_others_count(gitea: GiteaServer) -> None:
    gitea.repository("reviewed")
    where = "ada/reviewed"
    forge = Gitea(where, gitea.tokens["ada"], url=gitea.url)
    head = gitea.write(where, "a.yaml", "a: 1\n", "main", new="work")
    assert forge.reviews(head).pull_request is None
    pull = _pull(gitea, where, "work")
    assert forge.reviews(head).approvals == ()
    _approve(gitea, where, pull, "bob")
    assert forge.reviews(head).approvals == ("bob",)
    later = gitea.write(where, "a.yaml", "a: 2\n", "work")
    assert forge.reviews(later).approvals == (), "bob has not seen the last state"
    _approve(gitea, where, pull, "eve", "REQUEST_CHANGES")
    assert forge.reviews(later).objections == ("eve",)
    _approve(gitea, where, pull, "eve")
    said = forge.reviews(_merge(gitea, where, pull))
    assert (said.pull_request, said.merged, said.author, said.approvals) == (pull, True, "ada", ("eve",))


def test_one_comment_is_written_and_replaced_and_nobody_elses(gitea: GiteaServer) -> None:
    gitea.repository("talked")
    where = "ada/talked"
    gitea.write(where, "a.yaml", "a: 1\n", "main", new="work")
    pull = _pull(gitea, where, "work")
    marker = "<!-- customhouse -->"
    gitea.call("POST", f"/repos/{where}/issues/{pull}/comments", {"body": f"{marker} a trap"}, "eve")
    forge = Gitea(where, gitea.tokens["bob"], url=gitea.url)
    forge.comment(pull, marker, f"{marker}\nfirst")
    forge.comment(pull, marker, f"{marker}\nsecond")
    bodies = [item["body"] for item in gitea.call("GET", f"/repos/{where}/issues/{pull}/comments")]
    assert bodies == [f"{marker} a trap", f"{marker}\nsecond"]


def test_the_gate_says_what_it_found_in_one_comment_that_follows_the_branch(
    gitea: GiteaServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = gitea.repository("commented")
    where = "ada/commented"
    rules = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\nforge: {kind: gitea, repository: "
    gitea.write(where, "customhouse.yaml", f"{rules}{where}, url: '{gitea.url}'}}\n", "main")
    gitea.write(where, "flags.yaml", _config("x"), "main", new="work")
    pull = _pull(gitea, where, "work")
    monkeypatch.setenv("CUSTOMHOUSE_FORGE_TOKEN", gitea.token("bob", "write:issue,read:repository,read:user"))

    def gated() -> tuple[int, str, str]:
        arguments = ("gate", "--repo", str(bare), "--base", "main", "--head", "work", "--engine", "embedded")
        status = run([*arguments, "-o", "json", "--comment", str(pull)])
        (said,) = gitea.call("GET", f"/repos/{where}/issues/{pull}/comments")
        assert said["user"]["login"] == "bob"
        return status, str(said["body"]), capsys.readouterr().err

    status, body, _ = gated()
    assert (status, body.splitlines()[:2]) == (0, ["<!-- customhouse:gate -->", "## Customhouse: allow"])
    # The branch names a forge of its own; the token goes to that of the base all the same.
    gitea.write(where, "customhouse.yaml", f"{rules}mallory/trap, url: 'http://127.0.0.1:1/'}}\n", "work")
    assert "governance-changed" in gated()[1]
    gitea.write(where, "flags.yaml", "kind: [\n", "work")
    status, body, _ = gated()
    assert (status, body.splitlines()[1]) == (3, "## Customhouse: could not decide")
    assert "flags.yaml" in body
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {hostNetwork: true, containers: [{name: c, image: c}]}\n"
    )
    gitea.write(where, "flags.yaml", pod, "work")
    monkeypatch.setenv("CUSTOMHOUSE_FORGE_TOKEN", "revoked")
    status, body, told = gated()
    assert (status, "could not decide" in body, "revoked" in told) == (1, True, False), "a denial stays a denial"
    assert "the comment was not written" in told


def test_a_comment_that_cannot_be_written_is_no_silent_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "customhouse.yaml"
    (tmp_path / "flags.yaml").write_text(_config("x"))
    arguments = ("gate", str(tmp_path / "flags.yaml"), "--config", str(rules), "--engine", "embedded", "-q")
    open_rules = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n"
    rules.write_text(open_rules)
    assert run([*arguments, "--comment", "7"]) == 2
    assert "names no forge" in capsys.readouterr().err
    forge = "forge: {kind: gitea, repository: ada/x, url: 'http://127.0.0.1:1/api/v1'}\n"
    rules.write_text(open_rules + forge)
    monkeypatch.delenv("CUSTOMHOUSE_FORGE_TOKEN", raising=False)
    assert run([*arguments, "--comment", "7"]) == 2
    assert "CUSTOMHOUSE_FORGE_TOKEN is not set" in capsys.readouterr().err
    monkeypatch.setenv("CUSTOMHOUSE_FORGE_TOKEN", "secret-token")
    assert run([*arguments, "--comment", "7"]) == 3
    told = capsys.readouterr().err
    assert "cannot be asked" in told
    assert "secret-token" not in told
    assert run([*arguments, "--comment", "0"]) == 2


def test_owners_of_the_base_revision_must_agree(gitea: GiteaServer, tmp_path: Path) -> None:
    bare = gitea.repository("owned")
    where = "ada/owned"
    base = gitea.write(where, "CODEOWNERS", "budgets/ @eve\n", "main")
    forge = Gitea(where, gitea.tokens["ada"], url=gitea.url)
    spec = ForgeSpec("gitea", where, gitea.url)
    gitea.write(where, "budgets/limit.yaml", "limit: 9\n", "main", new="work")
    gitea.write(where, "CODEOWNERS", "budgets/ @bob\n", "work")  # nobody can make himself an owner
    pull = _pull(gitea, where, "work")
    _approve(gitea, where, pull, "bob")
    merged = _merge(gitea, where, pull)
    source = GitRepository(str(bare), tmp_path / "mirror.git", "main")
    source.fetch()
    revision = source.revision(merged, allowed_signers=None, last_deployed=base)
    review = review_of(forge, spec, source, base, revision)
    assert review.given.approvals == ("bob",)
    assert review.missing_owners == ("budgets/limit.yaml (CODEOWNERS:1: @eve)",)
    assert not review.exempt


def test_a_direct_push_has_no_review_and_a_forge_out_of_reach_is_no_consent(gitea: GiteaServer) -> None:
    gitea.repository("pushed")
    commit = gitea.write("ada/pushed", "a.yaml", "a: 1\n", "main")
    said = Gitea("ada/pushed", gitea.tokens["ada"], url=gitea.url).reviews(commit)
    assert (said.pull_request, said.approvals) == (None, ())
    with pytest.raises(SourceError) as caught:
        Gitea("ada/pushed", "a-wrong-token", url=gitea.url).reviews(commit)
    assert "a-wrong-token" not in str(caught.value)
    with pytest.raises(SourceError, match="cannot be asked"):
        Gitea("ada/pushed", "", url="http://127.0.0.1:1/api/v1").reviews(commit)


def test_the_members_of_a_team(gitea: GiteaServer) -> None:
    gitea.call("POST", "/orgs", {"username": "house"})
    units = {"repo.code": "read"}
    body = {"name": "Finops", "permission": "read", "units": ["repo.code"], "units_map": units}
    team = gitea.call("POST", "/orgs/house/teams", body)
    gitea.call("PUT", f"/teams/{team['id']}/members/bob")
    forge = Gitea("house/any", gitea.tokens["ada"], url=gitea.url)
    assert forge.members("house/finops") == frozenset({"bob"})
    assert forge.members("house/absent") == forge.members("nobody/absent") == frozenset()


def _config(value: str) -> str:
    return (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: flags\n  namespace: shop\n"
        "  labels: {customhouse.dev/owner: ada, customhouse.dev/team: shop, customhouse.dev/project: shop,"
        f" customhouse.dev/cost-centre: '1'}}\ndata:\n  flag: '{value}'\n"
    )


@pytest.fixture
def plane(gitea: GiteaServer, tmp_path: Path) -> Iterator[ControlPlane]:
    """`up` on a new repository of the forge, after its founding commit, step by step."""
    name = f"deployed-{tmp_path.name}"
    bare = gitea.repository(name)
    forge = f"forge: {{kind: gitea, repository: ada/{name}, url: '{gitea.url}'}}\n"
    rules = f"apiVersion: customhouse.dev/v1\npolicy: {{requireSignedCommits: false}}\n{forge}"
    gitea.write(f"ada/{name}", "customhouse.yaml", rules, "main")
    environment = {**os.environ, "CUSTOMHOUSE_FORGE_TOKEN": gitea.tokens["ada"]}
    running = ControlPlane(Settings(tmp_path / "state", engine="embedded", environment=environment), str(bare))
    running.start()
    try:
        running.step()
        assert running.memory.deployed is not None, running.problem
        yield running
    finally:
        running.close()


def test_only_what_was_reviewed_is_deployed(gitea: GiteaServer, plane: ControlPlane) -> None:
    where = plane.governing().configuration.forge.repository
    founded = plane.memory.deployed.revision
    # Pushed past everybody: denied, with the reason.
    gitea.write(where, "flags.yaml", _config("pushed"), "main")
    plane.step()
    assert plane.memory.deployed.revision == founded
    assert "was pushed without a pull request: 0 of 1 approvals" in plane.problem
    # An innocent, approved change on top of it does not bring it in.
    gitea.write(where, "other.yaml", _config("x").replace("flags", "other"), "main", new="innocent")
    pull = _pull(gitea, where, "innocent")
    _approve(gitea, where, pull, "bob")
    _merge(gitea, where, pull)
    plane.step()
    assert plane.memory.deployed.revision == founded
    # Taking it back needs consent as well.
    gitea.write(where, "flags.yaml", "# nothing is declared here\n", "main", new="back")
    pull = _pull(gitea, where, "back")
    _merge(gitea, where, pull)
    plane.step()
    assert plane.memory.deployed.revision == founded, "nobody approved the taking back either"


def test_an_approved_pull_request_is_deployed_and_a_late_approval_counts(
    gitea: GiteaServer, plane: ControlPlane
) -> None:
    where = plane.governing().configuration.forge.repository
    gitea.write(where, "flags.yaml", _config("good"), "main", new="good")
    pull = _pull(gitea, where, "good")
    _approve(gitea, where, pull, "eve")
    merged = _merge(gitea, where, pull)
    plane.step()
    assert plane.memory.deployed.revision == merged, plane.problem


def test_a_forge_out_of_reach_keeps_the_gate_shut_and_opens_it_when_it_is_back(
    gitea: GiteaServer, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = plane.governing().configuration.forge.repository
    founded = plane.memory.deployed.revision
    gitea.write(where, "flags.yaml", _config("good"), "main", new="good")
    pull = _pull(gitea, where, "good")
    _approve(gitea, where, pull, "eve")
    monkeypatch.setitem(plane.settings.environment, "CUSTOMHOUSE_FORGE_TOKEN", "revoked")
    merged = _merge(gitea, where, pull)
    plane.step()
    assert "the token may not read this" in plane.problem
    assert "revoked" not in plane.problem
    assert plane.memory.deployed.revision == founded
    monkeypatch.setitem(plane.settings.environment, "CUSTOMHOUSE_FORGE_TOKEN", gitea.tokens["ada"])
    eventually(lambda: plane.step() or plane.memory.deployed.revision == merged)


def test_a_branch_that_is_not_held_is_told_and_every_change_of_that_is_entered(
    gitea: GiteaServer, plane: ControlPlane
) -> None:
    where = plane.governing().configuration.forge.repository
    watch = ProtectionWatch(plane)
    eventually(lambda: watch.step() or watch.problem)
    assert watch.problem == "branch protection: main is not protected: anybody who may write can push and rewrite it"
    rule = {"rule_name": "main", "required_approvals": 1, "block_on_official_review_requests": True}
    gitea.call("POST", f"/repos/{where}/branch_protections", {**rule, "block_admin_merge_override": True})
    again = ProtectionWatch(plane)
    eventually(lambda: again.step() or plane.memory.get(PROTECTION)["weaknesses"] == [])
    assert again.problem == ""
    size = plane.store.ledger.size()
    entries = [parse_entry(leaf) for leaf in plane.store.ledger.read(0, size)]
    assert [len(entry.body["weaknesses"]) for entry in entries if entry.kind == "protection"] == [1, 0]
