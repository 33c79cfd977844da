"""The comment of a pull request: how Customhouse knows its own again, so that there is one, which is updated.

Pure: the forge's adapter lists comments and writes them. A comment is ours when its author is who we are there and its
first line is the marker; the marker alone would let anybody lay a comment that we overwrite, or never find.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MARKER = "<!-- customhouse:gate -->"
"""The first line of the comment; forges do not show it."""


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment as the forge lists it. `author` is the login of its writer."""

    id: str
    author: str
    body: str


class CommentAction(StrEnum):
    """What is to be done so that the pull request says what is true."""

    CREATE = "create"
    UPDATE = "update"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class CommentPlan:
    """The action, the comment that it is about (None: a new one), and ours that are too many."""

    action: CommentAction
    comment: str | None = None
    surplus: tuple[str, ...] = ()


def plan_comment(comments: Iterable[Comment], me: str, body: str, marker: str = MARKER) -> CommentPlan:
    """What makes `body` the one comment of ours. Logins are compared without case, as forges do.

    The oldest of ours is kept (two runs at once may have written two). Raises ValueError for a body without the marker
    or an empty login: such a comment would never be found again.
    """
    if not me or not marker or not body.startswith(marker):
        raise ValueError("a comment begins with the marker and has an author")
    ours = [item for item in comments if item.author.casefold() == me.casefold() and _marked(item.body, marker)]
    if not ours:
        return CommentPlan(CommentAction.CREATE)
    first, *others = ours
    same = _plain(first.body) == _plain(body)
    action = CommentAction.LEAVE if same else CommentAction.UPDATE
    return CommentPlan(action, first.id, tuple(item.id for item in others))


def _marked(body: str, marker: str) -> bool:
    return body.lstrip("\ufeff\r\n ").startswith(marker)


def _plain(body: str) -> str:
    """Forges give lines back with other ends, and cut blanks at the end."""
    return body.replace("\r\n", "\n").strip()
