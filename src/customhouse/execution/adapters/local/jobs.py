"""Jobs as processes: a verified copy of the image folder, paths translated, a shim each, and one outcome for ever."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from customhouse._kit.clock import Clock, to_rfc3339
from customhouse._kit.digest import TreeError, same_digest, tree
from customhouse.core.errors import StateError, TargetError
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.execution.adapters.local import processes
from customhouse.execution.adapters.local.fleet import threads_for
from customhouse.execution.adapters.local.notice import MachineNotice
from customhouse.execution.adapters.local.places import Places, confined
from customhouse.execution.adapters.local.records import JobRecord, Records, write_atomic
from customhouse.execution.objects import CHECKPOINT_VARIABLE, JobRun, Mount, job_run

SecretProvider = Callable[[str, str, str], str | None]
"""(namespace, secret, key) → value, None when there is none. Called when a Job starts; the value is kept nowhere."""

MAX_IMAGE = 1 << 30
_GRACE = "grace.json"
"""How long a Job that is asked to end may take; written before it is asked."""
_LOST = "lost without a notice"
_MOST_INTERRUPTIONS = 200


class Jobs:
    """The Jobs of one target. Not thread-safe: the target holds its lock around every call."""

    def __init__(
        self,
        records: Records,
        places: Places,
        volumes: Mapping[str, Path],
        images: Mapping[str, Path],
        clock: Clock,
        *,
        provider: SecretProvider | None,
        limits: Mapping[str, Any],
    ) -> None:
        self._records = records
        self._places = places
        self._volumes = volumes
        self._images = images
        self._provider = provider
        self._limits = limits
        self._clock = clock
        self._discarded: list[JobRecord] = []
        self.notice: MachineNotice | None = None
        """While this machine is about to go nothing is started, and what runs is asked to save and end."""
        self.dirty = False

    def apply(self, ref: ResourceRef, manifest: Manifest) -> bool:
        """Take a Job; whether it is new. Everything is checked and copied before it counts as taken.

        Raises TargetError: an image folder that is not configured or has another digest (both are named), a volume
        that is not configured, a path that leads out, a secret that cannot be resolved.
        """
        run = job_run(manifest)
        record = self._records.jobs.get(ref)
        if record is not None and record.digest == run.digest:
            changed = record.manifest != manifest
            record.manifest = dict(manifest)
            self.dirty = self.dirty or changed
            return changed
        identity = f"job-{run.name}-{secrets.token_hex(4)}"
        self._prepare(identity, run)
        if record is not None:
            self._discarded.append(record)
        self._records.jobs[ref] = JobRecord(ref, dict(manifest), run.digest, identity)
        self.dirty = True
        return True

    def delete(self, ref: ResourceRef) -> bool:
        """End and forget a Job; whether there was one."""
        record = self._records.jobs.pop(ref, None)
        if record is None:
            return False
        self._discarded.append(record)
        self.dirty = True
        return True

    def forget_discarded(self) -> None:
        """What was replaced or deleted stays after all."""
        self._discarded.clear()

    def _prepare(self, identity: str, run: JobRun) -> None:
        """Copy the image folder, verify the copy (what runs is what was hashed), and write the shim's configuration."""
        folder = self._images.get(run.image)
        if folder is None:
            raise TargetError(
                f"no folder is configured for the image {run.image}",
                hint=f"add images: {{{run.image}: FOLDER}} to the target in customhouse.yaml",
            )
        place = self._places.root / "jobs" / identity
        root, home = place / "root", place / "home"
        try:
            _check_size(tree(folder).size, folder)
            home.mkdir(parents=True, mode=0o700)
            shutil.copytree(folder, root, symlinks=True)
            actual = tree(root).digest
        except (OSError, TreeError) as error:
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, FileNotFoundError | TreeError):
                raise TargetError(f"the image cannot be read: {error}", where=str(folder)) from error
            raise StateError(f"the image cannot be copied: {error}", where=str(place), hint="free space") from error
        try:
            _check_digest(actual, run, folder)
            config = self._config(place, run)
            self._secrets(run)
            write_atomic(self._places.config(identity), orjson.dumps(config))
        except (TargetError, StateError):
            shutil.rmtree(place, ignore_errors=True)
            raise

    def _config(self, place: Path, run: JobRun) -> dict[str, Any]:
        mounts = {mount.path: str(self._folder(place, index, mount)) for index, mount in enumerate(run.mounts)}
        words = [translate(word, mounts) for word in run.words]
        if words[0] in ("python", "python3"):
            words[0] = sys.executable
        literals = {key: translate(value, mounts) for key, value in run.environment.items()}
        if run.checkpoint:
            literals[CHECKPOINT_VARIABLE] = translate(run.checkpoint, mounts)
        threads = threads_for(run.cpu_limit)
        return {
            **self._limits,
            "words": words,
            "cwd": str(place / "root"),
            "environment": processes.environment_of(literals, place / "home", threads),
            "threads": threads,
            "cpu_limit": run.cpu_limit,
            "memory_limit": run.memory_limit,
            "deadline_s": run.deadline_s,
            "retries": run.retries,
            "status": str(place / "status.json"),
            "outcome": str(place / "outcome.json"),
            "grace": str(place / _GRACE),
        }

    def _folder(self, place: Path, index: int, mount: Mount) -> Path:
        if mount.claim is None:
            root = place / f"empty-{index}"
            root.mkdir(mode=0o700)
        elif mount.claim in self._volumes:
            root = self._volumes[mount.claim]
        else:
            raise TargetError(
                f"no folder is configured for the volume {mount.claim!r}",
                hint=f"add volumes: {{{mount.claim}: FOLDER}} to the target in customhouse.yaml",
            )
        folder = confined(root, mount.sub_path, "subPath")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _secrets(self, run: JobRun) -> dict[str, str]:
        values: dict[str, str] = {}
        for variable, (name, key) in run.secrets.items():
            value = None if self._provider is None else self._provider(run.namespace, name, key)
            if value is None:
                raise TargetError(
                    f"the secret {name}/{key} of namespace {run.namespace} cannot be resolved",
                    hint="configure the target's secrets; a Job does not start without what it declares",
                )
            values[variable] = value
        return values

    def tick(self) -> None:
        """End what was replaced or deleted, start what was never started, and take outcomes."""
        while self._discarded:
            self._remove(self._discarded.pop())
        for record in self._records.jobs.values():
            if record.outcome is not None:
                continue
            place = self._places.root / "jobs" / record.run
            outcome = _read(place / "outcome.json")
            if outcome is not None:
                record.outcome, record.process = outcome, None
                shutil.rmtree(place / "root", ignore_errors=True)
                self.dirty = True
            elif record.process is None and not (place / "status.json").exists():
                if self.notice is None:
                    self._start(record)
            elif record.process is None or not processes.is_alive(record.process):
                # Looked at again: it may have written its outcome between the two looks.
                status = _read(place / "status.json")
                if _read(place / "outcome.json") is None and status is not None:
                    _kill_orphans(status, place)
                    self._lost(record, place)
                elif status is None:
                    _noted(record, "ended", self._clock)
                record.process = None
                self.dirty = True
            elif self.notice is not None:
                self._interrupt(record, place, self.notice)

    def _interrupt(self, record: JobRecord, place: Path, notice: MachineNotice) -> None:
        """Ask a Job to save its state and end, once a notice; it is started again when the notice is gone."""
        if record.process is None or any(item["notice"] == notice.key for item in record.interruptions):
            return
        run, now = job_run(record.manifest), self._clock.now()
        left = notice.left(now)
        grace = float(run.grace_s) if left <= 0 else min(float(run.grace_s), left)
        write_atomic(place / _GRACE, orjson.dumps({"grace_s": grace}))
        processes.send(record.process, signal.SIGTERM)
        asked = {"notice": notice.key, "reason": notice.reason, "asked": to_rfc3339(now), "ended": None, "again": None}
        record.interruptions = [*record.interruptions[-_MOST_INTERRUPTIONS:], asked]
        self.dirty = True

    def _lost(self, record: JobRecord, place: Path) -> None:
        """Its shim is gone without a word.

        One that was asked to end before is begun again; one that saves its state too, as often as it may be retried.
        """
        run = job_run(record.manifest)
        open_one = bool(record.interruptions) and record.interruptions[-1]["ended"] is None
        losses = sum(item["reason"] == _LOST for item in record.interruptions)
        if not open_one and (not run.checkpoint or losses >= run.retries):
            record.outcome = {"succeeded": False, "status": -9, "reason": "Lost", "attempts": 1}
            return
        (place / "status.json").unlink(missing_ok=True)
        if not open_one:
            now = to_rfc3339(self._clock.now())
            lost = {"notice": f"lost:{now}", "reason": _LOST, "asked": now, "ended": None, "again": None}
            record.interruptions = [*record.interruptions, lost]
        _noted(record, "ended", self._clock)

    def _start(self, record: JobRecord) -> None:
        run = job_run(record.manifest)
        (self._places.root / "jobs" / record.run / _GRACE).unlink(missing_ok=True)
        _noted(record, "again", self._clock)
        try:
            record.process = processes.launch(
                "job",
                self._places.config(record.run),
                log=self._places.log(run.namespace, run.name, run.digest),
                cwd=self._places.root / "run",
                stdin=orjson.dumps(self._secrets(run)),
            )
        except TargetError as error:
            record.outcome = {"succeeded": False, "status": 127, "reason": error.message, "attempts": 0}
        self.dirty = True

    def adopt(self) -> None:
        """After a restart: find the shims that still run, by command line and start time."""
        running = processes.find(self._places.root / "run")
        for record in self._records.jobs.values():
            record.process = running.get(self._places.config(record.run))

    def running(self) -> list[processes.Identity]:
        """The shims that run."""
        return [record.process for record in self._records.jobs.values() if record.process is not None]

    def _remove(self, record: JobRecord) -> None:
        if record.process is not None:
            processes.send(record.process, signal.SIGTERM)
        shutil.rmtree(self._places.root / "jobs" / record.run, ignore_errors=True)
        self._places.config(record.run).unlink(missing_ok=True)


def _check_size(size: int, folder: Path) -> None:
    if size > MAX_IMAGE:
        raise TargetError(f"the image folder is over {MAX_IMAGE >> 30} GiB", where=str(folder))


def _check_digest(actual: str, run: JobRun, folder: Path) -> None:
    if not same_digest(actual, run.image_digest):
        raise TargetError(
            f"the image {run.image} has digest {actual}, but {run.image_digest} is pinned",
            where=str(folder),
            hint="restore the folder, or declare the new digest",
        )


def translate(text: str, mounts: Mapping[str, str]) -> str:
    """Replace mount paths in a word by the folders they stand for, longest first; only where a path begins.

    Raises TargetError when what follows a mount path would climb out of it.
    """
    if not mounts:
        return text
    names = "|".join(re.escape(path) for path in sorted(mounts, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w./-])({names})(?=$|[/:;,\s\"'])((?:/[^/:;,\s\"']*)*)")

    def swap(match: re.Match[str]) -> str:
        if ".." in match[2].split("/"):
            raise TargetError(f"the path {match[0]!r} leads out of its volume")
        return mounts[match[1]] + match[2]

    return pattern.sub(swap, text)


def _noted(record: JobRecord, what: str, clock: Clock) -> None:
    """When the last interruption came to its end, or was over."""
    if record.interruptions and record.interruptions[-1][what] is None:
        changed = {**record.interruptions[-1], what: to_rfc3339(clock.now())}
        record.interruptions = [*record.interruptions[:-1], changed]


def _kill_orphans(status: Mapping[str, Any], place: Path) -> None:
    """End what a killed shim left: its child, if the process of that number still works in the Job's folder."""
    child = status.get("child")
    identity = processes.identify(child) if isinstance(child, int) else None
    if identity is not None and processes.working_folder(identity.pid) == place / "root":
        processes.send(identity, signal.SIGKILL)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
