"""How much of a node's idle GPUs the pods that usually come can use (Weng et al., USENIX ATC 2023, section 4).

F(node) is the idle GPU that a typical pod cannot use, averaged over typical pods by their frequency: all of it where
the pod fits nowhere on the node, may not use its model or needs no GPU, else what lies on GPUs too small for it. What
is usable is looked up: for a model, a rank of free CPU and an idle part x of one GPU, the summed frequency of the pods
that can use x. So F of a node costs one addition a GPU instead of one comparison a GPU and typical pod. Memory is not
asked, as in the published policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from customhouse.execution.placement.room import Array, Room
from customhouse.execution.placement.workload import WHOLE, Pod, Shape

MOST_TYPICAL = 1000
"""Requests that count as typical at most: the tables grow with their square. The lists of the trace have 430 shapes."""


@dataclass(frozen=True, slots=True)
class Typical:
    """One typical request and its frequency, of 1."""

    cpu_milli: int
    gpus: int
    gpu_milli: int
    models: tuple[str, ...]
    weight: float
    interruptible: bool = True
    """Whether it may use spot capacity."""


def typical(pods: Iterable[Pod], percent: float = 95.0, *, capacity: bool = False) -> tuple[Typical, ...]:
    """The most frequent requests that together are `percent` of the pods; memory apart, constraints on models included.

    `capacity`: pods that may run on spot capacity are told from those that may not; the published policy knows none.
    Equals are taken from the larger on, by CPU, GPU part, count and models: as published.
    """
    counted: Counter[tuple[int, int, int, str, bool]] = Counter()
    for pod in pods:
        shape = pod.shape
        if shape.mig:
            continue  # they have GPUs of their own, see `slices`
        anywhere = shape.interruptible or not capacity
        counted[shape.cpu_milli, shape.gpu_milli, shape.gpus, "|".join(shape.models), anywhere] += 1
    total = counted.total()
    kept: list[tuple[tuple[int, int, int, str, bool], int]] = []
    summed = 0
    for key, count in sorted(counted.items(), key=lambda item: (item[1], item[0]), reverse=True):
        if summed >= percent * total / 100 or len(kept) >= MOST_TYPICAL:
            break
        kept.append((key, count))
        summed += count
    return tuple(
        Typical(cpu, gpus, milli, tuple(filter(None, models.split("|"))), count / summed, anywhere)
        for (cpu, milli, gpus, models, anywhere), count in kept
    )


class Usable:
    """Looks up what typical pods can use of the idle GPUs of nodes."""

    def __init__(self, room: Room, common: Sequence[Typical]) -> None:
        asking = [one for one in common if one.gpus]
        steps = np.array(sorted({one.gpu_milli for one in asking}), np.int64)
        cpus = np.array(sorted({one.cpu_milli for one in asking}), np.int64)
        self._cpus = cpus
        self._rank = np.searchsorted(steps, np.arange(WHOLE + 1), side="right")
        self._width = len(steps) + 1
        wide = room.free.shape[1]
        self._whole_width = wide + 1
        kinds = [(model, spot) for model in room.models for spot in (False, True)]
        cut = len(kinds)
        parts = np.zeros((cut + 1, len(cpus) + 1, self._width))
        wholes = np.zeros((cut + 1, len(cpus) + 1, self._whole_width))
        for one in asking:
            cpu = int(np.searchsorted(cpus, one.cpu_milli)) + 1
            step = int(np.searchsorted(steps, one.gpu_milli)) + 1
            for i, (model, spot) in enumerate(kinds):
                if (one.models and model not in one.models) or (spot and not one.interruptible):
                    continue
                if one.gpus == 1:
                    parts[i, cpu:, step:] += one.weight
                elif one.gpus <= wide:
                    wholes[i, cpu:, one.gpus :] += one.weight
        self._parts, self._wholes = parts.ravel(), wholes.ravel()
        self._several = bool(wholes.any())
        # GPUs that are handed out in MIG parts are of no use to those who ask for whole ones.
        self._kind = np.where(room.slices.cut < 0, 2 * room.model + room.spot, cut)
        self._room = room

    def _base(self, rows: Array, cpu: Array) -> Array:
        ranked: Array = self._kind[rows] * (len(self._cpus) + 1) + np.searchsorted(self._cpus, cpu, side="right")
        return ranked

    def _on_gpus(self, base: Array, free: Array) -> Array:
        return np.asarray(free * self._parts[base[:, None] * self._width + self._rank[free]])

    def _in_wholes(self, base: Array, count: Array) -> Array | float:
        if not self._several:
            return 0.0
        return np.asarray(WHOLE * count * self._wholes[base * self._whole_width + count])

    def now(self, rows: Array) -> Array:
        """Thousandths of GPUs that typical pods can use on these nodes, as they are."""
        free = self._room.free[rows]
        base = self._base(rows, self._room.cpu[rows])
        return np.asarray(self._on_gpus(base, free).sum(1) + self._in_wholes(base, (free == WHOLE).sum(1)))

    def after_whole(self, rows: Array, shape: Shape) -> Array:
        """The same once the pod is there, for a pod without a part of a GPU. The rows must have room."""
        free = self._room.free[rows]
        base = self._base(rows, self._room.cpu[rows] - shape.cpu_milli)
        usable = self._on_gpus(base, free).sum(1)
        whole = (free == WHOLE).sum(1)
        if shape.gpus:
            usable = usable - shape.gpus * WHOLE * self._parts[base * self._width + self._rank[WHOLE]]
            whole = whole - shape.gpus
        return np.asarray(usable + self._in_wholes(base, whole))

    def after_part(self, rows: Array, shape: Shape) -> Array:
        """The same for a pod with a part of one GPU, a column for each GPU that might give it; -inf where none can."""
        free = self._room.free[rows]
        base = self._base(rows, self._room.cpu[rows] - shape.cpu_milli)
        given = free >= shape.gpu_milli
        before = self._on_gpus(base, free)
        left = np.where(given, free - shape.gpu_milli, 0)
        usable = before.sum(1)[:, None] - before + self._on_gpus(base, left)
        if self._several:
            full = free == WHOLE
            usable = usable + np.asarray(
                WHOLE
                * (full.sum(1)[:, None] - full)
                * self._wholes[base[:, None] * self._whole_width + full.sum(1)[:, None] - full]
            )
        return np.where(given, usable, -np.inf)
