"""What a state directory says without a control plane: history, trace, proofs, the board of the last moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse.app import wiring
from customhouse.app.crosscheck import crosscheck
from customhouse.app.custody import Asked, traced
from customhouse.app.memory import RELEASE
from customhouse.app.settings import Settings
from customhouse.core.errors import UsageError
from customhouse.core.release import Release
from customhouse.core.resource import Manifest
from customhouse.core.workload import workload
from customhouse.trust.custody_trace import proof_json
from customhouse.trust.ledger import MAX_PROBLEMS, LedgerReport


def history(settings: Settings, name: str | None, limit: int) -> list[dict[str, Any]]:
    """The releases of a workload (or of all), the newest first."""
    with wiring.store(settings, create=False) as opened:
        return [
            _release(item, opened.state.get(f"{RELEASE}{item.release}"))
            for item in opened.releases.history(name, limit)
        ]


def _release(item: Release, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """`known` is what the control plane remembers of it; `version` is the last part of where its model lies."""
    source = "" if known is None else _source(known["manifest"])
    return {
        "resource": item.resource.to_json(),
        "release": item.release,
        "version": source.partition("@")[0].rstrip("/").rpartition("/")[2],
        "source": source,
        "revision": item.revision,
        "author": item.author,
        "artifact": item.artifact,
        "verdict": item.verdict,
        "decision": item.decision,
        "phase": item.phase.value,
        "at": to_rfc3339(item.at),
        "reason": item.reason,
    }


def _source(manifest: Manifest) -> str:
    work = workload(manifest)
    named = () if work is None else work.artifacts
    models = [artifact.reference for artifact in named if artifact.role == "model"]
    return next(iter([*models, *(artifact.reference for artifact in named)]), "")


def trace_of(settings: Settings, asked: Asked, kinds: Collection[str] = ()) -> dict[str, Any]:
    """The chain of custody of anything, with a proof for every ledger entry that it rests on."""
    return traced(settings, asked).only(kinds).to_json()


def verify_ledger(settings: Settings, progress: Callable[[str, int, int], None] | None = None) -> LedgerReport:
    """Recompute the whole ledger from its stored bytes, then compare the rows beside it with what it binds."""
    with wiring.store(settings, create=False) as opened:
        report = wiring.ledger(settings, opened, write=False).verify(progress)
        found = (*report.problems, *crosscheck(opened))
        return replace(report, problems=found[:MAX_PROBLEMS])


def proof_of(settings: Settings, index: int) -> dict[str, Any]:
    """The inclusion proof of one entry."""
    with wiring.store(settings, create=False) as opened:
        ledger = wiring.ledger(settings, opened, write=False)
        if not 0 <= index < ledger.size:
            raise UsageError(f"the ledger has no entry {index}", hint=f"it has 0 to {ledger.size - 1}")
        receipt = ledger.prove(index)
        ((_, entry),) = ledger.entries(index, index + 1)
        return proof_json(receipt, entry)


def checkpoint_note(settings: Settings) -> str:
    """The latest checkpoint, a signed note."""
    with wiring.store(settings, create=False) as opened:
        return wiring.ledger(settings, opened, write=False).checkpoint().note


def decision_of(settings: Settings, prefix: str) -> dict[str, Any] | None:
    """The stored Decision whose digest begins so, with its Facts; None when there is none or no state."""
    if not wiring.has_store(settings):
        return None
    with wiring.store(settings, create=False) as opened:
        found = opened.decisions.find(prefix)
        return dict(found[0]) if found else None
