"""Leading: of several control planes of one source, one writes into the cluster. It is the one that holds the Lease."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from customhouse.app.passing import PassingCluster
from customhouse.core.cluster import Cluster, ClusterChange, Written
from customhouse.core.errors import TargetError

_FILE = "candidate"


class LeadersCluster(PassingCluster):
    """A Cluster that is written to only while `leads` says so; dry runs and reads go through always."""

    def __init__(self, cluster: Cluster, leads: Callable[[], bool]) -> None:
        super().__init__(cluster)
        self._leads = leads

    def write(self, changes: Sequence[ClusterChange]) -> Sequence[Written]:
        """See `Cluster`. Raises TargetError for changes of who does not lead (any more)."""
        if not self._leads() and not all(change.dry_run for change in changes):
            raise TargetError("another control plane leads by now; nothing more is written from here")
        return super().write(changes)


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
