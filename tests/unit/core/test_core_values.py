"""Declarations, decisions, facts, entries and errors: what counts for a digest, and what does not."""

from __future__ import annotations

import dataclasses
import inspect
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from customhouse._kit.digest import json_digest
from customhouse._kit.money import Money
from customhouse.core import errors
from customhouse.core.cost import BookRef, BudgetState, CostReport, WorkloadCost
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, Verdict, overall, verdict_of
from customhouse.core.facts import Facts
from customhouse.core.ledger import Entry
from customhouse.core.resource import Declaration, Location, ResourceRef

REF = ResourceRef("apps/v1", "Deployment", "risk", "fraud")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def finding(severity: Severity = Severity.ERROR, waiver: str | None = None) -> Finding:
    return Finding("cost/budget", Category.COST, severity, REF, "over budget", "ask", "/spec", Money(10**12), waiver)


def decision(*findings: Finding, **changes: object) -> Decision:
    made = Decision(REF, verdict_of(findings), findings, "sha256:f", "sha256:b", Point.GATE, NOON)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_where_and_when_a_decision_was_made_does_not_change_its_digest() -> None:
    made = decision(finding())
    for change in (
        {"point": Point.ADMISSION},
        {"decided_at": datetime(2027, 1, 1, tzinfo=UTC)},
        {"locations": (Location("a.yaml", 3, 4),)},
        {"revision": "abc"},
    ):
        assert dataclasses.replace(made, **change).digest == made.digest  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"facts_digest": "sha256:g"},
        {"bundle_digest": "sha256:c"},
        {"verdict": Verdict.ALLOW},
        {"findings": ()},
        {"findings": (finding(waiver="W-1"),)},
    ],
)
def test_what_was_judged_and_what_was_found_changes_it(change: dict[str, object]) -> None:
    made = decision(finding())
    assert dataclasses.replace(made, **change).digest != made.digest  # type: ignore[arg-type]


def test_the_envelope_says_where_in_the_file() -> None:
    envelope = decision(finding(), locations=(Location("a.yaml", 3, 4),), revision="abc").envelope()
    assert envelope == {
        "point": "gate",
        "decided_at": "2026-01-31T12:00:00Z",
        "revision": "abc",
        "resource": REF.to_json(),
        "locations": ["a.yaml:3:4"],
        "timings": {},
    }


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ([], Verdict.ALLOW),
        ([finding(Severity.NOTE)], Verdict.ALLOW),
        ([finding(Severity.WARNING)], Verdict.WARN),
        ([finding(Severity.WARNING), finding()], Verdict.DENY),
        ([finding(waiver="W-1")], Verdict.ALLOW),
        ([finding(waiver="W-1"), finding(Severity.WARNING)], Verdict.WARN),
        ([finding(waiver="W-1"), finding()], Verdict.DENY),
    ],
)
def test_only_an_unwaived_error_denies(findings: list[Finding], verdict: Verdict) -> None:
    assert verdict_of(findings) is verdict


def test_one_denial_denies_the_set() -> None:
    allowed, warned, denied = decision(), decision(finding(Severity.WARNING)), decision(finding())
    assert overall([]) is Verdict.ALLOW
    assert overall([allowed, warned]) is Verdict.WARN
    assert overall([allowed, denied, warned]) is Verdict.DENY


def test_a_place_is_found_for_what_has_none_of_its_own() -> None:
    marks = {"/spec": Location("a.yaml", 4, 3), "/spec/template": Location("a.yaml", 6, 5)}
    declared = Declaration(REF, {}, Location("a.yaml"), marks)
    assert declared.locate("/spec/template/spec/containers/0").line == 6
    assert declared.locate("/spec/replicas").line == 4
    assert declared.locate("/metadata/labels").line == 1
    assert str(declared.locate("")) == "a.yaml:1:1"


@pytest.mark.parametrize("labels", [None, [], "team", {"other": 1}])
@pytest.mark.parametrize("metadata", [True, False])
def test_labels_that_are_not_labels_mark_nothing(labels: object, metadata: bool) -> None:
    manifest = {"metadata": {"labels": labels}} if metadata else {"metadata": labels}
    assert Declaration(REF, manifest, Location("a.yaml")).label("customhouse.dev/team") is None


@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        ({}, KeyError),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {}}, KeyError),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": None}, TypeError),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 5}}, TypeError),
        ({"apiVersion": "v1", "kind": ["Pod"], "metadata": {"name": "p"}}, TypeError),
    ],
)
def test_an_object_without_a_name_has_no_reference(manifest: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        ResourceRef.of(manifest)


def test_an_entry_is_its_canonical_json_and_facts_have_its_digest() -> None:
    entry = Entry("k", "decision", NOON, "Ada", ("sha256:a",), {"b": 1, "a": 2})
    assert entry.to_bytes() == (
        b'{"actor":"Ada","at":"2026-01-31T12:00:00Z","body":{"a":2,"b":1},"key":"k","kind":"decision",'
        b'"subjects":["sha256:a"]}'
    )
    assert Facts({"b": 1, "a": [1.0]}).digest == json_digest({"a": [1], "b": 1})


def test_a_cost_report_is_written_with_decimal_strings() -> None:
    ten = Money.parse("10.5")
    report = CostReport(
        "USD", BookRef("sha256:b", "2026-01-01"), ten, ten, ten, ten, (WorkloadCost(REF, ten, ten, ten),),
        (BudgetState("team", ten, ten, ten, -ten),),
    )  # fmt: skip
    written = report.to_json()
    assert written["monthly_after"] == "10.50"
    assert written["budgets"][0]["left"] == "-10.50"
    assert written["workloads"][0]["resource"]["kind"] == "Deployment"
    assert set(written) == {
        "currency", "book", "monthly_before", "monthly_after", "monthly_low", "monthly_high", "workloads", "budgets",
        "unpriced", "removed",
    }  # fmt: skip


def _error_classes() -> list[type[errors.CustomhouseError]]:
    return [
        item
        for _, item in inspect.getmembers(errors, inspect.isclass)
        if issubclass(item, errors.CustomhouseError) and item.__module__ == errors.__name__
    ]


def test_every_error_has_a_code_of_its_own_an_exit_status_and_a_line_in_the_reference(repository_root: Path) -> None:
    classes = _error_classes()
    assert len({item.code for item in classes}) == len(classes)
    reference = (repository_root / "docs" / "reference" / "errors.md").read_text()
    rows = dict(re.findall(r"^\| (CH\d{3}) \|.*\| (\d+) \|", reference, re.MULTILINE))
    assert rows == {item.code: str(item.exit_status) for item in classes}


def test_an_error_says_where_and_what_to_do() -> None:
    error = errors.DeclarationError("a duplicate key 'name'", where="a.yaml:3:5", hint="remove one")
    assert str(error) == "a.yaml:3:5: a duplicate key 'name' (remove one)"
    assert error.exit_status == 3
