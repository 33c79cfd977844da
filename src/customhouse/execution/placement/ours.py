"""Our policy: fragments, balance and price, in one score per node in thousandths of a GPU.

1. Fragments: as FGD, but over *all* requests of the list (not 95 % of them), without rounding to hundredths, and
   knowing that idle spot capacity is of use to pods that may be interrupted alone: so these go there first, also
   where nobody names a price, and leave the rest to those that may not.
2. Balance: a node whose free CPU and free GPUs run out together strands neither. What is taken off is the difference
   of the two free parts after the pod, times the node's GPUs, times `BALANCE`. FGD sees that GPUs without CPUs beside
   them are lost when they are, not while they become so; here is most of what we gain on it. CPUs left over on spot
   nodes count for nothing: hardly anybody may have them.
3. A pod without GPU goes where few idle GPUs stand beside it (`BESIDE`).
4. A part of a GPU goes to the fullest GPU that fits, among nearly equal ones (`TIGHT`).
5. Price, where it is known: see `prices`. Balance then weighs `BALANCE_PRICED`, since a price fills some nodes before
   others and would leave GPUs without CPUs behind.

The numbers were chosen on seeds 1, 2 and 3 of five of the twelve given lists, those of the price on seeds 1 and 2 of
one; the published experiment runs seeds 42..51 of all twelve. See docs/scheduling.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from customhouse.execution.placement.fragments import Typical, Usable
from customhouse.execution.placement.prices import Prices
from customhouse.execution.placement.room import Array, Room
from customhouse.execution.placement.workload import WHOLE, Shape

BALANCE = 0.05
BALANCE_PRICED = 0.3
BESIDE = 0.1
TIGHT = 0.1


class Ours:
    """Scores nodes by fragments, balance and price. `dear` 0: no price is asked."""

    def __init__(self, room: Room, common: Sequence[Typical], dear: float = 0.0) -> None:
        self._room = room
        self._usable = Usable(room, common)
        self._prices = Prices.of(room, dear) if dear > 0 else None
        self._balance = BALANCE if self._prices is None else BALANCE_PRICED

    def renew(self) -> bool:
        """See Scorer: what a price weighs changes as the GPUs run out."""
        if self._prices is None:
            return False
        self._prices.renew()
        return True

    def _after(self, rows: Array, shape: Shape) -> Array:
        """What is usable once each GPU in turn has given the part (see `Usable.after_part`, and `slices` for MIG)."""
        if not shape.mig:
            return self._usable.after_part(rows, shape)
        return np.where(self._room.gives(shape, rows), self._room.slices.change(rows, shape), -np.inf)

    def scores(self, shape: Shape, rows: Array) -> tuple[Array, Array]:
        """See Scorer."""
        room = self._room
        free = room.free[rows]
        idle = free.sum(1) - shape.gpu_total
        count = room.gpus[rows]
        now = np.zeros(len(rows)) if shape.mig else self._usable.now(rows)
        gpu = np.full(len(rows), -1)
        if shape.shares:
            gain = self._after(rows, shape) - TIGHT * (free - shape.gpu_milli)
            gpu = gain.argmax(1)
            after = gain[np.arange(len(rows)), gpu]
        else:
            after = self._usable.after_whole(rows, shape)
        score = shape.gpu_total - (now - after)
        free_cpu = (room.cpu[rows] - shape.cpu_milli) / room.cpu_of[rows]
        tilt = free_cpu - idle / (WHOLE * np.maximum(count, 1))
        tilt = np.where(room.spot[rows], np.maximum(-tilt, 0.0), np.abs(tilt))
        score = score - self._balance * WHOLE * count * tilt
        if not shape.gpus:
            score = score - BESIDE * idle
        if self._prices is not None:
            score = score - self._prices.against(shape, rows)
        return score, gpu
