"""MIG: GPUs that are cut into parts, and where on a GPU the next part goes so that the rest stays of use.

Two ways in which a cluster hands out parts. *Fixed*: the GPUs of a node were cut beforehand, and the device plugin
(`mixed` strategy) counts the parts of each profile; a pod gets a part that is there. *Dynamic*: a part is cut when a
pod comes, as a DRA driver with partitionable devices does; a pod gets any part that the card allows and that is free.
Where parts may begin is NVIDIA's table (`core.mig`), in memory slices; a valid layout is one without overlap.

Which start: the one after which most is left of use to what usually comes. U(GPU) is, for each profile, the memory
slices that it could still have if nothing else came, averaged over profiles by how often they come. So on an empty card
a 1g goes to slice 6, where it is in the way of one 3g and of no 2g, and a 4g finds its only place free the longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from customhouse.core.mig import CARDS, profile_of
from customhouse.execution.placement.workload import WHOLE, Cut, Node, Pod, Shape

Array = np.ndarray[Any, Any]
_STATES = 256
"""Of the eight memory slices of a GPU, taken or not."""


@cache
def places(cut: Cut, profile: str) -> tuple[int, ...]:
    """The parts of this profile that such a GPU can have, as bit masks of memory slices, by their start."""
    if cut.fixed:
        return tuple(mask for name, mask in _laid_out(cut.card, cut.fixed) or () if name == profile)
    known = profile_of(profile, cut.card)
    return () if known is None else tuple(((1 << known.memory) - 1) << start for start in known.starts)


def layout_exists(cut: Cut) -> bool:
    """Whether a card can be cut into the parts that are named, all at once."""
    return not cut.fixed or _laid_out(cut.card, cut.fixed) is not None


def part_of(profile: str, cuts: Iterable[Cut]) -> int | None:
    """Thousandths of a GPU, of its memory slices, that the profile takes: the least on these cards, else on any.

    None: no card has it.
    """
    cards = {cut.card for cut in cuts if places(cut, profile)} or set(CARDS)
    found = [
        WHOLE * known.memory // CARDS[card].memory for card in cards if (known := profile_of(profile, card)) is not None
    ]
    return min(found, default=None)


@cache
def _laid_out(card: str, profiles: tuple[str, ...]) -> tuple[tuple[str, int], ...] | None:
    """A start for each of the parts, so that none overlaps; None where there is no such layout."""
    sizes = [(profile_of(name, card), name) for name in profiles]
    if any(known is None for known, _ in sizes):
        return None
    order = sorted(((known, name) for known, name in sizes if known), key=lambda one: (-one[0].memory, one[1]))

    def rest(at: int, taken: int) -> tuple[tuple[str, int], ...] | None:
        if at == len(order):
            return ()
        known, name = order[at]
        for start in reversed(known.starts):
            mask = ((1 << known.memory) - 1) << start
            if not taken & mask and (others := rest(at + 1, taken | mask)) is not None:
                return ((name, mask), *others)
        return None

    return rest(0, 0)


@dataclass(frozen=True, slots=True)
class _Table:
    """For one cut and one profile, by the state of a GPU.

    `mask`: the part that it would give (0: none); `change`: what that changes of U, in thousandths of a GPU.
    """

    mask: Array
    change: Array


class Slices:
    """The slices of the GPUs of nodes. `taken` has a row a node and a column a GPU: a bit for each memory slice."""

    def __init__(self, nodes: Sequence[Node], wide: int) -> None:
        self.cuts = tuple(dict.fromkeys(node.mig for node in nodes if node.mig is not None))
        place = {cut: i for i, cut in enumerate(self.cuts)}
        self.cut = np.array([-1 if node.mig is None else place[node.mig] for node in nodes], np.int64)
        self.taken = np.zeros((len(nodes), wide), np.int64)
        self._usual: Mapping[str, float] | None = None
        self._tables: dict[tuple[int, str], _Table] = {}
        self._usable: dict[Cut, list[float]] = {}

    def learn(self, pods: Iterable[Pod]) -> None:
        """Know what usually comes. Without it a part goes to the lowest start that is free, as the driver has it."""
        counted = Counter(pod.shape.mig for pod in pods if pod.shape.mig)
        self._usual = {name: number / counted.total() for name, number in sorted(counted.items())}
        self._tables.clear()
        self._usable.clear()

    def allowed(self, shape: Shape) -> Array:
        """The nodes whose GPUs can be what the pod asks for: a profile, or whole GPUs and thousandths of them."""
        if not shape.mig:
            return self.cut < 0
        having = [i for i, cut in enumerate(self.cuts) if places(cut, shape.mig)]
        return np.isin(self.cut, having)

    def gives(self, rows: Array, shape: Shape, gpus: Array) -> Array:
        """Which GPUs of the rows have such a part free; `gpus`: how many GPUs each row has."""
        found = self._looked_up(rows, shape, "mask") != 0
        return np.asarray(found & (np.arange(self.taken.shape[1])[None, :] < gpus[:, None]))

    def change(self, rows: Array, shape: Shape) -> Array:
        """What U changes by on each GPU of the rows if it gives the part, in thousandths of a GPU (never above 0)."""
        return self._looked_up(rows, shape, "change")

    def part(self, row: int, gpu: int, shape: Shape) -> int:
        """The mask of the part that this GPU would give; 0: none."""
        cut = int(self.cut[row])
        return int(self._table(cut, shape.mig).mask[self.taken[row, gpu]]) if cut >= 0 else 0

    def take(self, row: int, gpu: int, mask: int, profile: str) -> int:
        """Give a part; what is free of the GPU then, in thousandths. Raises OverflowError where there is none such."""
        cut = int(self.cut[row])
        if cut < 0 or mask not in places(self.cuts[cut], profile) or int(self.taken[row, gpu]) & mask:
            raise OverflowError(f"GPU {gpu} of row {row} has no free part {profile} at {start_of(mask)}")
        self.taken[row, gpu] |= mask
        return self._free(row, gpu)

    def give_back(self, row: int, gpu: int, mask: int) -> int:
        """Undo `take`."""
        self.taken[row, gpu] &= ~mask
        return self._free(row, gpu)

    def _free(self, row: int, gpu: int) -> int:
        memory = CARDS[self.cuts[int(self.cut[row])].card].memory
        return WHOLE * (memory - int(self.taken[row, gpu]).bit_count()) // memory

    def _looked_up(self, rows: Array, shape: Shape, what: str) -> Array:
        found = np.zeros((len(rows), self.taken.shape[1]))
        for cut in np.unique(self.cut[rows]).tolist():
            if cut >= 0:
                those = np.flatnonzero(self.cut[rows] == cut)
                found[those] = getattr(self._table(cut, shape.mig), what)[self.taken[rows[those]]]
        return found

    def _table(self, cut: int, profile: str) -> _Table:
        table = self._tables.get((cut, profile))
        if table is None:
            table = self._tables[cut, profile] = self._made(self.cuts[cut], profile)
        return table

    def _made(self, cut: Cut, profile: str) -> _Table:
        masks = places(cut, profile)
        if cut not in self._usable:
            self._usable[cut] = _usable(cut, self._usual or {})
        usable = self._usable[cut]
        chosen = np.zeros(_STATES, np.int64)
        change = np.zeros(_STATES)
        for state in range(_STATES):
            free = [mask for mask in masks if not state & mask]
            if not free:
                continue
            best = free[0] if self._usual is None else max(free, key=lambda mask: (usable[state | mask], mask))
            chosen[state] = best
            change[state] = usable[state | best] - usable[state]
        return _Table(chosen, change * WHOLE / CARDS[cut.card].memory)


def _usable(cut: Cut, usual: Mapping[str, float]) -> list[float]:
    """U of every state, in memory slices."""
    return [sum(weight * _most(places(cut, name), state) for name, weight in usual.items()) for state in range(_STATES)]


def _most(masks: Sequence[int], state: int) -> int:
    """The memory slices of the most parts of one profile that find room at once.

    Parts of one profile never overlap by halves, so taking each that is free is best.
    """
    total = 0
    for mask in masks:
        if not state & mask:
            state |= mask
            total += mask.bit_count()
    return total


def start_of(mask: int) -> int:
    """The first memory slice of a part; -1 for none."""
    return (mask & -mask).bit_length() - 1
