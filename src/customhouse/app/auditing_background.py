"""The audit beside other work: a thread that audits on schedule, and what it said last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from customhouse.app.audit_reports import metrics_text
from customhouse.app.audit_spec import AuditSpec
from customhouse.app.auditing import AuditDone, AuditRequest, keep_auditing
from customhouse.app.settings import Settings
from customhouse.app.target_spec import ClusterSpec, places_of
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
        self.seen: tuple[Declaration, ...] | None = None
        """Everything that existed as of the last audit that did not fail."""

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
        self.latest, self._metrics, self.seen = done, metrics_text(done.report), done.live
        problems = () if done.published is None else done.published.problems
        for text in (*(f"could not list {name}: {why}" for name, why in done.report.problems.items()), *problems):
            self._on_problem(text)

    def _failed(self, problem: str) -> None:
        self.latest, self._metrics = None, UNKNOWN
        self._on_problem(problem)


class AuditWatch:
    """Keeps the audits that the governance in force asks for, one of each cluster. `step` belongs to the loop."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._spec = AuditSpec()
        self._places: tuple[tuple[str, ...], ...] = ()
        self._audits: dict[str, BackgroundAudit] = {}
        """By target; a single one is called ""."""
        self._problems: dict[str, str] = {}
        self._live: tuple[tuple[int, ...], tuple[Declaration, ...]] = ((), ())

    @property
    def problem(self) -> str:
        """The last thing that went wrong with each audit; empty when the last ones were whole."""
        return "; ".join(filter(None, self._problems.values()))

    def step(self) -> None:
        """Begin, end or begin anew when what customhouse.yaml says of the audit, or of clusters, has changed."""
        configuration = self._plane.governing().configuration
        spec, clusters = configuration.audit, configuration.clusters
        for name, audit in self._audits.items():
            if audit.latest is not None and not audit.latest.report.problems:
                self._problems[name] = ""
        places = places_of(clusters)
        if (spec, places) == (self._spec, self._places):
            return
        self.stop()
        self._spec, self._places = spec, places
        if spec.every_minutes is None:
            return
        settings = self._plane.settings
        for name, cluster in (clusters or {"": ClusterSpec()}).items():
            request = AuditRequest(
                repo=self._plane.location,
                publish=spec.publish_reports,
                record=True,
                kubeconfig=settings.workspace / cluster.kubeconfig if cluster.kubeconfig else None,
                context=cluster.context or None,
            )
            own = replace(settings, target=name) if name else settings
            told = partial(self._told, name)
            self._audits[name] = BackgroundAudit(own, request, spec.every_minutes * 60.0, told)
        for audit in self._audits.values():
            audit.start()

    def stop(self) -> None:
        """End the audits that run, if any do."""
        for audit in self._audits.values():
            audit.stop()
        self._audits, self._problems = {}, {}

    def metrics(self) -> str:
        """Prometheus text of the last audits; empty when none is asked for."""
        if len(self._audits) <= 1:
            return "".join(audit.metrics() for audit in self._audits.values())
        return labelled({name: audit.metrics() for name, audit in self._audits.items()})

    def live(self) -> tuple[Declaration, ...] | None:
        """What the audits saw last, of several clusters with the target as the scene; None where none saw anything."""
        seen = {name: audit.seen for name, audit in self._audits.items()}
        known = {name: live for name, live in seen.items() if live is not None}
        if not known:
            return None
        key = tuple(map(id, known.values()))
        if key != self._live[0]:
            found = (_placed(item, name) for name, live in known.items() for item in live)
            self._live = (key, tuple(found) if len(seen) > 1 else next(iter(known.values())))
        return self._live[1]

    def _told(self, name: str, text: str) -> None:
        self._problems[name] = f"audit{f' of {name}' if name else ''}: {text}"[:1000]


def _placed(item: Declaration, target: str) -> Declaration:
    return replace(item, ref=replace(item.ref, scene=target))


def labelled(texts: Mapping[str, str]) -> str:
    """Prometheus texts of several targets as one: each sample with its `target`, each family once."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for target, text in texts.items():
        for line in text.splitlines():
            if line.startswith("#"):
                family = line.split(" ")[2]
                if line not in heads.setdefault(family, []):
                    heads[family].append(line)
                continue
            name, brace, rest = line.partition("{") if "{" in line else line.partition(" ")
            own = f'target="{target}"'
            sample = f"{name}{{{own},{rest}" if brace == "{" else f"{name}{{{own}}} {rest}"
            samples.setdefault(name, []).append(sample)
    return "".join(f"{line}\n" for family in heads for line in (*heads[family], *samples.get(family, ())))
