"""Where declarations come from: the ports that the Git adapter fills, and its two expected failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from customhouse.core.change import Revision
from customhouse.core.errors import SourceError


@dataclass(frozen=True, slots=True)
class Identity:
    """Author and committer of what Customhouse writes."""

    name: str
    email: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class PushRejectedError(SourceError):
    """Somebody else moved the branch first: fetch, and make the commit again on the new head."""

    code: ClassVar[str] = "CH017"


class RevertConflictError(SourceError):
    """A commit cannot be undone by itself: later commits changed the same lines. `files` names them."""

    code: ClassVar[str] = "CH018"

    def __init__(self, message: str, *, files: tuple[str, ...], where: str = "", hint: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.files = files


class RevisionReader(Protocol):
    """The read side of a repository. Every `rev` may be any name of a commit. All raise SourceError."""

    def resolve(self, rev: str) -> str:
        """The commit id of a revision."""

    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        """Every file below `prefix` by POSIX path from the root; bytes are read when asked for."""

    def read(self, rev: str, path: str) -> bytes | None:
        """One file, None when it does not exist."""

    def revision(
        self, rev: str, *, allowed_signers: bytes | None, last_deployed: str | None, gpg_keys: Sequence[bytes] = ()
    ) -> Revision:
        """The commit, its signature judged by the keys given: those of the base revision."""

    def export(self, rev: str, subtree: str, destination: Path) -> int:
        """Write a folder's files to the new folder `destination`, all or none; how many."""


class History(Protocol):
    """How commits hang together. All raise SourceError."""

    def commits(self, base: str | None, head: str) -> tuple[str, ...]:
        """After `base` up to `head` along first parents, oldest first."""

    def first_commit(self, head: str) -> str:
        """The first of all commits behind `head`, along first parents: the same in every clone, whatever is added."""

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether `descendant` has `ancestor` behind it."""

    def merge_base(self, one: str, other: str) -> str | None:
        """The commit where two histories parted, None when they have nothing in common."""

    def message(self, rev: str) -> str:
        """The whole message of a commit."""

    def changed(self, base: str | None, head: str) -> tuple[str, ...]:
        """The paths that differ between two revisions, a rename as both; without a base every path of `head`."""


class RevisionWriter(Protocol):
    """The write side. Every push holds an exact lease; PushRejectedError says that somebody was faster."""

    def fetch(self) -> str:
        """Bring the mirror up to date; the head of the deployed branch."""

    def branches(self, prefix: str) -> Mapping[str, str]:
        """Branch name → commit, as of the last fetch."""

    def commit(
        self,
        base: str,
        branch: str,
        files: Mapping[str, bytes | None],
        message: str,
        *,
        identity: Identity,
        signing_key: Path | None = None,
        replace: bool = False,
    ) -> str:
        """Commit files (None deletes) on `base` and push to `branch`; the new id, or `base` when nothing changes."""

    def revert(
        self,
        commit: str,
        branch: str,
        message: str,
        *,
        identity: Identity,
        signing_key: Path | None = None,
        onto: str = "",
    ) -> str:
        """Undo a commit on the head of `branch` and push, to `onto` where that is said.

        RevertConflictError when later commits are in the way.
        """

    def delete_branch(self, branch: str) -> None:
        """Delete a branch that is where the last fetch saw it."""


class Commits(RevisionReader, History, Protocol):
    """What is read of a repository and its history."""


class Repository(RevisionReader, History, RevisionWriter, Protocol):
    """All of it: what the control loop holds."""
