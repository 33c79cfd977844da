"""The extender that `up` runs (`scheduling.extender`): a process of its own, begun, watched and begun again.

Not a thread: an answer may not wait until a commit of a thousand objects is judged. It takes its rules from the state
of `up` and the copy of the repository that `up` keeps, so both hold to one revision.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from customhouse._kit import process
from customhouse._kit.clock import from_rfc3339
from customhouse.app.extender_status import FILE, FOLDER, read_extender_status
from customhouse.core.errors import CustomhouseError

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane

_PROGRAM = (sys.executable, "-P", "-c", "import sys; from customhouse.cli import main; sys.exit(main())")
_LOOK_S = 2.0
_SILENT_S = 60.0
"""Its status is written every few seconds; one that is older than this tells of a process that hangs."""
_SETTLES_S = 15.0
"""So long after it was begun nobody is told that it does not know the cluster yet."""
_PAUSE_S, _PAUSE_MOST_S = 1.0, 30.0
_LOG = "log"


class ExtenderWatch:
    """`step` and `stop` belong to the control plane's loop."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._command: tuple[str, ...] = ()
        self._running: process.Running | None = None
        self._begun = self._look_at = self._again_at = 0.0
        self._pause = _PAUSE_S
        self._status: Mapping[str, Any] = {}
        self.problem = ""

    def step(self) -> None:
        """Begin, end or begin anew as customhouse.yaml says; see whether it goes on."""
        now = self._plane.clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        command = self._wanted()
        if command != self._command:
            self.stop()
            self._command, self._pause, self._again_at = command, _PAUSE_S, 0.0
        if not command:
            return
        if self._running is not None and not self._running.alive:
            self._running = None
            self._again_at = now + self._pause
            self._pause = min(2 * self._pause, _PAUSE_MOST_S)
            self.problem = f"the scheduler's extender ended, and is begun again: {self._last_words()}"
        if self._running is None and now >= self._again_at:
            self._begin(command, now)
        self._read(now)

    def document(self) -> Mapping[str, Any]:
        """What it said of itself last; empty where none is asked for."""
        return self._status

    def stop(self) -> None:
        """End it, if it runs."""
        running, self._running = self._running, None
        if running is not None:
            running.end()
        self._status, self.problem = {}, ""

    def _wanted(self) -> tuple[str, ...]:
        """The command; empty where none is asked for, or cannot be."""
        configuration = self._plane.governing().configuration
        spec, cluster = configuration.schedule, configuration.cluster
        if not spec.listen:
            self.problem = ""
            return ()
        if cluster is None:
            where = "several clusters are" if configuration.targets else "this machine is"
            self.problem = f"scheduling.extender: {where} the target; `up` runs an extender for one cluster"
            return ()
        settings = self._plane.settings
        host, port = spec.address
        mirror = self._plane.source.git.directory
        words = ["schedule", "serve", "--state", str(settings.state), "--repo", str(mirror), "--with-parent"]
        words += ["--host", host, "--port", str(port)]
        words += ["--kubeconfig", str(settings.workspace / cluster.kubeconfig)] if cluster.kubeconfig else []
        words += ["--context", cluster.context] if cluster.context else []
        words += ["--config", str(settings.config)] if settings.config else []
        words += [word for name in self._names(spec.names) for word in ("--name", name)]
        return (*_PROGRAM, *words)

    @staticmethod
    def _names(given: tuple[str, ...]) -> tuple[str, ...]:
        """Those that are given stand beside the usual ones."""
        usual = ("customhouse-extender.customhouse-system.svc", "localhost", "127.0.0.1")
        return (*usual, *given) if given else ()

    def _begin(self, command: tuple[str, ...], now: float) -> None:
        settings = self._plane.settings
        place = settings.state / FOLDER
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileNotFoundError):
                (place / FILE).unlink()  # what the one before said is not said by this one
            self._running = process.start(command, env=settings.environment, output=place / _LOG)
        except (OSError, process.ProgramError, process.ProgramMissingError) as error:
            self._again_at = now + _PAUSE_MOST_S
            self.problem = f"the scheduler's extender could not be begun: {error}"[:500]
            return
        self._begun = now

    def _read(self, now: float) -> None:
        if self._running is None:
            self._status = {}
            return
        try:
            found = read_extender_status(self._plane.settings.state)
        except CustomhouseError as error:
            self.problem = f"extender: {error}"
            return
        if found is None:
            self._status = {}
            if now - self._begun > _SILENT_S:
                self.problem = f"the scheduler's extender has said nothing for {now - self._begun:.0f} seconds"
            return
        age = (self._plane.clock.now() - _when(found)).total_seconds()
        self._status = found
        if age > _SILENT_S:
            self.problem = f"the scheduler's extender has said nothing for {age:.0f} seconds"
            return
        self._pause = _PAUSE_S
        settling = now - self._begun < _SETTLES_S
        told = [
            found.get("problem") and not settling and f"it answers nothing: {found['problem']}",
            found.get("rules") and f"newer rules are not in use: {found['rules']}",
            found.get("prices") and f"nodes are scored without prices: {found['prices']}",
        ]
        self.problem = "; ".join(f"extender: {item}" for item in told if item)

    def _last_words(self) -> str:
        try:
            lines = (self._plane.settings.state / FOLDER / _LOG).read_text(errors="replace").strip().splitlines()
        except OSError:
            return "its log cannot be read"
        return lines[-1][:300] if lines else "it said nothing"


def _when(found: Mapping[str, Any]) -> datetime:
    return from_rfc3339(str(found.get("at")))
