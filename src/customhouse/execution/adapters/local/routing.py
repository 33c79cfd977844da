"""The gateway's table: services, their revisions with weights, the replicas of each, and what they answered."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from customhouse.execution.adapters.local.holding import Load, Places
from customhouse.execution.adapters.local.meter import Traffic
from customhouse.execution.adapters.local.wire import Channel, LostError, encode_request, open_channel

REMEMBERED = 20_000
"""Predictions per service that wait for their label (about 300 bytes each)."""
KEPT_RELEASES = 8
POOL = 32
_UNHEALTHY_AFTER = 2
_KEY = re.compile(r"[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*")
_PROBE = encode_request("GET", "/replica", (), b"")


class RoutingError(ValueError):
    """A routing that makes no sense; the message says what."""


class Replica:
    """One worker: its socket, idle connections, and what its last probe said (`status`)."""

    def __init__(self, identity: str, release: str, path: str, service: Service) -> None:
        self.id = identity
        self.release = release
        self.path = path
        self.in_flight = 0
        self.ready = False
        self.probing = False
        self.failures = 0
        self.status: dict[str, Any] | None = None
        self._service = service
        self._idle: list[Channel] = []

    async def exchange(self, data: bytes, timeout_s: float) -> tuple[int, dict[str, str], bytes]:
        """One request over a pooled or new connection. Raises LostError, TimeoutError."""
        while self._idle:
            channel = self._idle.pop()
            if not channel.usable:
                continue
            try:
                answer = await channel.exchange(data, timeout_s)
            except LostError as error:
                if error.answered:
                    raise
                continue  # the worker had closed it while idle; a new connection tells whether it still lives
            self._keep(channel)
            return answer
        channel = await open_channel(self.path)
        answer = await channel.exchange(data, timeout_s)
        self._keep(channel)
        return answer

    def _keep(self, channel: Channel) -> None:
        if channel.usable and len(self._idle) < POOL:
            self._idle.append(channel)
        else:
            channel.close()

    async def probe(self, timeout_s: float) -> None:
        """Ask the worker how it is."""
        self.probing = True
        try:
            status, _, body = await self.exchange(_PROBE, timeout_s)
            said = orjson.loads(body) if status == 200 else None
        except (LostError, TimeoutError, orjson.JSONDecodeError):
            said = None
        finally:
            self.probing = False
        if said is None:
            self.failures += 1
            if self.failures >= _UNHEALTHY_AFTER or self.status is None:
                self.ready = False
            return
        self.status, self.failures = said, 0
        if not self.ready:
            self.ready = True
            self._service.wake()

    def suspect(self) -> None:
        """Nobody listens there: route around it until a probe succeeds."""
        self.ready = False

    def close(self) -> None:
        """Close idle connections."""
        for channel in self._idle:
            channel.close()
        self._idle.clear()


class Revision:
    """One release: its weight and its replicas."""

    def __init__(self, release: str) -> None:
        self.release = release
        self.weight = 0
        self.current = 0
        self.replicas: dict[str, Replica] = {}
        self.load = Load()
        self.places = Places(self.pick)

    def pick(self, without: set[str], limit: int = 0) -> Replica | None:
        """The ready replica with the fewest requests in flight, and fewer than `limit` (0: any number)."""
        ready = [
            r for r in self.replicas.values() if r.ready and r.id not in without and (not limit or r.in_flight < limit)
        ]
        if not ready:
            return None
        best = min(ready, key=lambda replica: replica.in_flight)
        # Dictionary order breaks ties; the chosen one goes last, so equal replicas take turns.
        self.replicas[best.id] = self.replicas.pop(best.id)
        return best


class Service:
    """One InferenceService."""

    def __init__(self) -> None:
        self.revisions: dict[str, Revision] = {}
        self.traffic: OrderedDict[str, Traffic] = OrderedDict()
        self._predictions: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def elastic(self) -> bool:
        """Whether it scales by its requests, which then wait for a place in their order."""
        return any(revision.places.limit for revision in self.revisions.values())

    def assign(self) -> Revision | None:
        """The revision whose turn it is by weight, ready or not: its requests are what wakes it."""
        able = [r for r in self.revisions.values() if r.weight > 0]
        for revision in able:
            revision.current += revision.weight
        if not able:
            return None
        chosen = max(able, key=lambda revision: revision.current)
        chosen.current -= sum(revision.weight for revision in able)
        return chosen

    def choose(self, tried: set[str]) -> Replica | None:
        """A replica by smooth weighted round robin over revisions; another revision only when the chosen has none.

        Smooth: with 10 and 90 every tenth request goes to the first, not ten in a row (the algorithm of nginx).
        """
        able = [r for r in self.revisions.values() if r.weight > 0]
        total = sum(revision.weight for revision in able)
        for revision in able:
            revision.current += revision.weight
        order = sorted(able, key=lambda revision: -revision.current)
        for revision in order:
            replica = revision.pick(tried)
            if replica is not None:
                revision.current -= total
                return replica
        for revision in able:
            revision.current -= revision.weight
        return None

    def count(self, release: str, status: int, seconds: float) -> None:
        """Count an answered request; `release` is empty when no replica could be asked."""
        release = release or next((r.release for r in self.revisions.values() if r.weight), "none")
        self._traffic(release).record(status, seconds)

    def _traffic(self, release: str) -> Traffic:
        if release not in self.traffic:
            self.traffic[release] = Traffic()
            while len(self.traffic) > KEPT_RELEASES:
                old = next((key for key in self.traffic if key not in self.revisions), next(iter(self.traffic)))
                del self.traffic[old]
        return self.traffic[release]

    def remember(self, identity: str, release: str, rows: str) -> None:
        """Count what a prediction said, and keep it until its label comes; the oldest are forgotten."""
        with contextlib.suppress(orjson.JSONDecodeError, TypeError, ValueError, OverflowError):
            self._traffic(release).said(orjson.loads(rows))
        self._predictions[identity] = (release, rows)
        if len(self._predictions) > REMEMBERED:
            self._predictions.popitem(last=False)

    def label(self, identity: str, labels: Sequence[int]) -> str:
        """Count the true labels of a prediction, once; its release. Raises LookupError, ValueError."""
        if identity not in self._predictions:
            raise LookupError("no such prediction: unknown, too old, or labelled already")
        release, text = self._predictions[identity]
        rows = orjson.loads(text)
        if len(labels) != len(rows):
            raise ValueError(f"{len(labels)} labels for a prediction of {len(rows)} rows")
        for row, label in zip(rows, labels, strict=True):
            if not 0 <= label < max(2, len(row)):
                raise ValueError(f"label {label} is not one of the classes 0 to {max(2, len(row)) - 1}")
        traffic = self._traffic(release)
        for row, label in zip(rows, labels, strict=True):
            traffic.label(row, label)
        del self._predictions[identity]
        return release

    def weigh(self, weights: Mapping[str, int]) -> None:
        """Set the weights of revisions; those not named get 0. Raises RoutingError."""
        unknown = [release for release in weights if release not in self.revisions]
        bad = [value for value in weights.values() if type(value) is not int or not 0 <= value <= 100]
        if unknown or bad:
            raise RoutingError(f"unknown revisions {unknown} or weights {bad} outside 0 to 100")
        for release, revision in self.revisions.items():
            revision.weight = weights.get(release, 0)
            revision.current = 0
        self.wake()

    def drop(self, releases: Iterable[str]) -> None:
        """These are routed no more: who waits for them chooses again, and finds another or none."""
        for release in releases:
            revision = self.revisions.pop(release)
            revision.places.release()
            for replica in revision.replicas.values():
                replica.close()

    def wake(self) -> None:
        """Let held requests choose again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        for revision in self.revisions.values():
            if revision.weight:
                revision.places.hand_out()
            else:  # a rollback: who waits for it asks another
                revision.places.release()

    async def changed(self, timeout_s: float) -> None:
        """Wait until a replica became ready or weights changed, at most `timeout_s`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=max(0.0, timeout_s))
        finally:
            self._waiters.discard(waiter)

    def to_json(self) -> dict[str, Any]:
        """Weights, replicas with their last status, and counters."""
        return {
            "revisions": {
                release: {
                    "weight": revision.weight,
                    "load": revision.load.to_json(),
                    "replicas": {
                        replica.id: {"ready": replica.ready, "failures": replica.failures, "status": replica.status}
                        for replica in revision.replicas.values()
                    },
                }
                for release, revision in self.revisions.items()
            },
            "traffic": {release: traffic.to_json() for release, traffic in self.traffic.items()},
        }


class Table:
    """All services by `namespace/name`."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}

    def replicas(self) -> Iterator[Replica]:
        """Every replica of every service."""
        for service in self.services.values():
            for revision in service.revisions.values():
                yield from revision.replicas.values()

    def configure(self, document: Mapping[str, Any]) -> None:
        """Take a whole routing at once.

        `{"services": {key: {"revisions": {release: {"weight": percent, "replicas": {id: socket}, "limit": n}}}}}`;
        with a limit, which says how many requests a replica gets at a time, they wait in order until one has a place.

        Replicas that stay keep their connections; those that go get no new request, and what they are answering is
        finished. Raises RoutingError before anything has changed.
        """
        wanted = document["services"]
        for key, entry in wanted.items():
            if not _KEY.fullmatch(key):
                raise RoutingError(f"{key!r} is not namespace/name")
            for release, spec in entry["revisions"].items():
                weight = spec["weight"]
                if type(weight) is not int or not 0 <= weight <= 100:
                    raise RoutingError(f"{key}: weight {weight!r} of {release} is not 0 to 100")
                if type(spec.get("limit", 0)) is not int or spec.get("limit", 0) < 0:
                    raise RoutingError(f"{key}: limit {spec['limit']!r} of {release} is no number of requests")
                if not all(isinstance(path, str) for path in spec["replicas"].values()):
                    raise RoutingError(f"{key}: a replica's socket is not a path")
        for key in [key for key in self.services if key not in wanted]:
            gone = self.services.pop(key)
            gone.drop(list(gone.revisions))
        for key, entry in wanted.items():
            self._configure(self.services.setdefault(key, Service()), entry["revisions"])

    def _configure(self, service: Service, wanted: Mapping[str, Any]) -> None:
        service.drop([release for release in service.revisions if release not in wanted])
        for release, spec in wanted.items():
            revision = service.revisions.setdefault(release, Revision(release))
            revision.places.limit = spec.get("limit", 0)
            if revision.weight != spec["weight"]:
                revision.weight, revision.current = spec["weight"], 0
            for identity in [i for i in revision.replicas if i not in spec["replicas"]]:
                revision.replicas.pop(identity).close()
            for identity, path in spec["replicas"].items():
                known = revision.replicas.get(identity)
                if known is None or known.path != path:
                    revision.replicas[identity] = Replica(identity, release, path, service)
        service.wake()

    def close(self) -> None:
        """Close every idle connection."""
        for replica in self.replicas():
            replica.close()

    def to_json(self) -> dict[str, Any]:
        """The state of every service."""
        return {key: service.to_json() for key, service in self.services.items()}
