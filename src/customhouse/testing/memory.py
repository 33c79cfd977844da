"""The storage ports and a target, in memory: fakes that pass the same contract suites as the real adapters.

For tests only: nothing survives the process, and one thread at a time is assumed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import from_rfc3339
from customhouse._kit.digest import json_digest
from customhouse.core.cost import Charge
from customhouse.core.decision import Decision
from customhouse.core.errors import StateError, UsageError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.core.observation import Observation
from customhouse.core.plan import Action, ActionKind, ActionResult, Health, HealthStatus, LiveObject
from customhouse.core.release import Release
from customhouse.core.resource import ResourceRef


class MemoryLedgerStore:
    """`core.ports.LedgerStore`."""

    def __init__(self) -> None:
        self._leaves: list[bytes] = []
        self._index: dict[str, int] = {}
        self._checkpoint: Checkpoint | None = None

    def append(self, entries: Sequence[Entry]) -> Sequence[int]:
        """Every entry is written out before the first is stored, so that a bad one stores none."""
        written = [(entry.key, entry.to_bytes()) for entry in entries]
        for key, leaf in written:
            if key not in self._index:
                self._index[key] = len(self._leaves)
                self._leaves.append(leaf)
        return [self._index[key] for key, _ in written]

    def size(self) -> int:
        """How many entries there are."""
        return len(self._leaves)

    def read(self, start: int, end: int) -> Sequence[bytes]:
        """The leaf data of [start, end). Raises StateError when not all of it is there."""
        if end > len(self._leaves):
            raise StateError(f"entry {max(start, len(self._leaves))} is missing")
        return tuple(self._leaves[start:end])

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Raises StateError for one that is smaller than the latest."""
        if self._checkpoint is not None and checkpoint.size < self._checkpoint.size:
            raise StateError(f"a checkpoint of {checkpoint.size} entries after one of {self._checkpoint.size}")
        self._checkpoint = checkpoint

    def latest_checkpoint(self) -> Checkpoint | None:
        """The last one published."""
        return self._checkpoint


class MemoryStateStore:
    """`core.ports.StateStore`. Documents are kept as text, so that a caller's later edit changes nothing here."""

    def __init__(self) -> None:
        self._documents: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """The JSON value, None when there is none."""
        return copy.deepcopy(self._documents.get(key))

    def put(self, values: Mapping[str, Any]) -> None:
        """All or nothing: a value that is not JSON stores none."""
        for value in values.values():
            canonical_json(value)
        for key, value in values.items():
            if value is None:
                self._documents.pop(key, None)
            else:
                self._documents[key] = copy.deepcopy(value)

    def keys(self, prefix: str) -> Sequence[str]:
        """The keys that start with a prefix, sorted."""
        return sorted(key for key in self._documents if key.startswith(prefix))


class MemoryDecisionLog:
    """`core.ports.DecisionLog`."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str | None], dict[str, Any]] = {}

    def record(self, decision: Decision, facts: Mapping[str, Any]) -> None:
        """The same body, point and revision twice is one row. Raises UsageError for Facts of another decision."""
        self.record_all(((decision, facts),))

    def record_all(self, judged: Iterable[tuple[Decision, Mapping[str, Any]]]) -> None:
        """All of them or none."""
        every = tuple(judged)
        for decision, facts in every:
            if json_digest(facts) != decision.facts_digest:
                raise UsageError("these are not the Facts that the decision rests on", where=decision.digest)
        for decision, facts in every:
            self._rows.setdefault(
                (decision.digest, decision.point, decision.revision),
                {
                    "digest": decision.digest,
                    "body": decision.body(),
                    "envelope": decision.envelope(),
                    "facts": copy.deepcopy(dict(facts)),
                },
            )

    def recent(self, limit: int = 100, point: str = "") -> Sequence[Mapping[str, Any]]:
        """The newest first, without their Facts; of one point, or of all."""
        rows = [row for row in self._rows.values() if point in ("", row["envelope"]["point"])]
        newest = rows[::-1][:limit]
        return [{name: row[name] for name in ("digest", "body", "envelope")} for row in newest]

    def find(self, digest_prefix: str) -> Sequence[Mapping[str, Any]]:
        """Those whose digest starts with a prefix, with their Facts."""
        wanted = "sha256:" + digest_prefix.removeprefix("sha256:")
        return [dict(row) for row in self._rows.values() if row["digest"].startswith(wanted)]

    def recorded(self, since: str = "") -> Iterator[Mapping[str, Any]]:
        """Every one with its Facts, in order; `since` by `decided_at`."""
        start = from_rfc3339(since) if since else None
        for row in list(self._rows.values()):
            if start is None or from_rfc3339(row["envelope"]["decided_at"]) >= start:
                yield dict(row)


class MemoryReleaseLog:
    """`core.ports.ReleaseLog`."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Any, ...], Release] = {}

    def record(self, release: Release) -> None:
        """(resource, release, revision, phase) twice is one row."""
        self._rows.setdefault((release.resource, release.release, release.revision, release.phase), release)

    def record_all(self, released: Iterable[Release]) -> None:
        """Each in order."""
        for release in released:
            self.record(release)

    def history(self, name: str | None = None, limit: int = 100) -> Sequence[Release]:
        """The newest first."""
        rows = [row for row in self._rows.values() if name is None or row.resource.name == name]
        rows.reverse()  # of two at one time, the one recorded last
        return sorted(rows, key=lambda row: row.at, reverse=True)[:limit]


class MemoryMeasurements:
    """`core.ports.Measurements`."""

    def __init__(self) -> None:
        self._observations: dict[tuple[Any, ...], Observation] = {}
        self._charges: dict[tuple[Any, ...], Charge] = {}

    def append(self, observations: Iterable[Observation]) -> None:
        """The iterable is read to its end first, so one that fails stores none. The last value at a time wins."""
        for seen in list(observations):
            labels = tuple(sorted(seen.labels.items()))
            place = (seen.at, seen.source, seen.resource, seen.release, seen.metric, seen.unit, seen.instance, labels)
            self._observations[place] = seen

    def series(self, metric: str, resource: ResourceRef | None = None, since: str = "") -> Sequence[Observation]:
        """In order of time; from `since` on."""
        start = from_rfc3339(since) if since else None
        found = [
            seen
            for seen in self._observations.values()
            if seen.metric == metric
            and (resource is None or seen.resource == resource)
            and (start is None or seen.at >= start)
        ]
        return sorted(found, key=lambda seen: seen.at)

    def charge(self, charges: Iterable[Charge]) -> None:
        """The same (resource, release, start, end, category) twice is one row."""
        for row in list(charges):
            self._charges.setdefault((row.resource, row.release, row.start, row.end, row.category), row)

    def charges(self, since: str = "") -> Sequence[Charge]:
        """In order of time; from `since` on."""
        start = from_rfc3339(since) if since else None
        return sorted(
            (row for row in self._charges.values() if start is None or row.start >= start), key=lambda row: row.start
        )


class MemoryTarget:
    """`core.ports.Target`: what is applied is Healthy at once. Kinds in `refused` are refused."""

    def __init__(self, name: str = "memory", refused: frozenset[str] = frozenset()) -> None:
        self.name = name
        self.refused = refused
        self.writes = 0
        self._objects: dict[ResourceRef, LiveObject] = {}

    def read(self, refs: Sequence[ResourceRef]) -> Mapping[ResourceRef, LiveObject]:
        """What is live now."""
        return {ref: replace(self._objects[ref]) for ref in refs if ref in self._objects}

    def managed(self) -> Sequence[ResourceRef]:
        """Everything that runs."""
        return sorted(self._objects)

    def apply(self, actions: Sequence[Action]) -> Sequence[ActionResult]:
        """Carry out actions in order."""
        return [self._carry_out(action) for action in actions]

    def _carry_out(self, action: Action) -> ActionResult:
        live = self._objects.get(action.ref)
        if action.kind is ActionKind.WAIT:
            return ActionResult(action, True, False)
        if action.kind is ActionKind.DELETE:
            self.writes += live is not None
            self._objects.pop(action.ref, None)
            return ActionResult(action, True, live is not None)
        if action.desired is None or action.ref.kind in self.refused:
            return ActionResult(action, False, False, f"{action.ref}: refused")
        if live is not None and live.manifest == action.desired:
            return ActionResult(action, True, False)
        self.writes += 1
        self._objects[action.ref] = LiveObject(
            action.ref, copy.deepcopy(dict(action.desired)), Health(HealthStatus.HEALTHY)
        )
        return ActionResult(action, True, True)
