"""The port `Cluster` over a Kubernetes API: a thread with an event loop behind synchronous calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

from customhouse._kit.clock import Clock
from customhouse.core.cluster import EVERYWHERE, ApiKind, ClusterChange, Discovered, Listed, Scope, Sink, Written
from customhouse.core.errors import StateError
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.execution.adapters.kubernetes.discovery import Catalogue
from customhouse.execution.adapters.kubernetes.kubeconfig import Access
from customhouse.execution.adapters.kubernetes.pace import Pace
from customhouse.execution.adapters.kubernetes.reading import Follower, Getter, list_kind
from customhouse.execution.adapters.kubernetes.transport import Transport
from customhouse.execution.adapters.kubernetes.writing import Writer

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
        self._catalogue = Catalogue(self._transport)
        self._starting = Follower.starts()
        pace = Pace(clock)
        self._writer = Writer(self._transport, self._catalogue, pace)
        self._getter = Getter(self._transport, self._catalogue, pace)

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
        return self._call(self._catalogue.refresh()).preferred()

    def get(self, refs: Sequence[ResourceRef]) -> Sequence[Manifest | None]:
        """The objects; None for one that does not exist, or whose kind does not. Raises TargetError."""
        return self._call(self._getter.get(refs)) if refs else ()

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
        tasks = [
            asyncio.create_task(Follower(self._transport, kind, scope, sink, self._starting).run()) for kind in kinds
        ]

        async def end() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        def stop() -> None:
            if not self._loop.is_closed():
                self._call(end())

        return stop

    def write(self, changes: Sequence[ClusterChange]) -> Sequence[Written]:
        """Apply and delete, many at a time. Raises TargetError before anything was sent, or never."""
        return self._call(self._writer.write(changes)) if changes else ()

    def _begin(self, work: Coroutine[Any, Any, _Value]) -> Future[_Value]:
        if self._loop.is_closed():
            work.close()
            raise StateError("the connection to the cluster is closed", where=self.name)
        if threading.current_thread() is self._thread:
            work.close()
            raise StateError("a sink asks the cluster, whose answer would wait for the sink", where=self.name)
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _call(self, work: Coroutine[Any, Any, _Value]) -> _Value:
        future = self._begin(work)
        try:
            return future.result()
        except CancelledError as error:
            raise StateError("the connection to the cluster was closed meanwhile", where=self.name) from error
        except BaseException:
            future.cancel()  # Ctrl-C: nobody waits for it any more
            raise


async def _made(access: Access, environment: Mapping[str, str], clock: Clock) -> Transport:
    return Transport(access, environment, clock)
