"""Where declarations come from: the port that Git adapters fill, and its two expected failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

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


class SourceTree(Protocol):
    """The files of one revision, or of a work tree. Paths are POSIX and relative to the root."""

    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        """Every file below `prefix`; bytes are read when asked for. Raises SourceError."""

    def read(self, rev: str, path: str) -> bytes | None:
        """One file, None when it does not exist."""
