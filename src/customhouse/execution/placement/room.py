"""What is free on nodes, as arrays: one row a node, one column a GPU. Nothing is given out twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from customhouse.execution.placement.slices import Slices
from customhouse.execution.placement.workload import WHOLE, Node, Shape

Array = np.ndarray[Any, Any]


class Room:
    """The free part of each node, in the order given; that order decides among equals."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        count = len(nodes)
        self.nodes = tuple(nodes)
        self.models = tuple(sorted({node.model for node in nodes}))
        place = {model: i for i, model in enumerate(self.models)}
        self.model = np.array([place[node.model] for node in nodes], np.intp)
        self.gpus = np.array([node.gpus for node in nodes], np.int64)
        self.cpu = np.array([node.cpu_milli for node in nodes], np.int64)
        self.memory = np.array([node.memory_mib for node in nodes], np.int64)
        self.cpu_of = np.maximum(self.cpu, 1)
        self.memory_of = np.maximum(self.memory, 1)
        self.spot = np.array([node.spot for node in nodes], bool)
        wide = int(self.gpus.max()) if count else 0
        self.free = np.where(np.arange(wide)[None, :] < self.gpus[:, None], WHOLE, 0).astype(np.int64)
        self.slices = Slices(nodes, wide)
        self.changed: list[int] = []
        """Every node that was given to or taken from, in that order: what an older view of the rows has to look at."""

    def allowed(self, shape: Shape) -> Array:
        """Which nodes the pod may use at all, whatever is free: the model of its GPU, and spot capacity."""
        mask = np.ones(len(self.nodes), bool)
        if shape.gpus and shape.models:
            wanted = [i for i, model in enumerate(self.models) if model in shape.models]
            mask &= np.isin(self.model, wanted)
        if shape.gpus:
            mask &= self.slices.allowed(shape)
        if not shape.interruptible:
            mask &= ~self.spot
        return mask

    def gives(self, shape: Shape, rows: Array) -> Array:
        """Of these rows (that are `allowed`), which GPUs have free what the pod asks of each."""
        if shape.mig:
            return self.slices.gives(rows, shape, self.gpus[rows])
        return np.asarray(self.free[rows] >= shape.gpu_milli)

    def fits(self, shape: Shape, rows: Array) -> Array:
        """Of these rows, which have room for the pod now (`allowed` is not asked)."""
        fine = (self.cpu[rows] >= shape.cpu_milli) & (self.memory[rows] >= shape.memory_mib)
        if shape.gpus:
            fine &= self.gives(shape, rows).sum(1) >= shape.gpus
        return np.asarray(fine)

    def gpus_for(self, row: int, shape: Shape, chosen: int = -1) -> tuple[int, ...]:
        """Which GPUs of the node the pod gets: `chosen` for a part of one, else the first that are wholly free."""
        if not shape.gpus:
            return ()
        if shape.shares:
            return (chosen,)
        return tuple(np.flatnonzero(self.free[row] == WHOLE)[: shape.gpus].tolist())

    def part_for(self, row: int, shape: Shape, gpus: Sequence[int]) -> int:
        """Which memory slices of its GPU a pod with a MIG profile gets, as bits; 0 for every other pod."""
        return self.slices.part(row, gpus[0], shape) if shape.mig else 0

    def take(self, row: int, shape: Shape, gpus: Sequence[int], part: int = 0) -> None:
        """Give the pod its place. Raises OverflowError where it is not there: a policy that is wrong stops the run."""
        self.cpu[row] -= shape.cpu_milli
        self.memory[row] -= shape.memory_mib
        for gpu in gpus:
            if shape.mig:
                self.free[row, gpu] = self.slices.take(row, gpu, part, shape.mig)
            else:
                self.free[row, gpu] -= shape.gpu_milli
        short = any(self.free[row, gpu] < 0 for gpu in gpus) or len(set(gpus)) != shape.gpus
        if short or self.cpu[row] < 0 or self.memory[row] < 0:
            raise OverflowError(f"node {self.nodes[row].name} has no room for what it was given")
        self.changed.append(row)

    def give_back(self, row: int, shape: Shape, gpus: Sequence[int], part: int = 0) -> None:
        """Undo `take`."""
        self.cpu[row] += shape.cpu_milli
        self.memory[row] += shape.memory_mib
        for gpu in gpus:
            if shape.mig:
                self.free[row, gpu] = self.slices.give_back(row, gpu, part)
            else:
                self.free[row, gpu] += shape.gpu_milli
        self.changed.append(row)
