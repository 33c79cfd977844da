"""What `up` does about scheduling (`scheduling` of customhouse.yaml), as one part of its loop."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from customhouse.app.extender_child import ExtenderWatch

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane
    from customhouse.app.overview import Overview
    from customhouse.app.poolwatch import PoolWatch


class ScheduleWatch:
    """`step`, `shown` and `stop` belong to the control plane's loop."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane, self._extender = plane, ExtenderWatch(plane)
        self._pools: PoolWatch | None = None

    @property
    def problem(self) -> str:
        """What does not go on as it should."""
        return "; ".join(filter(None, (self._extender.problem, self._pools.problem if self._pools else "")))

    def step(self) -> None:
        """One round of each. Raises StateError."""
        self._extender.step()
        if self._pools is None and self._plane.governing().configuration.schedule.pools is not None:
            from customhouse.app.poolwatch import PoolWatch  # with NumPy it is 12 MB, and most propose no pools

            self._pools = PoolWatch(self._plane)
        if self._pools is not None:
            self._pools.step()

    def shown(self, picture: Overview) -> Overview:
        """The picture with what is known of scheduling."""
        found = {"extender": self._extender.document(), "pools": list(self._pools.document()) if self._pools else []}
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
