"""What the loop says beside its judgements: last good bundles in use, and what a candidate on trial would deny."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from customhouse.core.decision import Point

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane

_ROWS = 50
_MOST_SAID = 5


class PolicyNotices:
    """`step` belongs to the control plane's loop."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._seen = -1
        self.problem = ""
        """Why the rules that judge are not those that their source has now; empty when they are."""
        self.notice = ""
        """What the newest revision would be denied by a candidate of mode `warn`."""
        self._alerts = self._hits = 0

    def step(self) -> None:
        """Look at the governance in force, and at the newest Decisions when there are new ones."""
        alerts = self._plane.governing().alerts
        self._alerts, self.problem = len(alerts), "; ".join(alerts)
        if self._plane.changes == self._seen:
            return
        self._seen = self._plane.changes
        said = list(_hits(self._plane.store.decisions.recent(_ROWS, Point.GATE.value)))
        self._hits = len(said)
        self.notice = "; ".join(said[:_MOST_SAID])

    def metrics(self) -> str:
        """Prometheus text."""
        rows = (
            ("customhouse_policy_alerts", "Bundles that are a last good one: their source is no use.", self._alerts),
            ("customhouse_canary_would_deny", "Newest decisions that a candidate would deny.", self._hits),
        )
        lines = (f"# HELP {name} {text}\n# TYPE {name} gauge\n{name} {value}\n" for name, text, value in rows)
        return "".join(lines)


def _hits(rows: Any) -> Iterator[str]:
    newest = next((row["envelope"]["revision"] for row in rows), None)
    for row in rows:
        trial = row["envelope"].get("canary")
        if row["envelope"]["revision"] != newest or not isinstance(trial, Mapping) or not trial["would_deny"]:
            continue
        ref = row["envelope"]["resource"]
        rules = sorted({item["rule"] for item in trial["added"] if item["severity"] == "error"})
        yield f"on trial: {ref['kind']} {ref['namespace']}/{ref['name']} would be denied by {', '.join(rules)}"
