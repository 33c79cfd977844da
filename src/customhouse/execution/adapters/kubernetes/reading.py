"""Lists in chunks, and watches that go on where they were."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from customhouse.core.cluster import EVERYWHERE, ApiKind, ClusterEvent, EventKind, Listed, Scope, Sink
from customhouse.core.errors import TargetError
from customhouse.core.resource import Manifest
from customhouse.execution.adapters.kubernetes.errors import ApiError, UnreachableError
from customhouse.execution.adapters.kubernetes.transport import Backoff, Transport

CHUNK = 500
"""Objects a request, as kubectl asks for them."""
MAX_EVENT = 16 * 1024 * 1024
"""Bytes of one watch event: etcd takes 1.5 MB, and JSON may be several times as long as what it keeps."""
WATCH_S = 290
_SILENCE_S = 60.0
_SHORT_S = 5.0
_STARTS = 4
"""Kinds that are listed at the same time: after an outage each would otherwise ask for all its objects at once."""
_RESTARTS = 3
_INITIAL_END = "k8s.io/initial-events-end"


def path_of(kind: ApiKind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The path of a collection, an object or a subresource. Raises TargetError for a name that would lead elsewhere."""
    parts = ["/apis", kind.group, kind.version] if kind.group else ["/api", kind.version]
    if kind.namespaced and namespace:
        parts += ["namespaces", namespace]
    parts.append(kind.plural)
    parts += [part for part in (name, subresource) if part]
    if any(part in (".", "..") for part in parts):
        raise TargetError(f"{name!r} cannot be the name of an object", where=str(kind))
    return parts[0] + "".join("/" + quote(part, safe="") for part in parts[1:])


async def list_kind(transport: Transport, kind: ApiKind, scope: Scope = EVERYWHERE) -> Listed:
    """Every object of a kind as of one moment; a refusal is a value. Raises UnreachableError."""
    try:
        objects, version = await _pages(transport, kind, scope)
    except ApiError as error:
        return Listed(kind, problem=f"{error.reason or error.status}: {error.message}")
    return Listed(kind, tuple(objects), version)


def _asked(scope: Scope) -> dict[str, str]:
    return {"labelSelector": scope.labels} if scope.labels else {}


async def _pages(transport: Transport, kind: ApiKind, scope: Scope) -> tuple[list[Manifest], str]:
    path = path_of(kind, scope.namespace)
    for attempt in range(_RESTARTS):
        objects: list[Manifest] = []
        token = ""
        try:
            while True:
                parameters = {"limit": str(CHUNK), **_asked(scope), **({"continue": token} if token else {})}
                page = await transport.request("GET", path, parameters=parameters)
                metadata = _take(page, kind, objects)
                token = metadata.get("continue") or ""
                if not token:
                    return objects, str(metadata.get("resourceVersion") or "")
        except ApiError as error:
            # The moment that the first page was of has been compacted away: begin anew, half of each is a lie.
            if error.status != 410 or attempt == _RESTARTS - 1:
                raise
    raise AssertionError  # the last attempt returns or raises


def _take(page: Any, kind: ApiKind, objects: list[Manifest]) -> Mapping[str, Any]:
    items = page.get("items") if isinstance(page, dict) else None
    metadata = page.get("metadata") if isinstance(page, dict) else None
    if not isinstance(metadata, dict) or not (items is None or isinstance(items, list)):
        raise ApiError("the answer is no list", status=200, where=str(kind))
    objects.extend(_clean(item, kind) for item in items or [])
    return metadata


def _clean(item: Any, kind: ApiKind) -> Manifest:
    """An object with its type (lists leave it out) and without managedFields, which are half of its bytes."""
    if not isinstance(item, dict) or not isinstance(item.get("metadata"), dict):
        raise ApiError("an item of the list is no object", status=200, where=str(kind))
    item["metadata"].pop("managedFields", None)
    return {**item, "apiVersion": kind.api_version, "kind": kind.kind}


class Follower:
    """Follows one kind for a sink: what exists first, then what happens. Ends when its task is cancelled."""

    def __init__(
        self, transport: Transport, kind: ApiKind, scope: Scope, sink: Sink, starting: asyncio.Semaphore
    ) -> None:
        self._transport = transport
        self._kind = kind
        self._scope = scope
        self._sink = sink
        self._starting = starting
        self._streams = True  # whether the server gives the first state as a stream (WatchList, KEP-3157)
        self._version = ""
        self._told = ""

    @staticmethod
    def starts() -> asyncio.Semaphore:
        """What the followers of one API share."""
        return asyncio.Semaphore(_STARTS)

    async def run(self) -> None:
        """Follow until cancelled. A stream that ends is taken up where it was; only a forgotten place starts anew."""
        backoff = Backoff(0.1, 60.0)
        while True:
            try:
                if not self._version:
                    async with self._starting:
                        await self._begin()
                began = self._transport.monotonic()
                await self._watch({"resourceVersion": self._version})
                self._told = ""
                pause = 0.0
                if self._transport.monotonic() - began < _SHORT_S:
                    pause = backoff.pause()  # something between us and the API cuts streams off
                else:
                    backoff.succeeded()
            except ApiError as error:
                if error.status == 410:
                    self._version = ""
                else:
                    self._fail(f"{error.reason or error.status}: {error.message}")
                pause = backoff.pause(error.retry_after)
            except TargetError as error:
                self._fail(str(error))
                pause = backoff.pause()
            await asyncio.sleep(pause)

    def _fail(self, problem: str) -> None:
        if problem != self._told:
            self._told = problem
            self._sink([ClusterEvent(EventKind.FAILED, self._kind, problem=problem)])

    async def _begin(self) -> None:
        """Tell what exists, and know from which version on to watch."""
        if self._streams:
            try:
                self._sink([ClusterEvent(EventKind.RESTARTED, self._kind)])
                await self._watch(
                    {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}, until_synced=True
                )
            except ApiError as error:
                if error.status not in (400, 422):
                    raise
                self._streams = False
            else:
                return
        listed = await list_kind(self._transport, self._kind, self._scope)
        if listed.problem:
            raise ApiError(listed.problem, status=0, where=str(self._kind))
        events = [ClusterEvent(EventKind.ADDED, self._kind, item) for item in listed.objects]
        start, synced = (ClusterEvent(item, self._kind) for item in (EventKind.RESTARTED, EventKind.SYNCED))
        self._sink([start, *events, synced])
        self._version = listed.version

    async def _watch(self, parameters: Mapping[str, str], *, until_synced: bool = False) -> None:
        """One stream to its end; or, for the first state, to the mark that it is complete."""
        seconds = int(WATCH_S * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing
        asked = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
            **_asked(self._scope),
            **parameters,
        }
        path = path_of(self._kind, self._scope.namespace)
        stream = self._transport.lines(path, asked, silence_s=seconds + _SILENCE_S, longest=MAX_EVENT)
        synced = not until_synced
        version = ""
        async for line in stream:
            kind, item = _event(line, self._kind)
            version = str(item["metadata"].get("resourceVersion") or "")
            if kind == "BOOKMARK":
                if (item["metadata"].get("annotations") or {}).get(_INITIAL_END) == "true":
                    synced = True
                    self._sink([ClusterEvent(EventKind.SYNCED, self._kind)])
            else:
                event = EventKind.DELETED if kind == "DELETED" else EventKind.ADDED
                self._sink([ClusterEvent(event, self._kind, _clean(item, self._kind))])
            if synced and version:
                self._version = version
            if until_synced and synced:
                await stream.aclose()  # type: ignore[attr-defined]
                return
        if not synced:
            raise UnreachableError("the first state ended before it was complete", where=str(self._kind))


def _event(line: Any, kind: ApiKind) -> tuple[str, dict[str, Any]]:
    event, item = (line.get("type"), line.get("object")) if isinstance(line, dict) else (None, None)
    if event == "ERROR" and isinstance(item, dict):
        status = item.get("code")
        raise ApiError(
            str(item.get("message") or "the watch ended with an error")[:2000],
            status=status if isinstance(status, int) else 500,
            reason=str(item.get("reason") or ""),
            where=str(kind),
        )
    if event not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK") or not isinstance(item, dict):
        raise ApiError("the stream holds something that is no event", status=200, where=str(kind))
    if not isinstance(item.get("metadata"), dict):
        raise ApiError("an event is of no object", status=200, where=str(kind))
    return str(event), item
