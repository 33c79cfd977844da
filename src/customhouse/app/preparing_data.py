"""`customhouse data prepare`: a declared data-preparation Job is run, and says what it made of what.

The Job's annotations name its data, by the paths that its command uses:

    customhouse.dev/data-inputs: raw=/data/raw@sha256:…      (the digest may be left out; several: separated by spaces)
    customhouse.dev/data-outputs: clean=/data/clean

1. The Job as a commit declares it. 2. Its inputs, copied and hashed: what runs is what was hashed. 3. The run. 4. The
inputs again: a run that changed them proves nothing about what it read. 5. Its outputs, hashed, and put in their place.
6. A signed statement about each output below `.evidence/`, and the run in the ledger.

Who measures is not the Job but the program that runs it; both run under one account, which is Build level 1.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import is_digest, same_digest
from customhouse.app import wiring
from customhouse.app.artifacts import Volumes
from customhouse.app.declared import declarations_of
from customhouse.app.governance import governance
from customhouse.app.mounted import Named, path_in
from customhouse.app.scratchruns import empty_claims, files_of, image_of, place_of, run_job, take, without_secrets
from customhouse.app.settings import Settings
from customhouse.app.wholefile import write_whole
from customhouse.core.errors import CannotDecideError, StateError, UsageError
from customhouse.core.evidence import EvidenceKind
from customhouse.core.resource import PREFIX, Declaration
from customhouse.execution.objects import JobRun, job_run
from customhouse.trust.attestation import attest, evidence_path
from customhouse.trust.custody import Link, LinkKind, Node, NodeKind, entry
from customhouse.trust.keys import load_private
from customhouse.trust.provenance import DATA_BUILD_TYPE, OWN_REPOSITORY, Build, Dependency, provenance
from customhouse.trust.provenance_level import LOCAL_TARGET

INPUTS, OUTPUTS = PREFIX + "data-inputs", PREFIX + "data-outputs"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: the Job as `namespace/name` or a name, and where everything is."""

    job: str
    key: str
    repo: str = "."
    commit: str = "HEAD"
    replace: bool = False
    limit_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that a Job names; `digest` is the one that is pinned, later the one that was measured."""

    name: str
    path: str
    place: Named
    digest: str = ""


def prepare(asked: Request, settings: Settings) -> dict[str, Any]:
    """`{"job","commit","inputs","outputs","files","seconds","entry"}`. Raises CannotDecideError and what is one."""
    # 1.
    objects = wiring.commits(settings, asked.repo)
    commit = objects.resolve(asked.commit)
    governing = governance(objects, commit, settings.config, wiring.shelf(settings))
    job = _job(asked.job, declarations_of(objects, commit, governing.configuration.paths))
    run = job_run(job.manifest)
    without_secrets(job, run)
    inputs, outputs = (_named(job, run, annotation) for annotation in (INPUTS, OUTPUTS))
    if not outputs:
        raise UsageError(f"{job.ref} names no {OUTPUTS}", where=str(job.location), hint=f"{OUTPUTS}: NAME=/path")
    key = load_private(Path(asked.key))
    volumes = Volumes.of(governing.configuration.volumes, settings.workspace)
    begun = wiring.clock().now()
    with tempfile.TemporaryDirectory(prefix="prepare-") as name:
        scratch = Path(name)
        claims = empty_claims(run, scratch)
        images = image_of(run, commit, objects, governing, scratch)
        # 2.
        read = [_take(item, volumes, claims, job) for item in inputs]
        # 3.
        seconds = run_job(job, scratch, claims, images, min(asked.limit_s, run.deadline_s or asked.limit_s))
        # 4.
        for item in read:
            if not same_digest(files_of(_below(item, claims), item.name).digest, item.digest):
                raise CannotDecideError(f"the Job changed its input {item.name}", where=str(job.location))
        # 5.
        made = [_measured(item, claims, job) for item in outputs]
        for item in made:
            _put(_below(item, claims), item, volumes, replace=asked.replace)
    # 6.
    finished = wiring.clock().now()
    build = Build(
        job=f"{job.ref.namespace}/{job.ref.name}",
        job_digest=job.digest,
        command=run.words,
        dependencies=(
            *(Dependency("dataset", item.name, item.digest) for item in read),
            Dependency("code", run.image, run.image_digest),
            Dependency("code", OWN_REPOSITORY, commit=commit),
        ),
        builder=LOCAL_TARGET,
        invocation=f"{job.ref} {to_rfc3339(begun)}",
        started=begun,
        finished=finished,
        build_type=DATA_BUILD_TYPE,
    )
    files = []
    for item in made:
        data = attest(item.name, item.digest, EvidenceKind.PROVENANCE, provenance(build), key, issued_at=finished)
        files.append(evidence_path(item.digest, EvidenceKind.PROVENANCE))
        place = Path(asked.repo) / files[-1]
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, data)
    index = _record(settings, job, commit, read, made)
    return {
        "job": str(job.ref),
        "commit": commit,
        "inputs": {item.name: item.digest for item in read},
        "outputs": {item.name: item.digest for item in made},
        "files": files,
        "seconds": round(seconds, 3),
        "entry": index,
    }


def _job(name: str, declared: Sequence[Declaration]) -> Declaration:
    jobs = [item for item in declared if item.ref.kind == "Job"]
    found = [item for item in jobs if name in (item.ref.name, f"{item.ref.namespace}/{item.ref.name}")]
    if len(found) != 1:
        shown = ", ".join(f"{item.ref.namespace}/{item.ref.name}" for item in jobs[:10]) or "none"
        many = "no Job" if not found else f"{len(found)} Jobs"
        raise UsageError(f"{many} of that revision is called {name[:100]!r}", hint=f"declared are: {shown}")
    return found[0]


def _named(job: Declaration, run: JobRun, annotation: str) -> list[Dataset]:
    found: list[Dataset] = []
    for text in (job.annotation(annotation) or "").split():
        name, equals, rest = text.partition("=")
        path, _, digest = rest.partition("@")
        place = path_in(run, path)
        if not name or not equals or place is None or (digest and not is_digest(digest)):
            raise UsageError(
                f"{annotation}: {text[:200]!r} is not NAME=/path (or NAME=/path@sha256:…) below a mount of a claim",
                where=str(job.location),
            )
        if any(item.name == name or item.place == place for item in found):
            raise UsageError(f"{annotation}: {name[:100]!r} is named twice", where=str(job.location))
        found.append(Dataset(name, path, place, digest))
    return found


def _below(item: Dataset, claims: Mapping[str, Path]) -> Path:
    return claims[item.place.claim].joinpath(*item.place.parts)


def _take(item: Dataset, volumes: Volumes, claims: Mapping[str, Path], job: Declaration) -> Dataset:
    origin = place_of(item.place, volumes)
    if origin is None or not origin.exists():
        raise CannotDecideError(
            f"the input {item.name} is not here: nothing is at {item.path}",
            where=str(job.location),
            hint="volumes are folders under target.volumes of customhouse.yaml",
        )
    digest = take(origin, _below(item, claims), item.name)
    if item.digest and not same_digest(digest, item.digest):
        raise CannotDecideError(
            f"the input {item.name} has the digest {digest}, {item.digest} is declared", where=str(job.location)
        )
    return Dataset(item.name, item.path, item.place, digest)


def _measured(item: Dataset, claims: Mapping[str, Path], job: Declaration) -> Dataset:
    place = _below(item, claims)
    files = files_of(place, item.name) if place.exists() else None
    if files is None or not files.files:
        raise CannotDecideError(f"the Job wrote no {item.name} at {item.path}", where=str(job.location))
    if item.digest and not same_digest(files.digest, item.digest):
        raise CannotDecideError(
            f"the output {item.name} has the digest {files.digest}, {item.digest} is declared", where=str(job.location)
        )
    return Dataset(item.name, item.path, item.place, files.digest)


def _put(source: Path, item: Dataset, volumes: Volumes, *, replace: bool) -> None:
    """Bring an output to its volume; what is there with another digest stays, unless it may be replaced."""
    destination = place_of(item.place, volumes)
    if destination is None:
        raise CannotDecideError(
            f"the volume {item.place.claim} is not here",
            hint="name its folder under target.volumes of customhouse.yaml",
        )
    if destination.exists():
        present = files_of(destination, item.name)
        if same_digest(present.digest, item.digest):
            return
        if present.files and not replace:
            raise CannotDecideError(
                f"{item.path} holds another {item.name} ({present.digest})",
                where=str(destination),
                hint="look at it, then allow it to be replaced with --replace",
            )
    draft = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        take(source, draft, item.name)
        if destination.is_dir():
            shutil.rmtree(destination)
        os.replace(draft, destination)
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror}", where=str(destination)) from error


def _record(settings: Settings, job: Declaration, commit: str, read: Sequence[Dataset], made: Sequence[Dataset]) -> int:
    run = Node(NodeKind.TRAINING_RUN, f"{job.ref.namespace}/{job.ref.name}", aliases=("data-preparation",))
    before = [Node.of(NodeKind.DATASET, item.digest, item.name) for item in read]
    after = [Node.of(NodeKind.DATASET, item.digest, item.name) for item in made]
    declared = Node(NodeKind.COMMIT, commit)
    said = ", ".join(item.name for item in read) or "nothing"
    one = entry(
        "data-preparation",
        f"data-preparation:{job.digest}:{commit}:{':'.join(node.digest for node in (*before, *after))}",
        wiring.clock().now(),
        "customhouse data prepare",
        nodes=[declared, run, *before, *after],
        links=[
            Link.between(declared, run, LinkKind.PRODUCED),
            *(Link.between(node, run, LinkKind.INPUT_OF) for node in before),
            *(Link.between(run, node, LinkKind.PRODUCED) for node in after),
        ],
        body={
            "text": f"{job.ref} made {', '.join(item.name for item in made)} of {said}"[:1000],
            "manifest": job.digest,
        },
    )
    with wiring.store(settings) as opened:
        (receipt,) = wiring.ledger(settings, opened, write=True).append([one])
    return receipt.index
