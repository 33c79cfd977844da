"""Vulnerabilities as SARIF 2.1.0, in the part of it that GitHub's code scanning reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from customhouse._kit.digest import json_digest
from customhouse.cli.report_rows import one_line
from customhouse.cli.report_sarif import MAX_RESULTS, sarif_run
from customhouse.core.vulnerability import Rating, Report, Vulnerability

_LEVELS = {Rating.CRITICAL: "error", Rating.HIGH: "error", Rating.LOW: "note", Rating.NONE: "note"}
_SCORES = {Rating.CRITICAL: "9.5", Rating.HIGH: "8.0", Rating.MEDIUM: "5.5", Rating.LOW: "2.0", Rating.NONE: "0.0"}
"""Where no vector says a score; GitHub reads `security-severity` as CVSS's. Unrated ones have none."""


def vulnerabilities_sarif(report: Report, problems: Sequence[str] = ()) -> dict[str, Any]:
    """One run: a rule for each vulnerability, a result for each package that has it."""
    shown = report.findings[:MAX_RESULTS]
    rules: dict[str, Vulnerability] = {}
    for finding in shown:
        rules.setdefault(finding.id, finding)
    order = {name: index for index, name in enumerate(rules)}
    return sarif_run(
        "vulnerabilities",
        rules=[_rule(finding) for finding in rules.values()],
        results=[_result(finding, order[finding.id]) for finding in shown],
        invocation=_invocation(report, problems, len(report.findings) - len(shown)),
        properties={
            "asOf": report.to_json()["as_of"],
            "clean": report.clean,
            "complete": report.complete,
            "freshness": [item.to_json(report.as_of, report.max_age_days) for item in report.freshness],
        },
    )


def _invocation(report: Report, problems: Sequence[str], left_out: int) -> dict[str, Any]:
    """Whatever keeps the run from being the whole truth is a notification of it."""
    texts = [f"not read: {text}" for text in problems]
    texts += [f"{item.ecosystem or 'packages'}: {item.packages} not known: {item.reason}" for item in report.unknown]
    texts += [f"{item.package.name} {item.package.version}: {item.reason}" for item in report.undecided]
    texts += [f"the advisories of {item.ecosystem} are stale" for item in report.stale]
    texts += [f"{left_out} more findings are not in this file"] if left_out else []
    said: dict[str, Any] = {"executionSuccessful": True}
    if texts:
        said["toolExecutionNotifications"] = [
            {"level": "warning", "message": {"text": _text(text)}} for text in texts[:100]
        ]
    return said


def _rule(finding: Vulnerability) -> dict[str, Any]:
    properties: dict[str, Any] = {"tags": ["security", "vulnerability"], "precision": "very-high"}
    score = f"{finding.score}" if finding.score is not None else _SCORES.get(finding.rating)
    if score is not None:
        properties["security-severity"] = score
    title = finding.summary or finding.id
    return {
        "id": finding.id,
        "name": "".join(word for word in finding.id.split("-")),
        "shortDescription": {"text": _text(title)},
        "fullDescription": {"text": _text(f"{title} ({', '.join((finding.id, *finding.aliases))})")},
        "helpUri": finding.url or "https://osv.dev",
        "help": {"text": _text(f"{title}. See {finding.url}")},
        "defaultConfiguration": {"level": _LEVELS.get(finding.rating, "warning")},
        "properties": properties,
    }


def _result(finding: Vulnerability, index: int) -> dict[str, Any]:
    package = finding.package
    fix = f"Take {finding.fixed} or later." if finding.fixed else "No fix is known."
    way = f" It comes in by way of {' → '.join(package.path)}." if package.path else ""
    text = f"{package.name} {package.version} has {finding.id}: {finding.summary} {fix}{way}"
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(package.file)}}
    if package.line:
        physical["region"] = {"startLine": package.line}
    mark = json_digest([finding.id, package.ecosystem, package.name, package.version, package.file])[7:39]
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": _LEVELS.get(finding.rating, "warning"),
        "message": {"text": _text(text)},
        "locations": [
            {
                "physicalLocation": physical,
                "logicalLocations": [{"fullyQualifiedName": one_line(package.purl or package.name), "kind": "package"}],
            }
        ],
        "partialFingerprints": {"primaryLocationLineHash": f"{mark}:1", "customhouse/v1": mark},
        "properties": {"reachable": finding.reachable.value, "fixed": finding.fixed},
    }
    if finding.suppressed is not None:
        said = finding.suppressed
        reason = f"{said.status}: {said.justification or said.statement} ({said.author}, {said.source})"
        result["suppressions"] = [{"kind": "external", "justification": one_line(reason)}]
    return result


def _uri(file: str) -> str:
    return quote(file.lstrip("/"), safe="/", errors="surrogateescape") or "package-url"


def _text(text: str) -> str:
    """Plain text in a message: square brackets would make a link of it (section 3.11.6 of the standard)."""
    return one_line(text).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]") or "-"
