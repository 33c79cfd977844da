"""Node pools as a part of `up` (`scheduling.pools`): the cluster is asked in a thread, the loop writes.

How far it goes is `optimiser.autonomy`: `observe` does not look, `recommend` shows on the board, `propose` writes
branches. What is wanted no more is withdrawn when two looks in a row say so: pods come and go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from customhouse.app.extender import Generation
from customhouse.app.extender_prices import NodePrices
from customhouse.app.nodepools import Pool, looked, pools
from customhouse.app.poolplans import PoolChange, pool_changes
from customhouse.app.poolproposing import PoolDesk
from customhouse.app.several_targets import Asked
from customhouse.core.cluster import Cluster
from customhouse.core.errors import CustomhouseError, StateError

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane

_EVERY_S, _LEAST_S = 30.0, 1.0
"""How often the cluster is asked: every half of the time that a pod has to have waited, within these bounds."""
Look = tuple[tuple[Pool, ...], Mapping[str, int]]


class PoolWatch:
    """`step` belongs to the control plane's loop."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._due = 0.0
        self._asked: Asked[Look] | None = None
        self._rows: Sequence[Mapping[str, Any]] = ()
        self._missing = frozenset[str]()
        """Names that were not wanted any more by the last look."""
        self._before = frozenset[str]()
        self.problem = ""

    def step(self) -> None:
        """Look again when it is due; write what the last look found. Raises StateError."""
        plane = self._plane
        configuration = plane.governing().configuration
        spec, cluster = configuration.schedule.pools, configuration.cluster
        if spec is None or configuration.autonomy == "observe":
            self._rows, self.problem, self._asked = (), "", None
            return
        if cluster is None:
            where = "several clusters are" if configuration.targets else "this machine is"
            self.problem = f"scheduling.pools: {where} the target; node pools are proposed for one cluster"
            return
        try:
            self._round(spec.path, timedelta(seconds=spec.after_seconds), propose=configuration.autonomy == "propose")
        except StateError:
            raise
        except CustomhouseError as error:
            self.problem = f"node pools: {error}"

    def _round(self, folder: str, after: timedelta, *, propose: bool) -> None:
        plane, now = self._plane, self._plane.clock.monotonic()
        if self._asked is not None:
            if not self._asked.ended():
                return
            asked, self._asked = self._asked, None
            found, used = asked.answer()
            self._take(found, used, folder, propose=propose)
            return
        deployed = plane.memory.deployed
        if now < self._due or deployed is None or plane.head != deployed.revision:
            return  # a head that is denied is no base for a proposal
        self._due = now + min(_EVERY_S, max(_LEAST_S, after.total_seconds() / 2))
        governing = plane.governing()
        generation = Generation(0, governing, NodePrices(governing, plane.clock.now()), deployed.revision)
        target: Any = plane.target
        self._asked = Asked(partial(_look, target.cluster, generation, plane.clock.now(), after), plane.wake)

    def _take(self, found: Sequence[Pool], used: Mapping[str, int], folder: str, *, propose: bool) -> None:
        plane = self._plane
        deployed = plane.memory.deployed
        if deployed is None or plane.head != deployed.revision:
            return
        read = partial(plane.source.read, deployed.revision)
        changes = pool_changes(found, plane.declared(), read, used, folder)
        before, self._before = self._before, frozenset(change.name for change in changes if change.text)
        rows = self._settled(changes, deployed.revision) if propose else [_recommended(change) for change in changes]
        problems = [row["problem"] for row in rows if row["problem"] and row["state"] == "proposed"]
        self.problem = "; ".join(f"node pools: {text}" for text in problems)
        plane.changes += rows != list(self._rows) or before != self._before
        self._rows = rows

    def _settled(self, changes: Sequence[PoolChange], base: str) -> list[dict[str, Any]]:
        plane = self._plane
        configuration = plane.governing().configuration
        desk = PoolDesk(
            *(plane.settings, configuration, plane.source, plane.memory, base, plane.branch, plane.signing_key),
            record=plane.outbox.commit,
        )
        missing = desk.unwanted(changes)
        rows = desk.settle(changes, plane.clock.now(), withdraws=missing <= self._missing)
        self._missing = missing
        return rows

    def document(self) -> Sequence[Mapping[str, Any]]:
        """A row for each pool that is wanted."""
        return self._rows


def _recommended(change: PoolChange) -> dict[str, Any]:
    return {**change.to_json(), "state": "recommended" if change.text else "waits" if change.path else "none found"}


def _look(cluster: Cluster, generation: Generation, now: datetime, after: timedelta) -> Look:
    waiting, used = looked(cluster, generation, now, after)
    return (pools(waiting, generation), used) if waiting else ((), used)
