"""What the local target remembers over a restart: objects, revisions, replicas, Jobs. One JSON file, replaced whole."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from customhouse._kit.durable import sync_folder
from customhouse.core.errors import StateError
from customhouse.core.kpa import ScaleRule
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local.processes import Identity
from customhouse.execution.objects import Serving

SCHEMA = "customhouse.dev/local/v1"


@dataclass(slots=True)
class Replica:
    """One worker. `process` is None while it is not running; what follows `process` is not kept."""

    id: str
    process: Identity | None = None
    restarts: int = 0
    due: float = 0.0
    born: float = 0.0
    ready: bool = False
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """What is kept."""
        return {"id": self.id, "process": None if self.process is None else dataclasses.asdict(self.process)}

    @classmethod
    def from_json(cls, document: Any) -> Replica:
        """The inverse."""
        process = document["process"]
        return cls(document["id"], None if process is None else Identity(**process))


@dataclass(slots=True)
class RevisionRecord:
    """One release of a service and its replicas."""

    serving: Serving
    replicas: list[Replica] = field(default_factory=list)
    wanted: int | None = None
    """Replicas that its load asks for, once it was ready; None where it does not scale by load, and until then."""
    fault: str = ""
    """Why the last start from zero failed; kept at zero, where no replica is left to say so."""

    @property
    def size(self) -> int:
        """Replicas that should run now."""
        rule = self.serving.scale
        if rule is None:
            return self.serving.replicas
        return rule.bounded(max(1, rule.initial, rule.activation) if self.wanted is None else self.wanted)

    def to_json(self) -> dict[str, Any]:
        """What is kept."""
        return {
            "serving": dataclasses.asdict(self.serving),
            "replicas": [replica.to_json() for replica in self.replicas],
            "wanted": self.wanted,
            "fault": self.fault,
        }

    @classmethod
    def from_json(cls, document: Any) -> RevisionRecord:
        """The inverse."""
        given = dict(document["serving"])
        if given.get("scale") is not None:
            given["scale"] = ScaleRule(**given["scale"])
        replicas = [Replica.from_json(item) for item in document["replicas"]]
        return cls(Serving(**given), replicas, document.get("wanted"), document.get("fault", ""))


@dataclass(slots=True)
class ServiceRecord:
    """One InferenceService.

    `stable` is the release that traffic rests on (None before the first is ready); `candidate` is the one on its way
    in; `shifted` says that the candidate was ready once and has its share.
    """

    ref: ResourceRef
    manifest: dict[str, Any]
    stable: str | None = None
    candidate: str | None = None
    shifted: bool = False
    revisions: dict[str, RevisionRecord] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """The release that is declared."""
        return self.candidate or self.stable or ""

    def to_json(self) -> dict[str, Any]:
        """What is kept."""
        return {
            "ref": self.ref.to_json(),
            "manifest": self.manifest,
            "stable": self.stable,
            "candidate": self.candidate,
            "shifted": self.shifted,
            "revisions": {release: revision.to_json() for release, revision in self.revisions.items()},
        }

    @classmethod
    def from_json(cls, document: Any) -> ServiceRecord:
        """The inverse."""
        return cls(
            ref=ref_from_json(document["ref"]),
            manifest=document["manifest"],
            stable=document["stable"],
            candidate=document["candidate"],
            shifted=document["shifted"],
            revisions={
                release: RevisionRecord.from_json(revision) for release, revision in document["revisions"].items()
            },
        )


@dataclass(slots=True)
class JobRecord:
    """One Job; `run` names its folder. `outcome` is what the shim wrote when it ended."""

    ref: ResourceRef
    manifest: dict[str, Any]
    digest: str
    run: str
    process: Identity | None = None
    outcome: dict[str, Any] | None = None
    interruptions: list[dict[str, Any]] = field(default_factory=list)
    """Each time that it was asked to end before it was done, or lost: `notice`, `reason`, and the moments `asked`,
    `ended` and `again`, the latter two null until then."""

    def to_json(self) -> dict[str, Any]:
        """What is kept."""
        return {
            "ref": self.ref.to_json(),
            "manifest": self.manifest,
            "digest": self.digest,
            "run": self.run,
            "interruptions": self.interruptions,
            "process": None if self.process is None else dataclasses.asdict(self.process),
            "outcome": self.outcome,
        }

    @classmethod
    def from_json(cls, document: Any) -> JobRecord:
        """The inverse."""
        process = document["process"]
        return cls(
            ref=ref_from_json(document["ref"]),
            manifest=document["manifest"],
            digest=document["digest"],
            run=document["run"],
            process=None if process is None else Identity(**process),
            outcome=document["outcome"],
            interruptions=document.get("interruptions", []),
        )


@dataclass(slots=True)
class Records:
    """Everything. `retiring` are workers that were told to end and have not yet."""

    services: dict[ResourceRef, ServiceRecord] = field(default_factory=dict)
    jobs: dict[ResourceRef, JobRecord] = field(default_factory=dict)
    objects: dict[ResourceRef, dict[str, Any]] = field(default_factory=dict)
    retiring: list[Replica] = field(default_factory=list)
    port: int = 0

    def to_bytes(self) -> bytes:
        """The file's content."""
        document = {
            "schema": SCHEMA,
            "services": [record.to_json() for record in self.services.values()],
            "jobs": [record.to_json() for record in self.jobs.values()],
            "objects": [{"ref": ref.to_json(), "manifest": value} for ref, value in self.objects.items()],
            "retiring": [replica.to_json() for replica in self.retiring],
            "port": self.port,
        }
        return orjson.dumps(document)

    @classmethod
    def load(cls, path: Path) -> Records:
        """Read the file; empty when there is none. Raises StateError."""
        try:
            document = orjson.loads(path.read_bytes())
            if document["schema"] != SCHEMA:
                raise StateError(
                    f"written by another version ({document['schema']})", where=str(path), hint="use that version"
                )
            services = [ServiceRecord.from_json(item) for item in document["services"]]
            jobs = [JobRecord.from_json(item) for item in document["jobs"]]
            return cls(
                services={record.ref: record for record in services},
                jobs={record.ref: record for record in jobs},
                objects={ref_from_json(item["ref"]): item["manifest"] for item in document["objects"]},
                retiring=[Replica.from_json(item) for item in document["retiring"]],
                port=document["port"],
            )
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"cannot be read: {error!r}", where=str(path), hint="restore it, or remove it: what runs is found again"
            ) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file whole, on the disk before the call returns. Raises StateError; then the old file stays."""
    temporary = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StateError(
            f"cannot be written: {error.strerror or error}", where=str(path), hint="free space or correct the rights"
        ) from error


def ref_from_json(document: Any) -> ResourceRef:
    """A reference from `{"apiVersion","kind","namespace","name"}`."""
    return ResourceRef(document["apiVersion"], document["kind"], document["namespace"], document["name"])
