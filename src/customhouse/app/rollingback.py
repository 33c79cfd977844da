"""`customhouse rollback NAME`: a revert commit on the deployed branch; the reconciler does the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from customhouse.app import wiring
from customhouse.app.configuration import FILE, Configuration
from customhouse.app.forge_settings import PULL_REQUEST
from customhouse.app.governance import read_configuration
from customhouse.app.identity import COMMIT_KEY, IDENTITY
from customhouse.app.proposing import pull_request
from customhouse.app.settings import Settings
from customhouse.control.rollback import is_rollback, revert_message
from customhouse.control.source import Commits, Repository
from customhouse.core.errors import UsageError
from customhouse.core.forge import PullRequest
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef

_HISTORY = 1000
WAITS = "the revert waits to be merged on"


@dataclass(frozen=True, slots=True)
class Reverted:
    """The commit that undoes a release and the branch it is on: the deployed one, or one to be merged."""

    commit: str
    branch: str
    pull_request: PullRequest | None = None
    unopened: str = ""
    """Why there is no pull request, where one is wanted."""


def write_revert(
    settings: Settings,
    configuration: Configuration,
    source: Repository,
    undone: tuple[str, ResourceRef],
    branch: str,
    message: str,
    key: Path | None,
    *,
    asked: bool = False,
) -> Reverted:
    """Undo a commit (of a resource) on `branch`, or where customhouse.yaml says so (or it is `asked`) beside it.

    Raises as `Repository.revert`.
    """
    commit, ref = undone
    spec = configuration.forge
    if not asked and (spec is None or spec.rollback != PULL_REQUEST):
        return Reverted(source.revert(commit, branch, message, identity=IDENTITY, signing_key=key), branch)
    own = _own_branch(ref)
    made = source.revert(commit, branch, message, identity=IDENTITY, signing_key=key, onto=own)
    if made == source.branches(branch).get(branch):  # it is undone already
        return Reverted(made, branch)
    request, unopened = pull_request(settings, configuration, own, branch, message)
    return Reverted(made, own, request, unopened)


def propose_again(
    settings: Settings, configuration: Configuration, source: Repository, ref: ResourceRef, branch: str, message: str
) -> Reverted:
    """Ask once more for the pull request of a revert that is on its branch: the forge was away, or had not heard."""
    own = _own_branch(ref)
    request, unopened = pull_request(settings, configuration, own, branch, message)
    return Reverted(source.branches(own).get(own, ""), own, request, unopened)


def _own_branch(ref: ResourceRef) -> str:
    place = "-".join(filter(None, (ref.scene, ref.namespace, ref.name)))
    return f"customhouse/rollback/{re.sub('[^A-Za-z0-9.-]+', '-', place)}"


def why_held(reason: str, reverted: str) -> str:
    """Why a release is held, and what became of its revert: a commit, or `!` and why there is none."""
    conflict = reverted.removeprefix("!") if reverted.startswith("!") else ""
    if conflict.startswith(WAITS):
        return f"{reason}; {conflict}"
    return f"{reason}; no revert commit could be written: {conflict}" if conflict else reason


def rollback(
    settings: Settings, location: str, branch: str, name: str, reason: str, *, asked: bool = False
) -> Reverted:
    """Revert the commit of the newest promoted release of a workload.

    `name` is the workload's, or `NAMESPACE/NAME`, or `KIND/NAMESPACE/NAME`, of several clusters with `@TARGET` behind
    it. `asked`: on a branch of its own. Raises UsageError when nothing of that name was released or several workloads
    have it, RevertConflictError with the files that are in the way.
    """
    name, _, target = name.partition("@")
    *qualifiers, short = name.split("/")
    with wiring.store(settings, create=False) as opened:
        releases = [
            release
            for release in opened.releases.history(short, _HISTORY)
            if release.phase is RolloutPhase.PROMOTED
            and target in ("", release.resource.scene)
            and [release.resource.kind, release.resource.namespace][2 - len(qualifiers) :] == qualifiers
        ]
    if not releases:
        raise UsageError(f"nothing called {name!r} was released", hint="see `customhouse history`")
    named = sorted({str(release.resource) for release in releases})
    if len(named) > 1:
        places = ", ".join(sorted({_named(release.resource) for release in releases}))
        raise UsageError(f"several workloads are called {name!r}", hint=f"name one of: {places}")
    source = wiring.repository(settings, location, branch)
    data = source.read(source.fetch(), FILE)
    configuration = Configuration() if data is None else read_configuration(data)
    wanted = _introduction(releases, source)
    subject = source.revision(wanted.revision, allowed_signers=None, last_deployed=None).subject
    message = revert_message(subject, wanted.revision, wanted.resource, reason)
    key = settings.keys / COMMIT_KEY
    signing = key if key.exists() else None
    undone = (wanted.revision, wanted.resource)
    return write_revert(settings, configuration, source, undone, branch, message, signing, asked=asked)


def _named(ref: ResourceRef) -> str:
    return f"{ref.kind}/{ref.namespace}/{ref.name}" + (f"@{ref.scene}" if ref.scene else "")


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
