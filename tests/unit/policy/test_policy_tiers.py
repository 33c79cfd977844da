"""How strict a check is: by tier, by environment, and for a while by a relaxation."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from customhouse.core.decision import Point, Severity, Verdict
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.facts import build_facts
from customhouse.policy.gate import Gate
from customhouse.policy.tiers import (
    BUILTIN_TIERS,
    NEVER_RELAXED,
    EnvironmentJudgement,
    Relaxation,
    TierJudgement,
    TierSpec,
    effective_checks,
    effective_relaxations,
)
from policy_cases import HARDENED, NOW, context, created, deployment

BUNDLE = builtin_bundle()
_TIERS = re.compile(
    r'^#   id: (\S+)\n#   category: \w+\n#   severity: (\w+)\n(?:#   tiers: "([^"]*)"\n)?', re.MULTILINE
)


def test_what_a_rule_says_of_its_strictness_in_the_built_in_tiers_is_what_they_say():
    said = {}
    for source in BUNDLE.modules.values():
        for rule, severity, tiers in _TIERS.findall(source):
            for name in BUILTIN_TIERS:
                said[rule, name] = severity
            for part in filter(None, tiers.split("; ")):
                name, _, other = part.partition(": ")
                said[rule, name] = other
    for name, tier in BUILTIN_TIERS.items():
        for (rule, of), severity in said.items():
            if of == name:
                own = next(s for r, s, _ in _TIERS.findall("".join(BUNDLE.modules.values())) if r == rule)
                assert tier.checks.get(rule, own) == severity, (rule, name)
        assert {(rule, name) for rule in tier.checks} <= said.keys()


def relaxation(**changes):
    given = {
        "rule": "container-root",
        "severity": "note",
        "owner": "ada",
        "reason": "old image",
        "ticket": "OPS-1",
        "expires": NOW + timedelta(days=10),
    }
    return Relaxation(**{**given, **changes})


def judged(tier, environment=None):
    manifest = deployment(securityContext={**HARDENED, "runAsUser": 0})
    known = context(manifest, tier=TierJudgement(spec=tier), environment=environment)
    change = created(manifest)
    return Gate(RegorusEngine(), BUNDLE).judge(change, build_facts(change, known), point=Point.GATE, decided_at=NOW)


def root(decision):
    return next(item for item in decision.findings if item.rule == "container-root")


@pytest.mark.parametrize(
    ("given", "severity", "said"),
    [
        (
            relaxation(),
            Severity.NOTE,
            "from error to note until 2026-02-10T10:00:00Z by ada (OPS-1): old image",
        ),
        (relaxation(severity="warning"), Severity.WARNING, "Relaxed from error to warning"),
        (relaxation(severity="muted"), Severity.NOTE, "Relaxed from error to muted"),
        (relaxation(expires=NOW), Severity.ERROR, "does not hold: it ended on 2026-01-31T10:00:00Z."),
        (relaxation(expires=NOW + timedelta(days=91)), Severity.ERROR, "does not hold: it lasts longer than 90 days"),
        (relaxation(begins=NOW + timedelta(days=1)), Severity.ERROR, "does not hold: it begins on"),
        (relaxation(begins=NOW - timedelta(days=85)), Severity.ERROR, "does not hold: it lasts longer than 90 days"),
        (relaxation(begins=NOW - timedelta(days=80)), Severity.NOTE, "Relaxed from error to note"),
    ],
)
def test_a_relaxation_is_bounded_dated_named_and_told(given, severity, said):
    for tier, environment in (
        (TierSpec(relaxations=(given,)), None),
        (TierSpec(), EnvironmentJudgement("live", True, relaxations=(given,))),
    ):
        found = root(judged(tier, environment))
        assert found.severity is severity
        assert said in found.message


def test_a_check_that_holds_the_others_up_is_never_relaxed():
    tier = TierSpec(relaxations=tuple(relaxation(rule=rule) for rule in NEVER_RELAXED))
    assert effective_relaxations(tier, None, NOW, 90) == {}


def test_one_that_holds_wins_over_one_that_does_not():
    old, new = relaxation(expires=NOW), relaxation(ticket="OPS-2")
    chosen = effective_relaxations(TierSpec(relaxations=(old, new)), None, NOW, 90)
    assert chosen["container-root"]["ticket"] == "OPS-2"


def test_the_stricter_of_tier_and_environment_counts():
    environment = EnvironmentJudgement("live", True, {"a": "error", "b": "note", "c": "warning"})
    checks = effective_checks(TierSpec(checks={"a": "note", "b": "warning"}), environment)
    assert checks == {"a": "error", "b": "warning", "c": "warning"}


def test_the_tier_decides_whether_a_finding_denies():
    assert judged(TierSpec()).verdict is Verdict.DENY
    assert judged(TierSpec(checks={"container-root": "warning"})).verdict is Verdict.WARN
    assert judged(TierSpec(checks={"container-root": "note"})).verdict is Verdict.ALLOW
