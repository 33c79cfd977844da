"""`customhouse policy replay`: what the store recorded, judged again under a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.app import wiring
from customhouse.app.policybundles import candidate, in_force, read_waivers
from customhouse.app.settings import Settings
from customhouse.core.decision import Point
from customhouse.core.errors import CannotDecideError, PolicyError, UsageError
from customhouse.core.facts import SCHEMA, Facts
from customhouse.core.ports import PolicyEngine, Progress
from customhouse.policy.bundle import QUERY
from customhouse.policy.gate import Gate
from customhouse.policy.replay import Summary, compare, foreign_findings

_BATCH = 64
"""Documents that OPA is asked about at once: a process an answer would make a month of decisions hours."""


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """`bundle`: a folder or an archive; None: what is in force in `repo`. `since`: RFC 3339, `30d` or `12h`."""

    repo: str = "."
    bundle: str | None = None
    waivers: str | None = None
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The candidate's digest (with its waivers, as Decisions name it) and what it would have said."""

    bundle_digest: str
    since: str
    summary: Summary

    def to_json(self) -> dict[str, Any]:
        """The JSON of `policy replay`."""
        return {"bundle_digest": self.bundle_digest, "since": self.since, **self.summary.to_json()}


def replay(settings: Settings, request: ReplayRequest, progress: Progress) -> Replayed:
    """Judge every recorded Decision's Facts again.

    Raises UsageError without a state or for a `since` that is none, TamperError for a record that was changed,
    PolicyError for a candidate that does not compile.
    """
    governing = in_force(settings, request.repo)
    bundle = governing.bundle if request.bundle is None else candidate(request.bundle)
    waivers = governing.waivers
    if request.waivers is not None:
        waivers = read_waivers(request.waivers, governing.configuration.max_exception_days)
    engine = wiring.engine(settings)
    gate = Gate(engine, bundle, waivers)
    since = since_of(request.since)
    summary = Summary()
    with wiring.store(settings, create=False) as opened:
        records = opened.decisions.recorded(since)
        while batch := list(islice(records, _BATCH)):
            _judge(batch, gate, engine, summary)
            progress("judged again", summary.judged, 0)
    return Replayed(gate.bundle_digest, since, summary)


def _judge(batch: Sequence[Mapping[str, Any]], gate: Gate, engine: PolicyEngine, summary: Summary) -> None:
    known = []
    for record in batch:
        schema = record["facts"].get("schema") if isinstance(record["facts"], dict) else None
        if schema == SCHEMA:
            known.append(record)
        else:
            summary.other_schema[str(schema)[:100]] += 1
    for record, answer in zip(known, _answers(known, gate, engine), strict=True):
        try:
            decision = gate.rejudge(
                Facts(record["facts"]),
                point=Point(record["envelope"]["point"]),
                decided_at=from_rfc3339(record["envelope"]["decided_at"]),
                answer=answer,
            )
        except CannotDecideError as error:
            summary.undecided[str(error)[:300]] += 1
        else:
            summary.add(compare(record, decision))
            summary.foreign += foreign_findings(record["body"])


def _answers(records: Sequence[Mapping[str, Any]], gate: Gate, engine: PolicyEngine) -> Sequence[Any]:
    """What the engine says of each, asked at once where the engine can; None: the gate asks for that one by itself."""
    together = getattr(engine, "evaluate_all", None)
    alone = [None] * len(records)
    if together is None:
        return alone
    try:
        answers: Sequence[Any] = together(gate.bundle.modules, gate.bundle.data, [r["facts"] for r in records], QUERY)
    except PolicyError:
        return alone  # one of them is beyond the engine; which one is found by asking one by one
    return answers


def since_of(text: str | None) -> str:
    """RFC 3339 of what `--since` says; empty for None. Raises UsageError."""
    if text is None:
        return ""
    units = {"d": "days", "h": "hours", "m": "minutes"}
    if text[:-1].isdigit() and text[-1:] in units and len(text) <= 8:
        return to_rfc3339(wiring.clock().now() - timedelta(**{units[text[-1]]: int(text[:-1])}))
    try:
        return to_rfc3339(from_rfc3339(text))
    except ValueError as error:
        raise UsageError(f"--since is {text[:40]!r}", hint="write 30d, 12h or an RFC 3339 time") from error
