"""Policies: which node, and on it which GPU, a pod gets. Each gives a score a node; the highest wins, then the order.

`random`, `best-fit` and `fgd` are the published ones, rebuilt from their description and their source's numbers.
`customhouse` is ours, see `ours`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from customhouse.execution.placement.fragments import Typical, Usable
from customhouse.execution.placement.room import Array, Room
from customhouse.execution.placement.stream import GoRandom
from customhouse.execution.placement.workload import WHOLE, Shape

NOWHERE = -np.inf
_RENEWED = 200
_MOST_SCORES = 20_000_000
"""Remembered scores, of all shapes: 320 MB. A list with more shapes is placed all the same, only more slowly."""
_ALL_AGAIN = 0.5
"""When so much of the nodes has changed since a shape was last asked for, all are scored anew."""


class Scorer(Protocol):
    """Scores nodes for a pod."""

    def scores(self, shape: Shape, rows: Array) -> tuple[Array, Array]:
        """For nodes that have room: the score of each, and the GPU that gives a part (-1: the pod takes no part)."""

    def renew(self) -> bool:
        """Asked every `_RENEWED` changes: whether nodes that have not changed are scored otherwise from now on."""


@dataclass(slots=True)
class _Seen:
    """What was worked out for one shape, and how many changes of the nodes it has seen."""

    allowed: Array
    score: Array
    gpu: Array
    upto: int


class Chooser:
    """Remembers the scores of each shape; only nodes that changed since are scored again."""

    def __init__(self, room: Room, scorer: Scorer) -> None:
        self.room = room
        self._scorer = scorer
        self._seen: dict[Shape, _Seen] = {}
        self._renewed = 0

    def view(self, shape: Shape) -> _Seen:
        """The scores of all nodes for the shape, as the nodes are now; `NOWHERE` where it has no room."""
        room = self.room
        if len(room.changed) - self._renewed >= _RENEWED:
            self._renewed = len(room.changed)
            if self._scorer.renew():
                self._seen.clear()
        seen = self._seen.get(shape)
        if seen is None:
            count = len(room.nodes)
            seen = _Seen(room.allowed(shape), np.full(count, NOWHERE), np.full(count, -1), len(room.changed))
            while self._seen and (len(self._seen) + 1) * count > _MOST_SCORES:
                del self._seen[next(iter(self._seen))]
            self._seen[shape] = seen
            rows = np.flatnonzero(seen.allowed)
        elif len(room.changed) - seen.upto > _ALL_AGAIN * len(room.nodes):
            rows = np.flatnonzero(seen.allowed)
        else:
            rows = np.array(sorted(set(room.changed[seen.upto :])), np.intp)
            rows = rows[seen.allowed[rows]]
        seen.upto = len(room.changed)
        if len(rows):
            seen.score[rows] = NOWHERE
            rows = rows[room.fits(shape, rows)]
        if len(rows):
            seen.score[rows], seen.gpu[rows] = self._scorer.scores(shape, rows)
        return seen

    def choose(self, shape: Shape) -> tuple[int, int] | None:
        """The node's row and the GPU that gives a part (-1: none does); None where no node has room."""
        seen = self.view(shape)
        best = int(seen.score.argmax())
        return None if seen.score[best] == NOWHERE else (best, int(seen.gpu[best]))


class RandomChooser:
    """Any node that has room, any GPU of it that has."""

    def __init__(self, room: Room, seed: int) -> None:
        self.room = room
        self._stream = GoRandom(seed)
        self._allowed: dict[Shape, Array] = {}

    def choose(self, shape: Shape) -> tuple[int, int] | None:
        """As `Chooser.choose`."""
        rows = self._allowed.get(shape)
        if rows is None:
            rows = self._allowed[shape] = np.flatnonzero(self.room.allowed(shape))
        rows = rows[self.room.fits(shape, rows)]
        if not len(rows):
            return None
        row = int(rows[self._stream.below(len(rows))])
        gpu = -1
        if shape.shares:
            fine = np.flatnonzero(self.room.gives(shape, np.array([row]))[0])
            gpu = int(fine[self._stream.below(len(fine))])
        return row, gpu


class BestFit:
    """The least left over: half CPU of 128 CPUs, half GPU of 8 GPUs, in whole hundredths; the fullest GPU that fits.

    The published score is then stretched to 0..100. Different hundredths stay different by that, so it is left out.
    """

    def __init__(self, room: Room) -> None:
        self._room = room

    def renew(self) -> bool:
        """See Scorer."""
        return False

    def scores(self, shape: Shape, rows: Array) -> tuple[Array, Array]:
        """See Scorer."""
        room = self._room
        cpu = (room.cpu[rows] - shape.cpu_milli) / 128_000 * 0.5
        gpu = (room.free[rows].sum(1) - shape.gpu_total) / 8_000 * 0.5
        score = np.floor((1.0 - (cpu + gpu)) * 100)
        if not shape.shares:
            return score, np.full(len(rows), -1)
        free = room.free[rows]
        return score, np.where(room.gives(shape, rows), free, WHOLE + 1).argmin(1)


class Fgd:
    """Fragmentation gradient descent: the node whose unusable idle GPU grows least, in whole hundredths.

    It knows no MIG: pods with a profile are placed by best fit, at the driver's lowest start.
    """

    def __init__(self, room: Room, common: Sequence[Typical]) -> None:
        self._room = room
        self._usable = Usable(room, common)
        self._fit = BestFit(room)

    def renew(self) -> bool:
        """See Scorer."""
        return False

    def scores(self, shape: Shape, rows: Array) -> tuple[Array, Array]:
        """See Scorer."""
        if shape.mig:
            return self._fit.scores(shape, rows)
        now = self._usable.now(rows)
        if not shape.shares:
            # F(before) - F(after): F is what is idle less what is usable, and exactly the pod's part is idle no more.
            return _hundredths(shape.gpu_total - (now - self._usable.after_whole(rows, shape))), np.full(len(rows), -1)
        score = _hundredths(shape.gpu_total - (now[:, None] - self._usable.after_part(rows, shape)))
        gpu = score.argmax(1)
        return score[np.arange(len(rows)), gpu], gpu


def _hundredths(gain: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(np.where(gain == -np.inf, -np.inf, np.floor(100.0 / (1.0 + np.exp(-gain / WHOLE)))))
