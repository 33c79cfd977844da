"""What lasts: a fleet's objects stay in memory for days, and are not to be searched for garbage with every commit."""

from __future__ import annotations

import gc

MANY = 400
"""Objects more or less than at the last time, from which on it is done again: it takes half a second at 4,000."""


class Lasting:
    """Sets the objects of a fleet aside when all of it is applied.

    What is set aside is still freed when nothing refers to it; only cycles are not found any more, and those that are
    there by then are looked for first.
    """

    def __init__(self) -> None:
        self._count = 0

    def see(self, count: int, *, settled: bool) -> None:
        """There are so many objects now."""
        if settled and abs(count - self._count) >= MANY:
            gc.collect()
            gc.freeze()
            self._count = count
