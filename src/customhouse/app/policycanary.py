"""`customhouse policy canary`: what the envelopes of recorded Decisions say of candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse.app import wiring
from customhouse.app.policyreplay import since_of
from customhouse.app.settings import Settings


@dataclass(slots=True)
class CanaryCount:
    """What recorded Decisions say of one candidate."""

    mode: str = ""
    judged: int = 0
    would_deny: int = 0
    undecided: int = 0
    by_rule: Counter[str] = field(default_factory=Counter)
    by_namespace: Counter[str] = field(default_factory=Counter)
    hits: list[dict[str, Any]] = field(default_factory=list)
    first: str = ""
    last: str = ""

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "mode": self.mode,
            "judged": self.judged,
            "would_deny": self.would_deny,
            "undecided": self.undecided,
            "by_rule": dict(self.by_rule.most_common()),
            "by_namespace": dict(self.by_namespace.most_common()),
            "first": self.first,
            "last": self.last,
            "would_deny_listed": self.hits,
        }


_MOST_HITS = 200


def count(settings: Settings, since: str | None) -> Mapping[str, CanaryCount]:
    """Candidate's digest → what the state recorded of it. Raises UsageError without a state."""
    with wiring.store(settings, create=False) as opened:
        return tally(opened.decisions.recorded(since_of(since)))


def tally(records: Iterable[Mapping[str, Any]]) -> Mapping[str, CanaryCount]:
    """The counts of records of `DecisionLog`, by candidate."""
    found: dict[str, CanaryCount] = {}
    for record in records:
        trial = record["envelope"].get("canary")
        if not isinstance(trial, Mapping):
            continue
        counted = found.setdefault(str(trial["bundle_digest"]), CanaryCount())
        resource, at = record["envelope"]["resource"], record["envelope"]["decided_at"]
        counted.mode, counted.last = str(trial["mode"]), at
        counted.first = counted.first or at
        counted.judged += 1
        counted.undecided += trial["verdict"] is None
        if trial["would_deny"]:
            counted.would_deny += 1
            rules = sorted({item["rule"] for item in trial["added"] if item["severity"] == "error"})
            counted.by_rule.update(rules)
            counted.by_namespace[resource["namespace"]] += 1
            if len(counted.hits) < _MOST_HITS:
                counted.hits.append(
                    {"decision": record["digest"], "resource": resource, "rules": rules, "decided_at": at}
                )
    return found
