"""What a pod would leave in pieces on a node: the placement engine's own score, asked for nodes of a cluster.

The same score decides in `schedule simulate` (`placement.ours`), there over a list of pods, here over what runs: the
pods that are known say what usually comes. Kubernetes counts devices and does not say which of a node's a pod has, so
a device is free or it is not; parts (MIG slices, shares) are devices of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from customhouse.core.devices import is_accelerator
from customhouse.execution.extender_nodes import CPU, MEMORY, NodeState
from customhouse.execution.placement.fragments import Typical, typical
from customhouse.execution.placement.ours import Ours
from customhouse.execution.placement.room import Room
from customhouse.execution.placement.workload import MOST_GPUS, WHOLE, Node, Pod, Shape

_MIB = 2**20
MOST_TYPICAL = 50
"""Requests that are looked at; the most frequent ones."""


def shape_of(amounts: Mapping[str, int]) -> Shape:
    """What a pod asks for, as the engine knows it."""
    devices = sum(number for name, number in amounts.items() if is_accelerator(name))
    count = min(devices, MOST_GPUS)
    return Shape(amounts.get(CPU, 0), amounts.get(MEMORY, 0) // _MIB, count, WHOLE if count else 0)


def usual(amounts: Iterable[Mapping[str, int]]) -> tuple[Typical, ...]:
    """What usually comes, of the pods that are known; empty while none of them has an accelerator."""
    found = typical(Pod("", shape_of(one)) for one in amounts)
    return found[:MOST_TYPICAL] if any(one.gpus for one in found) else ()


def stranded(amounts: Mapping[str, int], states: Sequence[NodeState], common: Sequence[Typical]) -> list[float]:
    """For each node, how much of a device (1: a whole one) would be left that what usually comes could not use."""
    if not common or not states:
        return [0.0] * len(states)
    room = Room([_node(state) for state in states])
    for row, state in enumerate(states):
        used = shape_of(state.used)
        room.cpu[row] = max(0, room.cpu[row] - used.cpu_milli)
        room.memory[row] = max(0, room.memory[row] - used.memory_mib)
        room.free[row, max(0, int(room.gpus[row]) - used.gpus) :] = 0
    scores, _ = Ours(room, common).scores(shape_of(amounts), np.arange(len(states)))
    return [
        max(0.0, -float(score)) / WHOLE if state.facts.devices else 0.0
        for score, state in zip(scores, states, strict=True)
    ]


def _node(state: NodeState) -> Node:
    amounts = state.facts.amounts
    whole = shape_of(amounts)
    return Node(state.facts.name, whole.cpu_milli, whole.memory_mib, whole.gpus, state.facts.accelerator or "")
