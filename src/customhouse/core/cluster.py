"""A Kubernetes API as values: its kinds, what could and could not be listed, what happened; and the port to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from customhouse.core.resource import Manifest, ResourceRef


@dataclass(frozen=True, slots=True, order=True)
class ApiKind:
    """One kind as the API serves it: `plural` is its name in paths, `verbs` what may be done with it at all."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """`apps/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`deployments.apps`, or `pods` for the core group: as the command line and RBAC name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def __str__(self) -> str:
        return self.resource


@dataclass(frozen=True, slots=True)
class Listed:
    """Every object of one kind, as of `version`; or `problem`, why they are not known (then `objects` is empty)."""

    kind: ApiKind
    objects: tuple[Manifest, ...] = ()
    version: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Discovered:
    """The kinds that an API serves (each once, in its preferred version), and the groups that did not answer."""

    kinds: tuple[ApiKind, ...]
    problems: Mapping[str, str]
    """Group version → why its kinds are not known. A missing group is not an empty one."""


class EventKind(StrEnum):
    """What a watch tells."""

    ADDED = "added"
    """It exists, whether it is new or was there before."""
    DELETED = "deleted"
    RESTARTED = "restarted"
    """All that was told of the kind is void; what exists is told again, until SYNCED."""
    SYNCED = "synced"
    """What existed when the watch began has been told."""
    FAILED = "failed"
    """The kind cannot be watched now (`problem`); it is tried again. What was told before may be old."""


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """One thing that happened to a kind; `manifest` for ADDED and DELETED."""

    event: EventKind
    kind: ApiKind
    manifest: Manifest | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Apply:
    """One server-side apply. `force` takes fields from other managers; `dry_run` changes nothing.

    `subresource` is empty or `status`.
    """

    manifest: Manifest
    force: bool = False
    dry_run: bool = False
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """One deletion. With `uid` and `version` only that very object, in that state, is deleted."""

    ref: ResourceRef
    uid: str = ""
    version: str = ""
    dry_run: bool = False
    propagation: str = "Background"


@dataclass(frozen=True, slots=True)
class Written:
    """What came of one write: the object as it is now, or why not (`reason` is the API's word: Conflict, Forbidden).

    A deletion of what is not there is `ok` with no manifest.
    """

    ok: bool
    manifest: Manifest | None = None
    reason: str = ""
    problem: str = ""


Sink = Callable[[Sequence[ClusterEvent]], None]
"""Takes events in order, from another thread than the caller's. It must not block for long."""


class Cluster(Protocol):
    """A Kubernetes API. Batches in, one result an element, in order; callers may use any thread.

    Raises TargetError when the API is out of reach or refuses who asks; one kind that cannot be listed, or one write
    that is refused, is a value.
    """

    def discover(self) -> Discovered:
        """Its kinds."""

    def get(self, refs: Sequence[ResourceRef]) -> Sequence[Manifest | None]:
        """The objects; None for one that does not exist."""

    def list(self, kinds: Iterable[ApiKind]) -> Iterator[Listed]:
        """Every object of the kinds, each kind as of one moment; in the order in which they arrive."""

    def watch(self, kinds: Iterable[ApiKind], sink: Sink) -> Callable[[], None]:
        """Tell the sink what exists and what happens, until the returned function is called."""

    def write(self, changes: Sequence[Apply | Delete]) -> Sequence[Written]:
        """Apply and delete, one after the other."""


def cluster_identity(manifest: Mapping[str, Any]) -> str:
    """The uid of a live object; empty for one without."""
    metadata = manifest.get("metadata")
    uid = metadata.get("uid") if isinstance(metadata, Mapping) else None
    return uid if isinstance(uid, str) else ""
