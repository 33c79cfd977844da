"""What a candidate changes about recorded decisions, told so that the worst is never crowded out."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse._kit.clock import from_rfc3339
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, verdict_of
from customhouse.core.resource import ResourceRef
from customhouse.policy.replay import MAX_LISTED, Effect, Summary, compare, foreign_findings

REF = ResourceRef("v1", "ConfigMap", "shop", "a")
FACTS: dict[str, Any] = {"change": {"resource": REF.to_json(), "after": {"labels": {"customhouse.dev/team": "ada"}}}}


def decided(*rules: tuple[str, str], bundle: str = "b1", waiver: str | None = None) -> Decision:
    findings = tuple(
        Finding(rule, Category.COST, Severity(severity), REF, f"{rule} finds", "fix it", waiver=waiver)
        for rule, severity in rules
    )
    at = from_rfc3339("2026-01-01T00:00:00Z")
    return Decision(REF, verdict_of(findings), findings, "facts", bundle, Point.GATE, at)


def record(decision: Decision) -> dict[str, Any]:
    return {"digest": decision.digest, "body": decision.body(), "envelope": decision.envelope(), "facts": FACTS}


@pytest.mark.parametrize(
    ("before", "after", "effect"),
    [
        ([], [("r", "error")], Effect.NEWLY_DENIED),
        ([("r", "error")], [], Effect.NEWLY_ALLOWED),
        ([("r", "error")], [("s", "error")], Effect.CHANGED),
        ([("r", "error")], [("r", "warning")], Effect.NEWLY_ALLOWED),
        ([], [("r", "note")], Effect.CHANGED),
        ([("r", "error")], [("r", "error")], Effect.SAME),
    ],
)
def test_a_difference_is_about_the_side_of_the_gate(before: Any, after: Any, effect: Effect) -> None:
    found = compare(record(decided(*before)), decided(*after, bundle="b2"))
    assert (found.effect, found.team) == (effect, "ada")


def test_another_body_under_the_very_same_bundle_is_never_called_a_change() -> None:
    assert compare(record(decided()), decided(("r", "error"))).effect is Effect.UNSTABLE


def test_findings_of_policies_that_saw_raw_objects_are_left_out_on_both_sides() -> None:
    denied = record(decided(("gatekeeper/K8sNoRoot/x", "error"), ("mine", "warning")))
    found = compare(denied, decided(("mine", "warning"), bundle="b2"))
    assert (found.effect, found.before, foreign_findings(denied["body"])) == (Effect.SAME, "warn", 1)


def test_changes_do_not_crowd_out_what_would_be_denied() -> None:
    summary = Summary()
    for _ in range(MAX_LISTED + 5):
        summary.add(compare(record(decided()), decided(("n", "note"), bundle="b2")))
    summary.add(compare(record(decided()), decided(("r", "error"), bundle="b2")))
    told = summary.to_json()
    assert (told["changed"], told["newly_denied"], told["decisions_left_out"]) == (MAX_LISTED + 5, 1, 5)
    assert told["decisions"][0]["effect"] == "newly-denied"
    assert (told["by_rule"], told["by_team"]) == ({"r": 1}, {"ada": 1})
