"""Our policy: fragments, balance and price, in one score per node in thousandths of a GPU.

1. Fragments: as FGD, but over *all* requests of the list (not 95 % of them) and without rounding to hundredths.
2. Balance: a node whose free CPU and free GPUs run out together strands neither. What is taken off is the difference
   of the two free parts after the pod, times the node's GPUs, times `BALANCE`. FGD sees that GPUs without CPUs beside
   them are lost when they are, not while they become so; here is most of what we gain on it.
3. A pod without GPU goes where few idle GPUs stand beside it (`BESIDE`).
4. A part of a GPU goes to the fullest GPU that fits, among nearly equal ones (`TIGHT`).
5. Price, where it is known, in two parts, both times `dear` and the part of the GPUs that is free beyond `SCARCE`:
   while most are free the cheapest are taken, and when they run out what is left in pieces decides alone.
   a. What the pod's GPUs cost above or below the mean of all GPUs. Spot capacity is cheaper, so a pod that may be
      interrupted goes there first, by the same rule.
   b. What the whole node costs, times `OPEN`, if it is empty: it could be given back.

The numbers were chosen on seeds 1, 2 and 3 of five of the twelve given lists; the published experiment runs seeds
42..51 of all twelve. See docs/scheduling.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from customhouse.execution.placement.fragments import Typical, Usable
from customhouse.execution.placement.room import Array, Room
from customhouse.execution.placement.workload import WHOLE, Shape

BALANCE = 0.05
BESIDE = 0.1
TIGHT = 0.1
OPEN = 0.05
SCARCE = 0.15


class Ours:
    """Scores nodes by fragments, balance and price. `dear` 0: no price is asked."""

    def __init__(self, room: Room, common: Sequence[Typical], dear: float = 0.0) -> None:
        self._room = room
        self._usable = Usable(room, common)
        self._price = _relative(room) if dear > 0 else None
        self._most = dear
        self._all = max(1, int(room.free.sum()))
        self._dear = dear

    def renew(self) -> bool:
        """See Scorer: the weight of the price falls as the GPUs run out."""
        if self._price is None:
            return False
        free = int(self._room.free.sum()) / self._all
        self._dear = self._most * max(0.0, free - SCARCE) / (1 - SCARCE)
        return True

    def scores(self, shape: Shape, rows: Array) -> tuple[Array, Array]:
        """See Scorer."""
        room = self._room
        free = room.free[rows]
        idle = free.sum(1) - shape.gpu_total
        count = room.gpus[rows]
        now = self._usable.now(rows)
        gpu = np.full(len(rows), -1)
        if shape.shares:
            gain = self._usable.after_part(rows, shape) - TIGHT * (free - shape.gpu_milli)
            gpu = gain.argmax(1)
            after = gain[np.arange(len(rows)), gpu]
        else:
            after = self._usable.after_whole(rows, shape)
        score = shape.gpu_total - (now - after)
        free_cpu = (room.cpu[rows] - shape.cpu_milli) / room.cpu_of[rows]
        free_gpu = idle / (WHOLE * np.maximum(count, 1))
        score = score - BALANCE * WHOLE * count * np.abs(free_cpu - free_gpu)
        if not shape.gpus:
            score = score - BESIDE * idle
        if self._price is not None:
            price = self._price[rows]
            opened = OPEN * WHOLE * count * price * (room.cpu[rows] == room.cpu_of[rows])
            score = score - self._dear * (opened + (price - 1.0) * shape.gpu_total)
        return score, gpu


def _relative(room: Room) -> Array | None:
    """What a GPU costs on each node, by the mean of all GPUs; 1 where nobody knows; None where no price is known."""
    prices = np.array([np.nan if node.price is None else float(node.price) for node in room.nodes])
    known = ~np.isnan(prices) & (room.gpus > 0)
    if not known.any():
        return None
    mean = float(np.average(prices[known], weights=room.gpus[known]))
    return np.where(known, prices / mean, 1.0) if mean > 0 else None
