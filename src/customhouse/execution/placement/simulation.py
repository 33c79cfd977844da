"""The published experiment: pods arrive one by one, are placed at once or have failed for good; nobody leaves.

Measured after every arrival, failed ones too: what has arrived and what is allocated, both in percent of all GPUs and
rounded to two places. "At 130 %" is the mean of the allocated parts of all arrivals whose arrived part rounds to 130.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from customhouse.execution.placement.fragments import typical
from customhouse.execution.placement.ours import Ours
from customhouse.execution.placement.policies import BestFit, Chooser, Fgd, RandomChooser
from customhouse.execution.placement.queue import Queue
from customhouse.execution.placement.repacking import Move, Place, Placed, Repacker
from customhouse.execution.placement.room import Array, Room
from customhouse.execution.placement.workload import WHOLE, Node, Pod, Shape

OURS = "customhouse"
POLICIES = ("random", "best-fit", "fgd", OURS)
_TELL_EVERY = 500


class Choosing(Protocol):
    """A policy at work."""

    def choose(self, shape: Shape) -> tuple[int, int] | None:
        """See Chooser."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a run is done: `moves` per hundred placed pods, `window` pods that may wait (`queue`), `dear`: see `ours`.

    The published policies neither move nor wait nor ask for a price.
    """

    policy: str
    seed: int = 42
    moves: float = 0.0
    window: int = 0
    dear: float = 0.0


@dataclass(slots=True)
class Run:
    """What came of it, in the order of arrival; `places` None: failed. Percentages are of all GPUs."""

    pods: Sequence[Pod]
    nodes: Sequence[Node]
    places: list[Place | None]
    arrived: Array
    allocated: Array
    moves: list[tuple[int, int, Move]] = field(default_factory=list)
    """The arrival for which room was made, the arrival of the pod that was moved, and from where to where."""

    def percent_at(self, demand: float) -> float:
        """The mean allocated part where `demand` (1.3: 130 %) has arrived."""
        wanted = round(demand * 100, 2)
        near = np.abs(self.arrived - wanted) <= 0.5
        if not near.any():
            near = np.abs(self.arrived - wanted) <= 1.0
        if not near.any():
            return float(self.allocated[-1]) if len(self.allocated) else 0.0
        return float(self.allocated[near].mean())


def choosing(rules: Rules, room: Room, pods: Sequence[Pod]) -> Choosing:
    """The policy of these rules. `pods` is the list before inflation: what is typical is read from it."""
    if rules.policy == "random":
        return RandomChooser(room, rules.seed)
    if rules.policy == "best-fit":
        return Chooser(room, BestFit(room))
    if rules.policy == "fgd":
        return Chooser(room, Fgd(room, typical(pods)))
    room.slices.learn(pods)
    return Chooser(room, Ours(room, typical(pods, 100.0, capacity=True), rules.dear))


def simulate(
    nodes: Sequence[Node],
    listed: Sequence[Pod],
    order: Sequence[Pod],
    rules: Rules,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> Run:
    """Place the pods of `order` on empty nodes, whose order decides among equals. `listed`: what is typical."""
    work = _Work(nodes, listed, order, rules)
    capacity = max(1, int(sum(node.gpus for node in nodes)) * WHOLE)
    waiting = Queue(rules.window if rules.policy == OURS else 0, listed, capacity)
    given = np.zeros(len(order), np.int64)
    for i, pod in enumerate(order):
        waiting.add(i, pod.shape)
        if not waiting.waits(work.total):
            work.place(*waiting.next(i))
        if i == len(order) - 1:
            while len(waiting):
                work.place(*waiting.next(i))
        given[i] = work.total
        if i % _TELL_EVERY == 0:
            told(i, len(order))
    asked = np.cumsum(np.array([pod.shape.gpu_total for pod in order], np.int64)) if order else np.zeros(0)
    return Run(
        order,
        nodes,
        work.outcome(),
        np.round(asked * 100 / capacity, 2),
        np.round(given * 100 / capacity, 2),
        work.moves,
    )


class _Work:
    """A run under way."""

    def __init__(self, nodes: Sequence[Node], listed: Sequence[Pod], order: Sequence[Pod], rules: Rules) -> None:
        self._room = Room(nodes)
        self._policy = choosing(rules, self._room, listed)
        self._placed = Placed(len(order))
        self._numbers: list[int | None] = [None] * len(order)
        self._arrivals: list[int] = []
        self._allowance = rules.moves if rules.policy == OURS else 0.0
        self._repacker: Repacker | None = None
        if self._allowance > 0 and isinstance(self._policy, Chooser):
            self._repacker = Repacker(self._room, self._policy, self._placed)
        self.moves: list[tuple[int, int, Move]] = []
        self.total = 0

    def place(self, arrival: int, shape: Shape) -> None:
        """Place the pod, or let it fail for good."""
        found = self._policy.choose(shape)
        if found is None and shape.gpus and self._repacker is not None:
            allowed = (len(self.moves) + 1) * 100 <= self._allowance * len(self._arrivals)
            move = self._repacker.make_room(shape) if allowed else None
            if move is not None:
                self.moves.append((arrival, self._arrivals[move.number], move))
                found = self._policy.choose(shape)
        if found is None:
            return
        row, gpu = found
        gpus = self._room.gpus_for(row, shape, gpu)
        part = self._room.part_for(row, shape, gpus)
        self._room.take(row, shape, gpus, part)
        self._numbers[arrival] = self._placed.add(shape, Place(row, gpus, part))
        self._arrivals.append(arrival)
        self.total += shape.gpu_total

    def outcome(self) -> list[Place | None]:
        """Where each pod is now, in the order of arrival."""
        return [None if number is None else self._placed.places[number] for number in self._numbers]
