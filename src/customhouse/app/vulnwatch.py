"""The watch over what is deployed: a new advisory is held against it at once, and told with release, owner and fix.

1. What is deployed, with the packages of its signed bills, is read when a revision, or evidence, is new. 2. An import
of advisories touches packages; only artifacts that have one of them are looked at, all of them at the first look and a
few times a day (a VEX statement ages). 3. What VEX excuses is left out, and what was known is not told again. 4. The
release is judged by the rules of today, as if it came now. 5. The notice is an Entry of the ledger, stored with what is
known.

Nothing is stopped or rolled back: whoever owns the release decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse.app.governance import Governance
from customhouse.app.settings import Settings
from customhouse.app.tiering import judged_environment, judged_tier
from customhouse.app.vulnerabilities import scan_packages
from customhouse.app.vulnerability_excuses import Excuses
from customhouse.app.vulnerability_inventory import Running
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.decision import Decision, Point, Severity
from customhouse.core.errors import CustomhouseError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.core.ports import PolicyEngine
from customhouse.core.vulnerability import Report
from customhouse.core.workload import workload
from customhouse.observability.estimate import workload_cost
from customhouse.policy.facts import ArtifactEvidence, FactsContext, build_facts
from customhouse.policy.gate import Gate
from customhouse.trust.attestation import PREDICATE_TYPES
from customhouse.trust.reported import Reported
from customhouse.trust.vulnerabilities.matching import keys
from customhouse.trust.vulnerability_evidence import as_predicate
from customhouse.trust.vulnerability_reports import read_report

TOLD = 30
"""Vulnerabilities that one notice names; an Entry of the ledger is bounded."""
UNJUDGED = "unknown"
_ACTOR = "customhouse"
_RULES = ("vulnerability-denied", "vulnerability-warned")


@dataclass(frozen=True, slots=True)
class Notice:
    """What became known of one artifact of a release: `new` is what was not known before, worst first.

    `verdict` is what the rules of today say of it: `deny`, `warn`, `allow`, or `unknown` with the reason in `problem`.
    """

    running: Running
    report: Report
    new: tuple[Reported, ...]
    known: tuple[Reported, ...]
    excused: int
    verdict: str
    rules: tuple[str, ...] = ()
    problem: str = ""

    @property
    def text(self) -> str:
        """One sentence: what, where, whose, and what mends it."""
        rest = f" and {len(self.new) - 3} more" if len(self.new) > 3 else ""
        named = "; ".join(described(item) for item in self.new[:3])
        whose = f", owner {self.running.owner}" if self.running.owner else ", which no label says who owns"
        said = {
            "deny": f"It would be denied now ({', '.join(self.rules)}).",
            "warn": "It would be let in with a warning now.",
            "allow": "Its tier puts up with it.",
        }.get(self.verdict, f"It could not be judged: {self.problem}.")
        release = f"release {self.running.release.removeprefix('sha256:')[:12]}"
        besides = f"{self.running.artifact.reference}, which runs and is not declared"
        what = release if self.running.declared else besides
        return f"{self.running.name} ({what}{whose}) has {named}{rest}. {said}"

    def to_json(self) -> dict[str, Any]:
        """`{"resource","release","owner","artifact","reference","verdict","rules","new":[…],"known","excused",…}`."""
        return {
            "resource": self.running.declaration.ref.to_json(),
            "release": self.running.release,
            "owner": self.running.owner,
            "artifact": self.running.artifact.digest,
            "reference": self.running.artifact.reference,
            "declared": self.running.declared,
            "verdict": self.verdict,
            "rules": list(self.rules),
            "problem": self.problem,
            "new": [row_of(item) for item in self.new[:TOLD]],
            "more": max(0, len(self.new) - TOLD),
            "known": len(self.known),
            "excused": self.excused,
            "gaps": list(self.running.gaps),
            "text": self.text,
        }


def described(item: Reported) -> str:
    """`CVE-2024-1 (high) in numpy 1.0.0: update to 1.2.3`."""
    # A scanner lists the fixes of all branches: the first is not always the one above what is there.
    several = "the next of " if len(item.fixed) > 1 else ""
    mend = f"update to {several}{', '.join(item.fixed[:5])}" if item.fixed else "there is no fix"
    return f"{item.id} ({item.severity}) in {item.package} {item.version}: {mend}"


def row_of(item: Reported) -> dict[str, Any]:
    """A vulnerability for the ledger and for scripts."""
    return {
        "id": item.id,
        "aliases": list(item.aliases[:8]),
        "package": item.package,
        "version": item.version,
        "severity": item.severity,
        "score": item.score,
        "fixed": list(item.fixed[:4]),
    }


def touched(running: Iterable[Running], packages: frozenset[tuple[str, str]]) -> tuple[Running, ...]:
    """Those that have one of these packages, by the keys that the store knows them by."""
    return tuple(item for item in running if keys(item.packages) & packages)


class Watch:
    """Looks at artifacts and judges their releases. Keeps nothing."""

    def __init__(self, settings: Settings, governing: Governance, engine: PolicyEngine, db: str | None = None) -> None:
        self._settings, self._governing, self._engine, self._db = settings, governing, engine, db

    def look(self, running: Running, known: Mapping[str, Sequence[str]], now: datetime) -> Notice | None:
        """What is known of an artifact now; None where there is nothing. `known`: package → names told before.

        Raises StateError when the advisories cannot be read.
        """
        if not running.packages:
            return None
        report = scan_packages(self._settings, running.packages, db=self._db, now=now, max_age_days=None)
        if not report.findings:
            return None
        tier = judged_tier(self._governing.configuration, running.declaration)
        said = read_report(report.to_json(), "the advisories")
        excuses = Excuses(running.artifact, running.statements, now, tier.spec.vulnerabilities.vex_max_age_days)
        left, rows = excuses.apply(said.findings, "")
        new = tuple(item for item in left if not _told(item, known))
        old = tuple(item for item in left if _told(item, known))
        verdict, rules, problem = self._judged(running, as_predicate(said), now) if left else ("allow", (), "")
        return Notice(running, report, _worst_first(new), _worst_first(old), len(rows), verdict, rules, problem)

    def _judged(
        self, running: Running, predicate: Mapping[str, Any], now: datetime
    ) -> tuple[str, tuple[str, ...], str]:
        """By the bundle, tiers and waivers in force, of this very release."""
        try:
            decision = self._decision(running, predicate, now)
        except CustomhouseError as error:
            return UNJUDGED, (), str(error)[:300]
        # How old the advisories are is said by itself, and no reason against this release.
        found = [item for item in decision.findings if item.rule in _RULES and item.waiver is None]
        denying = sorted({item.rule for item in found if item.severity is Severity.ERROR})
        if denying:
            return "deny", tuple(denying), ""
        return ("warn" if any(item.severity is Severity.WARNING for item in found) else "allow"), (), ""

    def _decision(self, running: Running, predicate: Mapping[str, Any], now: datetime) -> Decision:
        governing, declaration = self._governing, running.declaration
        own = Evidence(
            subject=running.artifact.digest or "",
            kind=EvidenceKind.VULNERABILITIES,
            predicate_type=PREDICATE_TYPES[EvidenceKind.VULNERABILITIES],
            predicate=predicate,
            issued_at=now,
            signer=_ACTOR,
            verified=True,
            digest=bytes_digest(json.dumps(predicate, sort_keys=True).encode()),
        )
        work = workload(declaration.manifest, declaration.ref)
        cost = None
        if work is not None:
            cost = workload_cost(work, governing.book, governing.prices, declaration.manifest)
        context = FactsContext(
            as_of=now,
            tier=judged_tier(governing.configuration, declaration),
            environment=judged_environment(governing.configuration, declaration.ref),
            artifacts=(ArtifactEvidence(running.artifact, (*running.statements, own)),),
            cost_before=cost,
            cost_after=cost,
            settings=governing.policy,
        )
        change = Change(
            Operation.UPDATE, declaration.ref, declaration, declaration, None, Actor(ActorKind.CUSTOMHOUSE, _ACTOR)
        )
        facts = build_facts(change, context)
        gate = Gate(self._engine, governing.bundle, governing.waivers)
        return gate.judge(change, facts, point=Point.AUDIT, decided_at=now)


def place_of(item: Reported) -> str:
    """Under which what is told of a package is kept."""
    return f"{item.package.lower()}@{item.version}"


def _told(item: Reported, known: Mapping[str, Sequence[str]]) -> bool:
    """An advisory that has got another name meanwhile is still the same."""
    return not set(item.names).isdisjoint(known.get(place_of(item), ()))


def _worst_first(found: Sequence[Reported]) -> tuple[Reported, ...]:
    order = {"critical": 0, "high": 1, "medium": 2, "unknown": 3, "low": 4, "negligible": 5}
    return tuple(sorted(found, key=lambda item: (order[item.severity], not item.fixed, item.package, item.id)))
