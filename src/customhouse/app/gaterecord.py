"""What `gate --state DIR` enters: each Decision with its Facts, and an Entry in the ledger that binds it.

Rows come before their entries, as everywhere: a kill between leaves a row that no entry speaks of, which is none too
many; asked again, the same judgement is the same row and the same entry.
"""

from __future__ import annotations

from collections.abc import Iterator

from customhouse.app import fetchednotes, journal, wiring
from customhouse.app.clearance import Judgement
from customhouse.app.memory import GATES_ONLY
from customhouse.app.settings import Settings
from customhouse.core.decision import Decision
from customhouse.core.ledger import Entry
from customhouse.trust.custody import Node, NodeKind, entry


def enter(settings: Settings, judgement: Judgement) -> None:
    """Record a judgement; a control plane may be at work on the same state. Raises StateError: it cannot be written."""
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = not wiring.has_store(settings)
    with wiring.store(settings) as opened:
        if new:
            opened.state.put({GATES_ONLY: True})
        ledger = wiring.ledger(settings, opened, write=True)
        for decision, facts in zip(judgement.decisions, judgement.facts, strict=True):
            opened.decisions.record(decision, facts.document)
        entries = [*_entries(judgement), *fetchednotes.entries(judgement, wiring.clock().now())]
        if entries:
            ledger.append(entries)


def _entries(judgement: Judgement) -> Iterator[Entry]:
    for change, decision, facts in zip(judgement.changes, judgement.decisions, judgement.facts, strict=True):
        if judgement.revision is not None:
            yield from journal.judged(judgement.revision, decision, facts)
        else:
            yield _uncommitted(change.actor.name, decision)


def _uncommitted(author: str, decision: Decision) -> Entry:
    """A judgement of files that no commit names yet: it stands for itself, and allows nothing to be deployed."""
    made = Node.of(NodeKind.DECISION, decision.digest, time=decision.decided_at)
    return entry(
        "decision",
        f"decision:{decision.revision}:{decision.resource}:{decision.point.value}:{decision.digest[7:19]}",
        decision.decided_at,
        author,
        nodes=[made],
        body={**journal.decision_body(decision), "signer": None},
    )
