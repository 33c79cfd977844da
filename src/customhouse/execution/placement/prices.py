"""What speaks against a node because of its price, in thousandths of a GPU. All prices are by the mean of all GPUs.

1. The going price: that of the dearest on-demand GPU that would be in use if the pods that are there had taken the
   cheapest, with a little room (`ROOM`). What is cheaper is taken sooner or later, so among those nodes fragments and
   balance weigh more (`BELOW`); what is dearer is not needed yet, and its whole difference counts. Spot nodes are held
   against the mean: whoever may run there takes them first.
2. Times what the pod takes: its GPUs or, where that is more, its part of the node's CPUs in GPUs of that node (times
   `CPUS`). Who needs many CPUs goes where a price buys many, and leaves no dear GPU without CPUs.
3. An empty node could be given back, so opening one costs: `OPEN` × its price, a node of eight GPUs twice as much as
   one of a single GPU (`GROWS`).
4. All of it falls with the root of what is free, and is about a third when nothing is: a full cluster is all in use,
   whoever is where.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from customhouse.execution.placement.room import Array, Room
from customhouse.execution.placement.workload import WHOLE, Shape

ROOM = 0.05
ROOM_OF_ALL = 0.02
BELOW = 0.4
CPUS = 1.3
OPEN = 0.2
GROWS = 0.35
_WHEN_FULL = 0.1


@dataclass(slots=True)
class Prices:
    """Prices of a run under way. `most`: what they weigh while everything is free."""

    room: Room
    price: Array
    most: float
    _weight: float = field(init=False)
    _going: float = field(init=False, default=1.0)

    @classmethod
    def of(cls, room: Room, most: float) -> Prices | None:
        """None where no price is known; a node without one counts as the mean."""
        prices = np.array([np.nan if node.price is None else float(node.price) for node in room.nodes])
        known = ~np.isnan(prices) & (room.gpus > 0)
        if not known.any():
            return None
        mean = float(np.average(prices[known], weights=room.gpus[known]))
        return cls(room, np.where(known, prices / mean, 1.0), most) if mean > 0 else None

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Work out step 1 and step 4 for the room as it is now."""
        room = self.room
        whole = room.gpus * WHOLE
        free = room.free.sum(1)
        part = float(free.sum()) / max(1, int(whole.sum()))
        self._weight = self.most * float(np.sqrt((part + _WHEN_FULL) / (1 + _WHEN_FULL)))
        demand = np.flatnonzero(~room.spot & (room.gpus > 0))
        if len(demand):
            taken = int((whole[demand] - free[demand]).sum())
            order = demand[np.argsort(self.price[demand], kind="stable")]
            upto = np.searchsorted(np.cumsum(whole[order]), taken * (1 + ROOM) + ROOM_OF_ALL * int(whole[order].sum()))
            self._going = float(self.price[order[min(int(upto), len(order) - 1)]])

    def against(self, shape: Shape, rows: Array) -> Array:
        """Thousandths of a GPU that speak against each of these nodes."""
        room, price = self.room, self.price[rows]
        whole = WHOLE * room.gpus[rows]
        amount = np.maximum(shape.gpu_total, CPUS * shape.cpu_milli / room.cpu_of[rows] * whole)
        over = price - self._going
        over = np.where(over > 0, over, BELOW * over)
        over = np.where(room.spot[rows], price - 1.0, over)
        empty = room.cpu[rows] == room.cpu_of[rows]
        opened = OPEN * WHOLE * np.maximum(room.gpus[rows], 0) ** GROWS * price * empty
        return np.asarray(self._weight * (opened + over * amount))
