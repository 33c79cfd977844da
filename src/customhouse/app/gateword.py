"""What the gate has said of a revision, as far as a state has it on record: for `customhouse plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from customhouse.app import wiring
from customhouse.app.memory import REFUSED, Memory
from customhouse.app.settings import Settings
from customhouse.core.decision import Point

_RECENT = 2_000
_TOLD = 3
_RANK = {"allow": 0, "warn": 1, "deny": 2}


def gate_word(settings: Settings, commit: str) -> dict[str, Any] | None:
    """`{"verdict","at","text","deployed"}` of a commit; None where no record of it is here.

    `verdict` is the worst of its Decisions (`allow`, `warn`, `deny`), or `undecided`: it could not be judged. `at` is
    when the last of them was made, empty where there is none. Reading makes no state.
    """
    if not wiring.has_store(settings):
        return None
    with wiring.store(settings) as opened:
        memory = Memory(opened.state)
        deployed, refused = memory.deployed, memory.get(REFUSED)
        rows = [
            row for row in opened.decisions.recent(_RECENT, Point.GATE.value) if row["envelope"]["revision"] == commit
        ]
    if refused is not None and refused["revision"] == commit:
        # The control plane's own word goes first: it knows what was spent, and who reviewed.
        verdict = "deny" if any(row["body"]["verdict"] == "deny" for row in rows) else "undecided"
        return {"verdict": verdict, "at": _latest(rows), "text": str(refused["text"]), "deployed": False}
    current = deployed is not None and deployed.revision == commit
    if not rows:
        return {"verdict": "allow", "at": "", "text": "", "deployed": True} if current else None
    worst = max((str(row["body"]["verdict"]) for row in rows), key=lambda item: _RANK.get(item, 2))
    if current:
        worst = "allow" if worst == "deny" else worst  # by another base, or before it was waived: it was allowed since
    return {"verdict": worst, "at": _latest(rows), "text": _why(rows, worst), "deployed": current}


def _latest(rows: list[Mapping[str, Any]]) -> str:
    return max((str(row["envelope"]["decided_at"]) for row in rows), default="")


def _why(rows: list[Mapping[str, Any]], verdict: str) -> str:
    severity = {"deny": "error", "warn": "warning"}.get(verdict)
    found = [
        f"{item['resource']['kind']} {item['resource']['name']}: {item['message']}"
        for row in rows
        for item in row["body"]["findings"]
        if item["severity"] == severity and item["waiver"] is None
    ]
    found = list(dict.fromkeys(found))
    more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return "; ".join(found[:_TOLD]) + more
