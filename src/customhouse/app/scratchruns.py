"""A declared Job in a scratch folder of its own: its code out of a commit, its inputs copied and hashed, nothing else.

What runs is what was hashed. The Job sees volumes that hold the declared inputs and are empty otherwise.
"""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

from customhouse._kit import progress
from customhouse._kit.digest import Tree, TreeError, tree
from customhouse.app import wiring
from customhouse.app.artifacts import Volumes
from customhouse.app.governance import Governance
from customhouse.app.mounted import Named
from customhouse.control.source import Commits
from customhouse.core.errors import CannotDecideError, UsageError
from customhouse.core.plan import Action, ActionKind, HealthStatus
from customhouse.core.resource import Declaration
from customhouse.execution.objects import JobRun

_POLL_S = 0.1


def without_secrets(job: Declaration, run: JobRun) -> None:
    """Raise CannotDecideError for a Job that needs secrets: a scratch run gets none."""
    if run.secrets:
        raise CannotDecideError(
            f"the Job {job.ref} needs the secrets {', '.join(sorted(run.secrets))}; here it gets none",
            where=str(job.location),
        )


def image_of(run: JobRun, commit: str, objects: Commits, governing: Governance, scratch: Path) -> Mapping[str, Path]:
    """The image's folder as it is in a commit. The target verifies its digest before it runs anything in it."""
    folder = governing.configuration.images.get(run.image)
    if folder is None:
        raise CannotDecideError(
            f"the image {run.image} has no folder in this repository", hint="target.images of customhouse.yaml names it"
        )
    place = scratch / "image"
    objects.export(commit, folder, place)
    return {run.image: place}


def empty_claims(run: JobRun, scratch: Path) -> Mapping[str, Path]:
    """A folder for each claim that a Job mounts."""
    claims = {mount.claim: scratch / "volumes" / mount.claim for mount in run.mounts if mount.claim}
    for folder in claims.values():
        folder.mkdir(parents=True, exist_ok=True)
    return claims


def place_of(one: Named, volumes: Volumes) -> Path | None:
    """Where a named path lies on this machine; None when its claim is not here, or a link leads out of it."""
    folder = volumes.folders.get(one.claim)
    if folder is None:
        return None
    place = folder.joinpath(*one.parts)
    return place if place.resolve().is_relative_to(folder.resolve()) else None


def take(source: Path, destination: Path, what: str) -> str:
    """Copy an input; the digest of the copy. Raises CannotDecideError when it cannot be read."""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, destination, dirs_exist_ok=True, symlinks=True)
        else:
            shutil.copyfile(source, destination)
    except (OSError, shutil.Error) as error:
        raise CannotDecideError(f"{what} cannot be copied: {error}"[:500], where=str(source)) from error
    return files_of(destination, what).digest


def files_of(place: Path, what: str) -> Tree:
    """The files at a place. Raises CannotDecideError."""
    try:
        return tree(place)
    except (OSError, TreeError) as error:
        raise CannotDecideError(f"{what} cannot be read: {error}", where=str(place)) from error


def run_job(
    job: Declaration, scratch: Path, claims: Mapping[str, Path], images: Mapping[str, Path], limit_s: float
) -> float:
    """Run it to its end; the seconds that it took. Raises CannotDecideError when it fails, or does not end in time."""
    if not 0 < limit_s < math.inf:
        raise UsageError(f"a limit of {limit_s} s", hint="give --limit in seconds, more than 0")
    clock = wiring.clock()
    target = wiring.scratch_target(scratch / "state", claims, images)
    begun = clock.monotonic()
    pause = threading.Event()
    target.start()
    try:
        (result,) = target.apply([Action(ActionKind.CREATE, job.ref, job.manifest)])
        if not result.ok:
            raise CannotDecideError(f"the Job cannot be run: {result.message}", where=str(job.location))
        while True:
            live = target.read([job.ref]).get(job.ref)
            spent = clock.monotonic() - begun
            if live is not None and live.health.status is HealthStatus.HEALTHY:
                return spent
            if live is not None and live.health.status is HealthStatus.DEGRADED:
                raise CannotDecideError(f"the Job failed: {live.health.message}", where=str(job.location))
            if spent > limit_s:
                raise CannotDecideError(f"the Job did not end within {limit_s:g} s", hint="allow more with --limit")
            progress.tell("running the Job, seconds", int(spent), int(limit_s))
            pause.wait(_POLL_S)
    finally:
        target.stop()
