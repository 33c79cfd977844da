"""`customhouse rollback NAME`: a revert commit on the deployed branch; the reconciler does the rest."""

from __future__ import annotations

from collections.abc import Sequence

from customhouse.app import wiring
from customhouse.app.identity import IDENTITY
from customhouse.app.initialise import COMMIT_KEY
from customhouse.app.settings import Settings
from customhouse.control.rollback import is_rollback, revert_message
from customhouse.control.source import Commits
from customhouse.core.errors import UsageError
from customhouse.core.release import Release, RolloutPhase

_HISTORY = 1000


def rollback(settings: Settings, location: str, branch: str, name: str, reason: str) -> str:
    """Revert the commit of the newest promoted release of a workload; the new commit's id.

    `name` is the workload's, or `NAMESPACE/NAME`, or `KIND/NAMESPACE/NAME`. Raises UsageError when nothing of that name
    was released or several workloads have it, RevertConflictError with the files that are in the way.
    """
    *qualifiers, short = name.split("/")
    with wiring.store(settings, create=False) as opened:
        releases = [
            release
            for release in opened.releases.history(short, _HISTORY)
            if release.phase is RolloutPhase.PROMOTED
            and [release.resource.kind, release.resource.namespace][2 - len(qualifiers) :] == qualifiers
        ]
    if not releases:
        raise UsageError(f"nothing called {name!r} was released", hint="see `customhouse history`")
    named = sorted({str(release.resource) for release in releases})
    if len(named) > 1:
        places = ", ".join(sorted({f"{r.resource.kind}/{r.resource.namespace}/{r.resource.name}" for r in releases}))
        raise UsageError(f"several workloads are called {name!r}", hint=f"name one of: {places}")
    source = wiring.repository(settings, location, branch)
    source.fetch()
    wanted = _introduction(releases, source)
    subject = source.revision(wanted.revision, allowed_signers=None, last_deployed=None).subject
    message = revert_message(subject, wanted.revision, wanted.resource, reason)
    key = settings.keys / COMMIT_KEY
    signing = key if key.exists() else None
    return source.revert(wanted.revision, branch, message, identity=IDENTITY, signing_key=signing)


def _introduction(releases: Sequence[Release], source: Commits) -> Release:
    """The record of the newest release whose commit brought it in.

    A release that an earlier rollback restored is there by a revert commit: to undo that one would bring back what was
    rolled back. `releases` has the newest first.
    """
    latest = releases[0]
    same = (release for release in releases if release.release == latest.release)
    return next((release for release in same if not _is_revert(source.message(release.revision))), latest)


def _is_revert(message: str) -> bool:
    return is_rollback(message) or any(line.startswith("This reverts commit ") for line in message.splitlines())
