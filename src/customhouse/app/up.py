"""`customhouse up`: the loop around the control plane, with the board that the dashboard shows."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from customhouse.app import board, wiring
from customhouse.app.auditing_background import AuditWatch
from customhouse.app.controlplane import ControlPlane
from customhouse.app.driftnotices import DriftNotices
from customhouse.app.interruptions import Interruptions
from customhouse.app.optimiser import Optimiser
from customhouse.app.overview import Overview
from customhouse.app.pictures import Pictures
from customhouse.app.policynotices import PolicyNotices
from customhouse.app.protections import ProtectionWatch
from customhouse.app.schedule_watch import ScheduleWatch
from customhouse.app.snapshot import Publisher
from customhouse.app.statusfile import write_problem, write_status
from customhouse.app.vulnwatch_loop import VulnerabilityWatch
from customhouse.core.errors import CannotDecideError, CustomhouseError, StateError

PULSE_S = 0.5
"""The longest pause between two steps: a push is fetched, judged and applied within one or two of them."""
WALKING_PULSE_S = 0.15
"""While a canary runs."""
SEARCHED_EVERY = (50_000, 20, 50)
"""How seldom memory is searched for what only refers to itself (`gc.set_threshold`): little does here, and as Python
sets it the search takes a sixth of the time in which a fleet is judged."""
RETRY_S = 2.0
"""The pause before a step is tried again that could not be recorded."""


class LiveBoard:
    """The latest Overview and its version, for the server's threads. Only the loop's thread refreshes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._overview: Overview | None = None
        self._version = 0
        self.beside: Callable[[], str] = str
        """Further metrics, of what runs beside the loop."""

    def show(self, picture: Overview) -> bool:
        """Take a new picture; whether anything but its time differs: then the version grows."""
        with self._lock:
            before = self._overview
            changed = before is None or replace(before, at="") != replace(picture, at="")
            self._version += changed
            self._overview = picture
            return changed

    def trouble(self, problem: str) -> None:
        """Put a problem on the last picture, when no new one can be made."""
        with self._lock:
            before = self._overview
        if before is not None:
            self.show(replace(before, problem=problem))

    def overview(self) -> Overview:
        """The current picture. Raises StateError before there is one."""
        with self._lock:
            if self._overview is None:
                raise StateError("nothing has been looked at yet")
            return self._overview

    def version(self) -> int:
        """Grows with every change."""
        with self._lock:
            return self._version

    def metrics(self) -> str:
        """The control plane's own metrics, Prometheus text format 0.0.4."""
        picture = self.overview()
        denied = sum(row.verdict == "deny" for row in picture.decisions)
        rows = [
            ("customhouse_ledger_entries", "gauge", "Entries in the ledger.", picture.ledger_size),
            ("customhouse_decisions_denied_recent", "gauge", "Denials among the newest 50 decisions.", denied),
            ("customhouse_releases", "gauge", "Releases shown on the board.", len(picture.releases)),
            ("customhouse_problem", "gauge", "1 when the control plane reports a problem.", int(bool(picture.problem))),
        ]
        lines = []
        for name, kind, text, value in rows:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n" + self.beside()


def run(
    plane: ControlPlane, live: LiveBoard, stop: threading.Event, on_problem: Callable[[str], None] | None = None
) -> None:
    """Step until `stop` is set. A problem is told once when it comes up, and the loop goes on.

    When the state cannot be written (a full disk) nothing is done, what serves goes on serving, and the same step is
    tried again.
    """
    gc.set_threshold(*SEARCHED_EVERY)
    optimiser, publisher, watch, audit = Optimiser(plane), Publisher(plane), ProtectionWatch(plane), AuditWatch(plane)
    notices, vulnerable = PolicyNotices(plane), VulnerabilityWatch(plane, audit.live)
    drift, taken = DriftNotices(plane, wiring.alert_post), Interruptions(plane)
    schedule = ScheduleWatch(plane)
    live.beside = lambda: "".join(one.metrics() for one in (audit, notices, vulnerable, drift, taken, schedule))
    told, noticed, warned, pictures = "", "", "", Pictures()

    def picture() -> Overview:
        return schedule.shown(taken.shown(board.overview(plane)))

    while not stop.is_set():
        pause = PULSE_S
        try:
            plane.step()
            taken.step()
            _propose(plane, optimiser)
            for one in (publisher, watch, audit, notices, vulnerable, schedule):
                one.step()
            beside = (publisher, watch, audit, notices, vulnerable, drift, taken, schedule)
            plane.problem = "; ".join(filter(None, [plane.problem, *(one.problem for one in beside)]))
            if plane.rollouts.walks():
                pause = WALKING_PULSE_S
            pause = _drawn(
                plane, live, pictures, lambda: schedule.shown(taken.shown(board.overview(plane))), drift, pause
            )
        except (StateError, OSError, CannotDecideError) as error:
            plane.problem = _halted(plane, error)
            live.trouble(plane.problem)
            pictures.failed()
            pause = RETRY_S
        if plane.problem != told and on_problem is not None:
            told = plane.problem
            with suppress(OSError):  # the terminal may be a file on the disk that is full
                on_problem(told or "all is well again")
                if plane.fault:
                    on_problem(plane.fault)
                    plane.fault = ""
        if notices.notice != noticed and on_problem is not None:
            noticed = notices.notice
            with suppress(OSError):
                on_problem(noticed or "the candidate on trial would deny nothing any more")
        if vulnerable.notice != warned and on_problem is not None:
            warned = vulnerable.notice
            with suppress(OSError):
                on_problem(warned)
        if not stop.is_set():
            plane.wait(pause)
    audit.stop()
    drift.stop()
    taken.stop()
    schedule.stop()


def _drawn(
    plane: ControlPlane,
    live: LiveBoard,
    pictures: Pictures,
    picture: Callable[[], Overview],
    drift: DriftNotices,
    pause: float,
) -> float:
    """Draw the picture when it is time; how long the loop may sleep, at most `pause`."""
    now, changes = plane.clock.monotonic(), plane.changes + plane.outbox.delivered
    if pictures.due(now, changes):
        made = picture()
        drift.step(made.cluster)
        if live.show(made):
            write_status(plane.settings, made)
        pictures.drawn(now, plane.clock.monotonic(), changes)
    return pictures.pause(now, changes, pause)


def _halted(plane: ControlPlane, error: Exception) -> str:
    """The problem of a step that came to nothing, for the board; where it can be written, for `status` too."""
    if not isinstance(error, CannotDecideError):
        return f"nothing can be recorded, so nothing is done: {error}"
    # What is deployed cannot be read: a chart of it, with its registry and every copy gone. It is asked for again.
    problem = plane.problem or str(error)
    with suppress(StateError, OSError):
        write_problem(plane.settings, problem)
    return problem


def _propose(plane: ControlPlane, optimiser: Optimiser) -> None:
    try:
        optimiser.step()
    except StateError:
        raise
    except CustomhouseError as error:
        plane.problem = "; ".join(filter(None, [plane.problem, f"optimiser: {error}"]))
