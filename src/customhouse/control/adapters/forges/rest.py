"""What the three forges have in common: JSON over https with a token, pages, and errors that do not show the token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from customhouse._kit.http import HttpError, request
from customhouse.core.comment import Comment, CommentAction, plan_comment
from customhouse.core.errors import SourceError
from customhouse.core.forge import PullRequest

MAX_PAGES = 20
PAGE = 100
TIMEOUT_S = 10.0
"""Of one request with its repetitions: whoever deploys waits for the answer."""
MAX_COMMENT = 60_000
"""GitHub's limit is 65,536 characters."""
_MAY_COMMENT = "look at the number of the pull request, and at the token: it needs the right to write comments"
_NEXT = re.compile(r'<([^>]+)>\s*;[^,]*rel="?next"?')

Item = Mapping[str, Any]


class Rest:
    """`root` is the address of the REST interface; `headers` carry the token and are never shown."""

    def __init__(self, name: str, root: str, headers: Mapping[str, str], *, authority: str | None = None) -> None:
        self._name = name
        self._root = root.rstrip("/")
        self._headers = dict(headers)
        self._authority = authority

    def find(self, path: str, **query: str) -> Any:
        """The JSON of a GET; None for a 404 (not there, or not for this token). Raises SourceError."""
        answer = self._ask("GET", self._url(path, query))
        return None if answer is None else answer[0]

    def readable(self, path: str, unknown: list[str], what: str) -> Any:
        """As `find`, but what this token may not read (401, 403) is named in `unknown` and is None."""
        try:
            return self.find(path)
        except SourceError as error:
            if not isinstance(error, _RefusedError):
                raise
            unknown.append(f"{what}: {error.message}")
            return None

    def all(self, path: str, **query: str) -> Iterator[Item]:
        """Every item of a list, over all of its pages. Raises SourceError, also for more than 2,000."""
        url: str | None = self._url(path, {"per_page": str(PAGE), "limit": str(PAGE), **query})
        for _ in range(MAX_PAGES):
            answer = self._ask("GET", url) if url else None
            if answer is None:
                return
            items, link = answer
            if not isinstance(items, list):
                raise SourceError("a list was expected", where=f"{self._name} {path}")
            yield from (item for item in items if isinstance(item, dict))
            following = _NEXT.search(link)
            # The next page is of this forge, or it is none: the token goes nowhere else.
            url = following[1] if following and following[1].startswith(self._root + "/") else None
            if url is None:
                return
        raise SourceError(f"more than {MAX_PAGES * PAGE} items", where=f"{self._name} {path}")

    def listed(self, path: str) -> tuple[Item, ...]:
        """As `all`; nothing where this token may not read."""
        try:
            return tuple(self.all(path))
        except _RefusedError:
            return ()

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """A POST, PUT or PATCH, and what it answers. Raises SourceError."""
        answer = self._ask(method, self._url(path, {}), json.dumps(body).encode())
        if answer is None:
            raise SourceError("not there, or not for this token", where=f"{self._name} {path}", hint=_MAY_COMMENT)
        return answer[0]

    def comment(self, me: str, marker: str, text: str, listed: str, one: str, update: str) -> None:
        """Make `text` the one comment of `me`. `listed` is the path of all, `one` that before an id, `update` a verb.

        Raises SourceError, also when the forge does not say who we are: a comment that is never found again would be
        followed by the next one.
        """
        if not me:
            raise SourceError("the forge does not say whose token this is", where=self._name, hint=_MAY_COMMENT)
        body = text[:MAX_COMMENT]
        there = [Comment(str(item.get("id")), _author(item), str(item.get("body", ""))) for item in self.all(listed)]
        if not all(item.id.isdecimal() for item in there):
            raise SourceError("a comment without a number", where=f"{self._name} {listed}")
        plan = plan_comment(there, me, body, marker)
        if plan.action is CommentAction.CREATE:
            self.send("POST", listed, {"body": body})
        elif plan.action is CommentAction.UPDATE:
            self.send(update, f"{one}/{plan.comment}", {"body": body})
        for surplus in plan.surplus:
            self._ask("DELETE", self._url(f"{one}/{surplus}", {}))

    def propose(self, there: Iterator[Item], place: str, body: Mapping[str, Any], amend: str = "") -> PullRequest:
        """The first of those that are there, else a new one at a path. Raises SourceError.

        With the verb `amend` one that is there gets the title and the text, where it has others.
        """
        found = next(there, None)
        if found is not None and amend:
            words = {name: body[name] for name in ("title", "body", "description") if name in body}
            if any(str(found.get(name) or "").strip() != text.strip() for name, text in words.items()):
                self.send(amend, f"{place}/{_number(found)}", words)
        answer = self._ask("POST", self._url(place, {}), json.dumps(body).encode()) if found is None else (found, "")
        if answer is None:
            raise SourceError(
                "not there, or not for this token",
                where=f"{self._name} {place}",
                hint="is the branch at the forge yet? the token needs the right to write pull requests",
            )
        made = answer[0]
        number = made.get("number", made.get("iid")) if isinstance(made, Mapping) else None
        if not isinstance(number, int):
            raise SourceError("a pull request without a number", where=f"{self._name} {place}")
        return PullRequest(number, str(made.get("html_url") or made.get("web_url") or ""), found is None)

    def withdraw(
        self,
        there: Iterator[Item],
        place: str,
        closing: Mapping[str, str],
        comments: str,
        why: str,
        amend: str = "PATCH",
    ) -> bool:
        """Close the first of those that are there, after a comment; whether there was one. Raises SourceError.

        `comments` is the path of a pull request's comments, with `{}` for its number.
        """
        found = next(there, None)
        if found is None:
            return False
        number = _number(found)
        self.send("POST", comments.format(number), {"body": why[:MAX_COMMENT]})
        self.send(amend, f"{place}/{number}", closing)
        return True

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        return f"{self._root}{path}{'?' + urlencode(query) if query else ''}"

    def _ask(self, method: str, url: str, body: bytes | None = None) -> tuple[Any, str] | None:
        headers = {"Accept": "application/json", **self._headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = request(method, url, headers=headers, body=body, timeout_s=TIMEOUT_S, authority=self._authority)
            if answer.status == 404:
                return None
            if answer.status in (401, 403):
                reading = method == "GET"
                raise _RefusedError(
                    f"the token may not {'read' if reading else 'write'} this ({answer.status})",
                    where=f"{self._name} {answer.url}",
                    hint="give a token with read access to the repository's administration"
                    if reading
                    else _MAY_COMMENT,
                )
            if answer.status >= 300:
                raise SourceError(f"the forge answers {answer.status}", where=f"{self._name} {answer.url}")
            return (answer.json() if answer.body else None), answer.headers.get("link", "")
        except HttpError as error:
            raise SourceError(f"the forge cannot be asked: {error}", where=self._name) from error


def _number(item: Item) -> int:
    found = item.get("number", item.get("iid"))
    if not isinstance(found, int):
        raise SourceError("a pull request without a number")
    return found


class _RefusedError(SourceError):
    """401 or 403."""


def repository_path(repository: str, *, parts: int | None = 2) -> str:
    """`owner/name`, each part quoted; `parts` None: two or more. Raises SourceError."""
    names = repository.strip("/").split("/")
    good = all(re.fullmatch(r"[\w.-]+", name) and name.strip(".") for name in names)
    if not good or len(names) < 2 or len(names) != (parts or len(names)):
        raise SourceError(f"{repository[:200]!r} is no repository of a forge", hint="write owner/name")
    return "/".join(quote(name, safe="") for name in names)


def joins(item: Item, branch: str, base: str) -> bool:
    """Whether a pull request asks to merge one branch into another."""
    ends = [item.get(name) for name in ("head", "base")]
    return [end.get("ref") if isinstance(end, Mapping) else None for end in ends] == [branch, base]


def own(item: Item, repository: str) -> bool:
    """Whether the branch of a pull request is of this repository: a fork may have one of the same name."""
    head = item.get("head")
    place = head.get("repo") if isinstance(head, Mapping) else None
    return isinstance(place, Mapping) and str(place.get("full_name", "")).lower() == repository.lower()


def flag(values: Any, key: str) -> bool | None:
    """A boolean that the forge told, else None."""
    value = values.get(key) if isinstance(values, Mapping) else None
    return value if isinstance(value, bool) else None


def count(values: Any, key: str) -> int | None:
    """A number that the forge told, else None."""
    value = values.get(key) if isinstance(values, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def user(item: Any, key: str = "user") -> str:
    """The name of a person in an answer; empty when there is none (a deleted account)."""
    person = item.get(key) if isinstance(item, Mapping) else None
    if not isinstance(person, Mapping):
        return ""
    return str(person.get("login") or person.get("username") or "")


def _author(comment: Item) -> str:
    return user(comment) or user(comment, "author")  # GitLab says author


def latest_words(reviews: Iterator[Item], head: str, author: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who approves and who objects, of reviews in order of time as GitHub and Gitea list them.

    Only a person's last word counts; an approval counts for the commit that it was given to; a dismissed one never.
    A comment leaves the word before it as it was.
    """
    words: dict[str, tuple[str, str]] = {}
    for review in reviews:
        person, state = user(review), str(review.get("state", "")).upper()
        if state in ("APPROVED", "CHANGES_REQUESTED", "REQUEST_CHANGES", "DISMISSED") and person:
            gone = review.get("dismissed") is True or review.get("stale") is True
            words[person] = ("DISMISSED" if gone else state, str(review.get("commit_id", "")))
    approvals = tuple(
        sorted(name for name, (state, of) in words.items() if state == "APPROVED" and of == head and name != author)
    )
    objections = sorted(name for name, (state, _) in words.items() if state in ("CHANGES_REQUESTED", "REQUEST_CHANGES"))
    return approvals, tuple(objections)
