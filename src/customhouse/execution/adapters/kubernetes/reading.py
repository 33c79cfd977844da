"""Lists in chunks, and watches that go on where they were."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import quote

from customhouse.core.cluster import EVERYWHERE, ApiKind, ClusterEvent, EventKind, Listed, Refusal, Scope, Sink
from customhouse.core.errors import TargetError
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.execution.adapters.kubernetes.discovery import Catalogue
from customhouse.execution.adapters.kubernetes.errors import ApiError, UnreachableError
from customhouse.execution.adapters.kubernetes.pace import MOST, Pace
from customhouse.execution.adapters.kubernetes.retries import Backoff
from customhouse.execution.adapters.kubernetes.transport import Transport

CHUNK = 500
"""Objects a request, as kubectl asks for them."""
MAX_EVENT = 16 * 1024 * 1024
"""Bytes of one watch event: etcd takes 1.5 MB, and JSON may be several times as long as what it keeps."""
WATCH_S = 290
_MARKED_SILENCE_S = 120.0
"""A kube-apiserver marks the progress of a stream about once a minute; one that has done so and stopped is dead."""
_SILENCE_S = 60.0
_SHORT_S = 5.0
_PATIENT_S = 3.0
"""A connection that breaks is usually back before anybody needs to know: what lasts longer is told."""
_LONGEST_PAUSE_S = 10.0
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


class Getter:
    """Reads single objects, many at a time."""

    def __init__(self, transport: Transport, catalogue: Catalogue, pace: Pace) -> None:
        self._transport = transport
        self._catalogue = catalogue
        self._pace = pace

    async def get(self, refs: Sequence[ResourceRef]) -> list[Manifest | None]:
        """The objects in order. Raises TargetError when one of them cannot be known."""
        kinds = await self._catalogue.find({(ref.api_version, ref.kind) for ref in refs})
        found: list[Manifest | None] = [None] * len(refs)
        waiting = deque(enumerate(refs))

        async def work() -> None:
            while waiting:
                index, ref = waiting.popleft()
                kind = kinds[ref.api_version, ref.kind]
                if isinstance(kind, ApiKind):
                    found[index] = await self._one(kind, ref)
                elif kind.refusal is not Refusal.NO_KIND:
                    raise UnreachableError(kind.problem, where=str(ref))

        if len(refs) == 1:
            await work()
            return found
        tasks = [asyncio.create_task(work()) for _ in range(min(MOST, len(refs)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return found

    async def _one(self, kind: ApiKind, ref: ResourceRef) -> Manifest | None:
        try:
            answer = await self._transport.send("GET", path_of(kind, ref.namespace, ref.name), pace=self._pace)
        except ApiError as error:
            if error.status != 404:
                raise
            if not error.stated:
                self._catalogue.forget(kind)
            return None
        found: Manifest = answer.value
        return found


class _SinkError(Exception):
    """The sink did not take what it was told."""


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
        self._marked = False
        self._refused = False
        self._version = ""
        self._told = ""
        self._failing_since: float | None = None

    @staticmethod
    def starts() -> asyncio.Semaphore:
        """What the followers of one API share."""
        return asyncio.Semaphore(_STARTS)

    async def run(self) -> None:
        """Follow until cancelled. A stream that ends is taken up where it was; only a forgotten place starts anew."""
        backoff = Backoff(0.1, _LONGEST_PAUSE_S)
        while True:
            began = self._transport.monotonic()
            told: float | None = None
            try:
                await self._follow()
                if self._transport.monotonic() - began >= _SHORT_S:
                    self._failing_since = None
                    backoff.succeeded()
                    continue
                # something between us and the API cuts streams off
            except _SinkError as error:
                # Who could not take an event does not know what it missed: all of it is told again.
                self._version = ""
                self._fail(f"what was told was not taken: {error}", lasting=True)
            except ApiError as error:
                told = error.retry_after
                if error.status in (404, 410):
                    # 410: the place is forgotten. 404: the kind is gone; one that comes back has another history.
                    self._version = ""
                if error.status != 410 and (error.status != 401 or self._refused):
                    lasting = 400 <= error.status < 500 and error.status != 429
                    self._fail(f"{error.reason or error.status}: {error.message}", lasting=lasting)
                self._refused = error.status == 401  # the next try has other credentials
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                # Not foreseen, and no reason to stop looking: whoever relies on this watch would never know.
                self._version = ""
                self._fail(f"it cannot be read: {type(error).__name__}: {error}"[:500], lasting=True)
            except TargetError as error:
                self._fail(str(error))
                if self._transport.monotonic() - began >= _SHORT_S:
                    backoff.succeeded()  # it was good for a while: come back soon
            await asyncio.sleep(backoff.pause(told))

    def _fail(self, problem: str, *, lasting: bool = False) -> None:
        now = self._transport.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if not lasting and not self._told and now - self._failing_since < _PATIENT_S:
            return
        if problem != self._told:
            self._told = problem
            with suppress(_SinkError):
                self._tell([ClusterEvent(EventKind.FAILED, self._kind, problem=problem)])

    def _goes_on(self) -> None:
        """A stream was taken up where the last one ended."""
        told, self._told = self._told, ""
        if told:
            self._tell([ClusterEvent(EventKind.SYNCED, self._kind)])

    def _tell(self, events: Sequence[ClusterEvent]) -> None:
        try:
            self._sink(events)
        except Exception as error:
            raise _SinkError(f"{type(error).__name__}: {error}"[:500]) from error

    async def _follow(self) -> None:
        """From where it was, or from what exists, to the end of a stream."""
        if self._version:
            await self._watch({"resourceVersion": self._version})
            return
        turn = await _Turn.take(self._starting)
        try:
            if self._streams:
                try:
                    await self._watch({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}, turn)
                except ApiError as error:
                    if error.status not in (400, 422):
                        raise
                    self._streams = False
                else:
                    return
            await self._list()
        finally:
            turn.end()

    async def _list(self) -> None:
        objects, self._version = await _pages(self._transport, self._kind, self._scope)
        events = [ClusterEvent(EventKind.ADDED, self._kind, item) for item in objects]
        start, synced = (ClusterEvent(item, self._kind) for item in (EventKind.RESTARTED, EventKind.SYNCED))
        self._told = ""
        self._tell([start, *events, synced])

    async def _watch(self, parameters: Mapping[str, str], turn: _Turn | None = None) -> None:
        """One stream to its end. With a turn the first state comes first, and the turn ends when that is complete."""
        seconds = int(WATCH_S * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing
        asked = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds), **parameters}
        asked |= _asked(self._scope)
        synced = turn is None

        def silence() -> float:
            # Others wait until the first state is complete, and nothing in it is a reason to say nothing.
            return (
                _SILENCE_S if not synced else min(_MARKED_SILENCE_S if self._marked else WATCH_S, seconds) + _SILENCE_S
            )

        path = path_of(self._kind, self._scope.namespace)
        stream = self._transport.lines(path, asked, silence_s=silence, longest=MAX_EVENT)
        async with aclosing(stream):
            async for lines in stream:
                if not lines:  # the server has agreed
                    if turn is None:
                        self._goes_on()
                    else:
                        # Not before: as long as nobody answers, what was told last is better than nothing.
                        self._tell([ClusterEvent(EventKind.RESTARTED, self._kind)])
                    continue
                arrived = _Arrived(self._kind)
                problem = arrived.read(lines)
                synced = synced or arrived.synced
                if arrived.events:
                    self._tell(arrived.events)
                if synced and arrived.version:
                    self._version = arrived.version
                    self._refused, self._told = False, ""
                    self._failing_since = None if problem is None else self._failing_since
                if turn is not None and synced:
                    turn.end()
                self._marked = self._marked or arrived.marked
                if problem is not None:
                    raise problem
        if not synced:
            raise UnreachableError("the first state ended before it was complete", where=str(self._kind))


class _Turn:
    """One of the few places of those who ask for everything; given back once."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places

    @classmethod
    async def take(cls, places: asyncio.Semaphore) -> _Turn:
        """Wait for a place."""
        await places.acquire()
        return cls(places)

    def end(self) -> None:
        """Give it back; a second call does nothing."""
        places, self._places = self._places, None
        if places is not None:
            places.release()


class _Arrived:
    """What some lines of a stream say, as far as they are in order."""

    def __init__(self, kind: ApiKind) -> None:
        self._kind = kind
        self.events: list[ClusterEvent] = []
        self.version = ""
        self.synced = False
        self.marked = False

    def read(self, lines: Sequence[Any]) -> ApiError | None:
        """Read them; the error that ends the stream, if one of them is that."""
        try:
            for line in lines:
                self._read(line)
        except ApiError as error:
            return error
        return None

    def _read(self, line: Any) -> None:
        event, item = _event(line, self._kind)
        metadata = item["metadata"]
        if event != "BOOKMARK":
            told = EventKind.DELETED if event == "DELETED" else EventKind.ADDED
            self.events.append(ClusterEvent(told, self._kind, _clean(item, self._kind)))
        elif isinstance(notes := metadata.get("annotations"), dict) and notes.get(_INITIAL_END) == "true":
            self.synced = True
            self.events.append(ClusterEvent(EventKind.SYNCED, self._kind))
        else:
            self.marked = True
        self.version = str(metadata.get("resourceVersion") or "")


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
