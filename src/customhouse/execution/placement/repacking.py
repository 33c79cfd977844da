"""One moved pod makes room for one that has none: which, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from customhouse.execution.placement.policies import NOWHERE, Chooser
from customhouse.execution.placement.room import Array, Room
from customhouse.execution.placement.workload import WHOLE, Shape

MOST_SHAPES = 12
"""Shapes of pods that are tried as the one to move; those with the least part of a GPU first."""
_AGAIN = 40
"""So many changes of nodes later, a shape for which no move was found is looked at again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod is. `part`: which memory slices of its GPU it has, as bits; 0: it asked for no MIG profile."""

    row: int
    gpus: tuple[int, ...]
    part: int = 0


class Placed:
    """The pods that are placed, by number; as arrays too, so that all of them are asked at once."""

    def __init__(self, most: int) -> None:
        self.places: list[Place] = []
        self.shapes: list[Shape] = []
        self._table = np.zeros((6, most), np.int64)
        self._kinds: dict[Shape, int] = {}

    def add(self, shape: Shape, place: Place) -> int:
        """Note a placed pod; its number."""
        number = len(self.places)
        self.places.append(place)
        self.shapes.append(shape)
        kind = self._kinds.setdefault(shape, len(self._kinds))
        self._table[:, number] = (place.row, shape.cpu_milli, shape.memory_mib, shape.gpu_milli, 0, kind)
        self._table[4, number] = place.gpus[0] if place.gpus else -1
        return number

    def move(self, number: int, place: Place) -> None:
        """Note where it went."""
        self.places[number] = place
        self._table[0, number] = place.row
        self._table[4, number] = place.gpus[0] if place.gpus else -1

    def making_room(self, room: Room, shape: Shape, allowed: Array) -> Array:
        """The numbers of pods with at most one GPU whose going alone would make room for `shape` on their node."""
        row, cpu, memory, milli, gpu, _ = self._table[:, : len(self.places)]
        fine = allowed[row] & (room.cpu[row] + cpu >= shape.cpu_milli)
        fine &= room.memory[row] + memory >= shape.memory_mib
        numbers = np.flatnonzero(fine)
        numbers = numbers[[self._movable(n) for n in numbers.tolist()]] if len(numbers) else numbers
        if not len(numbers) or not shape.gpus:
            return numbers
        rows, gpu, milli = row[numbers], gpu[numbers], milli[numbers]
        free = room.free[rows].copy()
        holds = gpu >= 0
        free[np.flatnonzero(holds), gpu[holds]] += milli[holds]
        return np.asarray(numbers[(free >= shape.gpu_milli).sum(1) >= shape.gpus])

    def _movable(self, number: int) -> bool:
        """A part of a profile is not moved: the driver would have to cut its GPU anew."""
        return self.shapes[number].gpus <= 1 and not self.shapes[number].mig

    def kinds(self, numbers: Array) -> dict[Shape, list[int]]:
        """These pods by shape."""
        by: dict[Shape, list[int]] = {}
        for number in numbers.tolist():
            by.setdefault(self.shapes[number], []).append(number)
        return by


@dataclass(frozen=True, slots=True)
class Move:
    """Pod `number` goes from one place to another."""

    number: int
    old: Place
    new: Place


class Repacker:
    """Finds the move that makes room for a pod that has none."""

    def __init__(self, room: Room, chooser: Chooser, placed: Placed) -> None:
        self._room, self._chooser, self._placed = room, chooser, placed
        self._hopeless: dict[Shape, int] = {}

    def make_room(self, shape: Shape) -> Move | None:
        """Carry out the move after which `shape` fits, and say which it was; None, and nothing changed, without one.

        Of all pods that would make room it is one whose new place is worth most to the policy.
        """
        room = self._room
        if shape.mig or len(room.changed) - self._hopeless.get(shape, -_AGAIN) < _AGAIN:
            return None
        best: tuple[float, int, int] | None = None
        found = self._placed.kinds(self._placed.making_room(room, shape, self._chooser.view(shape).allowed))
        for other in sorted(found, key=lambda one: (one.gpu_total, one.cpu_milli, one.memory_mib))[:MOST_SHAPES]:
            score = self._chooser.view(other).score
            first = int(score.argmax())
            if score[first] == NOWHERE:
                continue
            for number in found[other][:MOST_SHAPES]:
                row = first
                if row == self._placed.places[number].row:
                    rest = score.copy()
                    rest[row] = NOWHERE
                    row = int(rest.argmax())
                if score[row] != NOWHERE and row != self._placed.places[number].row:
                    worth = float(score[row]) - other.gpu_total / WHOLE
                    if best is None or worth > best[0]:
                        best = worth, number, row
        if best is None:
            self._hopeless[shape] = len(room.changed)
            return None
        _, number, row = best
        return self._carry_out(number, row)

    def _carry_out(self, number: int, row: int) -> Move:
        shape, old = self._placed.shapes[number], self._placed.places[number]
        gpu = int(self._chooser.view(shape).gpu[row])
        new = Place(row, self._room.gpus_for(row, shape, gpu))
        self._room.take(row, shape, new.gpus)
        self._room.give_back(old.row, shape, old.gpus)
        self._placed.move(number, new)
        return Move(number, old, new)
