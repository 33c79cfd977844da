"""The clerk: writes down what was answered, in batches, and tells the front when there is something new to read.

Nobody waits for it, except for a break-glass: that is let in only when an Entry of it is stored. Under pressure the
Facts of what was allowed are not kept; their digests are, in the Entry of the batch, with how many there were.
"""

from __future__ import annotations

import hashlib
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import from_rfc3339
from customhouse._kit.money import Money
from customhouse.app import wiring
from customhouse.app.admission_context import state_of
from customhouse.app.memory import GATES_ONLY
from customhouse.app.settings import Settings
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, Verdict
from customhouse.core.errors import CustomhouseError
from customhouse.core.ledger import Entry
from customhouse.core.resource import ResourceRef
from customhouse.trust.custody import Node, NodeKind, entry

if TYPE_CHECKING:
    from customhouse.store.database import Store
    from customhouse.trust.ledger import Ledger

RECORD = struct.Struct("!IQ")
"""Bytes of the record, and its number when the front waits for it (else 0)."""
STORED = struct.Struct("!BQ")
"""What is told to the front: 1 and a number: stored; 2 and a number: could not be; 3 and 0: read everything anew."""
WATCH_S = 1.0
BATCH = 500
_ALLOWED_KEPT = 50
"""Of one batch, how many allowed decisions are kept with their Facts; of what was refused, all."""
_GATHER_S = 0.25
_REST_S = 0.005
"""After a read: the next one finds many records. Woken for each, the clerk takes time from those who judge."""


@dataclass(slots=True)
class _Waiting:
    """A record: what every one needs, and the Decision with its Facts, which most are never asked for."""

    number: int
    value: Mapping[str, Any]
    detail: bytes
    _read: Mapping[str, Any] | None = None

    @property
    def decision(self) -> Mapping[str, Any] | None:
        """`body`, `envelope` and `facts`; None where none was made."""
        if self._read is None and self.detail:
            import orjson

            self._read = orjson.loads(self.detail)
        return self._read


def keep(channel: socket.socket, settings: Settings, repo: str | None, *, dry: bool) -> None:
    """Write down what comes until the front closes the channel. `dry`: only watch."""
    watcher = _Watcher(channel, settings, repo)
    buffer, waiting = bytearray(), list[_Waiting]()
    due = 0.0
    books: _Books | None = None
    while True:
        left = min(watcher.left(), max(0.0, due - time.monotonic()) if waiting else WATCH_S)
        ready, _, _ = select.select([channel], [], [], left)
        if ready:
            data = channel.recv(1 << 18)
            if not data:
                break
            buffer += data
            taken = _records(buffer)
            if taken and not waiting:
                due = time.monotonic() + _GATHER_S
            waiting.extend(taken)
            if not any(item.number for item in taken):
                time.sleep(_REST_S)
        watcher.look()
        if waiting and (time.monotonic() >= due or len(waiting) >= BATCH or any(item.number for item in waiting)):
            if not dry:
                books = books or _Books(settings)
            _write(channel, books, waiting[:BATCH])
            del waiting[:BATCH]
    if waiting and not dry:
        _write(None, books or _Books(settings), waiting)


class _Watcher:
    """Looks every second whether a generation would read something else now."""

    def __init__(self, channel: socket.socket, settings: Settings, repo: str | None) -> None:
        self._channel, self._settings, self._repo = channel, settings, repo
        self._store: Store | None = None
        self._seen, self._at = self._state(), time.monotonic() + WATCH_S

    def left(self) -> float:
        return max(0.0, self._at - time.monotonic())

    def look(self) -> None:
        if self.left() > 0:
            return
        self._at = time.monotonic() + WATCH_S
        found = self._state()
        if found is not None and found != self._seen:
            self._seen = found
            self._channel.sendall(STORED.pack(3, 0))

    def _state(self) -> str | None:
        try:
            if self._store is None and self._repo is not None and wiring.has_store(self._settings):
                self._store = wiring.store(self._settings)
            return state_of(self._settings, self._repo, self._store)
        except (CustomhouseError, OSError):
            return None  # asked again in a second


class _Books:
    """The store and the ledger, opened when the first record comes."""

    def __init__(self, settings: Settings) -> None:
        new = not wiring.has_store(settings)
        self.store: Store = wiring.store(settings)
        if new:
            # Nobody keeps a record of what is spent in a state that a webhook makes: that is not nothing.
            self.store.state.put({GATES_ONLY: True})
        self.ledger: Ledger = wiring.ledger(settings, self.store, write=True)

    def write(self, batch: Sequence[_Waiting], at: datetime) -> None:
        """Store a batch: the decisions that are kept, then the Entries. Raises StateError and TamperError."""
        allowed = 0
        kept = []
        for item in batch:
            if not item.detail:
                continue
            allowed += item.value["allowed"]
            if item.value["allowed"] and not item.number and allowed > _ALLOWED_KEPT:
                continue
            if (found := item.decision) is not None:
                kept.append((_decision(found), found["facts"]))
        self.store.decisions.record_all(kept)
        self.ledger.append(entries_of(batch, at))


def entries_of(batch: Sequence[_Waiting], at: datetime) -> list[Entry]:
    """What was refused, and every break-glass, as an Entry each; what was allowed as one, bound by a digest."""
    entries: list[Entry] = []
    allowed: list[str] = []
    rules: Counter[str] = Counter()
    for item in batch:
        value = item.value
        if value["allowed"] and value["kind"] != "break-glass":
            allowed.append(f"{value['uid']} {value['digest']}")
            rules[value["verdict"] or value["kind"]] += 1
            continue
        entries.append(_single(item, at))
    if allowed:
        listed = hashlib.sha256("\n".join(sorted(allowed)).encode()).hexdigest()
        body = {"text": f"{len(allowed)} requests allowed at admission", "digest": f"sha256:{listed}", **dict(rules)}
        entries.append(entry("admission-batch", f"admission-batch:{listed}", at, "customhouse", body=body))
    return entries


def _single(item: _Waiting, at: datetime) -> Entry:
    value, decision = item.value, item.decision
    verb = "break-glass" if value["kind"] == "break-glass" else "denied"
    ref = value["resource"]
    place = f"{ref['kind']} {ref['namespace']}/{ref['name']}"
    reason = str(value.get("reason") or "")
    if decision is not None and verb == "denied":
        reason = next((found["message"] for found in decision["body"]["findings"] if found["waiver"] is None), reason)
    nodes = [] if decision is None else [Node.of(NodeKind.DECISION, value["digest"], time=at)]
    return entry(
        "admission" if verb == "denied" else verb,
        f"admission:{value['uid']}",
        at,
        value["user"] or "unknown",
        nodes=nodes,
        body={
            "text": f"{verb} at admission: {value['operation']} {place} by {value['user']}: {reason}"[:1000],
            "verdict": "allow" if value["allowed"] else "deny",
            "resource": dict(ref),
            "decision": value["digest"],
            "rules": sorted({found["rule"] for found in decision["body"]["findings"]}) if decision else [],
        },
    )


def _records(buffer: bytearray) -> list[_Waiting]:
    """Take the whole records: JSON of what every one needs, a line feed, JSON of its Decision or nothing."""
    import orjson

    found = []
    at = 0
    while len(buffer) - at >= RECORD.size:
        size, number = RECORD.unpack_from(buffer, at)
        start = at + RECORD.size
        if len(buffer) < start + size:
            break
        at = start + size
        head, _, detail = bytes(memoryview(buffer)[start:at]).partition(b"\n")
        found.append(_Waiting(number, orjson.loads(head), detail))
    del buffer[:at]
    return found


def _write(channel: socket.socket | None, books: _Books | None, batch: Sequence[_Waiting]) -> None:
    stored = False
    if books is not None:
        try:
            books.write(batch, wiring.clock().now())
            stored = True
        except (CustomhouseError, OSError) as error:
            sys.stderr.write(f'{{"event":"not-recorded","count":{len(batch)},"problem":"{type(error).__name__}"}}\n')
    if channel is None:
        return
    with suppress(OSError):
        for item in batch:
            if item.number:
                channel.sendall(STORED.pack(1 if stored else 2, item.number))


def _decision(value: Mapping[str, Any]) -> Decision:
    """The inverse of `Decision.body` and `Decision.envelope`; places in files are not needed again."""
    body, envelope = value["body"], value["envelope"]
    return Decision(
        resource=_ref(envelope["resource"]),
        verdict=Verdict(body["verdict"]),
        findings=tuple(_finding(item) for item in body["findings"]),
        facts_digest=body["facts_digest"],
        bundle_digest=body["bundle_digest"],
        point=Point(envelope["point"]),
        decided_at=from_rfc3339(envelope["decided_at"]),
        locations=tuple(None for _ in body["findings"]),
        revision=envelope["revision"],
        canary=envelope.get("canary"),
    )


def _finding(item: Mapping[str, Any]) -> Finding:
    delta = item["cost_delta"]
    return Finding(
        rule=item["rule"],
        category=Category(item["category"]),
        severity=Severity(item["severity"]),
        resource=_ref(item["resource"]),
        message=item["message"],
        fix=item["fix"],
        pointer=item["pointer"],
        cost_delta=None if delta is None else _money(delta),
        waiver=item["waiver"],
    )


def _money(text: str) -> Money:
    return Money.parse(text, "USD")


def _ref(value: Mapping[str, str]) -> ResourceRef:
    return ResourceRef(value["apiVersion"], value["kind"], value["namespace"], value["name"])
