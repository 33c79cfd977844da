"""What the three forges have in common: JSON over https with a token, pages, and errors that do not show the token."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from customhouse._kit.http import HttpError, request
from customhouse.core.errors import SourceError

MAX_PAGES = 20
PAGE = 100
TIMEOUT_S = 10.0
"""Of one request with its repetitions: whoever deploys waits for the answer."""
MAX_COMMENT = 60_000
"""GitHub's limit is 65,536 characters."""
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

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        """A POST, PUT or PATCH. Raises SourceError."""
        if self._ask(method, self._url(path, {}), json.dumps(body).encode()) is None:
            raise SourceError("not there, or not for this token", where=f"{self._name} {path}")

    def comment(self, marker: str, text: str, listed: Iterator[Item], mine: Callable[[Item], bool], paths: Any) -> None:
        """One comment of our own: `paths` are (verb, path of one by id) for an update and the path to make one."""
        body = {"body": text[:MAX_COMMENT]}
        for item in listed:
            # A marker is text that anybody can write: only a comment of the token's own account is replaced.
            if marker in str(item.get("body", "")) and mine(item):
                verb, place = paths[0]
                self.send(verb, f"{place}/{int(item['id'])}", body)
                return
        self.send("POST", paths[1], body)

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
                raise _RefusedError(
                    f"the token may not read this ({answer.status})",
                    where=f"{self._name} {answer.url}",
                    hint="give a token with read access to the repository's administration",
                )
            if answer.status >= 300:
                raise SourceError(f"the forge answers {answer.status}", where=f"{self._name} {answer.url}")
            return (answer.json() if answer.body else None), answer.headers.get("link", "")
        except HttpError as error:
            raise SourceError(f"the forge cannot be asked: {error}", where=self._name) from error


class _RefusedError(SourceError):
    """401 or 403."""


def repository_path(repository: str, *, parts: int | None = 2) -> str:
    """`owner/name`, each part quoted; `parts` None: two or more. Raises SourceError."""
    names = repository.strip("/").split("/")
    good = all(re.fullmatch(r"[\w.-]+", name) and name.strip(".") for name in names)
    if not good or len(names) < 2 or len(names) != (parts or len(names)):
        raise SourceError(f"{repository[:200]!r} is no repository of a forge", hint="write owner/name")
    return "/".join(quote(name, safe="") for name in names)


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
