"""What two watches tell of nodes and pods, as far as interruptions go. Sinks come from the watches' thread.

All nodes are watched while the handling is on; pods only while a node carries a notice, or somebody's work is not
running again yet: a quiet cluster costs one watch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from customhouse.core.cluster import Cluster, ClusterEvent, EventKind, cluster_identity
from customhouse.core.resource import Manifest
from customhouse.execution.extender_nodes import NODES, PODS
from customhouse.execution.interruption import Notice, notices_of
from customhouse.execution.interruption_drain import Occupant, occupant_of


@dataclass(frozen=True, slots=True)
class Known:
    """One moment: nodes with a notice, the names and uids of all, pods by uid (None: not told yet)."""

    noticed: Mapping[str, tuple[Manifest, tuple[Notice, ...]]]
    nodes: Mapping[str, str]
    pods: Mapping[str, Occupant] | None
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    """Of each pod what its price and its age are read from."""
    marked: Mapping[str, Manifest] = field(default_factory=dict)
    """Nodes that carry our annotation."""


class Watching:
    """The watches of one cluster. `news` is called from their thread when a decision might come out otherwise."""

    def __init__(self, cluster: Cluster, mark: str, news: Callable[[], None]) -> None:
        self._cluster, self._mark, self._news = cluster, mark, news
        self._lock = threading.Lock()
        self._nodes: dict[str, str] = {}
        self._noticed: dict[str, tuple[Manifest, tuple[Notice, ...]]] = {}
        self._marked: dict[str, Manifest] = {}
        self._pods: dict[str, Occupant] = {}
        self._manifests: dict[str, Manifest] = {}
        self._synced = {NODES: False, PODS: False}
        self.problems: dict[str, str] = {}
        self._stops: dict[str, Callable[[], None]] = {}

    def start(self) -> None:
        """Begin to watch nodes. Raises TargetError."""
        self._stops["nodes"] = self._cluster.watch([NODES], self._take)

    def pods(self, wanted: bool) -> None:
        """Begin or end the watch of pods."""
        if wanted and "pods" not in self._stops:
            self._stops["pods"] = self._cluster.watch([PODS], self._take)
        elif not wanted and "pods" in self._stops:
            self._stops.pop("pods")()
            with self._lock:
                self._synced[PODS] = False
                self._pods, self._manifests = {}, {}

    def close(self) -> None:
        """End the watches."""
        for stop in self._stops.values():
            stop()
        self._stops = {}

    def known(self) -> Known | None:
        """The moment; None before all nodes have been told."""
        with self._lock:
            if not self._synced[NODES]:
                return None
            pods = dict(self._pods) if self._synced[PODS] else None
            return Known(
                dict(self._noticed), dict(self._nodes), pods, dict(self._manifests) if pods else {}, dict(self._marked)
            )

    def _take(self, events: Sequence[ClusterEvent]) -> None:
        told = False
        with self._lock:
            for event in events:
                told |= self._event(event)
        if told:
            self._news()

    def _event(self, event: ClusterEvent) -> bool:
        if event.event is EventKind.FAILED:
            self.problems[event.kind.plural] = event.problem
            return False
        if event.event is EventKind.RESTARTED:
            self._synced[event.kind] = False
            if event.kind == NODES:
                self._nodes, self._noticed, self._marked = {}, {}, {}
            else:
                self._pods, self._manifests = {}, {}
            return False
        if event.event is EventKind.SYNCED:
            self._synced[event.kind] = True
            self.problems.pop(event.kind.plural, None)
            return True
        if event.manifest is None:
            return False
        gone = event.event is EventKind.DELETED
        return self._node(event.manifest, gone) if event.kind == NODES else self._pod(event.manifest, gone)

    def _node(self, manifest: Manifest, gone: bool) -> bool:
        name = str(manifest["metadata"]["name"])
        before = name in self._noticed or name in self._marked
        for shelf in (self._nodes, self._noticed, self._marked):
            shelf.pop(name, None)
        if gone:
            return before
        self._nodes[name] = cluster_identity(manifest)
        notices = notices_of(manifest)
        if notices:
            self._noticed[name] = (manifest, notices)
        if self._mark in (manifest["metadata"].get("annotations") or {}):
            self._marked[name] = manifest
        return before or bool(notices) or name in self._marked

    def _pod(self, manifest: Manifest, gone: bool) -> bool:
        pod = occupant_of(manifest)
        self._pods.pop(pod.uid, None)
        if gone:
            self._manifests.pop(pod.uid, None)
            return True
        self._pods[pod.uid] = pod
        self._manifests[pod.uid] = _slim(manifest)
        return True


def _slim(manifest: Manifest) -> Manifest:
    """A Pod without what is not asked for later: a watch of all pods of a large cluster is kept in memory."""
    metadata, spec, status = manifest["metadata"], manifest.get("spec") or {}, manifest.get("status") or {}
    containers = {
        key: [
            {name: item[name] for name in ("name", "resources", "restartPolicy") if name in item} for item in spec[key]
        ]
        for key in ("containers", "initContainers")
        if key in spec
    }
    kept = {key: spec[key] for key in ("nodeSelector", "resources", "overhead", "resourceClaims") if key in spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": metadata.get("name"), "namespace": metadata.get("namespace")},
        "spec": {**kept, **containers},
        "status": {"startTime": status.get("startTime")},
    }
