"""What a change has fetched that its base had not: told to whoever reviews it, and entered in the ledger."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from customhouse._kit.digest import json_digest
from customhouse.app.clearance import Judgement
from customhouse.app.journal import commit_node
from customhouse.control.outside import FETCHED
from customhouse.control.rendering import Fetched
from customhouse.core.ledger import Entry
from customhouse.trust.custody import Link, LinkKind, Node, entry

CHART = "chart"
"""The kind of the node of a chart or artifact that was rendered; its digest is its name."""
_MOST = 50
_ROOT = re.compile(rf"({re.escape(FETCHED)}/.+?)/([^/]*[0-9a-f]{{12}})(?:/|$)")


def notes(judgement: Judgement) -> tuple[str, ...]:
    """One sentence for each: `web 1.2.0-0f990ab16294 → 1.3.0-b0288e11e099 (sha256:… of oci://…)`."""
    before = _versions(judgement)
    found = []
    for one in judgement.fetched:
        place, _, shown = one.folder.rpartition("/")
        olds = before.get(place, set())
        if shown not in olds:
            old = f"{', '.join(sorted(olds))} → " if olds else ""
            found.append(f"{one.name} {old}{shown} ({one.digest} of {one.source}) is rendered and judged")
    places = {one.folder.rpartition("/")[0] for one in judgement.fetched}
    gone = (
        f"{place.removeprefix(FETCHED + '/')} {', '.join(sorted(olds))}"
        for place, olds in sorted(before.items())
        if place not in places
    )
    return (*found, *(f"{what} is no longer rendered" for what in gone))


def entries(judgement: Judgement, at: datetime) -> Iterator[Entry]:
    """An Entry that binds what a commit has newly fetched to it; none for what no commit names yet."""
    before = _versions(judgement)
    new = [one for one in judgement.fetched if one.folder.rpartition("/")[2] not in before.get(_place(one), ())]
    revision = judgement.revision
    if revision is None:
        return
    commit = commit_node(revision.id)
    for start in range(0, len(new), _MOST):
        some = new[start : start + _MOST]
        things = [Node.of(CHART, one.digest, f"{one.name}/{one.version}"[:300], one.source[:300]) for one in some]
        said = [{"name": one.name, "source": one.source, "version": one.version, "digest": one.digest} for one in some]
        text = ", ".join(f"{one.name} {one.version}" for one in some)
        yield entry(
            "fetched",
            f"fetched:{revision.id}:{json_digest(said)[7:19]}",
            at,
            revision.author,
            nodes=[commit, *things],
            links=[Link.between(thing, commit, LinkKind.DECLARED_IN) for thing in things],
            body={"text": f"rendered from elsewhere: {text}"[:1000], "fetched": said},
        )


def _place(one: Fetched) -> str:
    return one.folder.rpartition("/")[0]


def _versions(judgement: Judgement) -> dict[str, set[str]]:
    """Place → the versions, with their digests' beginnings, that the base was rendered from."""
    found: dict[str, set[str]] = {}
    for root in {item.rendering.root for item in judgement.question.base if item.rendering is not None}:
        match = _ROOT.match(root)
        if match is not None:
            found.setdefault(match[1], set()).add(match[2])
    return found
