"""`customhouse model`: scanning, signing, verifying, describing and attesting from the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse._kit.reading import absent
from customhouse._kit.single_keys import each_once
from customhouse.app import wiring
from customhouse.app.inspection import ModelCard, inspect
from customhouse.app.modelbom import Sources
from customhouse.app.settings import Settings
from customhouse.app.wholefile import write_whole
from customhouse.control.render import render
from customhouse.core.errors import SourceError, UsageError
from customhouse.core.resource import PREFIX, Declaration
from customhouse.core.workload import workload
from customhouse.trust.bom import Material
from customhouse.trust.keys import load_private
from customhouse.trust.provenance import OWN_REPOSITORY, Build, Dependency
from customhouse.trust.provenance_level import LOCAL_TARGET
from customhouse.trust.scan import TreeScan, Wish, scan_paths

MAX_JSON = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class AttestRequest:
    """What `model attest` was asked."""

    path: str
    repo: str
    key: str
    name: str | None
    version: str
    evaluation: str | None
    datasets: tuple[str, ...]
    job: str | None
    sources: Sources = field(default_factory=Sources)


def scan(paths: Sequence[str], wish: Wish) -> TreeScan:
    """Scan files and folders, one row per regular file, in the order of the arguments. Raises UsageError."""
    missing = [path for path in paths if not Path(path).exists()]
    if missing:
        raise UsageError(f"there is nothing at {missing[0]}")
    return scan_paths([Path(path) for path in paths], wish=wish)


def attest(request: AttestRequest, settings: Settings, wish: Wish | None = None) -> dict[str, Any]:
    """Inspect a model and write its evidence into a work tree: `{"digest","verdict","files","hints"}`."""
    clock = wiring.clock()
    if not Path(request.repo).is_dir():
        raise UsageError(f"there is no folder {request.repo}", hint="name the work tree with --repo")
    datasets = read_datasets(request.datasets)
    shelf, hints = request.sources.shelf()
    card = ModelCard(
        name=request.name or Path(request.path).name,
        version=request.version,
        datasets=datasets,
        evaluation=read_evaluation(request.evaluation) if request.evaluation else None,
        build=_build(request, datasets, settings) if request.job else None,
        given=request.sources.given(),
        shelf=shelf,
        images=request.sources.bills(),
    )
    done = inspect(Path(request.path), card, load_private(Path(request.key)), clock.now(), wish)
    request.sources.require_locked(done.digest)
    root = Path(request.repo)
    for name, data in done.files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, data)
    return {
        "digest": done.digest,
        "verdict": done.scan.verdict.value,
        "files": sorted(done.files),
        "hints": [{"kind": hint.kind, "library": hint.library, "message": hint.message} for hint in hints],
    }


def read_datasets(texts: Sequence[str]) -> tuple[Material, ...]:
    """What `--dataset NAME=DIGEST` says. Raises UsageError."""
    return tuple(_dataset(text) for text in texts)


def _dataset(text: str) -> Material:
    name, equals, digest = text.partition("=")
    if not equals or not is_digest(digest):
        raise UsageError(f"{text!r} is not NAME=sha256:…")
    return Material(name, digest)


def read_evaluation(path: str) -> Mapping[str, Any]:
    """What an evaluation wrote: one JSON object. Raises UsageError."""
    place = Path(path)
    if not place.is_file():
        raise UsageError(absent(path))
    if place.stat().st_size > MAX_JSON:
        raise UsageError(f"{path} is over 4 MiB")
    try:
        value = json.loads(place.read_bytes(), object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} is not a JSON object")
    return value


def _build(request: AttestRequest, datasets: Sequence[Material], settings: Settings) -> Build:
    place = Path(request.job or "")
    if not place.is_file():
        raise UsageError(absent(place), hint="--job names the manifest of the training Job")
    data = place.read_bytes()
    job = next((item for item in render({place.name: data}) if item.ref.kind == "Job"), None)
    if job is None:
        raise UsageError(f"{place} declares no Job")
    commit = _declaring(request.repo, place, data, settings)
    code = [Dependency("code", OWN_REPOSITORY, commit=commit)] if commit else []
    named = [Dependency("dataset", item.name, item.digest) for item in datasets]
    now = wiring.clock().now()
    return build_of(job, [*named, *code], now.isoformat(), now, now)


def _declaring(repo: str, place: Path, data: bytes, settings: Settings) -> str:
    """The commit that HEAD is, where it holds these very bytes as the Job's file; else nothing is said of a commit."""
    root = next((up for up in (Path(repo).resolve(), *Path(repo).resolve().parents) if (up / ".git").exists()), None)
    if root is None or not place.resolve().is_relative_to(root):
        return ""
    name = place.resolve().relative_to(root).as_posix()
    try:
        objects = wiring.commits(settings, str(root))
        commit = objects.resolve("HEAD")
        return commit if objects.files(commit, name).get(name) == data else ""
    except SourceError:  # no commit yet, or no git here
        return ""


def build_of(job: Declaration, datasets: Sequence[Dependency], invocation: str, started: Any, finished: Any) -> Build:
    """The provenance of a model that a declared Job made: its code by the pinned image, its data by digest."""
    work = workload(job.manifest, job.ref)
    containers = () if work is None else work.containers
    images = [a for a in (work.artifacts if work else ()) if a.role == "image" and a.digest]
    dataset = job.annotation(PREFIX + "dataset")
    named = list(datasets)
    if dataset and all(item.digest != dataset for item in named):
        named.append(Dependency("dataset", "dataset", dataset))
    return Build(
        job=f"{job.ref.namespace}/{job.ref.name}",
        job_digest=job.digest,
        command=tuple(word for container in containers for word in (*container.command, *container.arguments)),
        dependencies=(*named, *(Dependency("code", image.reference, image.digest or "") for image in images)),
        builder=LOCAL_TARGET,
        invocation=invocation,
        started=started,
        finished=finished,
    )
