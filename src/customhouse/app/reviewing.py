"""Who reviewed a commit: what the forge says, folded with CODEOWNERS of the base revision.

Asked when a commit is about to be deployed. A gate in a pull request asks nobody: it works without a network, and the
reviews are only being given then; the forge holds the merge, and this holds the deployment.
"""

from __future__ import annotations

from customhouse.app.forge_settings import ForgeSpec
from customhouse.app.identity import PRINCIPAL
from customhouse.control.owners import PLACES, Owners, read_owners
from customhouse.control.rollback import reverted_by
from customhouse.control.source import Commits
from customhouse.core.change import Revision, SignatureState
from customhouse.core.errors import SourceError
from customhouse.core.forge import Forge, Review


def review_of(forge: Forge, spec: ForgeSpec, source: Commits, base: str | None, revision: Revision) -> Review:
    """The review of a commit. `base` is the revision whose CODEOWNERS counts; None: nobody owns anything yet.

    Raises SourceError when the forge is out of reach: then nothing is decided, and the commit is asked about again.
    """
    given = forge.reviews(revision.id)
    missing: tuple[str, ...] = ()
    if spec.code_owners and base is not None:
        owners, file = _owners(source, base)
        paths = source.changed(base, revision.id)
        teams = {team: forge.members(team) for team in owners.teams} if paths else {}
        missing = tuple(
            f"{path} ({file}:{rule.line}: {' '.join(rule.owners)})"[:300]
            for path, rule in owners.missing(paths, given.approvals, teams)
        )
    return Review(spec.required_reviews, given, missing, exempt=_restores(source, revision))


def _owners(source: Commits, base: str) -> tuple[Owners, str]:
    for place in PLACES:
        data = source.read(base, place)
        if data is not None:
            return read_owners(data.decode("utf-8", "replace"), place), place
    return Owners(), ""


def _restores(source: Commits, revision: Revision) -> bool:
    """Whether a commit of our own is an exact revert: every file that it touches is as before the commit it undoes.

    The signature alone would let whoever holds our key commit anything unreviewed.
    """
    if revision.signature is not SignatureState.VERIFIED or revision.signer != PRINCIPAL or not revision.parents:
        return False
    undone = reverted_by(source.message(revision.id))
    if undone is None:
        return False
    try:
        parent = revision.parents[0]  # where the branch was before
        if not source.is_ancestor(undone, parent):
            return False
        former = source.resolve(f"{undone}^")
        touched = source.changed(parent, revision.id)
    except SourceError:
        return False
    return bool(touched) and all(source.read(revision.id, path) == source.read(former, path) for path in touched)
