"""Stopwatch: what each check of each Decision took. Told in the envelope, never part of what is judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from customhouse._kit.clock import SystemClock
from customhouse.core.resource import ResourceRef

CHECKS = ("artifacts", "evidence", "price", "facts", "rules")
"""Hashing the files of models; verifying statements; pricing; folding into Facts; the rules."""


class Stopwatch:
    """Seconds by resource and check, on the machine's own monotonic clock: a replay's clock stands still."""

    def __init__(self) -> None:
        self._monotonic = SystemClock().monotonic
        self._taken: dict[ResourceRef, dict[str, float]] = defaultdict(lambda: dict.fromkeys(CHECKS, 0.0))

    @contextmanager
    def measure(self, ref: ResourceRef, check: str) -> Iterator[None]:
        """Add what the block takes."""
        start = self._monotonic()
        try:
            yield
        finally:
            self.add(ref, check, self._monotonic() - start)

    def add(self, ref: ResourceRef, check: str, seconds: float) -> None:
        """Add what was measured elsewhere (on another thread)."""
        self._taken[ref][check] += seconds

    def moment(self) -> float:
        """Now, to be subtracted from another."""
        return self._monotonic()

    def milliseconds(self, ref: ResourceRef) -> Mapping[str, float]:
        """What the checks of one resource took, to the microsecond."""
        return {check: round(seconds * 1000, 3) for check, seconds in self._taken[ref].items()}
