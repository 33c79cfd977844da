"""Requests through a cluster without nodes: stand-ins for its pods, a proxy that goes by its objects, and counters.

    pods            a real HTTP server on loopback; a pod answers while it is ready, and for a grace after its deletion
    Services        EndpointSlices as the real controller writes them; only endpoints that are ready are asked
    HTTPRoutes      weights as they are at the moment; their status is written as a Gateway does
    callers         threads that ask without a pause to speak of; whatever is not answered with 200 is a failed request

Everything is heard by watches, as a real proxy hears of it.
"""

from __future__ import annotations

import http.client
import http.server
import json
import random
import socket
import ssl
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

from kubernetes_plane import ControlPlane, KubernetesError

_GRACE_S = 5.0
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
PODS = "/api/v1/namespaces/{}/pods"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes"


class Traffic:
    """`service` of one namespace, asked all the time. `slow` are the versions that answer late."""

    def __init__(self, plane: ControlPlane, namespace: str, service: str = "score", *, routed: bool = False) -> None:
        self.plane, self.namespace, self.service = plane, namespace, service
        self.slow: set[int] = set()
        self.failed: list[str] = []
        self.answered: Counter[int] = Counter()
        self.last: dict[int, float] = {}
        """Version → when it answered last, in seconds since 1970."""
        self._lock = threading.Lock()
        self._ended, self._paused = threading.Event(), threading.Event()
        self._seen: dict[str, dict[str, Any]] = {SLICES: {}, PODS: {}, ROUTES: {}}
        self._alive: dict[str, tuple[int, float]] = {}
        """Pod → its version and until when it answers."""
        self._arms: dict[str, list[float]] = {}
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pod)
        self._server.daemon_threads = True
        self._server.traffic = self  # type: ignore[attr-defined]
        self._threads = [threading.Thread(target=self._server.serve_forever, daemon=True)]
        kinds = (SLICES, PODS, ROUTES) if routed else (SLICES, PODS)
        self._threads += [threading.Thread(target=self._watch, args=(kind,), daemon=True) for kind in kinds]
        for thread in self._threads:
            thread.start()

    def begin(self, callers: int = 2) -> None:
        """Ask from now on."""
        found = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]
        self._threads += found
        for thread in found:
            thread.start()

    def pause(self) -> None:
        """Ask nothing for the time being: what a test breaks on purpose is nobody's failed request."""
        self._paused.set()

    def resume(self) -> None:
        """Ask again."""
        self._paused.clear()

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    # what is there
    def _watch(self, kind: str) -> None:
        place = kind.format(self.namespace)
        while not self._ended.is_set():
            try:
                listed = self.plane.call("GET", place)
                found = {item["metadata"]["name"]: item for item in listed["items"]}
                with self._lock:
                    gone = self._seen[kind].keys() - found.keys()
                    for name in gone:
                        self._heard(kind, "DELETED", self._seen[kind][name])
                    for item in found.values():
                        self._heard(kind, "ADDED", item)
                for event in self._events(f"{place}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}"):
                    with self._lock:
                        self._heard(kind, event["type"], event["object"])
                    if kind == ROUTES and event["type"] != "DELETED":
                        self._accept(event["object"])
            except (OSError, KubernetesError, ValueError, http.client.HTTPException):
                self._ended.wait(0.1)

    def _events(self, path: str) -> Iterator[Any]:
        request = urllib.request.Request(f"{self.plane.server}{path}")
        request.add_header("Authorization", f"Bearer {self.plane.token}")
        context = ssl.create_default_context(cafile=str(self.plane.authority))
        with urllib.request.urlopen(request, timeout=120, context=context) as answer:
            for line in answer:
                if self._ended.is_set():
                    return
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event

    def _heard(self, kind: str, event: str, item: Any) -> None:
        name = item["metadata"]["name"]
        if kind == PODS:
            version = int(item["spec"]["containers"][0]["image"].rpartition(":")[2], 16)
            conditions = item.get("status", {}).get("conditions") or ()
            ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
            if event == "DELETED" or "deletionTimestamp" in item["metadata"]:
                if name in self._alive:
                    self._alive[name] = (version, min(self._alive[name][1], time.monotonic() + _GRACE_S))
            elif ready:
                self._alive.setdefault(name, (version, float("inf")))
        if event == "DELETED":
            self._seen[kind].pop(name, None)
        else:
            self._seen[kind][name] = item

    def _accept(self, route: Any) -> None:
        """What a Gateway writes of a route that it has taken in."""
        metadata = route["metadata"]
        said = [
            {
                "type": kind,
                "status": "True",
                "reason": kind,
                "message": "",
                "observedGeneration": metadata["generation"],
                "lastTransitionTime": metadata["creationTimestamp"],
            }
            for kind in ("Accepted", "ResolvedRefs")
        ]
        parent = {"parentRef": route["spec"]["parentRefs"][0], "controllerName": "tests/gateway", "conditions": said}
        before = (route.get("status", {}).get("parents") or [{}])[0].get("conditions")
        if before and all(one["observedGeneration"] == metadata["generation"] for one in before):
            return
        place = f"{ROUTES.format(self.namespace)}/{metadata['name']}/status"
        merge = "application/merge-patch+json"
        self.plane.call("PATCH", place, {"status": {"parents": [parent]}}, content=merge)

    # a request
    def _backend(self) -> str:
        """The pod that the next request goes to; raises LookupError when there is none."""
        with self._lock:
            service = self.service
            routes = list(self._seen[ROUTES].values())
            if routes:
                backends = routes[0]["spec"]["rules"][0]["backendRefs"]
                weights = [item.get("weight", 1) for item in backends]
                if not sum(weights):
                    raise LookupError("no backend has a weight")
                service = random.choices([item["name"] for item in backends], weights)[0]
            pods = self._endpoints(service)
        if not pods:
            raise LookupError(f"Service {service} has no endpoint that is ready")
        return str(random.choice(pods))

    def _endpoints(self, service: str) -> list[str]:
        return [
            endpoint["targetRef"]["name"]
            for piece in self._seen[SLICES].values()
            if piece["metadata"]["labels"].get("kubernetes.io/service-name") == service
            for endpoint in piece.get("endpoints") or ()
            if endpoint["conditions"].get("ready")
        ]

    def ready(self, service: str) -> bool:
        """Whether anybody can be asked behind a Service."""
        with self._lock:
            return bool(self._endpoints(service))

    def _call(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.server_address[1], timeout=30)
        while not self._ended.wait(0.004):
            if self._paused.is_set():
                continue
            began, pod = time.monotonic(), ""
            try:
                pod = self._backend()
                connection.request("GET", f"/{pod}")
                answer = connection.getresponse()
                text = answer.read().decode()
                status = answer.status
            except LookupError as error:
                status, text = 503, str(error)
            except (OSError, http.client.HTTPException) as error:
                if self._ended.is_set():
                    return
                connection.close()
                status, text = 502, repr(error)
            self._count(pod, status, text, time.monotonic() - began)

    def _count(self, pod: str, status: int, text: str, took: float) -> None:
        with self._lock:
            if status != 200:
                self.failed.append(f"{status} {pod}: {text}")
            else:
                self.answered[int(text)] += 1
                self.last[int(text)] = time.time()
            if pod:
                arm = self._arms.setdefault(pod.rsplit("-", 2)[0], [0.0] * (4 + len(_BOUNDS)))
                arm[0] += 1
                arm[1] += status != 200
                arm[2] += took
                for index, bound in enumerate(_BOUNDS):
                    arm[3 + index] += took <= bound
                arm[-1] += 1

    def answer(self, pod: str) -> tuple[int, str]:
        """What a pod says."""
        with self._lock:
            version, until = self._alive.get(pod, (0, 0.0))
        if not version or time.monotonic() > until:
            return 502, "nobody is there"
        if version in self.slow:
            time.sleep(0.08)
        return 200, str(version)

    def text(self) -> str:
        """The counters, by the name of the Deployment, as Customhouse's own server calls them."""
        lines = []
        with self._lock:
            for name, arm in self._arms.items():
                labels = f'namespace="{self.namespace}",service="{self.service}",revision="{name}"'
                lines.append(f"customhouse_requests_total{{{labels}}} {arm[0]}")
                lines.append(f"customhouse_request_errors_total{{{labels}}} {arm[1]}")
                duration = "customhouse_request_duration_seconds"
                lines.append(f"{duration}_sum{{{labels}}} {arm[2]}")
                lines.append(f"{duration}_count{{{labels}}} {arm[-1]}")
                for bound, count in zip((*map(str, _BOUNDS), "+Inf"), arm[3:], strict=True):
                    lines.append(f'{duration}_bucket{{{labels},le="{bound}"}} {count}')
        return "\n".join(lines) + "\n"

    def routes(self) -> dict[str, int]:
        """The weights of the HTTPRoute as the proxy has them."""
        with self._lock:
            found = list(self._seen[ROUTES].values())
            return {item["name"]: item.get("weight", 1) for item in found[0]["spec"]["rules"][0]["backendRefs"]}


class _Pod(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def do_GET(self) -> None:
        status, text = self.server.traffic.answer(self.path[1:])  # type: ignore[attr-defined]
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
