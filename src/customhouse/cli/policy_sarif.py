"""Lint findings as SARIF 2.1.0, so that a forge shows them at the line of the rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from customhouse._kit.digest import bytes_digest


def lint_sarif(findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One run of one tool, of the findings that `-o json` prints."""
    ids = sorted({item["rule"] for item in findings})
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "customhouse policy lint", "rules": [{"id": name} for name in ids]}},
                "results": [_result(item, ids) for item in findings],
            }
        ],
    }


def _result(item: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": quote(item["file"].lstrip("/"), safe="/")}}
    if item["line"]:
        physical["region"] = {"startLine": item["line"], "startColumn": max(item["column"], 1)}
    fingerprint = bytes_digest("\0".join([item["rule"], item["file"], item["message"]]).encode())[7:39]
    return {
        "ruleId": item["rule"],
        "ruleIndex": ids.index(item["rule"]),
        "level": item["severity"],
        "message": {"text": " ".join([item["message"] + ".", item["fix"]]).strip()},
        "locations": [{"physicalLocation": physical}],
        "partialFingerprints": {"customhouse/v1": fingerprint},
    }
