"""`customhouse audit`: one audit of a cluster or of dumped objects, or one after the other over a watched cluster."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from customhouse.app import wiring
from customhouse.app.admission_context import load_context
from customhouse.app.audit import Auditor, AuditReport
from customhouse.app.audit_record import Kept, open_record
from customhouse.app.audit_reports import Published, metrics_text, publish
from customhouse.app.audit_scene import Scene, scene_of_cluster, scene_of_paths, scene_of_picture
from customhouse.app.clearance import Clearance
from customhouse.app.policywatch import notices
from customhouse.app.settings import Settings
from customhouse.core.cluster import ApiKind, Cluster
from customhouse.core.errors import CustomhouseError, StateError, UsageError
from customhouse.core.ports import PolicyEngine, Progress
from customhouse.core.resource import Declaration
from customhouse.execution.live import LiveIndex, worth_listing

SETTLE_S = 120.0
"""How long an audit waits for what its watches have not told yet; what is missing then is said to be."""


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What the command line asked for. `repo` is where the rules, the evidence and the Declarations come from."""

    paths: tuple[str, ...] = ()
    kubeconfig: Path | None = None
    context: str | None = None
    repo: str | None = None
    publish: bool | None = None
    """None: as customhouse.yaml says (`audit.publishReports`)."""
    metrics_file: Path | None = None
    record: bool = False
    """Whether denials, and what changed since the last audit, are entered into the state."""


@dataclass(frozen=True, slots=True)
class AuditDone:
    """An audit, and what was written into the cluster of it."""

    report: AuditReport
    published: Published | None = None
    warning: str = ""
    """What makes the answer itself doubtful: an API server whose certificate is not verified."""
    kept: Kept = field(default_factory=Kept)
    live: tuple[Declaration, ...] = ()
    """Everything that existed."""
    alerts: tuple[str, ...] = ()
    """Last good bundles in use, and what a candidate on trial would deny."""

    @property
    def exit_status(self) -> int:
        """3 when something is not known or could not be written, 1 when a rule that denies is broken, else 0."""
        if not self.report.complete or (self.published is not None and self.published.problems):
            return 3
        return 1 if self.report.denied else 0


def run_audit(settings: Settings, request: AuditRequest, progress: Progress | None = None) -> AuditDone:
    """One audit. Raises UsageError, CannotDecideError, and TargetError when the API is out of reach."""
    if request.paths:
        if request.kubeconfig or request.context or request.publish:
            raise UsageError("PATH arguments and --kubeconfig, --context or --report exclude one another")
        return _finished(settings, request, wiring.engine(settings), scene_of_paths(request.paths), None, progress)
    with wiring.cluster(settings, request.kubeconfig, request.context) as cluster:
        scene = scene_of_cluster(cluster, cluster.name)
        done = _finished(settings, request, wiring.engine(settings), scene, cluster, progress)
        return replace(done, warning=_doubt(cluster))


def keep_auditing(
    settings: Settings,
    request: AuditRequest,
    every_s: float,
    stop: threading.Event,
    on_audit: Callable[[AuditDone], None],
    on_problem: Callable[[str], None],
) -> None:
    """Audit again and again until `stop`. The cluster is watched between: it is listed once, not every time.

    What goes wrong is told and tried again at the next turn. Raises ConfigError when no API is configured.
    """
    engine = wiring.engine(settings)
    with ExitStack() as stack:
        cluster = stack.enter_context(wiring.cluster(settings, request.kubeconfig, request.context))
        watch = Watch(cluster)
        stack.callback(watch.close)
        while True:
            try:
                done = _finished(settings, request, engine, watch.scene(cluster.name), cluster, None)
                on_audit(replace(done, warning=_doubt(cluster)))
            except StateError:
                raise
            except CustomhouseError as error:
                on_problem(str(error))
                _write_metrics(request.metrics_file, "customhouse_audit_complete 0\n")
            if stop.wait(every_s):
                return


def interval_s(settings: Settings, request: AuditRequest) -> float:
    """Seconds between two audits by customhouse.yaml. Raises UsageError when it says nothing of them."""
    minutes = load_context(settings, request.repo).governing.configuration.audit.every_minutes
    if minutes is None:
        raise UsageError("customhouse.yaml has no audit.everyMinutes", hint="name it there, or write --every 10m")
    return minutes * 60.0


class Watch:
    """A live index of a cluster, kept by watches; kinds that are defined later are taken up at the next look."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.index = LiveIndex()
        self._watched: dict[ApiKind, Callable[[], None]] = {}

    def scene(self, name: str, settle_s: float = SETTLE_S) -> Scene:
        """Everything that exists now. Raises TargetError when the API is out of reach."""
        found = self._cluster.discover()
        kinds = worth_listing(found.kinds)
        for kind in set(self._watched) - set(kinds):
            self._watched.pop(kind)()
            self.index.forget(kind)
        self.index.expect(kinds)
        fresh = [kind for kind in kinds if kind not in self._watched]
        if fresh:
            stop = self._cluster.watch(fresh, self.index.take)
            for kind in fresh:
                self._watched[kind] = stop
        self.index.wait(settle_s)
        return scene_of_picture(name, self.index.picture(), found.problems)

    def close(self) -> None:
        """End the watches."""
        for stop in {id(stop): stop for stop in self._watched.values()}.values():
            stop()
        self._watched.clear()


def _finished(
    settings: Settings,
    request: AuditRequest,
    engine: PolicyEngine,
    scene: Scene,
    cluster: Cluster | None,
    progress: Progress | None,
) -> AuditDone:
    clock = wiring.clock()
    context = load_context(settings, request.repo)
    auditor = Auditor(context, engine, clock, Clearance(engine, clock, settings.workspace))
    kept = Kept()
    if request.record:
        with open_record(settings, scene.name) as record:
            report = auditor.audit(scene, wanted=record.wanted, progress=progress)
            kept = record.write(report)
    else:
        report = auditor.audit(scene, progress=progress)
    _write_metrics(request.metrics_file, metrics_text(report))
    asked = context.governing.configuration.audit.publish_reports if request.publish is None else request.publish
    published = publish(cluster, report) if asked and cluster is not None else None
    alerts = tuple(notices(context.governing.alerts, (item.decision for item in report.audited)))
    return AuditDone(report, published, kept=kept, live=scene.declarations, alerts=alerts)


class _Connection(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def verified(self) -> bool: ...


def _doubt(cluster: _Connection) -> str:
    if cluster.verified:
        return ""
    return f"{cluster.name} is not verified: the kubeconfig says insecure-skip-tls-verify"


def _write_metrics(place: Path | None, text: str) -> None:
    """Replace the file at once: a collector of text files (node exporter's) may read it at any time."""
    if place is None:
        return
    draft = place.with_name(f".{place.name}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, place)
    except OSError as error:
        raise StateError(f"the metrics cannot be written: {error.strerror}", where=str(place)) from error
