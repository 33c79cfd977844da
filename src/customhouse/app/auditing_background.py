"""The audit beside other work: a thread that audits on schedule, and what it said last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from customhouse.app.audit_reports import metrics_text
from customhouse.app.audit_spec import AuditSpec
from customhouse.app.auditing import AuditDone, AuditRequest, keep_auditing
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError
from customhouse.core.resource import Declaration

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane

UNKNOWN = "# TYPE customhouse_audit_complete gauge\ncustomhouse_audit_complete 0\n"
"""What the metrics are before the first audit, and after one that failed: no violation counted is not none there."""


class BackgroundAudit:
    """Audits every `every_s` seconds between `start` and `stop`. A fault of it never reaches the work beside it."""

    def __init__(
        self, settings: Settings, request: AuditRequest, every_s: float, on_problem: Callable[[str], None]
    ) -> None:
        self._settings, self._request, self._every_s = settings, request, every_s
        self._on_problem = on_problem
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._metrics = UNKNOWN
        self.latest: AuditDone | None = None
        """The last audit; None before the first, and after one that failed."""

    def start(self) -> None:
        """Begin; the first audit is made at once."""
        self._thread.start()

    def stop(self, patience_s: float = 5.0) -> None:
        """End. An audit that takes longer than the patience is left behind: it writes nothing durable."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def metrics(self) -> str:
        """Prometheus text of the last audit."""
        return self._metrics

    def _run(self) -> None:
        try:
            keep_auditing(self._settings, self._request, self._every_s, self._stop, self._said, self._failed)
        except CustomhouseError as error:
            self._failed(f"no audits are made: {error}")
        except Exception as error:  # noqa: BLE001 - the control plane goes on without audits, and says so
            self._failed(f"no audits are made, this is a bug: {type(error).__name__}: {error}"[:500])

    def _said(self, done: AuditDone) -> None:
        self.latest, self._metrics = done, metrics_text(done.report)
        problems = () if done.published is None else done.published.problems
        for text in (*(f"could not list {name}: {why}" for name, why in done.report.problems.items()), *problems):
            self._on_problem(text)

    def _failed(self, problem: str) -> None:
        self.latest, self._metrics = None, UNKNOWN
        self._on_problem(problem)


class AuditWatch:
    """Keeps the audit that the governance in force asks for. `step` belongs to the control plane's loop."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._spec = AuditSpec()
        self._audit: BackgroundAudit | None = None
        self.problem = ""
        """The last thing that went wrong with an audit; empty when the last one was whole."""

    def step(self) -> None:
        """Begin, end or begin anew when what customhouse.yaml says of the audit has changed."""
        spec = self._plane.governing().configuration.audit
        if self._audit is not None and self._audit.latest is not None and not self._audit.latest.report.problems:
            self.problem = ""
        if spec == self._spec:
            return
        self.stop()
        self._spec = spec
        if spec.every_minutes is not None:
            request = AuditRequest(repo=self._plane.location, publish=spec.publish_reports, record=True)
            self._audit = BackgroundAudit(self._plane.settings, request, spec.every_minutes * 60.0, self._told)
            self._audit.start()

    def stop(self) -> None:
        """End the audit that runs, if one does."""
        if self._audit is not None:
            self._audit.stop()
        self._audit, self.problem = None, ""

    def metrics(self) -> str:
        """Prometheus text of the last audit; empty when none is asked for."""
        return "" if self._audit is None else self._audit.metrics()

    def live(self) -> tuple[Declaration, ...] | None:
        """What the last audit saw; None where there was none, or it failed."""
        done = None if self._audit is None else self._audit.latest
        return None if done is None else done.live

    def _told(self, text: str) -> None:
        self.problem = f"audit: {text}"[:1000]
