"""Who reviewed a commit: what the forge says, folded with CODEOWNERS of the base revision.

Asked when a commit is about to be deployed. A gate in a pull request asks nobody: it works without a network, and the
reviews are only being given then; the forge holds the merge, and this holds the deployment.
"""

from __future__ import annotations

from collections.abc import Iterator

from customhouse.app.forge_settings import ForgeSpec
from customhouse.app.identity import PRINCIPAL
from customhouse.control.owners import PLACES, Owners, read_owners
from customhouse.control.rollback import reverted_by
from customhouse.control.source import Commits
from customhouse.core.change import Revision, SignatureState
from customhouse.core.errors import SourceError
from customhouse.core.forge import Forge, Review, Reviews

MAX_COMMITS = 200
"""Commits between what is deployed and what is to be; the forge is asked about each."""


def review_of(forge: Forge, spec: ForgeSpec, source: Commits, base: str | None, revision: Revision) -> Review:
    """The review of all that a commit would deploy. `base` is what is deployed, whose CODEOWNERS counts.

    Every commit of the branch since then counts whose files differ in the end: a change that nobody reviewed does not
    become reviewed by a later commit on top of it. The one with the fewest approvals stands for all.

    Raises SourceError when the forge is out of reach: then nothing is decided, and the commit is asked about again.
    """
    owners, file = (Owners(), "") if base is None or not spec.code_owners else _owners(source, base)
    teams = {team: forge.members(team) for team in owners.teams}
    missing: dict[str, None] = {}
    weakest: Reviews | None = None
    for commit, paths in _brought(source, base, revision):
        if _restores(source, commit, revision):
            continue
        given = forge.reviews(commit)
        if weakest is None or _rank(given) < _rank(weakest):
            weakest = given
        for path, rule in owners.missing(paths, given.approvals, teams):
            missing[f"{path} ({file}:{rule.line}: {' '.join(rule.owners)})"[:300]] = None
    return Review(spec.required_reviews, weakest or Reviews(), tuple(missing), exempt=weakest is None)


def _brought(source: Commits, base: str | None, revision: Revision) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The commits since `base`, each with the files that it touched and that differ in the end."""
    commits = [revision.id] if base is None else list(source.commits(base, revision.id))
    if len(commits) > MAX_COMMITS:
        raise SourceError(f"more than {MAX_COMMITS} commits since {str(base)[:12]} to ask the forge about")
    differ = set(source.changed(base, revision.id))
    for commit in commits:
        touched = source.changed(_parent(source, commit), commit)
        if paths := tuple(path for path in touched if path in differ):
            yield commit, paths


def _parent(source: Commits, commit: str) -> str | None:
    """Where the branch was before a commit: its first parent; None for the first commit of all."""
    try:
        return source.resolve(f"{commit}^")
    except SourceError:
        return None


def _rank(given: Reviews) -> tuple[int, int]:
    """The less, the weaker: an objection weighs most."""
    return (-len(given.objections), len(given.approvals))


def _owners(source: Commits, base: str) -> tuple[Owners, str]:
    for place in PLACES:
        data = source.read(base, place)
        if data is not None:
            return read_owners(data.decode("utf-8", "replace"), place), place
    return Owners(), ""


def _restores(source: Commits, commit: str, head: Revision) -> bool:
    """Whether a commit is an exact revert of our own: every file that it touches is as before the commit it undoes.

    The signature alone would let whoever holds our key commit anything unreviewed. Only the head's signature is known;
    it answers for the reverts below it.
    """
    if head.signature is not SignatureState.VERIFIED or head.signer != PRINCIPAL:
        return False
    undone = reverted_by(source.message(commit))
    if undone is None:
        return False
    try:
        parent = source.resolve(f"{commit}^")
        if not source.is_ancestor(undone, parent):
            return False
        former = source.resolve(f"{undone}^")
        touched = source.changed(parent, commit)
    except SourceError:
        return False
    return bool(touched) and all(source.read(commit, path) == source.read(former, path) for path in touched)
