"""What `image scan` found as SARIF 2.1.0: vulnerabilities, models that are not clean, what could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from customhouse._kit.clock import SystemClock
from customhouse._kit.digest import json_digest
from customhouse.cli.report_rows import one_line
from customhouse.cli.vuln_sarif import vulnerabilities_sarif
from customhouse.core.vulnerability import Report

if TYPE_CHECKING:
    from customhouse.app.image_scan import ImageScan

_VERDICTS = {
    "malicious": ("error", "9.0", "A model that does harm when it is loaded"),
    "suspicious": ("warning", "6.0", "A model that is not known to be safe"),
    "unscannable": ("warning", "4.0", "A model that is not understood"),
}


def image_sarif(scan: ImageScan) -> dict[str, Any]:
    """One run of one tool; what could not be read is a notification of it."""
    report = scan.report or Report(SystemClock().now(), 0)
    document = vulnerabilities_sarif(report, scan.problems)
    (run,) = document["runs"]
    run["automationDetails"] = {"id": "customhouse-image/"}
    rules, results = run["tool"]["driver"]["rules"], run["results"]
    for verdict, result in _models(scan):
        if result["ruleId"] not in [rule["id"] for rule in rules]:
            rules.append(_rule(result["ruleId"], *_VERDICTS[verdict]))
        results.append({**result, "ruleIndex": [rule["id"] for rule in rules].index(result["ruleId"])})
    run["properties"] |= {
        "reference": scan.name,
        "digest": scan.digest,
        "lookedUp": scan.report is not None,
        "complete": scan.complete and (scan.report is None or report.complete),
        "clean": not results and scan.complete and scan.report is not None and report.clean,
    }
    return document


def _models(scan: ImageScan) -> Iterator[tuple[str, dict[str, Any]]]:
    for _, model, hidden in scan.listing.models:
        verdict = model.verdict.value
        if hidden or verdict not in _VERDICTS:
            continue
        why = "; ".join(finding.message for finding in model.findings) or verdict
        mark = json_digest([verdict, model.path])[7:39]
        text = one_line(f"{model.path}: {why}", 1000).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
        place = quote(model.path, safe="/")
        yield (
            verdict,
            {
                "ruleId": f"model-{verdict}",
                "level": _VERDICTS[verdict][0],
                "message": {"text": text or "-"},
                "locations": [{"physicalLocation": {"artifactLocation": {"uri": place}}}],
                "partialFingerprints": {"primaryLocationLineHash": f"{mark}:1", "customhouse/v1": mark},
            },
        )


def _rule(name: str, level: str, score: str, title: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": "".join(word[:1].upper() + word[1:] for word in name.split("-")),
        "shortDescription": {"text": title},
        "fullDescription": {"text": title},
        "help": {"text": f"{title}. `customhouse model scan` says more of the file."},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["security", "model"], "precision": "very-high", "security-severity": score},
    }
