"""A Kubernetes API as values: its kinds, what could and could not be listed, what happened; and the port to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from customhouse._kit.clock import from_rfc3339
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
    served: tuple[ApiKind, ...] = ()
    """The kinds in all versions in which they are served, the preferred one first."""


class EventKind(StrEnum):
    """What a watch tells."""

    ADDED = "added"
    """It exists, whether it is new or was there before."""
    DELETED = "deleted"
    RESTARTED = "restarted"
    """All that was told of the kind is void; what exists is told again, until SYNCED."""
    SYNCED = "synced"
    """What existed when the watch began has been told; after FAILED: it goes on, from where it was, without a gap."""
    FAILED = "failed"
    """The kind cannot be watched now, nor for some seconds (`problem`); it is tried again. What was told may be old."""


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """One thing that happened to a kind; `manifest` for ADDED and DELETED."""

    event: EventKind
    kind: ApiKind
    manifest: Manifest | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects of a kind are asked for: of one namespace, with these labels (a label selector); empty: all."""

    namespace: str = ""
    labels: str = ""


EVERYWHERE = Scope()


@dataclass(frozen=True, slots=True)
class Apply:
    """One server-side apply. `force` takes fields from other managers; `dry_run` changes nothing.

    `subresource` is empty or `status`. `validation` is the API's fieldValidation, `Strict`, `Warn` or `Ignore`; with
    each of them an apply of fields that are not in the kind's schema is refused. `managers` keeps `managedFields` in
    the answer; they are half of its bytes. `manager` is the field manager; empty: the one of all that is declared.
    """

    manifest: Manifest
    force: bool = False
    dry_run: bool = False
    subresource: str = ""
    validation: str = "Strict"
    managers: bool = False
    manager: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """One deletion. With `uid` and `version` only that very object, in that state, is deleted."""

    ref: ResourceRef
    uid: str = ""
    version: str = ""
    dry_run: bool = False
    propagation: str = "Background"


@dataclass(frozen=True, slots=True)
class Remove:
    """Takes fields away that others own, which no apply can: JSON pointers into the object as it was looked at.

    `uid` and `version` name that very state; nothing is done to another one, nor where a field is gone.
    """

    ref: ResourceRef
    pointers: tuple[str, ...]
    uid: str
    version: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Evict:
    """One pod asked to leave its node, through the API that holds PodDisruptionBudgets. `uid` names that very pod.

    `grace_s`: seconds that it gets to end, at most; None: its own `terminationGracePeriodSeconds`.
    """

    ref: ResourceRef
    uid: str
    grace_s: int | None = None
    dry_run: bool = False


ClusterChange = Apply | Delete | Remove | Evict


class Refusal(StrEnum):
    """Why a write was not done, as far as it makes a difference to what is done about it."""

    CONFLICT = "conflict"
    """Fields belong to other managers (`Written.conflicts`), or the object is not the one, or as old, as was named."""
    DENIED = "denied"
    """Admission said no: a webhook or a policy (`Written.denied_by`). Its words are `problem`."""
    FORBIDDEN = "forbidden"
    """The account may not do this."""
    QUOTA = "quota"
    INVALID = "invalid"
    """The object is wrong for its kind."""
    TOO_LARGE = "too-large"
    NO_KIND = "no-kind"
    """The API serves no such kind: not yet, or no more."""
    NO_NAMESPACE = "no-namespace"
    LEAVING = "leaving"
    """Its namespace is being deleted."""
    NOT_FOUND = "not-found"
    """What a subresource belongs to is not there."""
    BUSY = "busy"
    """The API had no time for it within ours."""
    BUDGET = "budget"
    """A PodDisruptionBudget lets no further pod of its kind go now."""
    BROKEN = "broken"
    """Something that the API itself needed did not answer: a webhook, a conversion, etcd."""
    UNREACHABLE = "unreachable"
    """No answer; with `Written.unknown` it may have been done all the same."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class FieldConflict:
    """A field that another manager owns: `.spec.replicas`, and who has it."""

    field: str
    manager: str


@dataclass(frozen=True, slots=True)
class Written:
    """What came of one write: the object as it is now (of a dry run: as it would be), or why not.

    `reason` is the API's own word (Conflict, Forbidden), `refusal` what it comes to. A deletion of what is not there
    is `ok` with no manifest; one of an object whose finalizers hold it is `ok` with it, deletionTimestamp and all.
    `unknown`: the connection broke before the answer, so that it may have been done. `warnings` are the API's.
    """

    ok: bool
    manifest: Manifest | None = None
    reason: str = ""
    problem: str = ""
    refusal: Refusal | None = None
    conflicts: tuple[FieldConflict, ...] = ()
    denied_by: str = ""
    unknown: bool = False
    warnings: tuple[str, ...] = ()


Sink = Callable[[Sequence[ClusterEvent]], None]
"""Takes events in order, from another thread than the caller's. It must not block for long."""


class Cluster(Protocol):
    """A Kubernetes API. Batches in, one result an element, in order; callers may use any thread.

    Raises TargetError when the API is out of reach or refuses who asks; one kind that cannot be listed, or one write
    that is refused, is a value.
    """

    def discover(self) -> Discovered:
        """Its kinds, asked for anew."""

    def get(self, refs: Sequence[ResourceRef]) -> Sequence[Manifest | None]:
        """The whole objects, managedFields and all (`managers_of`); None for what does not exist, nor its kind."""

    def list(self, kinds: Iterable[ApiKind], scope: Scope = EVERYWHERE) -> Iterator[Listed]:
        """The objects of the kinds, each kind as of one moment; in the order in which they arrive."""

    def watch(self, kinds: Iterable[ApiKind], sink: Sink, scope: Scope = EVERYWHERE) -> Callable[[], None]:
        """Tell the sink what exists and what happens, until the returned function is called.

        An object that no longer has the labels of the scope is told as DELETED, as the API tells it: ask before
        believing it.
        """

    def write(self, changes: Sequence[ClusterChange]) -> Sequence[Written]:
        """Apply, delete, remove and evict, many at a time and in no order, but those of one object one after the other.

        Raises TargetError only before anything was sent; an API that goes away in the middle is the refusal
        UNREACHABLE of what it did not answer.
        """


@dataclass(frozen=True, slots=True)
class Manager:
    """Who wrote which fields of an object (an entry of `managedFields`); `at` is its last write that changed some.

    `fields` is the API's fieldsV1: `f:NAME` a field, `k:KEYS` an item of a list by its keys, `v:VALUE` by its value.
    """

    name: str
    operation: str
    """`Apply` or `Update`."""
    at: datetime | None
    subresource: str
    api_version: str
    fields: Mapping[str, Any]


def managers_of(manifest: Manifest) -> tuple[Manager, ...]:
    """Who wrote what of an object that was got whole; entries that are not well formed are left out."""
    metadata = manifest.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, Mapping) else None
    found = [_manager(entry) for entry in entries] if isinstance(entries, (list, tuple)) else []
    return tuple(item for item in found if item is not None)


def _manager(entry: Any) -> Manager | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("manager"), str):
        return None
    fields, stamp = entry.get("fieldsV1"), entry.get("time")
    try:
        at = from_rfc3339(stamp) if isinstance(stamp, str) else None
    except ValueError:
        at = None
    texts = (entry.get(name) or "" for name in ("operation", "subresource", "apiVersion"))
    operation, subresource, api_version = (text if isinstance(text, str) else "" for text in texts)
    known = fields if isinstance(fields, Mapping) else {}
    return Manager(entry["manager"], operation, at, subresource, api_version, known)


def cluster_identity(manifest: Mapping[str, Any]) -> str:
    """The uid of a live object; empty for one without."""
    metadata = manifest.get("metadata")
    uid = metadata.get("uid") if isinstance(metadata, Mapping) else None
    return uid if isinstance(uid, str) else ""
