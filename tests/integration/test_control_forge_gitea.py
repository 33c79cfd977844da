"""Reviews and protections read from a real Gitea, and judged."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import parts_folder
from customhouse.app.forge_settings import ForgeSpec
from customhouse.app.reviewing import review_of
from customhouse.control.adapters.forges.gitea import Gitea
from customhouse.control.adapters.git import GitRepository
from customhouse.core.errors import SourceError
from customhouse.core.forge import Protection
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
