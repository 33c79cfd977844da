"""Alerts of drift: what is otherwise than declared, told to an Alertmanager, once as long as it lasts.

An alert is named by the object and by how it drifts: the same drift is one alert, however often it is sent. It is sent
again and again while it lasts (an Alertmanager takes one that falls silent for resolved), and with its end when it is
put right. What was put right at once ends by itself some minutes later, so that somebody hears of it at all. What was
not taken is kept in the state, and sent when somebody answers.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.http import Answer, HttpError
from customhouse.app.driftalerts import DRIFTED, alert, flash, name_of
from customhouse.core.errors import StateError

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane

FIRING = "control/drift-alerts"
"""What was told and has not ended: name → the alert."""
_AGAIN_S, _RETRY_S = 60.0, 10.0
_PATH = "/api/v2/alerts"
Post = Callable[[str, bytes], Answer]


class DriftNotices:
    """`step` belongs to the control plane's loop; what is sent is sent by a thread of its own."""

    def __init__(self, plane: ControlPlane, post: Post) -> None:
        self._plane, self._post = plane, post
        self._due = 0.0
        self._sent_of: frozenset[str] = frozenset()
        self._told: list[Any] = []
        """What of DRIFTED is in the request under way."""
        self._ended: frozenset[str] = frozenset()
        self._thread: threading.Thread | None = None
        self._failed: str | None = ""
        """Why the last request was not taken; None while it is under way."""
        self._standing: Sequence[Mapping[str, Any]] = ()
        self.problem = ""

    def step(self, cluster: Mapping[str, Any]) -> None:
        """Tell what is new and what ended, and what lasts once a minute. Raises StateError.

        `cluster` is what the board says of the clusters (`Overview.cluster`).
        """
        url = self._plane.governing().configuration.alertmanager
        self._standing = cluster.get("drift") or ()
        if not url:
            self.problem = ""
            return
        if self._thread is not None:
            if self._thread.is_alive():
                return
            self._thread = None
            self._conclude()
        now, memory = self._plane.clock.now(), self._plane.memory
        firing: dict[str, Any] = dict(memory.get(FIRING) or {})
        standing = {name_of(item): item for item in self._standing}
        waiting = list(memory.get(DRIFTED) or ())
        changed = bool(waiting) or standing.keys() != firing.keys()
        if self._plane.clock.monotonic() < self._due and (self.problem or not changed):
            return
        fresh = {name: alert(item, now) for name, item in standing.items() if name not in firing}
        ended = {name: {**firing[name], "endsAt": to_rfc3339(now)} for name in firing.keys() - standing.keys()}
        flashes = [flash(item) for item in waiting if name_of(item) not in standing]
        if fresh:  # before it is sent: a kill after that must not leave an alert that nobody ends
            memory.put({FIRING: {**firing, **fresh}})
        body = [*(firing[name] for name in firing.keys() & standing.keys()), *fresh.values(), *flashes, *ended.values()]
        self._due = self._plane.clock.monotonic() + _AGAIN_S
        if body:
            self._told, self._ended = waiting, frozenset(ended)
            self._begin(url.rstrip("/") + _PATH, json.dumps(body).encode())

    def _begin(self, url: str, body: bytes) -> None:
        self._failed = None
        self._thread = threading.Thread(target=self._send, args=(url, body), name="alerts", daemon=True)
        self._thread.start()

    def _send(self, url: str, body: bytes) -> None:
        try:
            answer = self._post(url, body)
            self._failed = "" if answer.status == 200 else f"it answered {answer.status}"
        except HttpError as error:
            self._failed = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it trips over, the loop goes on and says so
            self._failed = repr(error)[:200]
        self._plane.wake()

    def _conclude(self) -> None:
        """What came of the request: what was taken is not told again."""
        if self._failed:
            self.problem = f"alerts are not delivered: {self._failed}"
            self._due = self._plane.clock.monotonic() + _RETRY_S
            return
        self.problem, memory = "", self._plane.memory
        firing = {name: item for name, item in (memory.get(FIRING) or {}).items() if name not in self._ended}
        later = [item for item in memory.get(DRIFTED) or () if item not in self._told]
        memory.put({FIRING: firing or None, DRIFTED: later or None})
        self._told, self._ended = [], frozenset()

    def metrics(self) -> str:
        """Prometheus text: what is otherwise than declared now, by how; for rules of one's own."""
        counts = Counter(str(item["found"]) for item in self._standing)
        name = "customhouse_drift_objects"
        rows = [f'{name}{{found="{found}"}} {counts[found]}' for found in ("altered", "missing", "added")]
        return "\n".join(
            [f"# HELP {name} Objects that are otherwise than declared.", f"# TYPE {name} gauge", *rows, ""]
        )

    def stop(self) -> None:
        """Wait a moment for what is under way. Raises nothing."""
        if self._thread is not None:
            self._thread.join(1.0)
            if not self._thread.is_alive():
                try:
                    self._conclude()
                except StateError:  # it is told again after the next start
                    self._thread = None
