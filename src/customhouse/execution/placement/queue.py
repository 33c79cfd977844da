"""Looking ahead: of the pods that wait, the one goes first that leaves least of a GPU to nobody.

A pod of 810 thousandths takes a GPU of which hardly any other pod can use the rest. While the cluster has room for
all, the order matters little; when it fills, what was placed last decides what is stranded. So up to `size` pods wait,
and of them the one with the least stranding goes first, older ones before younger. None is overtaken for more than
`PATIENCE` × `size` arrivals, and nobody waits while more than `ROOMY` of the GPUs are free.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from collections.abc import Iterable

from customhouse.execution.placement.workload import WHOLE, Pod, Shape

PATIENCE = 20
ROOMY = 0.2
_MOST_PACKED = 100_000
"""Parts of GPUs that are packed to learn what they strand; of a longer list so many are taken in proportion."""


def stranding(pods: Iterable[Pod]) -> dict[int, float]:
    """For each part of a GPU (thousandths) that is asked for: what share of a GPU is left to nobody beside one of it.

    Learned by packing all parts of the list onto GPUs, the largest first and each onto the fullest GPU that fits; what
    stays free on a GPU is put down to the largest part on it.
    """
    counted = Counter(pod.shape.gpu_milli for pod in pods if pod.shape.shares and not pod.shape.mig)
    scale = max(1, counted.total() // _MOST_PACKED)
    opened: Counter[tuple[int, int]] = Counter()  # (free, the largest part there) → GPUs
    for part in sorted(counted, reverse=True):
        for _ in range(-(-counted[part] // scale)):
            fitting = [key for key, count in opened.items() if count and key[0] >= part]
            free, largest = min(fitting) if fitting else (WHOLE, part)
            if fitting:
                opened[free, largest] -= 1
            opened[free - part, largest] += 1
    lost: Counter[int] = Counter()
    seen: Counter[int] = Counter()
    for (free, largest), count in opened.items():
        lost[largest] += free * count
        seen[largest] += count
    return {part: lost[part] / seen[part] / WHOLE if seen[part] else 0.0 for part in counted}


class Queue:
    """Pods that wait, by number of arrival."""

    def __init__(self, size: int, listed: Iterable[Pod], capacity: int) -> None:
        self.size = size
        self._capacity = capacity
        self._strands = stranding(listed) if size else {}
        self._sorted: list[tuple[float, int, Shape]] = []
        self._oldest: deque[tuple[int, tuple[float, int, Shape]]] = deque()
        self._gone: set[int] = set()

    def waits(self, taken: int) -> bool:
        """Whether all who are here may wait for one more, when so much of the capacity is taken."""
        return len(self._sorted) <= (self.size if taken > (1 - ROOMY) * self._capacity else 0)

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, number: int, shape: Shape) -> None:
        """A pod arrives."""
        entry = (self._strands.get(shape.gpu_milli, 0.0) if shape.shares and not shape.mig else 0.0, number, shape)
        insort(self._sorted, entry, key=lambda one: one[:2])
        self._oldest.append((number, entry))

    def next(self, now: int) -> tuple[int, Shape]:
        """Who goes, when the pod `now` was the last to arrive."""
        while self._oldest[0][0] in self._gone:
            self._gone.discard(self._oldest.popleft()[0])
        number, entry = self._oldest[0]
        if now - number < PATIENCE * self.size:
            entry = self._sorted[0]
        self._sorted.remove(entry)
        self._gone.add(entry[1])
        return entry[1], entry[2]
