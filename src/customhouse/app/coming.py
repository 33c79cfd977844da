"""Releases on their way, for `customhouse history`: allowed, and neither promoted nor over, with what they wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from customhouse._kit.clock import from_rfc3339
from customhouse.app.memory import PENDING, ROLLOUT, Memory, ref_of
from customhouse.app.settings import Settings
from customhouse.app.statusfile import read_status
from customhouse.control.rollout import RolloutState
from customhouse.core.errors import CustomhouseError
from customhouse.core.ports import DecisionLog
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef

NEVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def on_their_way(settings: Settings, memory: Memory, decisions: DecisionLog, name: str | None) -> list[Release]:
    """Those of a workload, or of all, the newest first: the time is that of the Decision that allowed each."""
    told = _told(settings)
    walks = _walks(memory)
    found = []
    for value in memory.all(PENDING).values():
        ref = ref_of(value["resource"])
        if name is not None and ref.name != name:
            continue
        walk = walks.get(ref)
        walking = walk is not None and walk.candidate == value["release"]
        said = told.get((ref.kind, ref.namespace, ref.name, value["release"]), "")
        share = f"{walk.weight} % of the traffic" if walk is not None and walking else ""
        found.append(
            Release(
                resource=ref,
                release=value["release"],
                revision=value["revision"],
                author=value["author"],
                artifact=value["artifact"],
                verdict=value["verdict"],
                decision=value["decision"],
                phase=RolloutPhase.CANARY if walking else RolloutPhase.PENDING,
                at=_decided(decisions.find(value["decision"]) if value["decision"] else ()),
                reason=": ".join(filter(None, [share, said])) or "not healthy yet",
            )
        )
    return sorted(found, key=lambda item: item.at, reverse=True)


def _walks(memory: Memory) -> Mapping[ResourceRef, RolloutState]:
    states = (RolloutState.from_json(value["state"]) for value in memory.all(ROLLOUT).values())
    return {state.resource: state for state in states}


def _told(settings: Settings) -> Mapping[tuple[str, str, str, str], str]:
    """What the control plane last saw of each release; nothing where none runs, which is no reason to fail."""
    try:
        rows: Any = read_status(settings).get("releases") or ()
    except CustomhouseError:
        return {}
    found = {}
    for row in rows:
        said = ": ".join(filter(None, [str(row.get("health") or ""), str(row.get("message") or "")]))
        found[str(row["kind"]), str(row["namespace"]), str(row["name"]), str(row["release"])] = said
    return found


def _decided(found: Sequence[Mapping[str, Any]]) -> datetime:
    return from_rfc3339(found[0]["envelope"]["decided_at"]) if found else NEVER
