"""Decisions as JUnit XML, the form that GitLab, Jenkins, Azure and others show as tests. Pure.

A change is a test that passes unless it is denied; every finding is a test of its own, since readers show one failure a
test: an error fails, a waived one is skipped, a warning or a note passes and says its text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from customhouse.cli.report_rows import Row, one_line, rows, waived
from customhouse.core.decision import Decision, Severity, Verdict

# XML 1.0 section 2.2: what no document may hold, however it is escaped.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def decisions_junit(decisions: Sequence[Decision]) -> str:
    """One suite. `time` of a change is what its checks took, in seconds."""
    found = rows(decisions)
    cases = [_change(decision) for decision in decisions] + [_finding(row) for row in found]
    failures = sum(_fails(row) for row in found) + sum(decision.verdict is Verdict.DENY for decision in decisions)
    skipped = sum(finding.waiver is not None for finding, _ in found)
    seconds = _seconds(sum(sum(decision.timings.values()) for decision in decisions))
    totals = f'tests="{len(cases)}" failures="{failures}" errors="0" skipped="{skipped}" time="{seconds}"'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuites name="customhouse gate" {totals}>',
            f'  <testsuite name="customhouse gate" {totals}>',
            *cases,
            "  </testsuite>",
            "</testsuites>",
            "",
        ]
    )


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.3f}"


def _fails(row: Row) -> bool:
    return row[0].waiver is None and row[0].severity is Severity.ERROR


def _change(decision: Decision) -> str:
    name = _attribute(f"{decision.resource} is {decision.verdict.value}")
    time = _seconds(sum(decision.timings.values()))
    head = f'    <testcase classname="customhouse.gate" name={name} time="{time}"'
    if decision.verdict is not Verdict.DENY:
        return f"{head}/>"
    errors = [f for f in decision.findings if f.severity is Severity.ERROR and f.waiver is None]
    text = _attribute("; ".join(sorted({finding.rule for finding in errors})))
    return f'{head}><failure type="deny" message={text}/></testcase>'


def _finding(row: Row) -> str:
    finding, place = row
    name = _attribute(f"{finding.rule}: {finding.resource}")
    kind = _attribute(f"customhouse.gate.{finding.category.value}")
    where = "" if place is None else f' file={_attribute(place.file)} line="{place.line}"'
    head = f'    <testcase classname={kind} name={name}{where} time="0.000">'
    if finding.waiver:
        return f"{head}<skipped message={_attribute(waived(finding))}/></testcase>"
    lines = [f"{finding.message}", f"fix: {finding.fix}", *([] if place is None else [f"at {place}"])]
    body = "\n".join(_text(line) for line in lines)
    if _fails(row):
        failure = f"<failure type={_attribute(finding.rule)} message={_attribute(finding.message)}>{body}</failure>"
        return f"{head}{failure}</testcase>"
    return f"{head}<system-out>{_text(finding.severity.value)}: {body}</system-out></testcase>"


def _attribute(text: str) -> str:
    return quoteattr(_NO_XML.sub("", one_line(text)))


def _text(text: str) -> str:
    return escape(_NO_XML.sub("", one_line(text)))
