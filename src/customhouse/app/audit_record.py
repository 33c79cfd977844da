"""What an audit leaves behind: the Decisions that are denials or are not what they were at the last audit.

The last answer about each object is remembered in a few bytes (what is allowed without a finding, as nothing at all),
so a repeat over a cluster in which nothing changed writes nothing. One audit keeps a bounded number of Decisions; what
is beyond is not remembered either, and so is kept by the next one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from customhouse._kit.digest import bytes_digest, json_digest
from customhouse.app import journal, wiring
from customhouse.app.admission_context import key_of
from customhouse.app.audit import Audited, AuditReport
from customhouse.app.memory import GATES_ONLY
from customhouse.app.settings import Settings
from customhouse.core.decision import Decision, Severity, Verdict
from customhouse.core.ledger import Entry
from customhouse.core.ports import DecisionLog, StateStore
from customhouse.core.resource import ResourceRef
from customhouse.trust.custody import Node, NodeKind, entry
from customhouse.trust.ledger import Ledger

PREFIX = "audit/"
MOST = 500
"""Decisions that one audit keeps with their Facts (some 5 kB each)."""
_CLEAN = ""
"""The answer about an object that is allowed and has nothing but notes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How many Decisions an audit has recorded, and how many it has left to the next one."""

    recorded: int = 0
    left: int = 0


@dataclass(slots=True)
class AuditRecord:
    """The memory of the audits of one scene in one state."""

    decisions: DecisionLog
    state: StateStore
    ledger: Ledger
    scene: str
    most: int = MOST
    _known: dict[str, dict[str, str]] = field(default_factory=dict, init=False)
    _chosen: dict[ResourceRef, str] = field(default_factory=dict, init=False)
    _left: int = field(default=0, init=False)

    def wanted(self, audited: Sequence[Audited]) -> Collection[ResourceRef]:
        """The objects whose Decisions are to be recorded: the auditor keeps the Facts of these only."""
        self._known = self._read()
        first = self.state.get(self._place()) is None
        self._chosen, self._left = {}, 0
        for item in sorted(audited, key=lambda one: (one.decision.verdict is not Verdict.DENY, one.decision.resource)):
            last, now = self._last(item.decision.resource), answer_of(item.decision)
            denied = item.decision.verdict is Verdict.DENY
            if now == last or (first and not denied):
                continue  # what was never asked about before has not changed
            if len(self._chosen) < self.most:
                self._chosen[item.decision.resource] = now
            else:
                self._left += 1
        return self._chosen.keys()

    def write(self, report: AuditReport) -> Kept:
        """Store what was wanted: Decisions, then Entries, then what to remember. Raises StateError, TamperError.

        A kill in between records the same again with the next audit, and never remembers what is not recorded.
        """
        entries: list[Entry] = []
        for item in report.audited:
            decision = item.decision
            if decision.resource in self._chosen:
                self.decisions.record(decision, report.facts[decision.resource].document)
                entries.append(_entry(item, report.scene))
        if entries:
            self.ledger.append(entries)
        self._remember(report)
        return Kept(len(entries), self._left)

    def _remember(self, report: AuditReport) -> None:
        first = self.state.get(self._place()) is None
        parts: dict[str, dict[str, str]] = defaultdict(dict)
        for item in report.audited:
            ref = item.decision.resource
            now, last = answer_of(item.decision), self._last(ref)
            if now != last and ref not in self._chosen and not (first and item.decision.verdict is not Verdict.DENY):
                now = last  # left to the next audit
            if now != _CLEAN:
                parts[_part(ref)][_name(ref)] = now
        if not report.complete:
            # What could not be listed or judged is not gone.
            seen = {_name(item.decision.resource) for item in report.audited}
            for part, answers in self._known.items():
                parts[part].update({name: said for name, said in answers.items() if name not in seen})
        changed = {
            self._place(part): parts.get(part) or None
            for part in {*parts, *self._known}
            if parts.get(part, {}) != self._known.get(part, {})
        }
        if changed or first:
            self.state.put({**changed, self._place(): {"scene": self.scene}})

    def _last(self, ref: ResourceRef) -> str:
        return self._known.get(_part(ref), {}).get(_name(ref), _CLEAN)

    def _read(self) -> dict[str, dict[str, str]]:
        prefix = f"{self._place()}/"
        return {key.removeprefix(prefix): self.state.get(key) or {} for key in self.state.keys(prefix)}

    def _place(self, part: str = "") -> str:
        place = f"{PREFIX}{bytes_digest(self.scene.encode())[7:19]}"
        return f"{place}/{part}" if part else place


def answer_of(decision: Decision) -> str:
    """What stays the same as long as the same is said of an object; times, ages and amounts do not count."""
    said = sorted(
        [finding.rule, finding.pointer, finding.severity.value, finding.waiver or ""]
        for finding in decision.findings
        if finding.severity is not Severity.NOTE
    )
    if not said and decision.verdict is Verdict.ALLOW:
        return _CLEAN
    return json_digest({"verdict": decision.verdict.value, "findings": said})[7:23]


@contextmanager
def open_record(settings: Settings, scene: str) -> Iterator[AuditRecord]:
    """The record in a state, which is made when there is none. Raises StateError."""
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = not wiring.has_store(settings)
    with wiring.store(settings) as opened:
        if new:
            opened.state.put({GATES_ONLY: True})
        ledger = wiring.ledger(settings, opened, write=True)
        yield AuditRecord(opened.decisions, opened.state, ledger, scene)


def _name(ref: ResourceRef) -> str:
    return "/".join(key_of(ref))


def _part(ref: ResourceRef) -> str:
    """Objects are remembered in 256 documents: a change writes one of them."""
    return hashlib.sha256(_name(ref).encode()).hexdigest()[:2]


def _entry(item: Audited, scene: str) -> Entry:
    decision = item.decision
    body = {**journal.decision_body(decision, f"audit of {scene}: "), "way": item.way, "scene": scene}
    made = Node.of(NodeKind.DECISION, decision.digest, time=decision.decided_at)
    key = f"audit:{decision.resource}:{decision.digest[7:19]}"
    return entry("audit", key, decision.decided_at, "customhouse", nodes=[made], body=body)
