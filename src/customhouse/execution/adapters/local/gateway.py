"""The proxy before the workers: one process, one loopback port, every InferenceService.

It routes `/{namespace}/{name}/v2/…`, or `Host: {name}.{namespace}.…` with `/v2/…`, to revisions by weight and on to a
replica's unix socket. It goes on with its last configuration when the control process is gone. Its admin socket takes
`GET /state`, `PUT /config` (the whole routing) and `PUT /weights`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import resource
import socket
import time
from typing import Any

import orjson

from customhouse.execution.adapters.local import holding, tenancy
from customhouse.execution.adapters.local.meter import exposition, samples
from customhouse.execution.adapters.local.routing import Replica, RoutingError, Service, Table
from customhouse.execution.adapters.local.tenancy import DRAIN_S, PREDICTION_HEADER, REQUEST_HEADER
from customhouse.execution.adapters.local.wire import LostError, Request, Response, Server, encode_request

RELEASE_HEADER = "customhouse-release"
HOLD_S = 10.0
"""How long a request waits for a replica when none is ready (a restart takes less than a second)."""
MAX_HELD = 256
MAX_CONNECTIONS = 8_192
"""Each held request holds its client's connection; the bounds of what is held are `holding`'s."""
ATTEMPTS = 4
PROBE_S = 0.5
PROBE_STARTING_S = 0.05
PROBE_TIMEOUT_S = 1.0
_FORWARDED = ("content-type", "inference-header-content-length")
_RETURNED = ("inference-header-content-length", "retry-after")
_PATH = re.compile(r"/([a-z0-9][a-z0-9.-]{0,252})/([a-z0-9][a-z0-9.-]{0,252})(/v2(?:/.*)?|/feedback)")
_HOST = re.compile(r"([a-z0-9][a-z0-9-]{0,62})\.([a-z0-9][a-z0-9-]{0,62})(?:\..*)?")


class Gateway:
    """Routes, retries where that is safe, counts."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.table = Table()
        self.held = 0
        self.holder = holding.Holder(float(config.get("hold_s") or holding.HOLD_S))
        self._timeout_s = float(config["timeout_s"])
        self._ids = os.urandom(6).hex()
        self._count = 0

    # the public side
    async def handle(self, request: Request) -> Response:
        """Answer a client's request."""
        if request.method == "GET" and request.path == "/metrics":
            return Response(200, self._metrics(), "text/plain; version=0.0.4")
        if request.method == "GET" and request.path == "/healthz":
            return _json({"live": True})
        service, path = self._route(request)
        if service is None:
            return _problem(404, "no such inference service; ask /{namespace}/{name}/v2/models/{name}/infer")
        if path == "/feedback":
            return self._feedback(service, request)
        self._count += 1
        identity = f"{self._ids}-{self._count:x}"
        if request.method == "POST" and path.endswith("/infer"):
            begun = time.monotonic()
            release, response = await self._forward(service, request, path, identity)
            service.count(release, response.status, time.monotonic() - begun)
        else:
            release, response = await self._forward(service, request, path, identity)
        response.headers = (*response.headers, (RELEASE_HEADER, release), (REQUEST_HEADER, identity))
        return response

    def _route(self, request: Request) -> tuple[Service | None, str]:
        match = _PATH.fullmatch(request.path)
        if match is not None:
            return self.table.services.get(f"{match[1]}/{match[2]}"), match[3]
        match = _HOST.fullmatch(request.headers.get("host", "").partition(":")[0].lower())
        if match is not None and (request.path == "/feedback" or request.path.startswith("/v2")):
            return self.table.services.get(f"{match[2]}/{match[1]}"), request.path
        return None, ""

    async def _forward(self, service: Service, request: Request, path: str, identity: str) -> tuple[str, Response]:
        """Numbered as it must be right: (1) choose, (2) send, (3) retry only what no worker has begun to answer."""
        headers = [(name, request.headers[name]) for name in _FORWARDED if name in request.headers]
        data = encode_request(request.method, path, (*headers, (REQUEST_HEADER, identity)), request.body)
        if service.elastic:
            return await self._forward_elastic(service, data, identity)
        tried: set[str] = set()
        release = ""
        for _ in range(ATTEMPTS):
            replica = service.choose(tried) or await self._hold(service, tried)  # (1)
            if replica is None:
                break
            release = replica.release
            replica.in_flight += 1
            try:
                status, found, body = await replica.exchange(data, self._timeout_s)  # (2)
            except TimeoutError:
                return release, _problem(504, f"the model did not answer within {self._timeout_s:g} s")
            except LostError as error:
                tried.add(replica.id)
                # (3) An inference changes nothing, so asking another replica is safe until bytes have come back.
                if error.answered:
                    return release, _problem(502, "the worker's answer broke off")
                replica.suspect()
                continue
            finally:
                replica.in_flight -= 1
            return release, self._answer(service, release, identity, (status, found, body))
        return release, _busy("no replica is ready; try again")

    @staticmethod
    def _answer(service: Service, release: str, identity: str, said: tuple[int, dict[str, str], bytes]) -> Response:
        """A worker's answer for the client; its prediction is remembered."""
        status, found, body = said
        rows = found.get(PREDICTION_HEADER)
        if rows is not None:
            service.remember(identity, release, rows)
        kept = tuple((name, found[name]) for name in _RETURNED if name in found)
        return Response(status, body, found.get("content-type", "application/json"), kept)

    async def _forward_elastic(self, service: Service, data: bytes, identity: str) -> tuple[str, Response]:
        try:
            replica, said = await self.holder.send(service, data, self._timeout_s)
        except holding.Refused as error:
            return "", _busy(str(error))
        except TimeoutError:
            return "", _problem(504, f"the model did not answer within {self._timeout_s:g} s")
        except LostError:
            return "", _problem(502, "the worker's answer broke off")
        return replica.release, self._answer(service, replica.release, identity, said)

    async def _hold(self, service: Service, tried: set[str]) -> Replica | None:
        """Wait for a replica to become ready (a crash, a first start): bounded in number and time."""
        if self.held >= MAX_HELD or not service.revisions:
            return None
        self.held += 1
        loop = asyncio.get_running_loop()
        end = loop.time() + HOLD_S
        try:
            while loop.time() < end:
                await service.changed(end - loop.time())
                tried.clear()
                replica = service.choose(tried)
                if replica is not None:
                    return replica
        finally:
            self.held -= 1
        return None

    def _feedback(self, service: Service, request: Request) -> Response:
        if request.method != "POST":
            return _problem(405, "POST the label")
        # A web page on this machine may send a form here without asking; it may not send JSON.
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _problem(415, "send content-type application/json")
        try:
            document = orjson.loads(request.body)
            identity, label = document["id"], document["label"]
            labels = label if isinstance(label, list) else [label]
            if not isinstance(identity, str) or not all(type(value) is int for value in labels):
                return _problem(400, "id is a text; label is a whole number, or a list of them")
            release = service.label(identity, labels)
        except LookupError as error:
            missing = isinstance(error, KeyError) and error.args[:1] in (("id",), ("label",))
            return _problem(400 if missing else 404, f"{error.args[0]} is missing" if missing else str(error.args[0]))
        except (ValueError, TypeError) as error:
            return _problem(400, f'send {{"id": request id, "label": 0 or 1}}: {error}')
        return _json({"id": identity, "release": release})

    def _metrics(self) -> bytes:
        rows: list[tuple[str, dict[str, str], float]] = []
        for key, service in self.table.services.items():
            namespace, _, name = key.partition("/")
            for release, traffic in service.traffic.items():
                labels = {"namespace": namespace, "service": name, "release": release}
                rows.extend(
                    (metric, {**labels, **extra}, value) for metric, _, extra, value in samples(traffic.to_json())
                )
        rows.append(("customhouse_gateway_requests_held", {}, self.held + self.holder.held))
        return exposition(rows)

    # the admin side
    async def admin(self, request: Request) -> Response:
        """Answer the control process."""
        try:
            if request.method == "GET" and request.path == "/state":
                return _json({"pid": os.getpid(), "port": self.config["port"], "services": self.table.to_json()})
            if request.method == "PUT" and request.path == "/config":
                self.table.configure(orjson.loads(request.body))
                await self._probe_new()
                return _json({"ok": True})
            if request.method == "PUT" and request.path == "/weights":
                document = orjson.loads(request.body)
                self.table.services[document["service"]].weigh(document["weights"])
                return _json({"ok": True})
        except (RoutingError, ValueError, KeyError, TypeError) as error:
            return _problem(400, f"not a routing: {error}")
        return _problem(404, request.path)

    async def _probe_new(self) -> None:
        """Look at replicas that were never seen, so that a restarted gateway routes at once."""
        fresh = [replica for replica in self.table.replicas() if replica.status is None]
        if fresh:
            await asyncio.wait({asyncio.ensure_future(replica.probe(0.2)) for replica in fresh}, timeout=0.25)

    async def probe_forever(self) -> None:
        """Ask every replica how it is; a ready one twice a second, one that starts twenty times."""
        due: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        pending: set[asyncio.Task[None]] = set()
        while True:
            now = loop.time()
            current = {replica.id: replica for replica in self.table.replicas()}
            due = {key: when for key, when in due.items() if key in current}
            for replica in current.values():
                if due.get(replica.id, 0.0) <= now and not replica.probing:
                    due[replica.id] = now + (PROBE_S if replica.ready else PROBE_STARTING_S)
                    task = loop.create_task(replica.probe(PROBE_TIMEOUT_S))
                    pending.add(task)
                    task.add_done_callback(pending.discard)
            await asyncio.sleep(PROBE_STARTING_S if any(not r.ready for r in current.values()) else 0.1)


async def _run(gateway: Gateway, config: dict[str, Any]) -> None:
    listener = socket.socket(fileno=config["fd"])
    listener.setblocking(False)
    _take_descriptors()
    public = Server(gateway.handle, max_body=config["max_body"], max_connections=MAX_CONNECTIONS)
    admin = Server(gateway.admin, max_body=4 << 20)
    if config.get("routing"):
        gateway.table.configure(config["routing"])
        await gateway._probe_new()  # noqa: SLF001 - this function is the class's other half
    await public.listen(listener)
    await admin.listen(tenancy.bind_unix(config["admin"]))
    probes = asyncio.get_running_loop().create_task(gateway.probe_forever())
    tenancy.say("gateway ready", port=config["port"])
    reason = await tenancy.until_stopped(config)
    tenancy.say("gateway draining", reason=reason)
    await public.drain(DRAIN_S)
    probes.cancel()
    await admin.drain(1.0)
    gateway.table.close()
    tenancy.say("gateway stopped")


def _take_descriptors() -> None:
    """As many open files as this user may have: a burst is a thousand connections."""
    with contextlib.suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(path: str) -> int:
    """Serve until told to stop."""
    config = tenancy.read_config(path)
    gc.collect()
    gc.freeze()
    asyncio.run(_run(Gateway(config), config))
    return 0


def _error(message: str) -> bytes:
    return orjson.dumps({"error": message})


def _busy(message: str) -> Response:
    return Response(503, _error(message), headers=(("retry-after", "1"),))


def _problem(status: int, message: str) -> Response:
    return Response(status, _error(message))


def _json(document: Any) -> Response:
    return Response(200, orjson.dumps(document))
