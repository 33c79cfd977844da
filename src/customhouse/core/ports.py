"""Ports: what planes ask of the outside. Synchronous, five methods at most, values in and out.

Adapters raise `core.errors` only (other libraries' errors are wrapped once, cause chained).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from customhouse.core.cost import Charge
from customhouse.core.decision import Decision
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.core.observation import Observation
from customhouse.core.plan import Action, ActionResult, LiveObject
from customhouse.core.release import Release
from customhouse.core.resource import ResourceRef


class PolicyEngine(Protocol):
    """A Rego v1 engine. One engine may be used by one thread at a time; it keeps no state between calls."""

    name: str

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, Any], document: Mapping[str, Any], query: str
    ) -> Any:
        """The JSON value of `query` (`data.customhouse.findings`) with `document` as input.

        `modules` maps file names to Rego source. Raises PolicyError when it does not compile, fails, or runs out of
        its limits; never returns a partial result.
        """


class Target(Protocol):
    """Where Declarations run. Batches in, one result per element, in order."""

    name: str

    def read(self, refs: Sequence[ResourceRef]) -> Mapping[ResourceRef, LiveObject]:
        """What is live now. An object that does not exist is absent from the answer. Raises TargetError."""

    def managed(self) -> Sequence[ResourceRef]:
        """Every object that this target runs for us, whether or not the inventory knows it."""

    def apply(self, actions: Sequence[Action]) -> Sequence[ActionResult]:
        """Carry out actions in order and return at once: progress is seen in `read(...).health`.

        Idempotent. The callers may not rely on an action having taken effect when it returns. An action that is
        refused does not stop the others and has `ok` False.
        """


class Telemetry(Protocol):
    """Measured numbers of running workloads."""

    def observe(self) -> Sequence[Observation]:
        """Everything measured now, one Observation per metric and instance; counters are cumulative."""


class LedgerStore(Protocol):
    """Durable, append-only storage of leaves and tiles. All or nothing per call."""

    def append(self, entries: Sequence[Entry]) -> Sequence[int]:
        """Store entries durably, skipping keys that exist; the index of each (old or new), in order."""

    def size(self) -> int:
        """How many entries there are."""

    def read(self, start: int, end: int) -> Sequence[bytes]:
        """The leaf data of [start, end)."""

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Publish a checkpoint; one that is smaller than the latest is refused with StateError."""

    def latest_checkpoint(self) -> Checkpoint | None:
        """The last one published."""


class DecisionLog(Protocol):
    """Every Decision with the Facts that it rests on."""

    def record(self, decision: Decision, facts: Mapping[str, Any]) -> None:
        """Store durably; the same body, point and revision twice is one row."""

    def record_all(self, judged: Iterable[tuple[Decision, Mapping[str, Any]]]) -> None:
        """As `record`, all of them or none."""

    def recent(self, limit: int = 100, point: str = "") -> Sequence[Mapping[str, Any]]:
        """The newest first: body, envelope and digest as JSON values; `point` names one, else those of all."""

    def find(self, digest_prefix: str) -> Sequence[Mapping[str, Any]]:
        """Those whose digest starts with a prefix (`sha256:` may be left out), with their Facts."""

    def recorded(self, since: str = "") -> Iterator[Mapping[str, Any]]:
        """Every one with its Facts, in the order in which they were recorded; `since` is RFC 3339, by `decided_at`.

        Read in parts: callers may hold on to one while millions go by, and may not rely on a snapshot.
        """


class StateStore(Protocol):
    """Small durable documents: inventory, rollouts, what was deployed. A key is a path-like text."""

    def get(self, key: str) -> Any:
        """The JSON value, None when there is none."""

    def put(self, values: Mapping[str, Any]) -> None:
        """Store several in one transaction; None deletes."""

    def keys(self, prefix: str) -> Sequence[str]:
        """The keys that start with a prefix, sorted."""


class ReleaseLog(Protocol):
    """The history of releases."""

    def record(self, release: Release) -> None:
        """Append; (resource, release, revision, phase) twice is one row."""

    def record_all(self, released: Iterable[Release]) -> None:
        """As `record`, in order, all of them or none: one wait for the disk."""

    def history(self, name: str | None = None, limit: int = 100) -> Sequence[Release]:
        """The newest first; `name` is that of the resource."""


class Measurements(Protocol):
    """Observations and Charges over time."""

    def append(self, observations: Iterable[Observation]) -> None:
        """Store durably in one transaction."""

    def series(self, metric: str, resource: ResourceRef | None = None, since: str = "") -> Sequence[Observation]:
        """In order of time; `since` is RFC 3339."""

    def charge(self, charges: Iterable[Charge]) -> None:
        """Store Charges; the same (resource, release, start, end, category) twice is one row."""

    def charges(self, since: str = "") -> Sequence[Charge]:
        """In order of time."""


Progress = Callable[[str, int, int], None]
"""What long work calls: what is being done, how much is done, how much there is (0: not known)."""
