"""The webhook's front: TLS, the clock of every review, and what happens when something behind it does not answer.

Every review gets an answer before the API server stops waiting: what cannot be decided by then is refused with the
reason. The front itself judges nothing and reads no configuration, so there is little in it that could fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.clock import Clock
from customhouse.app.admission_certificates import Certificates
from customhouse.app.admission_evaluator import IMAGE, MUTATE, VALIDATE, refusal
from customhouse.app.admission_processes import Nursery
from customhouse.app.admission_review import NotAReviewError, read_review, undecided
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError, StateError, TargetError
from customhouse.server.admission_evaluators import Evaluators, Task
from customhouse.server.admission_http import Connection, Connections, Request
from customhouse.server.admission_metrics import Metrics

PATHS = {"/validate": VALIDATE, "/mutate": MUTATE, "/validate-image": IMAGE}
DEFAULT_TIMEOUT_S = 10.0
"""The API server's own default, when it does not say."""
MAX_TIMEOUT_S = 30.0
OVERDUE_S = 5.0
ASKED_AGAIN_S = 300.0
"""How old the answer of a bundle's source may be where the bundle is not pinned."""
FIRST_LOAD_S = 120.0
TICK_S = 0.01
"""How often is looked for what is late while anything is open; small beside the time left for the refusal."""
DRAIN_S = 10.0
"""How long those that were asked before the end may take."""
_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"
Tell = Callable[[str, dict[str, Any]], None]
"""Where events go: a name and its fields."""


@dataclass(frozen=True, slots=True)
class Listening:
    """How the webhook is reached, and with how many evaluators."""

    host: str = "0.0.0.0"  # noqa: S104 - the API server is another machine
    port: int = 8443
    workers: int = 2
    dry: bool = False
    repo: str | None = None


class Front:
    """One webhook. Construct it before anything starts threads: it forks."""

    def __init__(
        self, settings: Settings, listening: Listening, certificates: Certificates, clock: Clock, tell: Tell
    ) -> None:
        self._listening, self._certificates, self._clock, self._tell = listening, certificates, clock, tell
        self._note = settings.allowed
        self._folder = tempfile.TemporaryDirectory(prefix="customhouse-webhook-")  # mode 0700
        self._place = Path(self._folder.name) / "meeting"
        self._nursery = Nursery(settings, listening.repo, self._place, workers=listening.workers, dry=listening.dry)
        self._evaluators = Evaluators(self)
        self._connections = Connections(self, clock.monotonic)
        self._metrics = Metrics()
        self._numbers = 0
        self._open: dict[int, Task] = {}
        self._watching = False
        self._asked = 0
        """The newest generation that was asked for."""
        self._asked_at = 0.0
        self._again = False
        self._problem = ""
        self._revision: str | None = None
        self._alerts: list[str] = []
        self._floating, self._loaded_at = False, 0.0
        self._ready: asyncio.Future[str] | None = None
        self._stop: asyncio.Event | None = None
        self.port = listening.port

    def run(self, listening: Callable[[int], None]) -> None:
        """Serve until SIGTERM or SIGINT; `listening` is told the port once reviews are answered.

        Raises TargetError (the port is taken), and StateError when not even a first generation can be read.
        """
        import uvloop

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main(listening))
        finally:
            self._nursery.close()
            self._folder.cleanup()

    async def _main(self, listening: Callable[[int], None]) -> None:
        loop = asyncio.get_running_loop()
        self._stop, self._ready = asyncio.Event(), loop.create_future()
        meeting = await loop.create_unix_server(self._evaluators.meeting, str(self._place))
        self._nursery.clerk()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        await self._allowed()
        if self._stop.is_set():
            return
        self._load()
        try:
            problem = await asyncio.wait_for(self._ready, FIRST_LOAD_S)
        except TimeoutError:
            problem = f"nothing was read within {FIRST_LOAD_S:g} seconds"
        if self._stop.is_set():
            return
        if problem:
            raise StateError(f"nothing can be judged: {problem}", where="webhook", hint="mend it and start again")
        server = await self._listen(loop)
        loop.add_signal_handler(signal.SIGHUP, self._reread)
        listening(self.port)
        try:
            await self._tend()
        finally:
            server.close()
            self._connections.close_idle()
            deadline = self._clock.monotonic() + DRAIN_S
            while self._connections.open and self._clock.monotonic() < deadline:
                await asyncio.sleep(0.02)
            self._evaluators.close()
            deadline = self._clock.monotonic() + DRAIN_S
            while self._evaluators.clerk is not None and self._clock.monotonic() < deadline:
                await asyncio.sleep(0.02)
            meeting.close()

    async def _allowed(self) -> None:
        """Wait until `up` has allowed a first commit, where it says so in a note: before that nothing is in force."""
        assert self._stop is not None  # noqa: S101 - made before
        if self._note is not None and not self._note.exists():
            self._tell("waiting", {"for": str(self._note)})
        while self._note is not None and not self._note.exists() and not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 0.5)

    def _reread(self) -> None:
        """SIGHUP: somebody does not want to wait for the next look."""
        self._look_at_certificates()
        self.changed()

    def _end(self) -> None:
        if self._stop is not None:
            self._stop.set()
        if self._ready is not None and not self._ready.done():
            self._ready.set_result("ended")

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> asyncio.Server:
        try:
            bound = socket.create_server(
                (self._listening.host, self._listening.port),
                family=socket.AF_INET6 if ":" in self._listening.host else socket.AF_INET,
                backlog=1024,
            )
        except OSError as error:
            raise TargetError(
                f"cannot listen on {self._listening.host}:{self._listening.port}: {error.strerror}",
                where="webhook",
                hint="choose another port with --port, or 0 for a free one",
            ) from error
        self.port = int(bound.getsockname()[1])
        return await loop.create_server(
            lambda: Connection(self._connections),
            sock=bound,
            ssl=self._certificates.context,
            ssl_handshake_timeout=10.0,
            ssl_shutdown_timeout=2.0,
        )

    async def _tend(self) -> None:
        """Once a second: slow clients, overdue evaluators, certificates."""
        assert self._stop is not None  # noqa: S101 - made before
        while not self._stop.is_set():
            self._connections.sweep()
            self._evaluators.overdue(self._clock.monotonic(), OVERDUE_S)
            self._look_at_certificates()
            if self._floating and self._clock.monotonic() - self._loaded_at > ASKED_AGAIN_S:
                self.changed()
            # One that was refused already is not waited for any more.
            if self._asked_at and self._clock.monotonic() - self._asked_at > FIRST_LOAD_S:
                self._refuse_generation(f"it was not read within {FIRST_LOAD_S:g} seconds", self._asked)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1.0)

    def _look_at_certificates(self) -> None:
        try:
            if self._certificates.check(self._clock.now()):
                self._metrics.certificate_reloads += 1
                self._tell("certificate", {"ends": self._certificates.ends.isoformat()})
        except CustomhouseError as error:
            self._metrics.certificate_failures += 1
            self._tell("certificate-refused", {"problem": str(error)})

    # generations
    def _load(self) -> None:
        self._asked += 1
        self._asked_at = self._loaded_at = self._clock.monotonic()
        self._nursery.load(self._asked)

    def changed(self) -> None:
        """There is something new to read; one generation is read at a time."""
        if self._asked_at:
            self._again = True
        else:
            self._load()

    def generation(self, hello: dict[str, Any]) -> None:
        """A generation was read, or could not be."""
        if "problem" in hello:
            self._refuse_generation(str(hello["problem"]), int(hello["generation"]))
            return
        self._revision = hello.get("revision")
        self._alerts, self._floating = list(hello.get("alerts") or ()), bool(hello.get("floating"))
        self._tell("generation", {key: hello[key] for key in ("generation", "bundle", "revision", "workers")})
        for alert in self._alerts:
            self._tell("policy-alert", {"problem": alert})

    def taken_over(self, generation: int) -> None:
        """The new generation judges."""
        self._problem = ""
        self._metrics.reloads += generation > 1
        if self._ready is not None and not self._ready.done():
            self._ready.set_result("")
        self._settled()

    def _refuse_generation(self, problem: str, generation: int) -> None:
        self._problem = f"generation {generation} could not be taken over: {problem}"
        self._metrics.reload_failures += 1
        self._tell("generation-refused", {"generation": generation, "problem": problem})
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(problem)
        self._settled()

    def _settled(self) -> None:
        self._asked_at = 0.0
        if self._again:
            self._again = False
            self._load()

    def died(self, task: Task | None) -> None:
        """An evaluator died; what it was judging is refused."""
        self._metrics.restarts += 1
        self._tell("evaluator-died", {"review": None if task is None else task.number})
        if task is not None:
            self._shut(task, "the evaluation was ended: it took more than its share of time, or the engine failed")

    def unrecorded(self) -> None:
        """An answer is not in the ledger."""
        self._metrics.unrecorded += not self._listening.dry

    # requests
    def handle(self, request: Request) -> None:
        """Answer one request, now or when it is judged."""
        kind = PATHS.get(request.path)
        if kind is None:
            self._page(request)
        elif request.method != "POST":
            request.respond(405, b"POST an AdmissionReview\n", _TEXT)
        elif self._certificates.clients and not request.known:
            request.respond(403, b"a client certificate of the API server is asked for\n", _TEXT)
        elif request.content_type != _JSON:
            request.respond(415, b"send application/json\n", _TEXT)
        else:
            self._review(request, kind)

    def _review(self, request: Request, kind: int) -> None:
        began = self._clock.monotonic()
        timeout = min(request.timeout_s or DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S)
        # Early enough that the refusal itself is there in time.
        patience = timeout - min(0.5, timeout / 5)
        self._numbers += 1

        def done(body: bytes, label: str, status: int) -> None:
            task.finished = True
            self._open.pop(task.number, None)
            self._metrics.observe(kind, label, self._clock.monotonic() - began)
            request.respond(status, body, _JSON if status == 200 else _TEXT)

        task = Task(self._numbers, kind, request.body, began, began + patience, done)
        self._open[task.number] = task
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_later(TICK_S, self._watch)
        if not self._evaluators.give(task):
            self._shut(task, "too many reviews wait")

    def _watch(self) -> None:
        """Refuse what is late. One timer for all that is open: one for each review would cost more than its framing."""
        now = self._clock.monotonic()
        for task in [task for task in self._open.values() if task.deadline <= now]:
            self._metrics.late += 1
            self._shut(task, f"no decision within {task.deadline - task.began:.1f} seconds")
        self._watching = bool(self._open)
        if self._watching:
            asyncio.get_running_loop().call_later(TICK_S, self._watch)

    def _shut(self, task: Task, reason: str) -> None:
        if task.finished:
            return
        try:
            uid = read_review(task.body).uid
        except NotAReviewError as error:
            reply = refusal(error)
            task.done(reply.body, reply.label, reply.status)
            return
        task.done(undecided(reason).to_bytes(uid), "undecided", 200)

    def _page(self, request: Request) -> None:
        pages = {"/healthz": self._health, "/readyz": self._readiness, "/metrics": self._measures}
        page = pages.get(request.path)
        if page is None:
            known = ", ".join((*PATHS, *pages))
            request.respond(404, f"there are {known}\n".encode(), _TEXT)
        elif request.method != "GET":
            request.respond(405, b"GET this\n", _TEXT)
        else:
            status, text = page()
            request.respond(status, text.encode(), _TEXT)

    def _health(self) -> tuple[int, str]:
        return 200, "ok\n"

    def _readiness(self) -> tuple[int, str]:
        count = self._evaluators.count
        lines = [
            f"evaluators: {count}",
            f"generation: {self._evaluators.current}",
            f"revision: {self._revision or 'none'}",
            f"rules: {self._problem or 'current'}",
            *(f"alert: {alert}" for alert in self._alerts),
            f"certificate ends: {self._certificates.ends.isoformat()}",
        ]
        return (200 if count else 503), "\n".join(lines) + "\n"

    def _measures(self) -> tuple[int, str]:
        return 200, self._metrics.text(
            generation=self._evaluators.current,
            sound=not self._problem,
            alerts=len(self._alerts),
            ends=self._certificates.ends.timestamp(),
            evaluators=self._evaluators.count,
            connections=len(self._connections.open),
        )
