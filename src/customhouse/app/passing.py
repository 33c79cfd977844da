"""A cluster that stands before another one and hands on what it is asked: a decorator says only what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from customhouse.core.cluster import (
    EVERYWHERE,
    ApiKind,
    Cluster,
    ClusterChange,
    Discovered,
    Listed,
    Scope,
    Sink,
    Written,
)
from customhouse.core.resource import Manifest, ResourceRef


class PassingCluster:
    """A Cluster whose every method is that of the cluster behind it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

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

    def write(self, changes: Sequence[ClusterChange]) -> Sequence[Written]:
        """See `Cluster`."""
        return self._cluster.write(changes)
