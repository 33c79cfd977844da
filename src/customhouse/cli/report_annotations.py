"""Decisions as annotations at lines of a change: workflow commands of GitHub Actions, Code Quality of GitLab. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from customhouse.cli.report_rows import fingerprinted, one_line, rows, waived
from customhouse.core.decision import Category, Decision, Finding, Severity, overall

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_QUALITY = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}
MAX_ISSUES = 5_000
"""Issues in GitLab's report: it keeps what is longer out of the merge request."""


def decisions_github(decisions: Sequence[Decision]) -> str:
    """A line a finding, the worst first, since GitHub keeps ten errors and ten warnings a step; then the verdict."""
    lines = []
    for finding, place in rows(decisions):
        where = "" if place is None else f"file={_property(place.file)},line={place.line},col={place.column},"
        level = "notice" if finding.waiver else _COMMANDS[finding.severity]
        lines.append(f"::{level} {where}title={_property(finding.rule)}::{_data(_said(finding))}")
    verdict = overall(decisions).value
    number = f"{len(decisions)} change{'' if len(decisions) == 1 else 's'}"
    return "\n".join([*lines, f"::notice title=customhouse gate::{verdict}: {number}", ""])


def undecided_github(message: str, where: str, hint: str) -> str:
    """The command for an error: nothing could be decided. `where` is `file:line:column` or something else."""
    file, line, column = _place(where)
    shown = f"file={_property(file)},line={line},col={column}," if line else ""
    text = " ".join(part for part in ("" if line else where, message, f"({hint})" if hint else "") if part)
    return f"::error {shown}title={_property('could not decide')}::{_data(text)}\n"


def decisions_gitlab(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """GitLab's Code Quality report. A finding without a place is put at customhouse.yaml: each needs a file."""
    return [
        {
            "type": "issue",
            "check_name": finding.rule,
            "description": one_line(_said(finding), 1000),
            "categories": ["Security" if finding.category is Category.SECURITY else "Bug Risk"],
            "fingerprint": fingerprint,
            "severity": _quality(finding),
            "location": {
                "path": "customhouse.yaml" if place is None else place.file,
                "lines": {"begin": 1 if place is None else place.line},
            },
        }
        for fingerprint, finding, place in list(fingerprinted(rows(decisions)))[:MAX_ISSUES]
    ]


def _quality(finding: Finding) -> str:
    if finding.waiver:
        return "info"
    if finding.severity is Severity.ERROR and finding.category is Category.SECURITY:
        return "blocker"
    return _QUALITY[finding.severity]


def _said(finding: Finding) -> str:
    return f"{finding.resource}: {finding.message} {waived(finding) or finding.fix}"


def _place(where: str) -> tuple[str, str, str]:
    """The parts of `file:line:column`, the line empty when it is something else."""
    parts = where.split(":")
    if len(parts) >= 3 and parts[-1].isdigit() and parts[-2].isdigit():
        return ":".join(parts[:-2]), parts[-2], parts[-1]
    if len(parts) == 2 and parts[1].isdigit():
        return parts[0], parts[1], "1"
    return where, "", ""


def _data(text: str) -> str:
    """What may stand after the second `::` (the runner's own escapes); one line, no control characters."""
    return one_line(text).replace("%", "%25")


def _property(text: str) -> str:
    """What may stand in a property: the runner splits at commas, and ends the list at `::`."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
