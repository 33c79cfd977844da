"""`customhouse explain`: rules and errors from their own documentation, decisions from the store."""

from __future__ import annotations

import json
import re
from typing import Any

from customhouse.app import records
from customhouse.app.settings import Settings
from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.explain import explain

_PREFIX = re.compile(r"(sha256:)?[0-9a-f]{6,64}")


def explanation(settings: Settings, identifier: str) -> dict[str, Any]:
    """What there is to say, with `shown` as text for people. Raises UsageError, naming the nearest ids."""
    if _PREFIX.fullmatch(identifier):
        stored = records.decision_of(settings, identifier)
        if stored is not None:
            return {**stored, "shown": _decision_text(stored)}
    found = explain(identifier, builtin_bundle())
    return {**found.to_json(), "shown": str(found)}


def _decision_text(stored: dict[str, Any]) -> str:
    body, envelope = stored["body"], stored["envelope"]
    resource = envelope["resource"]
    lines = [
        f"{body['verdict']}: {resource['kind']} {resource['namespace']}/{resource['name']}",
        f"decided at {envelope['point']} on {envelope['decided_at']} about commit {envelope['revision']}",
        f"facts {body['facts_digest']}",
        f"bundle {body['bundle_digest']}",
    ]
    for finding, place in zip(body["findings"], envelope["locations"], strict=True):
        waived = f" (waived by {finding['waiver']})" if finding["waiver"] else ""
        lines += ["", f"{finding['severity']} {finding['rule']}{waived} {place or ''}", f"  {finding['message']}"]
        if finding["fix"]:
            lines.append(f"  fix: {finding['fix']}")
    lines += ["", "What the rules saw:", json.dumps(stored["facts"], indent=2, ensure_ascii=False)]
    return "\n".join(lines)
