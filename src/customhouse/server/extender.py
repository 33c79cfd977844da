"""The scheduler's extender over TLS: POST /filter, /prioritize and /preempt, beside /healthz, /readyz, /metrics.

One process and one thread answer: a scheduler asks one thing at a time. What cannot be answered is an error at once,
and the scheduler goes on without (`ignorable: true`); it never waits for this.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from customhouse._kit.clock import Clock, to_rfc3339
from customhouse.app.admission_certificates import Certificates
from customhouse.app.extender import Extending, Tell
from customhouse.app.extender_status import write_extender_status
from customhouse.core.errors import CustomhouseError, TargetError, UsageError
from customhouse.server.admission_http import Connection, Connections, Request

LOOK_S = 3.0
"""How often is looked for newer rules and prices."""
SWITCH_S = 0.0005
"""Python's default lets the thread that reads events hold off an answer for 5 ms at a time."""
COLLECT = (50_000, 20, 50)
"""How many new objects until Python looks for cycles: an answer makes thousands, and none of them is in one."""
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"


@dataclass(slots=True)
class Measures:
    """Counters of one extender. Durations are seconds from the last byte of a request to its answer."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    buckets: dict[str, list[int]] = field(default_factory=dict)
    """By path; one more than there are bounds."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    forbidden: int = 0
    emptied: int = 0

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self.answers[path, status] += 1
        self.seconds[path] += seconds
        found = self.buckets.get(path)
        if found is None:
            found = self.buckets[path] = [0] * (len(BUCKETS) + 1)
        found[bisect_left(BUCKETS, seconds)] += 1

    def within(self) -> dict[str, float | None]:
        """Seconds within which so many of a hundred calls were answered, as bounds of the buckets; None: above all."""
        counts = [sum(column) for column in zip(*self.buckets.values(), strict=True)]
        whole, found = sum(counts), dict[str, float | None]()
        for name, part in (("p50", 0.5), ("p99", 0.99)):
            running = 0
            for bound, count in zip((*BUCKETS, None), counts, strict=False):
                running += count
                if running >= part * whole:
                    found[name] = bound
                    break
        return found

    def text(self, gauges: dict[str, tuple[str, float]]) -> str:
        """Prometheus text format 0.0.4; `gauges` are (help, value) by name."""
        name = "customhouse_extender"
        lines = [f"# HELP {name}_answers_total Answers by path and status.", f"# TYPE {name}_answers_total counter"]
        lines += [
            f'{name}_answers_total{{path="{path}",status="{status}"}} {count}'
            for (path, status), count in sorted(self.answers.items())
        ]
        lines += [f"# HELP {name}_seconds Time to an answer.", f"# TYPE {name}_seconds histogram"]
        for path, counts in sorted(self.buckets.items()):
            running = 0
            for bound, count in zip((*BUCKETS, "+Inf"), counts, strict=True):
                running += count
                lines.append(f'{name}_seconds_bucket{{path="{path}",le="{bound}"}} {running}')
            lines.append(f'{name}_seconds_sum{{path="{path}"}} {self.seconds[path]:.6f}')
            lines.append(f'{name}_seconds_count{{path="{path}"}} {running}')
        counters = {
            "forbidden_total": ("Nodes that a tier's rules took away.", float(self.forbidden)),
            "emptied_total": ("Calls after which no node was left.", float(self.emptied)),
        }
        for kind, values in (("counter", counters), ("gauge", gauges)):
            for key, (text, value) in values.items():
                lines += [f"# HELP {name}_{key} {text}", f"# TYPE {name}_{key} {kind}", f"{name}_{key} {value:g}"]
        return "\n".join(lines) + "\n"


class ExtenderFace:
    """Answers HTTP for one `Extending`."""

    def __init__(
        self,
        extending: Extending,
        certificates: Certificates,
        clock: Clock,
        tell: Tell,
        state: Path | None = None,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """`state`: where its status is written. It ends by itself when `goes_on` says so."""
        self._state, self._goes_on = state, goes_on
        self._written: object = None
        self._extending, self._certificates, self._clock, self._tell = extending, certificates, clock, tell
        self._connections = Connections(self, clock.monotonic)
        self._measures = Measures()
        self._stop: asyncio.Event | None = None
        self._unready = ""
        self._settled = self._ended = False
        self.host, self.port = "", 0

    def run(self, host: str, port: int, listening: Callable[[int], None]) -> None:
        """Serve until SIGTERM or SIGINT; `listening` is told the port. Raises TargetError when it is taken."""
        import uvloop

        sys.setswitchinterval(SWITCH_S)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main(host, port, listening))

    async def _main(self, host: str, port: int, listening: Callable[[int], None]) -> None:
        loop = asyncio.get_running_loop()
        self._stop = stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = await self._listen(loop, host, port)
        listening(self.port)
        try:
            while not stop.is_set():
                self._connections.sweep()
                self._look_at_certificates()
                self._say_readiness()
                self._write_status()
                if not self._goes_on():
                    break
                await asyncio.to_thread(self._extending.look)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_S)
        finally:
            server.close()
            self._connections.close_idle()

    async def _listen(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> asyncio.Server:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            bound = socket.create_server((host, port), family=family)
        except OSError as error:
            raise TargetError(
                f"cannot listen on {host}:{port}: {error.strerror}",
                where="extender",
                hint="choose another port with --port, or 0 for a free one",
            ) from error
        self.host, self.port = host, int(bound.getsockname()[1])
        return await loop.create_server(
            lambda: Connection(self._connections),
            sock=bound,
            ssl=self._certificates.context,
            ssl_handshake_timeout=10.0,
            ssl_shutdown_timeout=2.0,
        )

    def _look_at_certificates(self) -> None:
        try:
            if self._certificates.check(self._clock.now()):
                self._tell("certificate", {"ends": self._certificates.ends.isoformat()})
        except CustomhouseError as error:
            self._tell("certificate-refused", {"problem": str(error)})
        ended = self._certificates.ends <= self._clock.now()
        if ended and not self._ended:
            self._tell("certificate-ended", {"ended": self._certificates.ends.isoformat()})
        self._ended = ended

    def _say_readiness(self) -> None:
        found = self._extending.ready()
        if not found and not self._settled:
            # Rules, prices and the first state of the cluster stay: looking through them again and again is what would
            # hold up an answer the longest.
            self._settled = True
            gc.collect()
            gc.freeze()
            gc.set_threshold(*COLLECT)
        if bool(found) != bool(self._unready):
            self._tell("not-ready" if found else "ready", {"problem": found})
        self._unready = found

    def _write_status(self) -> None:
        if self._state is None:
            return
        try:
            write_extender_status(self._state, self.status())
        except OSError as error:
            if self._written != str(error):
                self._written = str(error)
                self._tell("status-not-written", {"problem": str(error)})

    def status(self) -> dict[str, Any]:
        """What `up`, `status` and `doctor` show of it."""
        extending = self._extending
        generation, occupancy = extending.generation, extending.occupancy
        calls: dict[str, dict[str, int]] = {}
        for (path, code), number in sorted(self._measures.answers.items()):
            calls.setdefault(path.strip("/"), {})[str(code)] = number
        return {
            "at": to_rfc3339(self._clock.now()),
            "host": self.host,
            "port": self.port,
            "problem": extending.ready() or ("its certificate has ended" if self._ended else ""),
            "revision": generation.revision or "",
            "rules": extending.problem or generation.unsure,
            "prices": generation.prices.warning,
            "unpriced": generation.prices.unpriced,
            "certificate_ends": to_rfc3339(self._certificates.ends),
            "calls": calls,
            "within": self._measures.within(),
            "nodes": len(occupancy.nodes),
            "doubted": [
                *occupancy.unreadable()[:10],
                *(f"{name} {text}" for name, text in list(generation.prices.doubted.items())[:10]),
            ],
            "reservations": occupancy.assumed,
            "pending": len(occupancy.pending()),
            **extending.tally.to_json(),
        }

    # requests
    def handle(self, request: Request) -> None:
        """Answer one request at once."""
        began = self._clock.monotonic()
        status, content, kind = self._answer(request)
        request.respond(status, content, kind)
        path = request.path if request.path in ("/filter", "/prioritize", "/preempt") else "other"
        self._measures.observe(path, status, self._clock.monotonic() - began)

    def _answer(self, request: Request) -> tuple[int, bytes, str]:
        if request.path in ("/healthz", "/readyz", "/metrics"):
            return self._page(request)
        if request.path not in ("/filter", "/prioritize", "/preempt"):
            return 404, b"there are /filter, /prioritize, /preempt, /healthz, /readyz, /metrics\n", _TEXT
        if request.method != "POST":
            return 405, b"POST the arguments of an extender\n", _TEXT
        if not request.known:
            return 403, b"a client certificate of the scheduler is asked for\n", _TEXT
        if problem := self._extending.ready():
            return 503, f"{problem}\n".encode(), _TEXT
        try:
            return 200, self._decide(request), _JSON
        except UsageError as error:
            return 400, f"{error}\n".encode(), _TEXT
        except Exception as error:  # noqa: BLE001 - one call that fails may not end the others
            self._tell("call-failed", {"path": request.path, "problem": f"{type(error).__name__}: {error}"})
            return 503, b"this call could not be answered; the extender's log says why\n", _TEXT

    def _decide(self, request: Request) -> bytes:
        if request.path == "/preempt":
            return self._extending.preempt(request.body)
        if request.path == "/prioritize":
            return self._extending.prioritise(request.body)
        body, left, forbidden = self._extending.filter(request.body)
        self._measures.forbidden += forbidden
        self._measures.emptied += not left
        return body

    def _page(self, request: Request) -> tuple[int, bytes, str]:
        if request.method != "GET":
            return 405, b"GET this\n", _TEXT
        if request.path == "/healthz":
            return 200, b"ok\n", _TEXT
        generation, occupancy = self._extending.generation, self._extending.occupancy
        problem = self._extending.ready()
        if request.path == "/readyz":
            lines = [
                f"cluster: {problem or 'known'}",
                f"revision: {generation.revision or 'none'}",
                f"rules: {self._extending.problem or generation.unsure or 'current'}",
                f"prices: {generation.prices.warning or 'current'}",
                f"certificate ends: {self._certificates.ends.isoformat()}",
            ]
            return (503 if problem else 200), ("\n".join(lines) + "\n").encode(), _TEXT
        gauges = {
            "ready": ("0 while calls are refused, and the scheduler goes on without.", float(not problem)),
            "rules_current": ("0 while the newest rules could not be taken over.", float(not self._extending.problem)),
            "prices_current": ("0 while nodes are scored without prices.", float(not generation.prices.warning)),
            "reservations": ("Pods that were scored, and not seen bound yet.", float(occupancy.assumed)),
            "doubted": ("Nodes that say what cannot be.", float(len(generation.prices.doubted))),
            "unpriced": ("Sorts of nodes without a price.", float(generation.prices.unpriced)),
            "nodes": ("Nodes that are known.", float(len(occupancy.nodes))),
            "pending": ("Pods that no node was found for.", float(len(occupancy.pending()))),
            "certificate_end_seconds": ("When the certificate ends.", self._certificates.ends.timestamp()),
        }
        return 200, self._measures.text(gauges).encode(), _TEXT
