"""Our policy: fragments, balance and price, in one score per node in thousandths of a GPU.

1. Fragments: as FGD, but over *all* requests of the list (not 95 % of them) and without rounding to hundredths.
2. Balance: a node whose free CPU and free GPUs run out together strands neither. What is taken off is the difference
   of the two free parts after the pod, times the node's GPUs, times `BALANCE`. FGD sees that GPUs without CPUs beside
   them are lost when they are, not while they become so; here is most of what we gain on it.
3. A pod without GPU goes where few idle GPUs stand beside it (`BESIDE`).
4. A part of a GPU goes to the fullest GPU that fits, among nearly equal ones (`TIGHT`).
5. Price: what its GPUs cost there above or below the mean of all GPUs, times `dear`. Spot capacity is cheaper, so a pod
   that may be interrupted goes there first, by the same rule.

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
DEAR = 0.0


class Ours:
    """Scores nodes by fragments, balance and price. `dear` 0: no price is asked."""

    def __init__(self, room: Room, common: Sequence[Typical], dear: float = DEAR) -> None:
        self._room = room
        self._usable = Usable(room, common)
        self._dear = _dearness(room) * dear

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
        least = self._dear[rows] * shape.gpu_total if shape.gpus else BESIDE * idle
        return score - least, gpu


def _dearness(room: Room) -> Array:
    """What a GPU costs on each node beside the mean of all GPUs, less 1; 0 where no price is known."""
    prices = np.array([np.nan if node.price is None else float(node.price) for node in room.nodes])
    known = ~np.isnan(prices) & (room.gpus > 0)
    if not known.any():
        return np.zeros(len(prices))
    mean = float(np.average(prices[known], weights=room.gpus[known]))
    return np.where(known, prices / mean - 1.0, 0.0) if mean > 0 else np.zeros(len(prices))
