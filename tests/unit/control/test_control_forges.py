"""GitHub and GitLab as their references document them, replayed by a server on loopback: neither can be had here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from customhouse.app.forge_settings import ForgeSpec
from customhouse.app.protections import weaknesses
from customhouse.control.adapters.forges.github import GitHub
from customhouse.control.adapters.forges.gitlab import GitLab
from customhouse.core.errors import SourceError
from customhouse.core.forge import Protection

HEAD, MERGE, OLD = "a" * 40, "b" * 40, "c" * 40


class Replay(BaseHTTPRequestHandler):
    """`answers` by path without query: (status, value), or (status, value, further headers)."""

    answers: dict[str, Any]
    sent: list[tuple[str, str, Any]]

    def _reply(self) -> None:
        path = self.path.partition("?")[0]
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.sent.append((self.command, self.path, body))
        key = self.path if self.path in self.answers else path
        status, value, *more = self.answers.get(key, (404, {"message": "Not Found"}))
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (more[0] if more else {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._reply
        raise AttributeError(name)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def replay() -> Iterator[tuple[str, type[Replay]]]:
    handler = type("Handler", (Replay,), {"answers": {}, "sent": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


def _protected(**changed: Any) -> dict[str, Any]:
    return {
        "required_pull_request_reviews": {"required_approving_review_count": 2, "require_code_owner_reviews": True},
        "required_signatures": {"enabled": True},
        "enforce_admins": {"enabled": True},
        "allow_force_pushes": {"enabled": False},
        **changed,
    }


def test_github_protection_and_rulesets_hold_together(replay: tuple[str, type[Replay]]) -> None:
    url, handler = replay
    parameters = {"required_approving_review_count": 3, "require_code_owner_review": False}
    handler.answers |= {
        "/repos/o/r/branches/main/protection": (200, _protected(allow_force_pushes={"enabled": True})),
        "/repos/o/r/rules/branches/main": (
            200,
            [{"type": "pull_request", "parameters": parameters}, {"type": "non_fast_forward"}],
        ),
        "/orgs/o": (200, {"login": "o", "two_factor_requirement_enabled": True}),
    }
    told = GitHub("o/r", "token", url=url).protection("main")
    assert (told.protected, told.required_reviews, told.code_owner_reviews) == (True, 3, True)
    assert (told.signed_commits, told.force_push, told.administrators_bound, told.two_factor) == (
        True,
        False,
        True,
        True,
    )


def test_github_without_protection_and_without_the_right_to_look_are_told_apart(
    replay: tuple[str, type[Replay]],
) -> None:
    url, handler = replay
    handler.answers["/repos/o/r/rules/branches/main"] = (200, [])
    bare = GitHub("o/r", "token", url=url).protection("main")
    assert (bare.protected, bare.force_push, bare.required_reviews) == (False, True, 0)
    handler.answers["/repos/o/r/branches/main/protection"] = (403, {"message": "Resource not accessible"})
    unknown = GitHub("o/r", "token", url=url).protection("main")
    assert (unknown.protected, unknown.force_push, unknown.required_reviews) == (None, None, None)
    assert any("branch protection" in text for text in unknown.unknown)


def _review(person: str, state: str, commit: str = HEAD) -> dict[str, Any]:
    return {"user": {"login": person}, "state": state, "commit_id": commit}


def test_github_counts_the_last_word_about_the_last_state(replay: tuple[str, type[Replay]]) -> None:
    url, handler = replay
    pull = {"number": 7, "user": {"login": "ada"}, "merged_at": "2026-11-22T10:00:00Z", "head": {"sha": HEAD}}
    first = [_review("bob", "APPROVED", OLD), _review("eve", "APPROVED"), _review("ada", "APPROVED")]
    second = [_review("eve", "COMMENTED"), _review("dan", "APPROVED"), _review("dan", "CHANGES_REQUESTED")]
    reviews = "/repos/o/r/pulls/7/reviews"
    handler.answers |= {
        f"/repos/o/r/commits/{MERGE}/pulls": (200, [pull]),
        reviews: (200, first, {"Link": f'<{url}{reviews}?page=2>; rel="next"'}),
        f"{reviews}?page=2": (200, second),
    }
    said = GitHub("o/r", "token", url=url).reviews(MERGE)
    assert (said.pull_request, said.author, said.merged) == (7, "ada", True)
    assert (said.approvals, said.objections) == (("eve",), ("dan",))


def test_a_next_page_elsewhere_is_not_asked(replay: tuple[str, type[Replay]]) -> None:
    url, handler = replay
    handler.answers[f"/repos/o/r/commits/{MERGE}/pulls"] = (
        200,
        [],
        {"Link": '<http://127.0.0.2:1/steal>; rel="next"'},
    )
    assert GitHub("o/r", "token", url=url).reviews(MERGE).pull_request is None


def test_github_comment_replaces_only_ones_own(replay: tuple[str, type[Replay]]) -> None:
    url, handler = replay
    comments = [
        {"id": 1, "body": "<!-- m --> a trap", "user": {"login": "eve"}},
        {"id": 2, "body": "<!-- m --> old", "user": {"login": "bot"}},
        {"id": 3, "body": "<!-- m --> of a run at the same time", "user": {"login": "bot"}},
        {"id": 4, "body": "as bot said: <!-- m --> old", "user": {"login": "bot"}},
    ]
    handler.answers |= {
        "/user": (200, {"login": "bot"}),
        "/repos/o/r/issues/7/comments": (200, comments),
        "/repos/o/r/issues/comments/2": (200, {}),
        "/repos/o/r/issues/comments/3": (200, {}),
    }
    forge = GitHub("o/r", "token", url=url)
    forge.comment(7, "<!-- m -->", "<!-- m --> new")
    written = [(verb, path, body) for verb, path, body in handler.sent if verb != "GET"]
    assert written == [
        ("PATCH", "/repos/o/r/issues/comments/2", {"body": "<!-- m --> new"}),
        ("DELETE", "/repos/o/r/issues/comments/3", None),
    ]
    comments[1]["body"] = "<!-- m --> new"
    del comments[2], handler.sent[:]
    forge.comment(7, "<!-- m -->", "<!-- m --> new")
    assert {verb for verb, _, _ in handler.sent} == {"GET"}, "what is there already is not written again"


def test_the_token_of_a_workflow_knows_itself_through_graphql(replay: tuple[str, type[Replay]]) -> None:
    url, handler = replay
    comments = [
        {"id": 1, "body": "<!-- m --> a trap", "user": {"login": "None"}},
        {"id": 2, "body": "<!-- m --> old", "user": {"login": "github-actions[bot]"}},
    ]
    handler.answers |= {
        "/api/v3/user": (403, {"message": "Resource not accessible by integration"}),
        "/api/graphql": (200, {"data": {"viewer": {"login": "github-actions[bot]"}}}),
        "/api/v3/repos/o/r/issues/7/comments": (200, comments),
        "/api/v3/repos/o/r/issues/comments/2": (200, {}),
    }
    forge = GitHub("o/r", "token", url=f"{url}/api/v3")
    forge.comment(7, "<!-- m -->", "<!-- m --> new")
    assert handler.sent[-1] == ("PATCH", "/api/v3/repos/o/r/issues/comments/2", {"body": "<!-- m --> new"})
    handler.answers["/api/graphql"] = (200, {"errors": [{"message": "no"}], "data": None})
    with pytest.raises(SourceError, match="whose token"):
        forge.comment(7, "<!-- m -->", "<!-- m --> new")


def test_gitlab_note_is_updated_and_a_foreign_one_is_not(replay: tuple[str, type[Replay]]) -> None:
    url, handler = replay
    notes = "/projects/group%2Fname/merge_requests/7/notes"
    handler.answers |= {
        "/user": (200, {"username": "bot"}),
        notes: (200, [{"id": 5, "body": "<!-- m --> a trap", "author": {"username": "eve"}}]),
        f"{notes}/6": (200, {}),
    }
    forge = GitLab("group/name", "token", url=url)
    forge.comment(7, "<!-- m -->", "<!-- m --> new")
    assert handler.sent[-1] == ("POST", notes, {"body": "<!-- m --> new"})
    handler.answers[notes][1].append({"id": 6, "body": "<!-- m --> old", "author": {"username": "bot"}})
    forge.comment(7, "<!-- m -->", "<!-- m --> new")
    assert handler.sent[-1] == ("PUT", f"{notes}/6", {"body": "<!-- m --> new"})


def test_gitlab_protection(replay: tuple[str, type[Replay]]) -> None:
    url, handler = replay
    project = "/projects/group%2Fsub%2Fname"
    handler.answers |= {
        f"{project}/protected_branches/main": (200, {"name": "main", "allow_force_push": True}),
        f"{project}/approval_rules": (
            200,
            [
                {"approvals_required": 2, "protected_branches": [{"name": "main"}]},
                {"approvals_required": 5, "protected_branches": [{"name": "other"}]},
            ],
        ),
        f"{project}/push_rule": (200, {"reject_unsigned_commits": False}),
        "/groups/group%2Fsub": (403, {"message": "403 Forbidden"}),
    }
    told = GitLab("group/sub/name", "token", url=url).protection("main")
    assert (told.protected, told.force_push, told.required_reviews) == (True, True, 2)
    assert (told.signed_commits, told.two_factor) == (False, None)


@pytest.mark.parametrize(("reset", "approvals"), [(True, ("bob",)), (False, ()), (None, ())])
def test_gitlab_approvals_count_only_where_a_push_takes_them_back(
    replay: tuple[str, type[Replay]], reset: bool | None, approvals: tuple[str, ...]
) -> None:
    url, handler = replay
    request = {"iid": 4, "author": {"username": "ada"}, "state": "merged"}
    people = [{"user": {"username": "bob"}}, {"user": {"username": "ada"}}]
    handler.answers |= {
        f"/projects/g%2Fn/repository/commits/{MERGE}/merge_requests": (200, [request]),
        "/projects/g%2Fn/approvals": (200, {"reset_approvals_on_push": reset}),
        "/projects/g%2Fn/merge_requests/4/approvals": (200, {"approved_by": people}),
    }
    said = GitLab("g/n", "token", url=url).reviews(MERGE)
    assert (said.pull_request, said.merged, said.approvals) == (4, True, approvals)


@pytest.mark.parametrize("repository", ["name", "a/b/c", "a/..", "a/b?x", ""])
def test_what_is_no_repository_is_refused(repository: str) -> None:
    with pytest.raises(SourceError, match="no repository"):
        GitHub(repository, "token")


def test_weaknesses_say_what_the_branch_lets_through() -> None:
    spec = ForgeSpec("github", "o/r", required_reviews=2)
    held = Protection("main", True, 2, True, True, False, True, True)
    assert weaknesses(held, spec, signed=True) == ()
    weak = Protection("main", True, 1, False, False, True, False, False)
    assert len(weaknesses(weak, spec, signed=True)) == 6
    assert weaknesses(Protection("main"), spec, signed=True) == (), "what was not told is unknown, not weak"
    assert weaknesses(Protection("main", protected=False), spec, signed=False)[0].startswith("main is not protected")


def test_github_opens_a_pull_request_once_a_branch(replay: tuple[str, type[Replay]]) -> None:
    url, handler = replay
    other = {"number": 3, "html_url": "h/3", "head": {"ref": "other"}, "base": {"ref": "main"}}
    own = {"number": 4, "html_url": "h/4", "head": {"ref": "work"}, "base": {"ref": "main"}}
    handler.answers = {
        "/repos/a/b/pulls?per_page=100&limit=100&state=open&head=a%3Awork&base=main": (200, [other]),
        "/repos/a/b/pulls": (201, own),
    }
    forge = GitHub("a/b", "token", url=url)
    made = forge.propose("work", "main", "title", "text")
    assert (made.number, made.url, made.opened) == (4, "h/4", True)
    assert handler.sent[-1] == (
        *("POST", "/repos/a/b/pulls"),
        {"title": "title", "head": "work", "base": "main", "body": "text"},
    )
    handler.answers["/repos/a/b/pulls?per_page=100&limit=100&state=open&head=a%3Awork&base=main"] = (200, [other, own])
    again = forge.propose("work", "main", "title", "text")
    assert (again.number, again.opened, handler.sent[-1][0]) == (4, False, "GET")


def test_gitlab_passes_over_the_merge_request_of_a_fork(replay: tuple[str, type[Replay]]) -> None:
    url, handler = replay
    place = "/projects/a%2Fb/merge_requests"
    fork = {"iid": 7, "source_branch": "work", "target_branch": "main", "source_project_id": 2, "target_project_id": 1}
    listed = f"{place}?per_page=100&limit=100&state=opened&source_branch=work&target_branch=main"
    handler.answers = {listed: (200, [fork]), place: (201, {"iid": 8, "web_url": "h/8"})}
    made = GitLab("a/b", "token", url=url).propose("work", "main", "title", "text")
    assert (made.number, made.url, made.opened) == (8, "h/8", True)
    assert handler.sent[-1][2] == {
        "title": "title",
        "source_branch": "work",
        "target_branch": "main",
        "description": "text",
    }
    handler.answers = {listed: (200, [{**fork, "iid": 9, "source_project_id": 1}])}
    assert GitLab("a/b", "token", url=url).propose("work", "main", "title", "text").number == 9
    handler.answers = {}
    with pytest.raises(SourceError, match="the token needs the right to write pull requests"):
        GitLab("a/b", "token", url=url).propose("work", "main", "title", "text")


def test_a_pull_request_of_ours_is_retold_and_withdrawn(replay: tuple[str, type[Replay]]) -> None:
    url, handler = replay
    own = {"number": 4, "title": "old", "body": "text", "head": {"ref": "work"}, "base": {"ref": "main"}}
    listed = "/repos/a/b/pulls?per_page=100&limit=100&state=open&head=a%3Awork&base=main"
    handler.answers = {
        listed: (200, [own]),
        "/repos/a/b/pulls/4": (200, own),
        "/repos/a/b/issues/4/comments": (201, {}),
    }
    forge = GitHub("a/b", "token", url=url)
    assert forge.propose("work", "main", "title", "text").number == 4
    assert handler.sent[-1][0] == "GET", "unless it is asked for, what a person wrote there stays"
    forge.propose("work", "main", "title", "text", retell=True)
    assert handler.sent[-1] == ("PATCH", "/repos/a/b/pulls/4", {"title": "title", "body": "text"})
    assert forge.withdraw("work", "main", "no pod waits any more")
    assert [item[:2] for item in handler.sent[-2:]] == [
        ("POST", "/repos/a/b/issues/4/comments"),
        ("PATCH", "/repos/a/b/pulls/4"),
    ]
    assert handler.sent[-1][2] == {"state": "closed"}
    handler.answers[listed] = (200, [])
    assert not forge.withdraw("work", "main", "again")
    place = "/projects/a%2Fb/merge_requests"
    merge = {"iid": 7, "source_branch": "work", "target_branch": "main", "source_project_id": 1, "target_project_id": 1}
    handler.answers = {place: (200, [merge]), f"{place}/7": (200, merge), f"{place}/7/notes": (201, {})}
    assert GitLab("a/b", "token", url=url).withdraw("work", "main", "why")
    assert handler.sent[-1] == ("PUT", f"{place}/7", {"state_event": "close"})
