"""What a forge (GitHub, GitLab, Gitea) knows and Git alone does not: who reviewed, and what the branch is held to.

None means that the forge did not tell, which is never taken for a yes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Protection:
    """How a branch is protected. `unknown` says what could not be read, and why."""

    branch: str
    protected: bool | None = None
    required_reviews: int | None = None
    code_owner_reviews: bool | None = None
    signed_commits: bool | None = None
    force_push: bool | None = None
    """Whether history can be rewritten; False is what is wanted."""
    administrators_bound: bool | None = None
    two_factor: bool | None = None
    """Whether the organisation demands a second factor of its members."""
    single_sign_on: bool | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reviews:
    """What people said of the pull request that brought a commit. Names of people are those of the forge.

    `approvals` are those who approve the last state of it, whose latest word it is; the author's own is not counted.
    """

    pull_request: int | None = None
    """None: no pull request brought this commit."""
    author: str = ""
    merged: bool = False
    approvals: tuple[str, ...] = ()
    objections: tuple[str, ...] = ()
    """Who asked for changes, and has not taken it back."""


@dataclass(frozen=True, slots=True)
class Review:
    """What the review of a commit is judged by: what is asked for, and what was given.

    `missing_owners` are the files whose owners have not approved, each as `path (CODEOWNERS:3: @who)`.
    """

    required: int
    given: Reviews
    missing_owners: tuple[str, ...] = ()
    exempt: bool = False
    """A commit of Customhouse itself that restores a former state exactly: nobody has to review an undoing."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """One of ours. `opened`: it was not there before."""

    number: int
    url: str
    opened: bool


class PullRequests(Protocol):
    """One pull request a branch. Both raise SourceError."""

    def propose(self, branch: str, base: str, title: str, text: str, *, retell: bool = False) -> PullRequest:
        """The open pull request that asks to merge `branch` into `base`, opened if there is none.

        `retell`: one that is there gets the title and the text, where it has others.
        """

    def withdraw(self, branch: str, base: str, why: str) -> bool:
        """Close the open pull request of a branch, with a comment; whether there was one."""


class Forge(PullRequests, Protocol):
    """The read side of a forge, one comment, and pull requests. All raise SourceError."""

    name: str

    def protection(self, branch: str) -> Protection:
        """How a branch is protected now."""

    def reviews(self, commit: str) -> Reviews:
        """The reviews of the pull request that a commit belongs to."""

    def members(self, team: str) -> frozenset[str]:
        """Who is in `organisation/team`; empty when there is no such team, or it may not be read."""

    def comment(self, pull_request: int, marker: str, text: str) -> None:
        """Make `text`, which begins with `marker`, the one comment of ours on a pull request (core.comment)."""
