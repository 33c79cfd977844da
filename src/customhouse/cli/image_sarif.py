"""What `image scan` found as SARIF 2.1.0: vulnerabilities, models that are not clean, what could not be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from customhouse import __version__
from customhouse._kit.digest import bytes_digest

_LEVELS = {
    "critical": "error",
    "high": "error",
    "medium": "warning",
    "low": "note",
    "none": "note",
    "unknown": "warning",
}
_VERDICTS = {"malicious": "error", "suspicious": "warning", "unscannable": "warning"}


def image_sarif(said: Mapping[str, Any]) -> dict[str, Any]:
    """One run of one tool, of the document that `-o json` prints."""
    results = list(_results(said))
    ids = sorted({item["ruleId"] for item in results})
    for item in results:
        item["ruleIndex"] = ids.index(item["ruleId"])
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "Customhouse", "version": __version__, "rules": [{"id": name} for name in ids]}
                },
                "automationDetails": {"id": "customhouse-image-scan/"},
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": bool(said["complete"])}],
                "results": results,
                "properties": {"reference": said["reference"], "digest": said["digest"], "complete": said["complete"]},
            }
        ],
    }


def _results(said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    report = said.get("vulnerabilities") or {}
    for item in report.get("findings", ()):
        package = item["package"]
        fix = f"Fixed in {item['fixed']}." if item["fixed"] else "No fix is known."
        text = f"{package['name']} {package['version']}: {item['summary'] or item['id']}. {fix}"
        result = _result(item["id"], _LEVELS[item["rating"]], text, package["file"], package["purl"])
        if item.get("suppressed"):
            why = " ".join(
                part for part in (item["suppressed"]["justification"], item["suppressed"]["statement"]) if part
            )
            result["suppressions"] = [{"kind": "external", "justification": why or item["suppressed"]["status"]}]
        yield result
    for item in said["models"]:
        level = _VERDICTS.get(item["verdict"])
        if level is not None and not item["hidden"]:
            why = "; ".join(finding["message"] for finding in item["findings"]) or item["verdict"]
            yield _result(f"model-{item['verdict']}", level, f"{item['path']}: {why}", f"/{item['path']}", item["path"])
    for item in said["unread"]:
        yield _result("image-unread", "warning", f"{item['where']}: {item['why']}", item["where"], item["where"])


def _result(rule: str, level: str, text: str, path: str, mark: str) -> dict[str, Any]:
    place = path.lstrip("/") if path.startswith("/") else "image"
    fingerprint = bytes_digest("\0".join([rule, path, mark]).encode("utf-8", "backslashreplace"))[7:39]
    plain = " ".join(text.split()).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": plain[:2000] or "-"},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": quote(place, safe="/")}}}],
        "partialFingerprints": {"primaryLocationLineHash": f"{fingerprint}:1", "customhouse/v1": fingerprint},
    }
