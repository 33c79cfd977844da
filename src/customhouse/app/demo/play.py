"""Runs the demo: workspace, control plane on a thread, story; then the control plane stays up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse.app.controlplane import ControlPlane
from customhouse.app.demo.script import SCRIPT
from customhouse.app.demo.story import Step, Story
from customhouse.app.demo.workspace import build
from customhouse.app.identity import COMMIT_KEY
from customhouse.app.settings import Settings
from customhouse.app.up import LiveBoard, run

Tell = Callable[[str, Step | None], None]


@dataclass(frozen=True, slots=True)
class Played:
    """How the story went, and the control plane that goes on."""

    steps: tuple[Step, ...]
    ok: bool
    state: Path
    remote: Path
    live: LiveBoard

    def to_json(self) -> dict[str, Any]:
        """The JSON of DESIGN section 5."""
        return {
            "steps": [
                {"name": step.name, "ok": step.ok, "seconds": step.seconds, "detail": step.detail}
                for step in self.steps
            ],
            "ok": self.ok,
            "state": str(self.state),
        }


@contextmanager
def playing(root: Path, settings: Settings, tell: Tell) -> Iterator[Played]:
    """Play the story; inside the `with` the control plane still runs. Raises what building the workspace raises."""
    space = build(root, settings)
    key = space.settings.keys / COMMIT_KEY
    plane = ControlPlane(space.settings, str(space.remote), key=key if key.exists() else None)
    live, stop = LiveBoard(), threading.Event()
    failure: list[BaseException] = []

    def loop() -> None:
        try:
            run(plane, live, stop)
        except BaseException as error:
            failure.append(error)
            raise

    plane.start()
    thread = threading.Thread(target=loop, name="control-plane", daemon=True)
    thread.start()
    try:
        story = Story(space, plane, live, tell)
        ok = story.play(SCRIPT) and not failure
        yield Played(tuple(story.steps), ok, space.settings.state, space.remote, live)
    finally:
        stop.set()
        plane.wake()
        thread.join(timeout=10)
        plane.close()
