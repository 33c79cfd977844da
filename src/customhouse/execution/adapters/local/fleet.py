"""InferenceServices as processes: revisions, replicas, the shift of traffic, restarts. Driven by the target's ticks."""

from __future__ import annotations

import math
import os
import secrets
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from customhouse._kit.clock import Clock
from customhouse.core.errors import StateError, TargetError
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.execution.adapters.local import processes
from customhouse.execution.adapters.local.places import Places, confined
from customhouse.execution.adapters.local.records import Records, Replica, RevisionRecord, ServiceRecord, write_atomic
from customhouse.execution.objects import Serving, serving

HUNG_PROBES = 3
STARTING_S = 60.0
"""A worker that is not ready after this long is replaced; loading is bounded by the disk."""
BACKOFF_S = 0.2
BACKOFF_MAX_S = 30.0
STEADY_S = 60.0
"""A replica that lived this long starts again without back-off."""
KILL_S = 35.0


@dataclass(slots=True)
class Watched:
    """A process that was told to end, and when it is made to."""

    replica: Replica
    kill_at: float


class Fleet:
    """The services of one target. Not thread-safe: the target holds its lock around every call."""

    def __init__(
        self, records: Records, places: Places, volumes: Mapping[str, Path], clock: Clock, limits: Mapping[str, Any]
    ) -> None:
        self._records = records
        self._places = places
        self._volumes = volumes
        self._clock = clock
        self._limits = limits
        self._ending: dict[str, Watched] = {}
        self.dirty = False

    # what is declared
    def apply(self, ref: ResourceRef, manifest: Manifest, gateway: Mapping[str, Any] | None) -> bool:
        """Take a manifest; whether anything was not as it says. New replicas are started before it returns."""
        spec = serving(manifest)
        confined(self._volume(spec.claim), spec.path, "storageUri")
        record = self._records.services.get(ref)
        changed = record is None or record.manifest != manifest
        if record is None:
            record = self._records.services[ref] = ServiceRecord(ref, dict(manifest))
        record.manifest = dict(manifest)
        release = spec.release
        if release == record.stable:
            if record.candidate is not None:
                self._retire(record, record.candidate)
                record.candidate, record.shifted = None, False
        elif release != record.candidate:
            if record.candidate is not None:
                self._retire(record, record.candidate)
            record.candidate, record.shifted = release, False
        revision = record.revisions.setdefault(release, RevisionRecord(spec))
        revision.serving = spec
        healed = self._heal(record, gateway)
        self._scale(revision)
        self.dirty = self.dirty or changed or healed
        return changed or healed

    def delete(self, ref: ResourceRef) -> bool:
        """End a service; whether there was one."""
        record = self._records.services.pop(ref, None)
        if record is None:
            return False
        for release in list(record.revisions):
            self._retire(record, release)
        self.dirty = True
        return True

    def resize(self, revision: RevisionRecord, wanted: int) -> None:
        """Have as many replicas as its load asks for, from now on."""
        revision.wanted = wanted
        self.dirty = True
        self._scale(revision)

    def _scale(self, revision: RevisionRecord) -> None:
        while len(revision.replicas) < revision.size:
            spec = revision.serving
            short = spec.release.removeprefix("sha256:")[:8]
            revision.replicas.append(Replica(f"{spec.name}-{short}-{secrets.token_hex(3)}"))
            self.dirty = True
        while len(revision.replicas) > revision.size:
            # One that is not ready answers nobody: it goes first, the newest of them.
            spare = next((one for one in reversed(revision.replicas) if not one.ready), revision.replicas[-1])
            revision.replicas.remove(spare)
            self._end(spare)

    def _heal(self, record: ServiceRecord, gateway: Mapping[str, Any] | None) -> bool:
        """Replace replicas that run with other settings than declared, and start dead ones now."""
        statuses = statuses_of(gateway, record.ref)
        healed = False
        for release in (record.stable, record.candidate):
            revision = record.revisions.get(release or "")
            if revision is None:
                continue
            for replica in list(revision.replicas):
                status = statuses.get(replica.id)
                wanted = self._config(replica, revision.serving)
                if status is not None and any(
                    status[key] != wanted[key] for key in ("memory_limit", "queue", "timeout_s")
                ):
                    write_atomic(self._places.config(replica.id), orjson.dumps(wanted))
                    healed = True
                if status is not None and any(
                    status[key] != wanted[key] for key in ("digest", "threads", "storage_uri")
                ):
                    revision.replicas.remove(replica)
                    self._end(replica)
                    healed = True
                if replica.process is None:
                    replica.due = 0.0
        return healed

    # what happens
    def start_due(self) -> None:
        """Start every replica that should run and does not, and whose back-off is over.

        The intent is on the disk before the process exists (the caller saves first), so a control process killed in
        between finds the worker again by its command line.
        """
        now = self._clock.monotonic()
        for record, revision, replica in self.replicas():
            if replica.process is None and replica.due <= now:
                self._start(record, revision, replica, now)

    def has_due(self) -> bool:
        """Whether `start_due` would start something."""
        now = self._clock.monotonic()
        return any(replica.process is None and replica.due <= now for _, _, replica in self.replicas())

    def _start(self, record: ServiceRecord, revision: RevisionRecord, replica: Replica, now: float) -> None:
        spec = revision.serving
        try:
            write_atomic(self._places.config(replica.id), orjson.dumps(self._config(replica, spec)))
            self._places.fault(replica.id).unlink(missing_ok=True)
            replica.process = processes.launch(
                "serve",
                self._places.config(replica.id),
                log=self._places.log(spec.namespace, spec.name, spec.release),
                cwd=self._places.root / "run",
            )
        except (TargetError, StateError) as error:
            self._later(replica, now, error.message)
            return
        replica.born, replica.ready = now, False
        self.dirty = True

    def _volume(self, claim: str) -> Path:
        """The folder of a claim. Raises TargetError; settings can lose a claim between two starts."""
        if claim not in self._volumes:
            raise TargetError(
                f"no folder is configured for the volume {claim!r}",
                hint=f"add volumes: {{{claim}: FOLDER}} to the target in customhouse.yaml",
            )
        return self._volumes[claim]

    def _config(self, replica: Replica, spec: Serving) -> dict[str, Any]:
        return {
            **self._limits,
            "id": replica.id,
            "release": spec.release,
            "model": spec.name,
            "storage_uri": spec.storage_uri,
            "path": str(confined(self._volume(spec.claim), spec.path, "storageUri")),
            "digest": spec.digest,
            "cpu_limit": spec.cpu_limit,
            "threads": threads_for(spec.cpu_limit),
            "memory_limit": spec.memory_limit,
            "queue": spec.queue,
            "timeout_s": spec.timeout_s,
            "socket": str(self._places.socket(replica.id)),
            "fault": str(self._places.fault(replica.id)),
        }

    def watch(self, gateway: Mapping[str, Any] | None) -> None:
        """Look at every replica: gone, over its memory, hung, ready."""
        now = self._clock.monotonic()
        for record, revision, replica in self.replicas():
            if replica.process is None:
                continue
            if not processes.is_alive(replica.process):
                self._died(replica, now)
                continue
            used = processes.consumption(replica.process.pid)
            limit = revision.serving.memory_limit
            if used is not None and limit and used.resident > limit:
                self._kill(replica, now, f"OOMKilled: {used.resident >> 20} MiB used, the limit is {limit >> 20} MiB")
                continue
            if gateway is None:
                continue
            seen = replicas_of(gateway, record.ref).get(replica.id)
            replica.ready = bool(seen and seen["ready"])
            hung = seen is not None and seen["failures"] >= HUNG_PROBES and seen["status"] is not None
            if hung and now - replica.born > 2.0:
                self._kill(replica, now, "it answered no health check (hung)")
            elif not replica.ready and now - replica.born > STARTING_S:
                self._kill(replica, now, f"not ready after {STARTING_S:g} s")
            elif replica.ready and now - replica.born > STEADY_S:
                replica.restarts, replica.reason = 0, ""

    def _died(self, replica: Replica, now: float) -> None:
        try:
            reason = str(orjson.loads(self._places.fault(replica.id).read_bytes())["message"])
        except (OSError, ValueError, KeyError):
            reason = "the process ended (killed or crashed)"
        self._later(replica, now, reason)

    def _kill(self, replica: Replica, now: float, reason: str) -> None:
        if replica.process is not None:
            processes.send(replica.process, signal.SIGKILL)
        self._later(replica, now, reason)

    def _later(self, replica: Replica, now: float, reason: str) -> None:
        """Back off: at once the first time after a long life, then 0.2 s, doubled up to 30 s."""
        steady = replica.ready and now - replica.born > STEADY_S
        replica.restarts = 0 if steady else replica.restarts + 1
        wait = 0.0 if replica.restarts <= 1 and replica.ready else BACKOFF_S * 2 ** min(replica.restarts, 10)
        replica.process, replica.ready, replica.reason = None, False, reason
        replica.due = now + min(wait, BACKOFF_MAX_S)
        self.dirty = True

    def advance(self) -> None:
        """Let a candidate whose replicas are all ready take its share, or everything."""
        for record in self._records.services.values():
            if record.candidate is None:
                continue
            revision = record.revisions[record.candidate]
            if not record.shifted and all(replica.ready for replica in revision.replicas):
                record.shifted = True
                self.dirty = True
            if record.shifted and (record.stable is None or revision.serving.percent is None):
                old = record.stable
                record.stable, record.candidate, record.shifted = record.candidate, None, False
                self.dirty = True
                if old is not None:
                    self._retire(record, old)

    def weights(self, record: ServiceRecord) -> dict[str, int]:
        """The share of each revision, in percent."""
        if record.candidate is None:
            return {record.stable: 100} if record.stable else {}
        if record.stable is None:
            return {record.candidate: 100}
        percent = record.revisions[record.candidate].serving.percent
        share = (100 if percent is None else percent) if record.shifted else 0
        return {record.stable: 100 - share, record.candidate: share}

    def routing(self) -> dict[str, Any]:
        """What the gateway should do."""
        return {"services": {key_of(record.ref): self._routing(record) for record in self._records.services.values()}}

    def _routing(self, record: ServiceRecord) -> dict[str, Any]:
        return {
            "revisions": {
                release: {
                    "weight": weight,
                    "replicas": {r.id: str(self._places.socket(r.id)) for r in record.revisions[release].replicas},
                    **_limit(record.revisions[release].serving),
                }
                for release, weight in self.weights(record).items()
            }
        }

    # the end of replicas
    def _retire(self, record: ServiceRecord, release: str) -> None:
        for replica in record.revisions.pop(release).replicas:
            self._end(replica)

    def _end(self, replica: Replica) -> None:
        if replica.process is not None:
            self._records.retiring.append(replica)
        else:
            self._places.forget(replica.id)
        self.dirty = True

    def end_retired(self) -> None:
        """Let retired workers drain; call only when the gateway no longer routes to them."""
        now = self._clock.monotonic()
        for replica in list(self._records.retiring):
            if replica.process is None or not processes.is_alive(replica.process):
                self._records.retiring.remove(replica)
                self._ending.pop(replica.id, None)
                self._places.forget(replica.id)
                self.dirty = True
            elif replica.id not in self._ending:
                self._ending[replica.id] = Watched(replica, now + KILL_S)
                processes.send(replica.process, signal.SIGTERM)
                # A stopped process takes no SIGTERM until it goes on.
                processes.send(replica.process, signal.SIGCONT)
            elif now > self._ending[replica.id].kill_at:
                processes.send(replica.process, signal.SIGKILL)

    def adopt(self) -> None:
        """After a restart: take the workers that still run (by command line and start time); end unknown ones."""
        running = processes.find(self._places.root / "run")
        now = self._clock.monotonic()
        known = set()
        for _, _, replica in self.replicas():
            config = self._places.config(replica.id)
            replica.process = running.get(config)
            known.add(config)
            replica.born = now
        for replica in self._records.retiring:
            known.add(self._places.config(replica.id))
        for config, process in running.items():
            if config not in known and config.name != "gateway.json" and not config.name.startswith("job-"):
                self._records.retiring.append(Replica(config.stem, process))

    def replicas(self) -> Iterator[tuple[ServiceRecord, RevisionRecord, Replica]]:
        """Every replica that should run."""
        for record in self._records.services.values():
            for revision in record.revisions.values():
                for replica in revision.replicas:
                    yield record, revision, replica


def _limit(serving: Serving) -> dict[str, int]:
    """What a replica gets at a time, where the rest waits for it in the gateway."""
    return {} if serving.scale is None else {"limit": serving.queue}


def key_of(ref: ResourceRef) -> str:
    """The gateway's name of a service."""
    return f"{ref.namespace}/{ref.name}"


def replicas_of(gateway: Mapping[str, Any] | None, ref: ResourceRef) -> dict[str, Any]:
    """What the gateway knows of a service's replicas, by id."""
    service = (gateway or {}).get("services", {}).get(key_of(ref), {"revisions": {}})
    return {key: value for revision in service["revisions"].values() for key, value in revision["replicas"].items()}


def statuses_of(gateway: Mapping[str, Any] | None, ref: ResourceRef) -> dict[str, Any]:
    """What the workers of a service say that they run with, by id; only those that have said so."""
    return {key: value["status"] for key, value in replicas_of(gateway, ref).items() if value["status"]}


def threads_for(cpu_limit: int) -> int:
    """Threads of a CPU limit in millicores: rounded up, all cores (at most 4) when there is no limit."""
    cores = os.cpu_count() or 1
    return min(cores, math.ceil(cpu_limit / 1000)) if cpu_limit else min(cores, 4)
