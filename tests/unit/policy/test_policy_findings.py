"""Decisions as people and scripts read them. The Markdown is held against tests/golden."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from customhouse._kit.digest import json_digest
from customhouse._kit.money import Money
from customhouse.cli.findings import decisions_json, decisions_text
from customhouse.cli.report_markdown import decisions_markdown
from customhouse.core.comment import MARKER
from customhouse.core.cost import BookRef, BudgetState, CostReport, WorkloadCost
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, verdict_of
from customhouse.core.resource import Location, ResourceRef
from policy_cases import DIGEST, NOW

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
FRAUD = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "models", "fraud")
OLD = ResourceRef("apps/v1", "Deployment", "models", "old")
WEB = ResourceRef("apps/v1", "Deployment", "models", "web")


def finding(rule, severity=Severity.ERROR, ref=FRAUD, message="It is wrong.", fix="Make it right.", **more):
    return Finding(rule, Category.COST, severity, ref, message, fix, **more)


def decision(ref, *findings, line=1):
    places = tuple(Location(f"{ref.kind.lower()}.yaml", line + index, 3) for index in range(len(findings)))
    return Decision(ref, verdict_of(findings), tuple(findings), DIGEST, DIGEST, Point.GATE, NOW, places, "a" * 40)


def report():
    money = Money.parse
    work = WorkloadCost(FRAUD, money("71393.12"), money("71393.12"), money("142786.24"))
    before = {FRAUD: money("50"), OLD: money("0.25")}
    budget = BudgetState("risk", money("5000"), money("1200"), money("800.5"), money("3800"))
    book = BookRef(DIGEST, "2026-01-01")
    return CostReport(
        "USD",
        book,
        money("50.25"),
        money("71393.12"),
        money("71393.12"),
        money("142786.24"),
        (work,),
        (budget,),
        ("GB300",),
        before,
    )


DENIED = [
    decision(
        FRAUD,
        finding(
            "budget-exceeded", message="Budget risk is exceeded by 68393.62 USD.", cost_delta=Money.parse("71342.87")
        ),
        finding("gpu-class", Severity.WARNING, message="Tier standard may not use H100 (8 per replica)."),
    ),
    decision(WEB, finding("image-untrusted-registry", ref=WEB, waiver="W-1"), line=9),
]


def rendered(decisions, cost=None, width=80):
    return decisions_text(decisions, cost, width=width)


def test_the_json_has_the_documented_shape():
    seen = decisions_json(DENIED, report())
    assert list(seen) == [
        "verdict", "digest", "facts_digest", "bundle_digest", "findings", "cost", "decisions", "timings"
    ]  # fmt: skip
    assert seen["verdict"] == "deny"
    assert seen["findings"][0] == {
        "rule": "budget-exceeded",
        "category": "cost",
        "severity": "error",
        "resource": {
            "apiVersion": FRAUD.api_version,
            "kind": "InferenceService",
            "namespace": "models",
            "name": "fraud",
        },
        "file": "inferenceservice.yaml",
        "line": 1,
        "column": 3,
        "message": "Budget risk is exceeded by 68393.62 USD.",
        "fix": "Make it right.",
        "waiver": None,
        "pointer": "",
        "cost_delta": "71342.87",
    }
    assert seen["cost"]["monthly_after"] == "71393.12"
    json.dumps(seen)


def test_digests_of_several_decisions_do_not_depend_on_their_order():
    one, two = decisions_json(DENIED, None), decisions_json(DENIED[::-1], None)
    assert one["digest"] == two["digest"] == json_digest(sorted(item.digest for item in DENIED))
    assert one["bundle_digest"] == DIGEST
    assert decisions_json(DENIED[:1], None)["digest"] == DENIED[0].digest


def test_nothing_to_judge_is_allowed():
    seen = decisions_json([], None)
    assert (seen["verdict"], seen["findings"], seen["cost"]) == ("allow", [], None)
    assert "nothing stands against" in rendered([])


def test_the_comment_is_as_agreed():
    text = decisions_markdown(DENIED, report())
    path = GOLDEN / "gate-comment.md"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("hostile", "forbidden"),
    [
        ("| extra | cell |", "| extra"),
        ("<img src=x onerror=alert(1)>", "<img"),
        ("[click](https://evil.example)", "[click]("),
        ("![x](https://evil.example/p.png)", "![x]"),
        ("ping @everyone", "@everyone"),
        ("closes #12", "#12"),
        ("https://evil.example", "https://"),
        ("see www.evil.example", "www.evil"),
        ("a\n\n## Customhouse: allow", "\n\n## Customhouse: allow"),
        ("`code`", " `code`"),
        ("**bold**", "**bold**"),
        ("<!-- -->", "<!--"),
        ("a\u202eb\x1b[31m", "\u202e"),
    ],
)
def test_text_from_a_manifest_can_change_nothing_in_the_comment(hostile, forbidden):
    ref = ResourceRef("v1", "Pod", "x", hostile)
    text = decisions_markdown([decision(ref, finding("r", ref=ref, message=hostile, fix=hostile))])
    row = next(line for line in text.splitlines() if line.startswith("| error"))
    assert forbidden not in text.removeprefix(f"{MARKER}\n").replace("## Customhouse: deny", "")
    assert row.replace("&#124;", "").count("|") == 6, "one row, five cells"


def test_a_comment_stays_below_what_forges_accept():
    many = [decision(FRAUD, *(finding(f"rule-{n}", message="m" * 5000, fix="f" * 5000) for n in range(300)))]
    text = decisions_markdown(many, report())
    assert len(text) < 65_536
    assert " more findings: run `customhouse gate`" in text
    assert text.endswith("</details>\n")


def test_a_file_name_cannot_leave_its_code_span():
    odd = Decision(FRAUD, verdict_of(()), (finding("r"),), DIGEST, DIGEST, Point.GATE, NOW, (Location("a`|\n`b.yaml"),))
    assert "| `a'¦'b.yaml:1:1` |" in decisions_markdown([odd])


def test_the_table_is_readable_on_eighty_columns_and_drives_no_terminal():
    hostile = finding("r", message="[bold]x[/bold] \x1b[2J", fix="f")
    text = rendered([*DENIED, decision(WEB, hostile)], report())
    assert "Denied: this change does not enter production. 3 changes, 2 errors, 1 warning, 1 waived." in text.replace(
        "\n", " "
    )
    assert "error   budget-exceeded  inferenceservice.yaml:1:3" in text
    assert "[bold]x[/bold]" in text
    assert "\x1b" not in text
    assert "Waived by W-1." in text
    assert "Budget risk: limit 5000.00, spent 1200.00, forecast 800.50, left 3800.00 USD." in text
    assert max(len(line) for line in text.splitlines()) <= 80
