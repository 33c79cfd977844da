"""GitHub (docs.github.com/rest, version 2022-11-28): branch protection, rulesets, reviews, one comment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from customhouse.control.adapters.forges.rest import Item, Rest, count, flag, joins, latest_words, repository_path, user
from customhouse.core.forge import Protection, PullRequest, Reviews

PUBLIC = "https://api.github.com"


class GitHub:
    """One repository. `url` is the REST root: of GitHub Enterprise Server `https://HOST/api/v3`."""

    name = "github"

    def __init__(self, repository: str, token: str, *, url: str = "", authority: str | None = None) -> None:
        token = token.strip()  # secrets are often kept with a line end
        headers = {"Authorization": f"Bearer {token}", "X-GitHub-Api-Version": "2022-11-28"} if token else {}
        root = (url or PUBLIC).rstrip("/")
        self._rest = Rest("github", root, headers, authority=authority)
        # Beside REST on github.com (/graphql), and beside its version on Enterprise Server (/api/v3, /api/graphql).
        self._graph = Rest("github", root.removesuffix("/v3"), headers, authority=authority)
        self._repository = repository_path(repository)

    def protection(self, branch: str) -> Protection:
        """Classic branch protection and rulesets together: the stricter of the two holds."""
        unknown: list[str] = []
        base = f"/repos/{self._repository}"
        name = quote(branch, safe="")
        classic = self._rest.readable(f"{base}/branches/{name}/protection", unknown, "branch protection")
        rules = self._rest.readable(f"{base}/rules/branches/{name}", unknown, "rulesets")
        listed = [rule for rule in rules or () if isinstance(rule, Mapping)]
        kinds = {str(rule.get("type")) for rule in listed}
        pulls: list[Any] = [rule.get("parameters") for rule in listed if rule.get("type") == "pull_request"]
        reviews = (classic or {}).get("required_pull_request_reviews")
        counts = [count(reviews, "required_approving_review_count"), *(_required(one) for one in pulls)]
        owners = [
            flag(reviews, "require_code_owner_reviews"),
            *(flag(one, "require_code_owner_review") for one in pulls),
        ]
        readable = not unknown
        return Protection(
            branch,
            protected=True if classic or listed else (False if readable else None),
            required_reviews=max((n for n in counts if n is not None), default=0 if readable else None),
            code_owner_reviews=_any(*owners, readable=readable),
            signed_commits=_any(
                flag((classic or {}).get("required_signatures"), "enabled"),
                "required_signatures" in kinds or None,
                readable=readable,
            ),
            force_push=_force_push(classic, kinds, readable),
            administrators_bound=flag((classic or {}).get("enforce_admins"), "enabled"),
            two_factor=self._two_factor(unknown),
            unknown=(*unknown, "single sign-on: not told by the REST interface"),
        )

    def reviews(self, commit: str) -> Reviews:
        """Of the pull request whose merge or head the commit is; merged ones first."""
        base = f"/repos/{self._repository}"
        found = list(self._rest.all(f"{base}/commits/{quote(commit, safe='')}/pulls"))
        if not found:
            return Reviews()
        pull = next((one for one in found if one.get("merged_at")), found[0])
        number, author = int(pull["number"]), user(pull)
        head = str((pull.get("head") or {}).get("sha", ""))
        approvals, objections = latest_words(self._rest.all(f"{base}/pulls/{number}/reviews"), head, author)
        return Reviews(number, author, bool(pull.get("merged_at")), approvals, objections)

    def members(self, team: str) -> frozenset[str]:
        """Of `organisation/team`, teams below it included."""
        organisation, _, name = team.partition("/")
        place = f"/orgs/{quote(organisation, safe='')}/teams/{quote(name, safe='')}/members"
        return frozenset(user({"user": item}) for item in self._rest.listed(place)) - {""}

    def comment(self, pull_request: int, marker: str, text: str) -> None:
        """One comment of the token's account on a pull request, replaced the next time."""
        base = f"/repos/{self._repository}/issues"
        me = self._me()
        self._rest.comment(me, marker, text, f"{base}/{pull_request}/comments", f"{base}/comments", "PATCH")

    def propose(self, branch: str, base: str, title: str, text: str, *, retell: bool = False) -> PullRequest:
        """The open pull request of a branch of this repository, opened if there is none."""
        place = f"/repos/{self._repository}/pulls"
        body = {"title": title, "head": branch, "base": base, "body": text}
        return self._rest.propose(self._open(branch, base), place, body, "PATCH" if retell else "")

    def withdraw(self, branch: str, base: str, why: str) -> bool:
        """Close the open pull request of a branch, with a comment."""
        place, comments = f"/repos/{self._repository}/pulls", f"/repos/{self._repository}/issues/{{}}/comments"
        return self._rest.withdraw(self._open(branch, base), place, {"state": "closed"}, comments, why)

    def _open(self, branch: str, base: str) -> Iterator[Item]:
        place = f"/repos/{self._repository}/pulls"
        owner = self._repository.partition("/")[0]
        listed = self._rest.all(place, state="open", head=f"{owner}:{branch}", base=base)
        return (item for item in listed if joins(item, branch, base))

    def _me(self) -> str:
        """Whose token it is. That of an app, so also of a workflow, may not ask REST for it (403), but GraphQL."""
        told = self._rest.readable("/user", [], "user")
        if told:
            return user({"user": told})
        answer = self._graph.send("POST", "/graphql", {"query": "{viewer{login}}"})
        data = answer.get("data") if isinstance(answer, Mapping) else None
        return user(data, "viewer")

    def _two_factor(self, unknown: list[str]) -> bool | None:
        owner = self._repository.split("/", maxsplit=1)[0]
        told = flag(self._rest.readable(f"/orgs/{owner}", unknown, "organisation"), "two_factor_requirement_enabled")
        if told is None:
            unknown.append("second factor: told to owners of an organisation only")
        return told


def _required(parameters: Any) -> int | None:
    return count(parameters, "required_approving_review_count")


def _any(*told: bool | None, readable: bool) -> bool | None:
    if True in told:
        return True
    return False if readable else None


def _force_push(classic: Any, kinds: set[str], readable: bool) -> bool | None:
    if "non_fast_forward" in kinds:
        return False
    allowed = flag((classic or {}).get("allow_force_pushes"), "enabled")
    if allowed is None:
        return True if readable else None  # nothing protects the branch
    return allowed
