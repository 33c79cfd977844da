"""Gitea and Forgejo (docs.gitea.com/api, v1): branch protection, reviews, one comment."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from customhouse.control.adapters.forges.rest import (
    Item,
    Rest,
    count,
    flag,
    joins,
    latest_words,
    own,
    repository_path,
    user,
)
from customhouse.core.errors import SourceError
from customhouse.core.forge import Protection, PullRequest, Reviews


class Gitea:
    """One repository. `url` is the REST root, `https://HOST/api/v1`."""

    name = "gitea"

    def __init__(self, repository: str, token: str, *, url: str, authority: str | None = None) -> None:
        if not url:
            raise SourceError("gitea has no address of its own", hint="set forge.url to https://HOST/api/v1")
        token = token.strip()  # secrets are often kept with a line end
        self._rest = Rest("gitea", url, {"Authorization": f"token {token}"} if token else {}, authority=authority)
        self._name = repository.strip("/")
        self._repository = f"/repos/{repository_path(repository)}"

    def protection(self, branch: str) -> Protection:
        """The rule that is in force for the branch."""
        unknown = ["second factor and single sign-on: not told by the REST interface"]
        found = self._rest.find(f"{self._repository}/branches/{quote(branch, safe='')}")
        if found is None:
            raise SourceError(f"there is no branch {branch}", where="gitea")
        if flag(found, "protected") is not True:
            return Protection(branch, False, 0, False, False, True, unknown=tuple(unknown))
        name = quote(str(found.get("effective_branch_protection_name") or branch), safe="")
        rule = self._rest.readable(f"{self._repository}/branch_protections/{name}", unknown, "branch protection")
        if rule is None:
            return Protection(branch, True, count(found, "required_approvals"), unknown=tuple(unknown))
        return Protection(
            branch,
            protected=True,
            required_reviews=count(rule, "required_approvals"),
            # Gitea asks owners for a review, and can only hold a merge until every review that was asked for is there.
            code_owner_reviews=flag(rule, "block_on_official_review_requests"),
            signed_commits=flag(rule, "require_signed_commits"),
            force_push=flag(rule, "enable_force_push") is True,
            administrators_bound=flag(rule, "block_admin_merge_override"),
            unknown=tuple(unknown),
        )

    def reviews(self, commit: str) -> Reviews:
        """Of the pull request that the commit merged, or whose head it is."""
        pull = self._rest.find(f"{self._repository}/commits/{quote(commit, safe='')}/pull")
        if pull is None:
            listed = self._rest.all(f"{self._repository}/pulls", state="open")
            pull = next((one for one in listed if (one.get("head") or {}).get("sha") == commit), None)
        if pull is None:
            return Reviews()
        number, author = int(pull["number"]), user(pull)
        head = str((pull.get("head") or {}).get("sha", ""))
        approvals, objections = latest_words(self._rest.all(f"{self._repository}/pulls/{number}/reviews"), head, author)
        return Reviews(number, author, flag(pull, "merged") is True, approvals, objections)

    def members(self, team: str) -> frozenset[str]:
        """Of `organisation/team`."""
        organisation, _, name = team.partition("/")
        for item in self._rest.listed(f"/orgs/{quote(organisation, safe='')}/teams"):
            if str(item.get("name", "")).lower() == name.lower():
                found = self._rest.listed(f"/teams/{int(item['id'])}/members")
                return frozenset(user({"user": member}) for member in found) - {""}
        return frozenset()

    def comment(self, pull_request: int, marker: str, text: str) -> None:
        """One comment of the token's account on a pull request, replaced the next time."""
        base = f"{self._repository}/issues"
        me = user({"user": self._rest.find("/user")})
        self._rest.comment(me, marker, text, f"{base}/{pull_request}/comments", f"{base}/comments", "PATCH")

    def propose(self, branch: str, base: str, title: str, text: str, *, retell: bool = False) -> PullRequest:
        """The open pull request of a branch of this repository, opened if there is none."""
        place = f"{self._repository}/pulls"
        body = {"title": title, "head": branch, "base": base, "body": text}
        return self._rest.propose(self._open(branch, base), place, body, "PATCH" if retell else "")

    def withdraw(self, branch: str, base: str, why: str) -> bool:
        """Close the open pull request of a branch, with a comment."""
        place, comments = f"{self._repository}/pulls", f"{self._repository}/issues/{{}}/comments"
        return self._rest.withdraw(self._open(branch, base), place, {"state": "closed"}, comments, why)

    def _open(self, branch: str, base: str) -> Iterator[Item]:
        listed = self._rest.all(f"{self._repository}/pulls", state="open")
        return (item for item in listed if joins(item, branch, base) and own(item, self._name))
