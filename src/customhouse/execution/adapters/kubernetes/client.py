"""The port `Cluster` over a Kubernetes API: a thread with an event loop behind synchronous calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

import orjson

from customhouse._kit.clock import Clock
from customhouse.core.cluster import EVERYWHERE, ApiKind, Apply, Delete, Discovered, Listed, Scope, Sink, Written
from customhouse.core.errors import StateError
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.execution.adapters.kubernetes.discovery import Kinds, discover
from customhouse.execution.adapters.kubernetes.errors import ApiError
from customhouse.execution.adapters.kubernetes.kubeconfig import Access
from customhouse.execution.adapters.kubernetes.reading import Follower, list_kind, path_of
from customhouse.execution.adapters.kubernetes.transport import Transport

FIELD_MANAGER = "customhouse"
LISTS_AT_ONCE = 4
"""Kinds listed at the same time; the answers of no more are held in memory."""
_Value = TypeVar("_Value")


class KubernetesCluster:
    """One API. `close` (or leaving the `with`) ends its thread, its watches and its connections."""

    def __init__(self, access: Access, environment: Mapping[str, str], clock: Clock) -> None:
        self.access = access
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kubernetes", daemon=True)
        self._thread.start()
        self._transport = self._call(_made(access, environment, clock))
        self._kinds: Kinds | None = None

    @property
    def name(self) -> str:
        """The server's address."""
        return self.access.server

    @property
    def verified(self) -> bool:
        """Whether the server's certificate is verified; only the kubeconfig can say that it is not to be."""
        return not self.access.insecure

    def __enter__(self) -> KubernetesCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything; a second call does nothing."""
        if not self._loop.is_closed():
            self._call(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        # Before the tasks run again: a stream that they would close politely waits for the server's answer to that.
        await self._transport.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def discover(self) -> Discovered:
        """Its kinds, asked for anew. Raises TargetError."""
        self._kinds = self._call(discover(self._transport))
        return self._kinds.preferred()

    def get(self, refs: Sequence[ResourceRef]) -> Sequence[Manifest | None]:
        """The objects; None for one that does not exist. Raises TargetError."""
        return [self._call(self._get(self._kind(ref.api_version, ref.kind), ref)) for ref in refs]

    async def _get(self, kind: ApiKind, ref: ResourceRef) -> Manifest | None:
        try:
            found: Manifest = await self._transport.request("GET", path_of(kind, ref.namespace, ref.name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def list(self, kinds: Iterable[ApiKind], scope: Scope = EVERYWHERE) -> Iterator[Listed]:
        """Every object of the kinds. Raises UnreachableError; a kind that is refused has a problem."""
        waiting = iter(kinds)
        pending: set[Future[Listed]] = {
            self._begin(list_kind(self._transport, kind, scope)) for kind in islice(waiting, LISTS_AT_ONCE)
        }
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                pending |= {self._begin(list_kind(self._transport, kind, scope)) for kind in islice(waiting, len(done))}
        finally:
            for future in pending:
                future.cancel()

    def watch(self, kinds: Iterable[ApiKind], sink: Sink, scope: Scope = EVERYWHERE) -> Callable[[], None]:
        """Follow the kinds until the returned function is called; what goes wrong is an event."""
        return self._call(self._follow(tuple(kinds), sink, scope))

    async def _follow(self, kinds: Sequence[ApiKind], sink: Sink, scope: Scope) -> Callable[[], None]:
        starting = Follower.starts()
        tasks = [asyncio.create_task(Follower(self._transport, kind, scope, sink, starting).run()) for kind in kinds]

        async def end() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        def stop() -> None:
            if not self._loop.is_closed():
                self._call(end())

        return stop

    def write(self, changes: Sequence[Apply | Delete]) -> Sequence[Written]:
        """Apply and delete in order. Raises TargetError when the API is out of reach."""
        return [self._write(change) for change in changes]

    def _write(self, change: Apply | Delete) -> Written:
        try:
            if isinstance(change, Delete):
                ref = change.ref
                return self._call(self._delete(self._kind(ref.api_version, ref.kind), change))
            ref = ResourceRef.of(change.manifest)
            return self._call(self._apply(self._kind(ref.api_version, ref.kind), ref, change))
        except ApiError as error:
            return Written(False, reason=error.reason, problem=error.message)
        except (KeyError, TypeError) as error:
            return Written(False, reason="Invalid", problem=f"the object has no apiVersion, kind or name: {error}")

    async def _apply(self, kind: ApiKind, ref: ResourceRef, change: Apply) -> Written:
        parameters = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        if change.force:
            parameters["force"] = "true"
        if change.dry_run:
            parameters["dryRun"] = "All"
        path = path_of(kind, ref.namespace, ref.name, change.subresource)
        headers = {"Content-Type": "application/apply-patch+yaml"}  # JSON is YAML
        body = orjson.dumps(dict(change.manifest))
        answer = await self._transport.request("PATCH", path, parameters=parameters, headers=headers, body=body)
        return Written(True, answer)

    async def _delete(self, kind: ApiKind, change: Delete) -> Written:
        conditions = {"uid": change.uid, "resourceVersion": change.version}
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": change.propagation}
        options["preconditions"] = {key: value for key, value in conditions.items() if value}
        if change.dry_run:
            options["dryRun"] = ["All"]
        path = path_of(kind, change.ref.namespace, change.ref.name)
        headers = {"Content-Type": "application/json"}
        body = orjson.dumps(options)
        try:
            # Without a uid a second try might meet another object of the same name.
            await self._transport.request("DELETE", path, headers=headers, body=body, again=bool(change.uid))
        except ApiError as error:
            if error.status != 404:
                raise
        return Written(True)

    def _kind(self, api_version: str, kind: str) -> ApiKind:
        for fresh in (False, True):  # a definition may have been applied since
            if self._kinds is None or fresh:
                self.discover()
            found = None if self._kinds is None else self._kinds.find(api_version, kind)
            if found is not None:
                return found
        raise ApiError(f"the API serves no {kind} of {api_version}", status=404, reason="NotFound", where=self.name)

    def _begin(self, work: Coroutine[Any, Any, _Value]) -> Future[_Value]:
        if self._loop.is_closed():
            work.close()
            raise StateError("the connection to the cluster is closed", where=self.name)
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _call(self, work: Coroutine[Any, Any, _Value]) -> _Value:
        future = self._begin(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C: nobody waits for it any more
            raise


async def _made(access: Access, environment: Mapping[str, str], clock: Clock) -> Transport:
    return Transport(access, environment, clock)
