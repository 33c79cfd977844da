"""What a state directory says without a control plane: history, trace, proofs, the board of the last moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse.app import wiring
from customhouse.app.coming import on_their_way
from customhouse.app.memory import RELEASE, Memory
from customhouse.app.settings import Settings
from customhouse.core.errors import UsageError
from customhouse.core.release import Release
from customhouse.core.resource import Manifest
from customhouse.core.workload import workload
from customhouse.trust.custody_trace import proof_json


def history(settings: Settings, name: str | None, limit: int) -> list[dict[str, Any]]:
    """The releases of a workload (or of all), each with what its Decision rested on: those on their way, then the rest.

    Each part has the newest first. Raises TamperError for a Decision that is not what its digest says.
    """
    with wiring.store(settings, create=False) as opened:
        judged: dict[str, Mapping[str, Any]] = {}
        rows = []
        coming = on_their_way(settings, Memory(opened.state), opened.decisions, name)
        for item in [*coming, *opened.releases.history(name, limit)][:limit]:
            if item.decision and item.decision not in judged:
                judged[item.decision] = _judged(opened.decisions.find(item.decision))
            known = opened.state.get(f"{RELEASE}{item.release}")
            rows.append({**_release(item, known), **judged.get(item.decision, _judged(()))})
        return rows


def _judged(found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """`{"reviewers","pull_request","evidence":[{"kind","digest","subject"}]}` of a Decision: verified evidence alone.

    Reviewers are those whose approval the forge told; without one nobody is known, whatever a commit says.
    """
    facts = found[0]["facts"] if found else {}
    review = facts.get("review") or {}
    evidence = {
        (item["kind"], item["digest"], artifact["digest"] or "")
        for artifact in facts.get("artifacts", ())
        for item in artifact["evidence"]
        if item["verified"]
    }
    return {
        "reviewers": list(review.get("approvals", ())),
        "pull_request": review.get("pull_request"),
        "evidence": [{"kind": kind, "digest": digest, "subject": of} for kind, digest, of in sorted(evidence)],
    }


def _release(item: Release, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """`known` is what the control plane remembers of it; `version` is the last part of where its model lies."""
    source = "" if known is None else _source(known["manifest"])
    return {
        "target": item.resource.scene,
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


def proof_of(settings: Settings, index: int) -> dict[str, Any]:
    """The inclusion proof of one entry."""
    with wiring.store(settings, create=False) as opened:
        ledger = wiring.ledger(settings, opened, write=False)
        if not 0 <= index < ledger.size:
            raise UsageError(f"the ledger has no entry {index}", hint=f"it has 0 to {ledger.size - 1}")
        receipt = ledger.prove(index)
        ((_, entry),) = ledger.entries(index, index + 1)
        return proof_json(receipt, entry)


def tlog_proof_of(settings: Settings, index: int) -> str:
    """The proof of one entry as a text that stands alone (C2SP tlog-proof), under a cosigned checkpoint if there is."""
    from customhouse.app.ledger_witnesses import best_checkpoint, cosigned_note
    from customhouse.trust.tlog_proof import write_proof

    with wiring.store(settings, create=False) as opened:
        ledger = wiring.ledger(settings, opened, write=False)
        receipt = ledger.prove(index, best_checkpoint(opened, index))
        return write_proof(receipt, cosigned_note(opened, receipt.checkpoint))


def entry_bytes(settings: Settings, index: int) -> bytes:
    """The bytes of one entry as they were hashed."""
    with wiring.store(settings, create=False) as opened:
        wiring.ledger(settings, opened, write=False).prove(index)
        return bytes(opened.ledger.read(index, index + 1)[0])


def checkpoint_note(settings: Settings) -> str:
    """The latest checkpoint, a signed note, with the cosignatures that are known of it."""
    from customhouse.app.ledger_witnesses import cosigned_note

    with wiring.store(settings, create=False) as opened:
        return cosigned_note(opened, wiring.ledger(settings, opened, write=False).checkpoint())


def decision_of(settings: Settings, prefix: str) -> dict[str, Any] | None:
    """The stored Decision whose digest begins so, with its Facts; None when there is none or no state."""
    if not wiring.has_store(settings):
        return None
    with wiring.store(settings, create=False) as opened:
        found = opened.decisions.find(prefix)
        return dict(found[0]) if found else None
