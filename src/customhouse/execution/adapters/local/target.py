"""The local target: Declarations as processes of this machine, behind one loopback port.

    settings = LocalSettings(state=Path(".customhouse"), volumes={"models": Path("artifacts")})
    target = LocalTarget(settings, SystemClock())
    target.start()
    target.apply([Action(ActionKind.CREATE, ResourceRef.of(manifest), manifest)])
    target.read([ref])[ref].health      # Progressing, then Healthy
    target.stop()                       # or target.stop(keep_serving=True)

A thread of its own supervises. When the control process dies, workers and gateway go on; the next `start` takes them
over. They end by themselves when none comes within `lease_s`.
"""

from __future__ import annotations

import copy
import fcntl
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from customhouse._kit.clock import Clock
from customhouse.core.errors import CustomhouseError, StateError, TargetError
from customhouse.core.observation import Observation
from customhouse.core.plan import Action, ActionKind, ActionResult, Health, HealthStatus, LiveObject
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.execution.adapters.local import measure, processes
from customhouse.execution.adapters.local.fleet import Fleet, key_of
from customhouse.execution.adapters.local.front import Front
from customhouse.execution.adapters.local.holding import HOLD_S
from customhouse.execution.adapters.local.jobs import Jobs, SecretProvider
from customhouse.execution.adapters.local.live import live_job, live_service
from customhouse.execution.adapters.local.notice import read_notice
from customhouse.execution.adapters.local.places import Places
from customhouse.execution.adapters.local.records import Records, write_atomic
from customhouse.execution.adapters.local.scaling import Scaling

TICK_S = 0.1
_ROTATE_S = 30.0
_LOCK_S = 1.0
"""A killed control process's lock lives on for a moment in a child that it was just about to start."""


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """What the local target needs to know."""

    state: Path
    """The state directory (`.customhouse`); the target keeps everything in `local/` below it."""
    volumes: Mapping[str, Path] = field(default_factory=dict)
    """Folder of each claim that `pvc://CLAIM/…` and Jobs' volumes name."""
    images: Mapping[str, Path] = field(default_factory=dict)
    """Folder of each image name (without tag and digest); its tree digest must be the one that is pinned."""
    port: int = 0
    """The gateway's port on 127.0.0.1; 0 picks a free one and keeps it."""
    secrets: SecretProvider | None = None
    """Resolves secretKeyRef: (namespace, secret, key) → value."""
    checker: tuple[str, ...] = ()
    """The program (and arguments) that each worker asks, with the digest behind it and the files that it read on stdin,
    whether they may be loaded; without one the pinned digest alone decides."""
    lease_s: float = 600.0
    """How long workers and gateway go on without a control process."""
    max_body: int = 8 << 20
    """The largest request in bytes."""
    request_timeout_s: float = 60.0
    """How long the gateway waits for a worker's answer."""
    hold_s: float = HOLD_S
    """How long it holds a request to a service that scales by its requests until a replica has a place for it."""


class LocalTarget:
    """A `core.ports.Target` and `Telemetry`. Methods may be called by any thread."""

    name = "local"

    def __init__(self, settings: LocalSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.RLock()
        self._places = Places.under(settings.state)
        self._file = self._places.root / "state.json"
        self._heartbeat = self._places.root / "heartbeat"
        self._records = Records()
        self._held: IO[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._gateway: Mapping[str, Any] | None = None
        self._rotated = 0.0
        self.problem = ""
        """Why the last tick of the supervisor failed; empty when it did not."""
        limits = {
            "heartbeat": str(self._heartbeat),
            "lease_s": settings.lease_s,
            "max_body": settings.max_body,
            "timeout_s": settings.request_timeout_s,
            "hold_s": settings.hold_s,
            "checker": list(settings.checker),
        }
        self._volumes: dict[str, Path] = {}
        self._images: dict[str, Path] = {}
        self.configure(settings.volumes, settings.images)
        self._fleet = Fleet(self._records, self._places, self._volumes, clock, limits)
        self._scaling = Scaling(self._fleet, self._records, clock)
        self._jobs = Jobs(
            self._records, self._places, self._volumes, self._images, clock, provider=settings.secrets, limits=limits
        )
        self._front = Front(self._records, self._places, clock, settings.port, limits)

    def configure(self, volumes: Mapping[str, Path], images: Mapping[str, Path]) -> None:
        """Take other folders of claims and images, as a merged customhouse.yaml names them; what runs is left alone."""
        with self._lock:
            for held, given in ((self._volumes, volumes), (self._images, images)):
                held.clear()
                held.update({name: Path(path).absolute() for name, path in given.items()})

    # life
    def start(self) -> None:
        """Take over what runs, start what should and does not, and supervise from a thread.

        Raises TargetError (the port is in use) and StateError (another control process has this state, it cannot be
        read, a full disk); then nothing was started.
        """
        with self._lock:
            if self._held is not None:
                return
            self._held = self._hold()
            try:
                Places.under(self._settings.state)  # stop() removed the folder of the sockets
                _take(self._records, Records.load(self._file))
                self._beat()
                if not self._front.adopt():
                    self._front.bind()
                self._fleet.adopt()
                self._jobs.adopt()
                self._save()
                self.tick()
            except BaseException:
                self._front.close()
                self._release()
                raise
            self._ending.clear()
            self._thread = threading.Thread(target=self._supervise, name="local-target", daemon=True)
            self._thread.start()

    def stop(self, *, keep_serving: bool = False, timeout_s: float = 10.0) -> None:
        """End the supervisor, and unless `keep_serving` everything that it runs (requests in flight are finished)."""
        self._ending.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            if self._held is None:
                return
            if not keep_serving:
                self._end_all(timeout_s)
                self._places.clear_sockets()
            self._front.close()
            self._release()

    def clear(self, timeout_s: float = 10.0) -> None:
        """End what an earlier control process left running, and start nothing. Raises StateError."""
        with self._lock:
            self._held = self._hold()
            try:
                _take(self._records, Records.load(self._file))
                self._front.adopt()
                self._fleet.adopt()
                self._jobs.adopt()
                self._end_all(timeout_s)
            finally:
                self._front.close()
                self._release()

    def _end_all(self, timeout_s: float) -> None:
        running = [r.process for _, _, r in self._fleet.replicas() if r.process is not None]
        running += [r.process for r in self._records.retiring if r.process is not None]
        running += self._jobs.running()
        self._front.end()
        if self._front.process is not None:
            # First the gateway: it finishes what is in flight while the workers still answer.
            self._wait([self._front.process], timeout_s / 2)
        for process in running:
            processes.send(process, signal.SIGTERM)
            processes.send(process, signal.SIGCONT)
        self._wait(running, timeout_s / 2)

    def _wait(self, running: Sequence[processes.Identity], timeout_s: float) -> None:
        end = self._clock.monotonic() + timeout_s
        waiting = threading.Event()
        while any(processes.is_alive(process) for process in running):
            processes.reap()
            if self._clock.monotonic() > end:
                for process in running:
                    processes.send(process, signal.SIGKILL)
            waiting.wait(0.01)
        processes.reap()

    def _hold(self) -> IO[bytes]:
        try:
            handle = open(self._places.root / "lock", "ab")  # noqa: SIM115 - held until stop
        except OSError as error:
            raise StateError(f"cannot be opened: {error.strerror}", where=str(self._places.root / "lock")) from error
        end = self._clock.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if self._clock.monotonic() < end:
                    self._ending.wait(0.05)
                    continue
                handle.close()
                raise StateError(
                    "another control process runs on this state",
                    where=str(self._places.root),
                    hint="stop it, or choose another --state",
                ) from error
            return handle

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _supervise(self) -> None:
        while not self._ending.is_set():
            self._wake.wait(TICK_S)
            self._wake.clear()
            if self._ending.is_set():
                return
            try:
                self.tick()
                self.problem = ""
            except CustomhouseError as error:
                self.problem = str(error)
            except Exception as error:  # noqa: BLE001 - supervision must go on; `read` shows the problem as Unknown
                self.problem = f"the supervisor failed: {error!r}"

    def tick(self) -> None:
        """One round of supervision. Raises StateError (full disk), TargetError."""
        with self._lock:
            self._beat()
            processes.reap()
            self._front.ensure(self._fleet.routing())
            self._gateway = self._front.state()
            self._fleet.watch(self._gateway)
            self._fleet.advance()
            self._scaling.tick(self._gateway)
            if self._front.push(self._fleet.routing()):
                self._fleet.end_retired()
            if self._fleet.has_due():
                self._save()
                self._fleet.start_due()
            self._jobs.notice = read_notice(self._places.notice, self._clock.now())
            self._jobs.tick()
            if self._fleet.dirty or self._jobs.dirty:
                self._save()
            if self._clock.monotonic() - self._rotated > _ROTATE_S:
                self._rotated = self._clock.monotonic()
                self._places.rotate()

    def _beat(self) -> None:
        try:
            self._heartbeat.touch(mode=0o600)
        except OSError as error:
            raise StateError(f"cannot be written: {error.strerror}", where=str(self._heartbeat)) from error

    def _save(self) -> None:
        write_atomic(self._file, self._records.to_bytes())
        self._fleet.dirty = self._jobs.dirty = False

    # core.ports.Target
    def read(self, refs: Sequence[ResourceRef]) -> Mapping[ResourceRef, LiveObject]:
        """What is live now, with live values in the declared fields; absent objects are absent."""
        with self._lock:
            self._running()
            gateway = self._front.state()
            found: dict[ResourceRef, LiveObject] = {}
            for ref in refs:
                live = self._read(ref, gateway)
                if live is not None:
                    found[ref] = live
            return found

    def _read(self, ref: ResourceRef, gateway: Mapping[str, Any] | None) -> LiveObject | None:
        if ref in self._records.services:
            live = live_service(self._fleet, self._records.services[ref], gateway, self.url(ref))
            if self.problem:
                return LiveObject(ref, live.manifest, Health(HealthStatus.UNKNOWN, self.problem), live.status)
            return live
        if ref in self._records.jobs:
            return live_job(self._records.jobs[ref])
        if ref in self._records.objects:
            manifest = self._records.objects[ref]
            return LiveObject(
                ref, copy.deepcopy(manifest), Health(HealthStatus.HEALTHY, "accepted; nothing runs for it")
            )
        return None

    def managed(self) -> Sequence[ResourceRef]:
        """Every object that was applied and not deleted."""
        with self._lock:
            return sorted([*self._records.services, *self._records.jobs, *self._records.objects])

    def apply(self, actions: Sequence[Action]) -> Sequence[ActionResult]:
        """Carry out actions in order; new processes are started, readiness is seen in `read`.

        An action that cannot be carried out has `ok` False with the reason and leaves its object as it was. Raises
        StateError when nothing can be recorded; then the object concerned is as it was, too.
        """
        with self._lock:
            self._running()
            results = [self._apply(action) for action in actions]
            self._wake.set()
            return results

    def _apply(self, action: Action) -> ActionResult:
        """Numbered as it must be right: (1) decide in memory, (2) make it durable, (3) act.

        Killed after (2), the next start acts; a failure before (3) puts the memory back and nothing has happened.
        """
        before = copy.deepcopy(self._records)
        try:
            changed = self._decide(action)  # (1)
            if self._fleet.dirty or self._jobs.dirty:
                self._save()  # (2)
        except StateError:
            self._put_back(before)
            raise
        except CustomhouseError as error:
            self._put_back(before)
            return ActionResult(action, ok=False, changed=False, message=str(error))
        altered = action.ref in self._records.services and self._reroute(action.ref)  # (3)
        # The pids are recorded by the next tick; until then a worker is known by its command line.
        self._fleet.start_due()
        self._jobs.tick()
        return ActionResult(action, ok=True, changed=changed or altered)

    def _put_back(self, before: Records) -> None:
        _take(self._records, before)
        self._jobs.forget_discarded()
        self._fleet.dirty = self._jobs.dirty = False

    def _decide(self, action: Action) -> bool:
        ref, manifest = action.ref, action.desired
        if action.kind is ActionKind.WAIT:
            return False
        if action.kind is ActionKind.DELETE:
            removed = self._fleet.delete(ref) or self._jobs.delete(ref)
            if self._records.objects.pop(ref, None) is not None:
                removed = self._fleet.dirty = True
            return removed
        if manifest is None:
            raise TargetError(f"{action.kind.value} without a manifest", where=str(ref))
        if ref.kind == "InferenceService":
            if not ref.api_version.startswith("serving.kserve.io/"):
                # Its address is namespace and name: one of another group would take the other's traffic.
                raise TargetError(f"an InferenceService of {ref.api_version} is not served", where=str(ref))
            return self._fleet.apply(ref, manifest, self._front.state())
        if ref.kind == "Job" and ref.api_version.startswith("batch/"):
            return self._jobs.apply(ref, manifest)
        return self._accept(ref, manifest)

    def _reroute(self, ref: ResourceRef) -> bool:
        """Undo what somebody else told the gateway; a rollback takes effect here, before `apply` returns."""
        gateway = self._front.state()
        wanted = self._fleet.routing()
        service = (gateway or {}).get("services", {}).get(key_of(ref))
        actual = {
            release: {"weight": revision["weight"], "replicas": sorted(revision["replicas"])}
            for release, revision in (service or {"revisions": {}})["revisions"].items()
        }
        asked = {
            release: {"weight": revision["weight"], "replicas": sorted(revision["replicas"])}
            for release, revision in wanted["services"][key_of(ref)]["revisions"].items()
        }
        expected = self._front.told(key_of(ref))
        self._front.push(wanted, force=gateway is not None and actual != asked)
        return gateway is not None and expected is not None and actual != expected

    def _accept(self, ref: ResourceRef, manifest: Manifest) -> bool:
        if ref.kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "CronJob"):
            raise TargetError(
                f"the local target does not run a {ref.kind}", where=str(ref), hint="use an InferenceService or a Job"
            )
        if self._records.objects.get(ref) == manifest:
            return False
        self._records.objects[ref] = dict(manifest)
        self._fleet.dirty = True
        return True

    def _running(self) -> None:
        if self._held is None:
            raise TargetError("the local target is not started", hint="call start() first")

    # core.ports.Telemetry
    def observe(self) -> Sequence[Observation]:
        """Requests, latency, errors and quality from the gateway; CPU and memory of every process from /proc."""
        with self._lock:
            self._running()
            return tuple(measure.observations(self._clock.now(), self._records, self._fleet, self._front.state()))

    # for the composer
    @property
    def port(self) -> int:
        """The gateway's port on 127.0.0.1."""
        return self._records.port

    def url(self, ref: ResourceRef) -> str:
        """Where an InferenceService answers: append `/v2/models/{name}/infer`, or `/feedback`."""
        return f"http://127.0.0.1:{self._records.port}/{ref.namespace}/{ref.name}"

    def logs(self, ref: ResourceRef) -> Sequence[Path]:
        """The log files of an object, one a release (a Job's spec digest), the newest last."""
        folder = self._places.root / "logs" / ref.namespace / ref.name
        return sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)

    def processes(self) -> Sequence[measure.ProcessReading]:
        """Every process of this target with its memory now: gateway, workers, Jobs."""
        with self._lock:
            return tuple(self._readings())

    def _readings(self) -> Iterator[measure.ProcessReading]:
        if self._front.process is not None:
            yield measure.reading("gateway", self._front.process.pid)
        for _, _, replica in self._fleet.replicas():
            if replica.process is not None:
                yield measure.reading(replica.id, replica.process.pid)
        for process in self._jobs.running():
            yield measure.reading("job", process.pid)
            for child in processes.children(process.pid):
                yield measure.reading("job", child)


def _take(records: Records, other: Records) -> None:
    """Make one set of records equal to another, in place: the fleet, the Jobs and the front hold the same object."""
    records.services, records.jobs, records.objects = other.services, other.jobs, other.objects
    records.retiring, records.port = other.retiring, other.port
