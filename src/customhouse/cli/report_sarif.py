"""Decisions as SARIF 2.1.0 (OASIS), in the part of it that GitHub's code scanning reads. Pure: values in, values out.

Held against the schema of OASIS and against what GitHub documents of its own demands by
tests/conformance/test_cli_sarif_schema.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from customhouse import __version__
from customhouse.cli.report_rows import fingerprinted, joint, one_line, rows
from customhouse.core.decision import Category, Decision, Finding, RuleText, Severity, overall
from customhouse.core.resource import Location

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MAX_RESULTS = 25_000
"""GitHub refuses a run with more."""
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
_PROBLEM = {"error": "error", "warning": "warning", "note": "recommendation"}
_SCORES = {"error": "8.0", "warning": "5.0", "note": "2.0"}
"""GitHub reads a score like CVSS's: over 7.0 is high, over 4.0 medium, else low; it counts for security rules only."""
_ROOT = "%SRCROOT%"


def decisions_sarif(decisions: Sequence[Decision], rules: Mapping[str, RuleText]) -> dict[str, Any]:
    """One run. Every rule of `rules` is listed, so that what is no longer found is closed and not forgotten."""
    found = rows(decisions)
    known = {**rules, **{f.rule: _unknown(f) for f, _ in found if f.rule not in rules}}
    order = {name: index for index, name in enumerate(sorted(known))}
    shown = list(fingerprinted(found))[:MAX_RESULTS]
    left_out = len(found) - len(shown)
    return sarif_run(
        "gate",
        rules=[_rule(name, known[name]) for name in order],
        results=[_result(order[f.rule], mark, f, place) for mark, f, place in shown],
        invocation=_invocation(left_out),
        properties={
            "verdict": overall(decisions).value,
            "digest": joint([decision.digest for decision in decisions]),
            "factsDigest": joint([decision.facts_digest for decision in decisions]),
            "bundleDigest": joint(sorted({decision.bundle_digest for decision in decisions})),
        },
    )


def sarif_run(
    category: str,
    *,
    rules: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    invocation: Mapping[str, Any],
    properties: Mapping[str, Any],
) -> dict[str, Any]:
    """A file with one run of this program; a code host keeps runs of several categories apart."""
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "Customhouse", "version": __version__, "rules": list(rules)}},
                "automationDetails": {"id": f"customhouse-{category}/"},
                "columnKind": "unicodeCodePoints",
                "invocations": [dict(invocation)],
                "results": list(results),
                "properties": dict(properties),
            }
        ],
    }


def _invocation(left_out: int) -> dict[str, Any]:
    said: dict[str, Any] = {"executionSuccessful": True}
    if left_out:
        text = f"{left_out} more findings are not in this file; run `customhouse gate`"
        said["toolExecutionNotifications"] = [{"level": "warning", "message": {"text": text}}]
    return said


def _unknown(finding: Finding) -> RuleText:
    """What is known of a rule without metadata (a project's own may have none)."""
    return RuleText(finding.rule, finding.rule, finding.category.value, finding.severity.value, finding.fix)


def _rule(name: str, rule: RuleText) -> dict[str, Any]:
    security = rule.category == Category.SECURITY.value
    properties: dict[str, Any] = {
        "tags": sorted({rule.category, "kubernetes"}),
        "precision": "very-high",
        "problem.severity": _PROBLEM[rule.severity],
    }
    if security:
        properties["security-severity"] = _SCORES[rule.severity]
    return {
        "id": name,
        "name": "".join(word[:1].upper() + word[1:] for word in name.replace("_", "-").split("-")),
        "shortDescription": {"text": _text(rule.title)},
        "fullDescription": {"text": _text(rule.description)},
        "help": {"text": _text(f"{rule.description} What to do: {rule.fix}")},
        "defaultConfiguration": {"level": rule.severity},
        "properties": properties,
    }


def _result(index: int, fingerprint: str, finding: Finding, place: Location | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": _text(f"{finding.resource}: {finding.message} What to do: {finding.fix}")},
        "locations": [_location(finding, place)],
        # The first is the one that GitHub tells alerts apart by; it would make its own of the line's text, which is
        # the same for every `image:` of a file.
        "partialFingerprints": {"primaryLocationLineHash": f"{fingerprint}:1", "customhouse/v1": fingerprint},
        "properties": {"category": finding.category.value, "pointer": one_line(finding.pointer)},
    }
    if finding.cost_delta is not None:
        result["properties"]["costDelta"] = f"{finding.cost_delta} {finding.cost_delta.currency}"
    if finding.waiver:
        result["suppressions"] = [{"kind": "external", "justification": one_line(f"Waived by {finding.waiver}.")}]
    return result


def _location(finding: Finding, place: Location | None) -> dict[str, Any]:
    # GitHub refuses a file of which one result has no place; an object that nobody declares has only its name.
    physical: dict[str, Any] = {"artifactLocation": {"uri": "customhouse.yaml", "uriBaseId": _ROOT}}
    if place is not None:
        physical["artifactLocation"]["uri"] = quote(place.file.lstrip("/"), safe="/", errors="surrogateescape")
        physical["region"] = {"startLine": place.line, "startColumn": place.column}
    return {
        "physicalLocation": physical,
        "logicalLocations": [{"fullyQualifiedName": one_line(str(finding.resource)), "kind": "resource"}],
    }


def _text(text: str) -> str:
    """Plain text in a message: square brackets would make a link of it (section 3.11.6 of the standard)."""
    return one_line(text).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]") or "-"
