"""What Argo CD and Flux did with what they reconcile: Entries of the ledger, and releases in the history.

1. Each time one of them says something else of an Application (sync, health, revision), that is an Entry.
2. A release that was allowed is promoted when the one that has its Application says that it is in sync, and healthy, at
   the revision that was judged last: of another revision nobody here knows what it holds.
3. One that is at a commit that was not allowed is told: who reconciles the branch itself applies what is merged, and
   the gate at the pull request and the webhook are what can keep it from that. A commit that was denied is told at
   once; one that nobody has judged, when it is so for a minute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from customhouse._kit.clock import from_rfc3339
from customhouse.app import journal
from customhouse.app.memory import PENDING, REFUSED, Memory, ref_of
from customhouse.app.succession import concluded
from customhouse.core.application import ReconcilerStatus, SyncStatus
from customhouse.core.ledger import Entry
from customhouse.core.plan import HealthStatus
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import Declaration, ResourceRef

_SAID = "control/reconciled/"
"""Where a state remembers what was recorded last of an Application."""
_UNJUDGED = timedelta(minutes=1)
"""How long a commit may be ahead of what is judged here: a remote is asked once a second, and judging takes a while."""
_TOLD = 3


@dataclass(slots=True)
class Reconciled:
    """What is to be stored, entered and recorded."""

    documents: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    problem: str = ""
    """What was applied that was not allowed."""


def reconciled(
    statuses: Mapping[ResourceRef, ReconcilerStatus],
    memory: Memory,
    declared: Sequence[Declaration],
    now: datetime,
    is_ancestor: Callable[[str, str], bool] = lambda _ancestor, _descendant: False,
) -> Reconciled:
    """Steps 1 to 3. When nobody says anything new, the problem at most. `is_ancestor`: of the repository's commits."""
    made = Reconciled()
    beyond: dict[str, list[ResourceRef]] = {}
    deployed = memory.deployed
    for ref, said in statuses.items():
        key = f"{_SAID}{ref.scene}/{said.engine}/{ref.kind}/{ref.namespace}/{ref.name}"
        value = [said.sync.value, said.health, said.revision, said.attempted]
        word = _beyond(said, memory, now, is_ancestor)
        if word:
            beyond.setdefault(f"{said.engine} {word}", []).append(ref)
            value.append(word)
        if memory.get(key) != value:
            made.documents[key] = value
            made.entries.append(journal.reconciled(ref, said, now, word))
    made.problem = "; ".join(f"{text} ({_named(refs)})" for text, refs in beyond.items())
    well = {ref for ref, said in statuses.items() if deployed is not None and _is_well(said, deployed.revision)}
    if well:
        _conclude(
            made, memory.all(PENDING), {item.ref: item for item in declared}, _full(well, declared), statuses, now
        )
    return made


def _beyond(said: ReconcilerStatus, memory: Memory, now: datetime, is_ancestor: Callable[[str, str], bool]) -> str:
    """What somebody did with a commit that was not allowed; empty where he did not, or names none.

    Flux says that a commit is applied when all of it is ready: what it tries may be in the cluster already.
    """
    deployed, refused = memory.deployed, memory.get(REFUSED)
    at, tried = (set(_COMMITS.findall(one)) for one in (said.revision, said.attempted))
    if deployed is not None:
        at, tried = ({one for one in some if not deployed.revision.startswith(one)} for some in (at, tried))
    for verb, some in (("has applied", at), ("tries to apply", tried)):
        for commit in some:
            if refused is not None and refused["revision"].startswith(commit):
                known = refused.get("denied", True)
                why = "which was denied" if known else "about which could not be decided"
                return f"{verb} {commit[:_SHORTEST]}, {why}"
    # Of several sources most are of other repositories, and a chart has a version.
    if deployed is None or said.elsewhere or at != {said.revision} or _since(said, now) < _UNJUDGED:
        return ""
    if _is_behind(is_ancestor, said.revision, deployed.revision):
        return ""
    return f"has applied {said.revision[:_SHORTEST]}, which nobody has allowed here"


def _since(said: ReconcilerStatus, now: datetime) -> timedelta:
    """For how long it is said; nothing where no time is named that can be read."""
    try:
        return now - from_rfc3339(said.at)
    except ValueError:
        return timedelta()


@lru_cache(maxsize=1_000)
def _is_behind(is_ancestor: Callable[[str, str], bool], commit: str, deployed: str) -> bool:
    """Asked once of two commits: what is behind stays behind."""
    return is_ancestor(commit, deployed)


def _named(refs: Sequence[ResourceRef]) -> str:
    more = f" and {len(refs) - _TOLD} more" if len(refs) > _TOLD else ""
    return ", ".join(map(str, refs[:_TOLD])) + more


def _is_well(said: ReconcilerStatus, revision: str) -> bool:
    same = said.current and said.sync is SyncStatus.SYNCED and said.health == HealthStatus.HEALTHY.value
    return same and len(said.revision) >= _SHORTEST and revision.startswith(said.revision)


_SHORTEST = 12
"""Characters of a commit that name it: fewer could name another one."""
_COMMITS = re.compile(rf"(?<![^,])[0-9a-f]{{{_SHORTEST},64}}(?![^,])")
"""The commits in what is said of one source, or of several."""


def _full(well: Iterable[ResourceRef], declared: Sequence[Declaration]) -> dict[ResourceRef, ResourceRef]:
    """What is declared by those that are well → the Application."""
    known = set(well)
    return {item.ref: item.owner for item in declared if item.owner is not None and item.owner in known}


def _conclude(
    made: Reconciled,
    waiting: Mapping[str, Any],
    declared: Mapping[ResourceRef, Declaration],
    owners: Mapping[ResourceRef, ResourceRef],
    statuses: Mapping[ResourceRef, ReconcilerStatus],
    now: datetime,
) -> None:
    for key, value in waiting.items():
        ref = ref_of(value["resource"])
        owner = owners.get(ref)
        if owner is None:
            continue
        reason = f"{statuses[owner].engine} says of {owner}: Synced and Healthy"
        if not value["noted"]:
            release, commit, decision = value["release"], value["revision"], value["decision"]
            made.entries.append(journal.deployed(declared[ref], release, commit, decision, now))
        record, entries = concluded(value, RolloutPhase.PROMOTED, reason, now)
        made.releases.append(record)
        made.documents[key] = None
        made.entries += entries
