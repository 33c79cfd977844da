"""GitLab (docs.gitlab.com/api, v4): protected branches, push rules, approvals, one note."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from customhouse.control.adapters.forges.rest import Item, Rest, count, flag, repository_path, user
from customhouse.core.forge import Protection, PullRequest, Reviews

PUBLIC = "https://gitlab.com/api/v4"


class GitLab:
    """One project. `url` is the REST root, `https://HOST/api/v4`."""

    name = "gitlab"

    def __init__(self, repository: str, token: str, *, url: str = "", authority: str | None = None) -> None:
        token = token.strip()  # secrets are often kept with a line end
        self._rest = Rest("gitlab", url or PUBLIC, {"PRIVATE-TOKEN": token} if token else {}, authority=authority)
        path = repository_path(repository, parts=None)
        self._project = f"/projects/{quote(repository.strip('/'), safe='')}"
        self._group = f"/groups/{quote(path.rpartition('/')[0], safe='')}"

    def protection(self, branch: str) -> Protection:
        """Protected branch, push rules (Premium) and approval rules together."""
        unknown: list[str] = []
        read = self._rest.readable
        found = read(f"{self._project}/protected_branches/{quote(branch, safe='')}", unknown, "protected branches")
        readable = not unknown
        rules = read(f"{self._project}/approval_rules", unknown, "approval rules")
        counts = [count(rule, "approvals_required") for rule in rules or () if _covers(rule, branch)]
        pushes = read(f"{self._project}/push_rule", unknown, "push rules")
        group = read(self._group, unknown, "group")
        return Protection(
            branch,
            protected=found is not None if readable else None,
            required_reviews=None if rules is None else max((n for n in counts if n is not None), default=0),
            code_owner_reviews=flag(found, "code_owner_approval_required"),
            signed_commits=flag(pushes, "reject_unsigned_commits"),
            force_push=flag(found, "allow_force_push") if found is not None else (True if readable else None),
            two_factor=flag(group, "require_two_factor_authentication"),
            unknown=(*unknown, "single sign-on: not told by the REST interface"),
        )

    def reviews(self, commit: str) -> Reviews:
        """Of the merge request that brought the commit.

        GitLab does not tell which commit an approval was given to; it takes approvals back on a push when the project
        says so (`reset_approvals_on_push`): where it does not, none is counted.
        """
        found = list(self._rest.all(f"{self._project}/repository/commits/{quote(commit, safe='')}/merge_requests"))
        if not found:
            return Reviews()
        request = next((one for one in found if one.get("state") == "merged"), found[0])
        number, author = int(request["iid"]), user(request, "author")
        settings = self._rest.find(f"{self._project}/approvals")
        told = self._rest.find(f"{self._project}/merge_requests/{number}/approvals") or {}
        names = {user(item) for item in told.get("approved_by") or ()} - {"", author}
        fresh = flag(settings, "reset_approvals_on_push") is True
        return Reviews(number, author, request.get("state") == "merged", tuple(sorted(names)) if fresh else ())

    def members(self, team: str) -> frozenset[str]:
        """Of a group, those of the groups above it included."""
        return frozenset(
            user({"user": item}) for item in self._rest.listed(f"/groups/{quote(team, safe='')}/members/all")
        ) - {""}

    def comment(self, pull_request: int, marker: str, text: str) -> None:
        """One note of the token's account on a merge request, replaced the next time."""
        notes = f"{self._project}/merge_requests/{pull_request}/notes"
        me = user({"user": self._rest.find("/user")})
        self._rest.comment(me, marker, text, notes, notes, "PUT")

    def propose(self, branch: str, base: str, title: str, text: str, *, retell: bool = False) -> PullRequest:
        """The open merge request of a branch of this project, opened if there is none."""
        place = f"{self._project}/merge_requests"
        body = {"title": title, "source_branch": branch, "target_branch": base, "description": text}
        return self._rest.propose(self._open(branch, base), place, body, "PUT" if retell else "")

    def withdraw(self, branch: str, base: str, why: str) -> bool:
        """Close the open merge request of a branch, with a note."""
        place, notes = f"{self._project}/merge_requests", f"{self._project}/merge_requests/{{}}/notes"
        return self._rest.withdraw(self._open(branch, base), place, {"state_event": "close"}, notes, why, "PUT")

    def _open(self, branch: str, base: str) -> Iterator[Item]:
        place = f"{self._project}/merge_requests"
        listed = self._rest.all(place, state="opened", source_branch=branch, target_branch=base)
        return (
            item
            for item in listed
            if (item.get("source_branch"), item.get("target_branch")) == (branch, base)
            and item.get("source_project_id") == item.get("target_project_id")
        )


def _covers(rule: object, branch: str) -> bool:
    """Whether an approval rule holds for a branch; one without branches holds for all."""
    branches = rule.get("protected_branches") if isinstance(rule, dict) else None
    return not branches or any(isinstance(item, dict) and item.get("name") == branch for item in branches)
