"""Drift as alerts: what is told of one, under which name, and what waits to be told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339

DRIFTED = "control/drifted"
"""Drift that was recorded and not told yet, with the ledger entries of which it is."""
_FLASH = timedelta(minutes=5)
"""How long an alert stands of what was put right at once."""
_MOST = 200
_FIELDS = 5


def recorded(before: Any, found: Sequence[Mapping[str, Any]], at: datetime) -> list[dict[str, Any]]:
    """What is to be told, with what was not told before; the newest 200."""
    return [*(before or ()), *({**item, "at": to_rfc3339(at)} for item in found)][-_MOST:]


def name_of(item: Mapping[str, Any]) -> str:
    """The name of a drift: what of which object, in which cluster."""
    ref = item["resource"]
    place = (item.get("target", ""), ref["apiVersion"], ref["kind"], ref["namespace"], ref["name"], item["found"])
    return json.dumps(place)


def alert(item: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """An alert as Alertmanager's API (v2) takes it; its labels name it, so they say nothing that changes."""
    ref, fields = item["resource"], item["fields"]
    labels = {
        "alertname": "CustomhouseDrift",
        "severity": "warning",
        "found": str(item["found"]),
        "api_version": ref["apiVersion"],
        "kind": ref["kind"],
        "namespace": ref["namespace"],
        "name": ref["name"],
        "cluster": str(item.get("target") or ""),
    }
    shown = ", ".join(one["pointer"] for one in fields[:_FIELDS]) + (", …" if len(fields) > _FIELDS else "")
    by = ", ".join(sorted({one["manager"] for one in fields if one["manager"]})) or "nobody that can be named"
    what = f"{ref['kind']} {ref['namespace']}/{ref['name']}" if ref["namespace"] else f"{ref['kind']} {ref['name']}"
    summary = f"{what} is otherwise than declared ({item['found']})"
    end = "it was put right" if item["corrected"] else "it is left so"
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {"summary": summary, "description": f"{shown or 'the object'}; by {by}; {end}"},
        "startsAt": to_rfc3339(at),
    }


def flash(item: Mapping[str, Any]) -> dict[str, Any]:
    """The alert of what was put right at once: it ends by itself."""
    at = from_rfc3339(item["at"])
    return {**alert(item, at), "endsAt": to_rfc3339(at + _FLASH)}
