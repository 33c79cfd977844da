"""Rolling back: which commit to undo for a bad release, what its revert says, and which release to restore."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from customhouse.core.errors import SourceError
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef

TRAILER = "Customhouse-Rollback"
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")
_REVERTS = re.compile(r"^This reverts commit ([0-9a-f]{40}(?:[0-9a-f]{24})?)\.$", re.MULTILINE)
_SUBJECT_LIMIT = 120
_REASON_LIMIT = 400


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """Undo `commit` with `message`; meanwhile serve `restore` (None: there never was a good release)."""

    commit: str
    message: str
    restore: Release | None


def introduced_by(history: Sequence[tuple[str, str | None]], bad_release: str) -> str:
    """The commit that made `bad_release` what is declared.

    `history` has (commit, digest of the resource's manifest there or None), oldest first; the newest run of
    `bad_release` counts, since an older one may have been undone before. Raises SourceError when no commit has it.
    """
    found: str | None = None
    previous: str | None = None
    for commit, digest in history:
        if digest == bad_release and previous != bad_release:
            found = commit
        previous = digest
    if found is None:
        raise SourceError(
            f"no commit declares the release {bad_release[:19]}…",
            hint="history was rewritten; restore the last good state by hand",
        )
    return found


def last_good(releases: Sequence[Release], resource: ResourceRef, bad_release: str) -> Release | None:
    """The newest promoted release of `resource` that is not the bad one and was not itself rolled back later.

    `releases` has the newest first, as `ReleaseLog.history` gives them.
    """
    condemned = {bad_release}
    for release in releases:
        if release.resource != resource:
            continue
        if release.phase is RolloutPhase.ROLLED_BACK:
            condemned.add(release.release)
        elif release.phase is RolloutPhase.PROMOTED and release.release not in condemned:
            return release
    return None


def reverted_by(message: str) -> str | None:
    """The commit that a revert says it undoes, of a message that `revert_message` made; None for any other."""
    match = _REVERTS.search(message)
    return match[1] if match is not None and is_rollback(message) else None


def revert_message(subject: str, commit: str, resource: ResourceRef, reason: str) -> str:
    """The message of the revert: what Git writes itself, and a trailer that names the resource and the reason.

    Subject and reason are put on one line each, so that neither can add a trailer of its own.
    """
    title = _one_line(subject, _SUBJECT_LIMIT)
    return (
        f'Revert "{title}"\n\n'
        f"This reverts commit {commit}.\n\n"
        f"{TRAILER}: {_one_line(str(resource), 300)} {_one_line(reason, _REASON_LIMIT)}\n"
    )


def plan_rollback(
    history: Sequence[tuple[str, str | None]],
    releases: Sequence[Release],
    resource: ResourceRef,
    bad_release: str,
    *,
    subject: str,
    reason: str,
) -> RollbackPlan:
    """All of it: the commit, the message and the release to restore. `subject` is that of the commit to undo."""
    commit = introduced_by(history, bad_release)
    return RollbackPlan(
        commit, revert_message(subject, commit, resource, reason), last_good(releases, resource, bad_release)
    )


def is_rollback(message: str) -> bool:
    """Whether a commit message carries the trailer: a revert of ours is not canaried again."""
    return any(line.startswith(f"{TRAILER}: ") for line in message.splitlines())


def _one_line(text: str, limit: int) -> str:
    flat = _CONTROL.sub(" ", text).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
