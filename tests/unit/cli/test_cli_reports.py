"""The reports for machines and for the pages of forges, held against tests/golden; no manifest can bend them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from customhouse import __version__
from customhouse._kit.money import Money
from customhouse.cli.findings import decisions_text
from customhouse.cli.report_annotations import decisions_github, decisions_gitlab, undecided_github
from customhouse.cli.report_junit import decisions_junit
from customhouse.cli.report_markdown import decisions_markdown
from customhouse.cli.report_sarif import MAX_RESULTS, decisions_sarif
from customhouse.core.comment import MARKER, Comment, CommentAction, plan_comment
from customhouse.core.decision import Category, Decision, Finding, Point, RuleText, Severity, verdict_of
from customhouse.core.resource import Location, ResourceRef
from policy_cases import DIGEST, NOW

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
WEB = ResourceRef("apps/v1", "Deployment", "shop", "web")
JOB = ResourceRef("batch/v1", "Job", "shop", "train")
RULES = {
    "container-root": RuleText("No root", "Root is [bad].", "security", "error", "Set it."),
    "gpu-class": RuleText("Class", "A class costs.", "cost", "warning", "Take another."),
    "never-found": RuleText("Unused", "Nothing.", "compliance", "note", "None."),
}


def finding(rule="container-root", severity=Severity.ERROR, ref=WEB, category=Category.SECURITY, **more):
    said = {"message": "It runs as root: 100%, surely.", "fix": "Set it.", "pointer": "/spec", **more}
    return Finding(rule, category, severity, ref, **said)


def decision(ref, *findings, places=None, timings=None):
    found = tuple(Location("models/web app.yaml", 7 + number, 3) for number in range(len(findings)))
    return Decision(
        ref, verdict_of(findings), findings, DIGEST, DIGEST, Point.GATE, NOW, found if places is None else places,
        "a" * 40, timings or {"rules": 12.5, "facts": 2.5},
    )  # fmt: skip


DECISIONS = [
    decision(
        WEB,
        finding(),
        finding("gpu-class", Severity.WARNING, category=Category.COST, cost_delta=Money.parse("12.34")),
        finding("own-rule", Severity.NOTE, category=Category.COMPLIANCE, message="A rule of one's own."),
    ),
    decision(JOB, finding(ref=JOB, waiver="W-1"), places=(None,)),
]
REPORTS = {
    "gate.sarif": lambda: json.dumps(decisions_sarif(DECISIONS, RULES), indent=2) + "\n",
    "gate.junit.xml": lambda: decisions_junit(DECISIONS),
    "gate.github.txt": lambda: decisions_github(DECISIONS),
    "gate.gitlab.json": lambda: json.dumps(decisions_gitlab(DECISIONS), indent=2) + "\n",
    "gate.txt": lambda: decisions_text(DECISIONS, None, width=80),
}


@pytest.mark.parametrize("name", REPORTS)
def test_the_report_is_as_agreed(name: str) -> None:
    text = REPORTS[name]().replace(f'"version": "{__version__}"', '"version": "VERSION"')
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def test_sarif_lists_every_rule_so_that_what_is_mended_is_closed() -> None:
    (run,) = decisions_sarif(DECISIONS, RULES)["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["container-root", "gpu-class", "never-found", "own-rule"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    scores = {rule["id"]: rule["properties"].get("security-severity") for rule in rules}
    assert scores == {"container-root": "8.0", "gpu-class": None, "never-found": None, "own-rule": None}
    assert rules[0]["fullDescription"]["text"] == "Root is \\[bad\\].", "a bracket would be a link"


def test_sarif_places_are_relative_and_encoded() -> None:
    (run,) = decisions_sarif(DECISIONS, RULES)["runs"]
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert places[0]["artifactLocation"]["uri"] == "models/web%20app.yaml"
    assert places[0]["region"] == {"startLine": 7, "startColumn": 3}
    assert places[-1]["artifactLocation"]["uri"] == "customhouse.yaml", "GitHub refuses a result without a file"


def test_a_fingerprint_survives_moved_lines_and_other_amounts_and_is_unique() -> None:
    def marks(decisions):
        (run,) = decisions_sarif(decisions, RULES)["runs"]
        return [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]

    moved = dataclasses.replace(DECISIONS[0], locations=tuple(Location("models/web app.yaml", 90) for _ in range(3)))
    worded = dataclasses.replace(
        moved, findings=tuple(dataclasses.replace(item, message=f"{item.message} 17.00 USD") for item in moved.findings)
    )
    assert marks([worded, DECISIONS[1]]) == marks(DECISIONS)
    twice = [decision(WEB, finding(message="one"), finding(message="two"))]
    assert len(set(marks(twice))) == 2
    assert len({issue["fingerprint"] for issue in decisions_gitlab(twice)}) == 2


def test_sarif_stays_within_what_github_takes() -> None:
    many = [decision(WEB, *(finding(pointer=f"/{number}") for number in range(MAX_RESULTS + 7)))]
    (run,) = decisions_sarif(many, RULES)["runs"]
    assert len(run["results"]) == MAX_RESULTS
    assert "7 more findings" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


HOSTILE = [
    "a\n::error file=x::injected",
    "a\r\n::set-output name=x::y",
    "  ::add-mask::secret",
    "##[error]old form",
    "]]><script>alert(1)</script>",
    "\x1b[2J\x00\x08\ufffe control",
    "100%0A::error::encoded",
    '" file="/etc/passwd',
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_text_of_a_manifest_can_give_no_command_and_break_no_document(hostile: str) -> None:
    ref = ResourceRef("v1", "Pod", "x", hostile)
    bad = [decision(ref, finding(hostile, ref=ref, message=hostile, fix=hostile), places=(Location(hostile, 1, 1),))]
    lines = decisions_github(bad).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("::error file=")
    properties, data = re.fullmatch(r"::error (.*?)::(.*)", lines[0]).groups()
    assert set(re.findall(r"(?:^|,)(\w+)=", properties)) == {"file", "line", "col", "title"}
    assert not re.search(r"%(?!25|3A|2C)", lines[0]), "every percent sign is the runner's own escape"
    assert "##[" not in data
    assert len(undecided_github(hostile, hostile, hostile).splitlines()) == 1
    root = ET.fromstring(decisions_junit(bad).encode("utf-8", "strict"))
    assert root.get("failures") == "2"
    json.dumps(decisions_sarif(bad, {}))
    # A log is wrapped at blanks, so no word may begin a command.
    for line in decisions_text(bad, None, width=40).splitlines():
        assert not line.lstrip().startswith("::")
        assert "##[" not in line
        assert line.replace("\u2060", "").isprintable()


def test_a_file_name_that_is_not_utf_8_is_still_named() -> None:
    odd = [decision(WEB, finding(), places=(Location("models/\udcff.yaml", 1, 1),))]
    (run,) = decisions_sarif(odd, RULES)["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "models/%FF.yaml"
    ET.fromstring(decisions_junit(odd).encode())


def test_an_error_is_an_annotation_at_its_place() -> None:
    assert (
        undecided_github("it is broken", "models/a.yaml:3:9", "mend it")
        == "::error file=models/a.yaml,line=3,col=9,title=could not decide::it is broken (mend it)\n"
    )
    assert undecided_github("no", "refs/x", "") == "::error title=could not decide::refs/x no\n"


def test_junit_counts_what_it_holds() -> None:
    root = ET.fromstring(decisions_junit(DECISIONS))
    cases = root.findall(".//testcase")
    assert root.get("tests") == str(len(cases)) == "6"
    assert root.get("failures") == str(len(root.findall(".//failure"))) == "2"
    assert root.get("skipped") == str(len(root.findall(".//skipped"))) == "1"
    assert root.get("time") == "0.030"


# --- the one comment of a pull request ---------------------------------------------------------------------------


def ours(body: str = "x", number: str = "1", author: str = "customhouse[bot]") -> Comment:
    return Comment(number, author, f"{MARKER}\n{body}")


def test_the_comment_is_made_once_and_then_updated() -> None:
    body = decisions_markdown(DECISIONS)
    assert body.startswith(MARKER)
    assert plan_comment([], "customhouse[bot]", body).action is CommentAction.CREATE
    first = Comment("7", "Customhouse[bot]", body.replace("\n", "\r\n").rstrip())
    assert plan_comment([first], "customhouse[bot]", body).action is CommentAction.LEAVE
    plan = plan_comment([first], "customhouse[bot]", decisions_markdown([]))
    assert (plan.action, plan.comment) == (CommentAction.UPDATE, "7")


@pytest.mark.parametrize(
    "foreign",
    [ours(author="mallory"), Comment("2", "customhouse[bot]", f"> {MARKER}\nquoted"), Comment("3", "ada", "hello")],
    ids=["the marker of somebody else", "a quotation", "a person"],
)
def test_a_comment_that_is_not_ours_is_never_taken_over(foreign: Comment) -> None:
    plan = plan_comment([foreign, ours("old", "9")], "customhouse[bot]", f"{MARKER}\nnew")
    assert (plan.action, plan.comment, plan.surplus) == (CommentAction.UPDATE, "9", ())
    assert plan_comment([foreign], "customhouse[bot]", f"{MARKER}\nnew").action is CommentAction.CREATE


def test_of_two_of_ours_the_oldest_stays() -> None:
    plan = plan_comment([ours("a", "4"), ours("b", "5")], "customhouse[bot]", f"{MARKER}\nc")
    assert (plan.comment, plan.surplus) == ("4", ("5",))


def test_a_comment_that_would_not_be_found_again_is_not_written() -> None:
    with pytest.raises(ValueError, match="marker"):
        plan_comment([], "customhouse[bot]", "## Customhouse")
    with pytest.raises(ValueError, match="author"):
        plan_comment([], "", f"{MARKER}\nx")
