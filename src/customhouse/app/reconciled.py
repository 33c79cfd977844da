"""What Argo CD and Flux did with what they reconcile: Entries of the ledger, and releases in the history.

1. Each time one of them says something else of an Application (sync, health, revision), that is an Entry.
2. A release that was allowed is promoted when the one that has its Application says that it is in sync, and healthy, at
   the revision that was judged last: of another revision nobody here knows what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customhouse.app import journal
from customhouse.app.memory import PENDING, Memory, ref_of
from customhouse.app.succession import concluded
from customhouse.core.application import ReconcilerStatus, SyncStatus
from customhouse.core.ledger import Entry
from customhouse.core.plan import HealthStatus
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import Declaration, ResourceRef

_SAID = "control/reconciled/"
"""Where a state remembers what was recorded last of an Application."""


@dataclass(slots=True)
class Reconciled:
    """What is to be stored, entered and recorded."""

    documents: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)


def reconciled(
    statuses: Mapping[ResourceRef, ReconcilerStatus],
    memory: Memory,
    declared: Sequence[Declaration],
    now: datetime,
) -> Reconciled:
    """Steps 1 and 2. Nothing when nobody says anything new."""
    made = Reconciled()
    for ref, said in statuses.items():
        key = f"{_SAID}{ref.scene}/{said.engine}/{ref.kind}/{ref.namespace}/{ref.name}"
        value = [said.sync.value, said.health, said.revision, said.attempted]
        if memory.get(key) != value:
            made.documents[key] = value
            made.entries.append(journal.reconciled(ref, said, now))
    deployed = memory.deployed
    well = {ref for ref, said in statuses.items() if deployed is not None and _is_well(said, deployed.revision)}
    if well:
        _conclude(
            made, memory.all(PENDING), {item.ref: item for item in declared}, _full(well, declared), statuses, now
        )
    return made


def _is_well(said: ReconcilerStatus, revision: str) -> bool:
    same = said.current and said.sync is SyncStatus.SYNCED and said.health == HealthStatus.HEALTHY.value
    return same and len(said.revision) >= _SHORTEST and revision.startswith(said.revision)


_SHORTEST = 12
"""Characters of a commit that name it: fewer could name another one."""


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
