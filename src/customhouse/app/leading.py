"""Leading: of several control planes of one source, one writes into the cluster. It is the one that holds the Lease."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from customhouse.core.cluster import (
    EVERYWHERE,
    ApiKind,
    Apply,
    Cluster,
    Delete,
    Discovered,
    Listed,
    Scope,
    Sink,
    Written,
)
from customhouse.core.errors import TargetError
from customhouse.core.resource import Manifest, ResourceRef

_FILE = "candidate"


class LeadersCluster:
    """A Cluster that is written to only while `leads` says so; dry runs and reads go through always."""

    def __init__(self, cluster: Cluster, leads: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._leads = leads

    def discover(self) -> Discovered:
        """See `Cluster`."""
        return self._cluster.discover()

    def get(self, refs: Sequence[ResourceRef]) -> Sequence[Manifest | None]:
        """See `Cluster`."""
        return self._cluster.get(refs)

    def list(self, kinds: Iterable[ApiKind], scope: Scope = EVERYWHERE) -> Iterator[Listed]:
        """See `Cluster`."""
        return self._cluster.list(kinds, scope)

    def watch(self, kinds: Iterable[ApiKind], sink: Sink, scope: Scope = EVERYWHERE) -> Callable[[], None]:
        """See `Cluster`."""
        return self._cluster.watch(kinds, sink, scope)

    def write(self, changes: Sequence[Apply | Delete]) -> Sequence[Written]:
        """See `Cluster`. Raises TargetError for changes of who does not lead (any more)."""
        if not self._leads() and not all(change.dry_run for change in changes):
            raise TargetError("another control plane leads by now; nothing more is written from here")
        return self._cluster.write(changes)


def candidate(state: Path) -> str:
    """The name under which this state stands for election; made once, so that a restart need not wait for itself.

    It is not in the store: several control planes may share that.
    """
    place = state / _FILE
    try:
        found = place.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        found = ""
    if not found:
        found = f"{socket.gethostname()[:40]}-{secrets.token_hex(8)}"
        place.write_text(found + "\n", encoding="utf-8")
    return found
