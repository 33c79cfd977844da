"""Replay: recorded Facts judged again under a candidate bundle and waivers. Who would be hit, and by what.

Pure: records in, differences out, one at a time, so that a month of decisions is never in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse.core.decision import Decision, Severity, Verdict
from customhouse.core.resource import PREFIX

_FOREIGN = ("gatekeeper/", "conftest/")
MAX_LISTED = 1000
"""Differences of each effect that a summary keeps; all of them are counted."""


class Effect(StrEnum):
    """What a candidate changes about one recorded Decision."""

    NEWLY_DENIED = "newly-denied"
    NEWLY_ALLOWED = "newly-allowed"
    CHANGED = "changed"
    """The same side of the gate, other findings."""
    SAME = "same"
    UNSTABLE = "unstable"
    """Another body under the very bundle that it was made with: that must never be."""


_ORDER = (Effect.UNSTABLE, Effect.NEWLY_DENIED, Effect.NEWLY_ALLOWED, Effect.CHANGED)


@dataclass(frozen=True, slots=True)
class Difference:
    """One recorded Decision beside what the candidate says. `added` and `removed` are rule ids."""

    digest: str
    effect: Effect
    resource: Mapping[str, Any]
    team: str
    revision: str
    decided_at: str
    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    messages: tuple[str, ...]
    """What stands against it now and did not before."""

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "decision": self.digest,
            "effect": self.effect.value,
            "resource": dict(self.resource),
            "team": self.team,
            "revision": self.revision,
            "decided_at": self.decided_at,
            "before": self.before,
            "after": self.after,
            "added": list(self.added),
            "removed": list(self.removed),
            "messages": list(self.messages),
        }


def compare(record: Mapping[str, Any], candidate: Decision) -> Difference:
    """One record of `DecisionLog` (`digest`, `body`, `envelope`, `facts`) beside the candidate's Decision."""
    body, now = _own(record["body"]), candidate.body()
    before, after = _stands(body["findings"]), _stands(now["findings"])
    against = [item for item in now["findings"] if item["waiver"] is None and _key(item) not in before]
    denied, denies = body["verdict"] == Verdict.DENY, now["verdict"] == Verdict.DENY
    if body["bundle_digest"] == now["bundle_digest"] and canonical_json(body) != canonical_json(now):
        effect = Effect.UNSTABLE
    elif denied != denies:
        effect = Effect.NEWLY_DENIED if denies else Effect.NEWLY_ALLOWED
    elif before != after or body["verdict"] != now["verdict"]:
        effect = Effect.CHANGED
    else:
        effect = Effect.SAME
    return Difference(
        digest=record["digest"],
        effect=effect,
        resource=record["facts"]["change"]["resource"],
        team=_team(record["facts"]),
        revision=record["envelope"].get("revision") or "",
        decided_at=record["envelope"].get("decided_at", ""),
        before=body["verdict"],
        after=now["verdict"],
        added=tuple(sorted({rule for rule, *_ in after - before})),
        removed=tuple(sorted({rule for rule, *_ in before - after})),
        messages=tuple(item["message"] for item in against)[:20],
    )


@dataclass(slots=True)
class Summary:
    """What a replay comes to; `add` every Difference. Counts are of decisions; `resources` are distinct objects."""

    counts: Counter[str] = field(default_factory=Counter)
    by_rule: Counter[str] = field(default_factory=Counter)
    by_namespace: Counter[str] = field(default_factory=Counter)
    by_team: Counter[str] = field(default_factory=Counter)
    other_schema: Counter[str] = field(default_factory=Counter)
    foreign: int = 0
    """Findings of Gatekeeper and conftest policies, which are left out on both sides."""
    undecided: Counter[str] = field(default_factory=Counter)
    """Why the candidate could not decide → how often."""
    listed: dict[Effect, list[Difference]] = field(default_factory=dict)
    resources: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, difference: Difference) -> None:
        """Count one; the groups are of what would be newly denied."""
        self.counts[difference.effect.value] += 1
        listed = self.listed.setdefault(difference.effect, [])
        if difference.effect is not Effect.SAME and len(listed) < MAX_LISTED:
            listed.append(difference)
        if difference.effect is Effect.NEWLY_DENIED:
            resource = difference.resource
            self.resources.add((resource["kind"], resource["namespace"], resource["name"]))
            self.by_rule.update(difference.added)
            self.by_namespace[resource["namespace"]] += 1
            self.by_team[difference.team or "(no team)"] += 1

    @property
    def judged(self) -> int:
        """How many records were judged again."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """The JSON of `policy replay`; what matters most comes first."""
        shown = [item for effect in _ORDER for item in self.listed.get(effect, ())]
        return {
            "judged": self.judged,
            "newly_denied": self.counts[Effect.NEWLY_DENIED],
            "newly_allowed": self.counts[Effect.NEWLY_ALLOWED],
            "changed": self.counts[Effect.CHANGED],
            "same": self.counts[Effect.SAME],
            "unstable": self.counts[Effect.UNSTABLE],
            "undecided": sum(self.undecided.values()),
            "undecided_reasons": dict(self.undecided.most_common(20)),
            "other_schema": dict(sorted(self.other_schema.items())),
            "foreign_findings_left_out": self.foreign,
            "resources_newly_denied": len(self.resources),
            "by_rule": dict(self.by_rule.most_common()),
            "by_namespace": dict(self.by_namespace.most_common()),
            "by_team": dict(self.by_team.most_common()),
            "decisions": [item.to_json() for item in shown],
            "decisions_left_out": self.judged - self.counts[Effect.SAME] - len(shown),
        }


def foreign_findings(body: Mapping[str, Any]) -> int:
    """How many findings of Gatekeeper and conftest policies a recorded body has.

    Those saw raw objects, which are not recorded, so nobody can judge them again.
    """
    return sum(item["rule"].startswith(_FOREIGN) for item in body["findings"])


def _own(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body without the findings of policies of others, and the verdict that the rest comes to."""
    if not foreign_findings(body):
        return body
    findings = [item for item in body["findings"] if not item["rule"].startswith(_FOREIGN)]
    severities = {item["severity"] for item in findings if item["waiver"] is None}
    verdict = Verdict.ALLOW
    if Severity.ERROR in severities:
        verdict = Verdict.DENY
    elif Severity.WARNING in severities:
        verdict = Verdict.WARN
    return {**body, "findings": findings, "verdict": verdict.value}


def _stands(findings: Iterable[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    return {_key(item) for item in findings}


def _key(finding: Mapping[str, Any]) -> tuple[Any, ...]:
    # The message tells amounts and names; two findings of one rule at one place are told apart by it.
    return (finding["rule"], finding["pointer"], finding["severity"], finding["message"], finding["waiver"] is not None)


def _team(facts: Mapping[str, Any]) -> str:
    side = facts["change"].get("after") or facts["change"].get("before") or {}
    labels = side.get("labels") or {}
    return str(labels.get(f"{PREFIX}team", ""))[:200] if isinstance(labels, Mapping) else ""
