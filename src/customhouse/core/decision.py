"""Decisions: what the gate says. The body is identical at every point; the envelope says where and when it was said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import json_digest
from customhouse._kit.frozen import quickly_made
from customhouse._kit.money import Money
from customhouse.core.resource import Location, ResourceRef
from customhouse.core.verdicts import Category, Point, Severity, Verdict

__all__ = [
    "Category",
    "Decision",
    "Finding",
    "Point",
    "RuleText",
    "Severity",
    "Verdict",
    "overall",
    "verdict_of",
]


@quickly_made
@dataclass(frozen=True, slots=True)
class Finding:
    """One complaint of one rule about one resource.

    `pointer` is the JSON pointer of what is wrong; the envelope turns it into `location`. `waiver` is the id of the
    waiver that covers it: a waived finding is shown and does not deny.
    """

    rule: str
    category: Category
    severity: Severity
    resource: ResourceRef
    message: str
    fix: str
    pointer: str = ""
    cost_delta: Money | None = None
    waiver: str | None = None
    advisories: tuple[str, ...] = ()
    """Names of the vulnerability that it is about, which a waiver may name; outside the body: the message has them."""

    def body(self) -> dict[str, Any]:
        """What counts for the Decision's digest."""
        return {
            "rule": self.rule,
            "category": self.category._value_,  # as `value`, which is a function in Python 3.11
            "severity": self.severity._value_,
            "resource": self.resource.to_json(),
            "message": self.message,
            "fix": self.fix,
            "pointer": self.pointer,
            "cost_delta": None if self.cost_delta is None else str(self.cost_delta),
            "waiver": self.waiver,
        }


@dataclass(frozen=True, slots=True)
class RuleText:
    """What a rule says of itself, for reports that explain their rules; `severity` is the one it has without a tier."""

    title: str
    description: str
    category: str
    severity: str
    fix: str


@quickly_made
@dataclass(frozen=True, slots=True)
class Decision:
    """The judgement of one Change. `locations` has one place per finding, in the same order."""

    resource: ResourceRef
    verdict: Verdict
    findings: tuple[Finding, ...]
    facts_digest: str
    bundle_digest: str
    point: Point
    decided_at: datetime
    locations: tuple[Location | None, ...] = ()
    revision: str | None = None
    timings: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Check → milliseconds that it took (`artifacts`, `evidence`, `price`, `facts`, `rules`); empty: not measured."""
    canary: Mapping[str, Any] | None = field(default=None, compare=False)
    """What a bundle on trial says of the same Facts (`policy.canary.Trial`); None: this object is not on trial."""
    _digest: str = field(default="", init=False, compare=False, repr=False)

    def body(self) -> dict[str, Any]:
        """The part that is byte-identical (as canonical JSON) at every point for the same Facts and Bundle."""
        return {
            "verdict": self.verdict.value,
            "findings": [finding.body() for finding in self.findings],
            "facts_digest": self.facts_digest,
            "bundle_digest": self.bundle_digest,
        }

    @property
    def digest(self) -> str:
        """The digest of the body, worked out once: whoever enters it somewhere asks for it."""
        if not self._digest:
            object.__setattr__(self, "_digest", json_digest(self.body()))
        return self._digest

    def envelope(self) -> dict[str, Any]:
        """Where, when and for which revision it was said."""
        told: dict[str, Any] = {
            "point": self.point.value,
            "decided_at": to_rfc3339(self.decided_at),
            "revision": self.revision,
            "resource": self.resource.to_json(),
            "locations": [None if place is None else str(place) for place in self.locations],
            "timings": dict(self.timings),
        }
        return told if self.canary is None else {**told, "canary": dict(self.canary)}


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Deny on an unwaived error, warn on an unwaived warning, else allow."""
    severities = [finding.severity for finding in findings if finding.waiver is None]
    if Severity.ERROR in severities:
        return Verdict.DENY
    return Verdict.WARN if Severity.WARNING in severities else Verdict.ALLOW


def overall(decisions: Iterable[Decision]) -> Verdict:
    """The verdict of a set of changes: the strictest of its Decisions (one denial denies the set)."""
    verdicts = {decision.verdict for decision in decisions}
    for verdict in (Verdict.DENY, Verdict.WARN):
        if verdict in verdicts:
            return verdict
    return Verdict.ALLOW
