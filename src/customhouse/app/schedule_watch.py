"""What `up` does about scheduling (`scheduling` of customhouse.yaml), as one part of its loop."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from customhouse.app.extender_child import ExtenderWatch
from customhouse.app.poolwatch import PoolWatch

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane
    from customhouse.app.overview import Overview


class ScheduleWatch:
    """`step`, `shown` and `stop` belong to the control plane's loop."""

    def __init__(self, plane: ControlPlane) -> None:
        self._extender, self._pools = ExtenderWatch(plane), PoolWatch(plane)

    @property
    def problem(self) -> str:
        """What does not go on as it should."""
        return "; ".join(filter(None, (self._extender.problem, self._pools.problem)))

    def step(self) -> None:
        """One round of each. Raises StateError."""
        self._extender.step()
        self._pools.step()

    def shown(self, picture: Overview) -> Overview:
        """The picture with what is known of scheduling."""
        found = {"extender": self._extender.document(), "pools": list(self._pools.document())}
        known = {name: value for name, value in found.items() if value}
        return replace(picture, scheduling=known) if known else picture

    def metrics(self) -> str:
        """Prometheus text."""
        found = self._extender.document()
        if not found:
            return ""
        name = "customhouse_schedule_extender_ready"
        text = "1 while the scheduler's extender that `up` runs answers."
        return f"# HELP {name} {text}\n# TYPE {name} gauge\n{name} {int(not self._extender.problem)}\n"

    def stop(self) -> None:
        """End what runs."""
        self._extender.stop()
