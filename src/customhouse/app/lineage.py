"""`customhouse model lineage`: files of MLflow, OpenLineage and DVC read as claims, and held against the bytes here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from customhouse._kit.digest import TreeError, tree
from customhouse._kit.reading import open_regular
from customhouse.app.governance import read_document
from customhouse.app.model_signing import named_file
from customhouse.core.errors import ArtifactError, ConfigError, EvidenceError, UsageError
from customhouse.trust import strict_json
from customhouse.trust.lineage import (
    Claim,
    of_dvc_file,
    of_dvc_lock,
    of_dvc_yaml,
    of_mlflow_run,
    of_mlflow_version,
    of_openlineage,
)

MAX_FILE = 16 << 20
MAX_EVENTS = 10_000
_MAX_TAGS = 1000
_BLOCK = 1 << 20


def lineage(paths: Sequence[str]) -> tuple[Claim, ...]:
    """Every claim of the files, in order, looked at where its bytes are here.

    Raises UsageError for a file that is none of these, EvidenceError for one that is malformed.
    """
    return tuple(_looked(claim, folder) for path in paths for claim, folder in _read(Path(path)))


def _read(place: Path) -> list[tuple[Claim, Path]]:
    where = str(place)
    if place.is_dir():
        meta = _yaml(place / "meta.yaml")
        folder, run = place, "version" not in meta  # a model version names its run too
        claims = (
            of_mlflow_run(_run_of(place, meta), where) if run else of_mlflow_version({"model_version": meta}, where)
        )
        return [(claim, folder) for claim in claims]
    if place.suffix in (".dvc", ".lock", ".yaml", ".yml"):
        document = _yaml(place)
        if place.name == "meta.yaml":
            return _read(place.parent)
        read = of_dvc_file if place.suffix == ".dvc" else of_dvc_lock if place.suffix == ".lock" else of_dvc_yaml
        return [(claim, place.parent) for claim in read(document, where)]
    return [(claim, place.parent) for claim in _json(place, where)]


def _json(place: Path, where: str) -> tuple[Claim, ...]:
    data = named_file(place, MAX_FILE, "the lineage")
    try:
        documents = [strict_json.parse(data, where)]
    except EvidenceError:
        lines = [line for line in data.splitlines() if line.strip()]
        if not 1 < len(lines) <= MAX_EVENTS:
            raise
        documents = [strict_json.parse(line, f"{where}:{number}") for number, line in enumerate(lines, 1)]
    first = documents[0]
    if isinstance(first, list):
        documents, first = first, first[0] if first else {}
    if isinstance(first, Mapping) and "run" in first and "job" in first:
        return of_openlineage(documents, where)
    if isinstance(first, Mapping) and "model_version" in first:
        return of_mlflow_version(first, where)
    if isinstance(first, Mapping) and "run" in first:
        return of_mlflow_run(first, where)
    raise UsageError(
        "this is no lineage that is known",
        where=where,
        hint="a run folder or runs/get of MLflow, OpenLineage events, dvc.lock, dvc.yaml or a .dvc file",
    )


def _run_of(place: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """A run folder of MLflow's file store in the form of its REST API; tags are files."""
    tags = {}
    folder = place / "tags"
    for item in sorted(folder.iterdir())[:_MAX_TAGS] if folder.is_dir() else ():
        if item.is_file() and not item.is_symlink() and item.stat().st_size <= _BLOCK:
            tags[item.name] = item.read_text(encoding="utf-8", errors="replace").strip()
    inputs = []
    for link in sorted((place / "inputs").glob("*/meta.yaml"))[:_MAX_TAGS]:
        said = _yaml(link)
        if said.get("source_type") == "DATASET":
            # The dataset itself lies beside the runs of the experiment.
            described = place.parent / "datasets" / Path(str(said.get("source_id"))).name / "meta.yaml"
            inputs.append(
                {"dataset": _yaml(described) if described.is_file() else {"name": str(said.get("source_id"))}}
            )
    return {"run": {"info": dict(meta), "data": {"tags": tags}, "inputs": {"dataset_inputs": inputs}}}


def _yaml(place: Path) -> Mapping[str, Any]:
    try:
        value = read_document(named_file(place, MAX_FILE, "the lineage"), str(place)).value
    except ConfigError as error:
        raise EvidenceError(error.message, where=error.where, hint=error.hint) from error
    if not isinstance(value, Mapping):
        raise EvidenceError("not a mapping", where=str(place))
    return value


def _looked(claim: Claim, folder: Path) -> Claim:
    """Hold a claim against the bytes below `folder`; what leads out of it is not looked at."""
    if not claim.path or not claim.digests:
        return claim
    place = folder / claim.path
    if not place.resolve().is_relative_to(folder.resolve()) or not place.exists():
        return claim.looked("claimed", note=claim.note or "its bytes are not here")
    try:
        files = tree(place)
        own = [_digest(place, algorithm) == value for algorithm, value in claim.digests.items()]
    except (OSError, TreeError) as error:
        raise ArtifactError(f"cannot be read: {error}", where=str(place)) from error
    if not all(own):
        return claim.looked("bytes differ", files.digest)
    weak = "" if any(name.startswith("sha") for name in claim.digests) else "by md5, which can be forged"
    return claim.looked("bytes match", files.digest, weak)


def _digest(place: Path, algorithm: str) -> str:
    if algorithm == "md5.dir":
        # As DVC writes it: the JSON list of its files with their md5, by path.
        listed = [
            {"md5": _digest(item, "md5"), "relpath": item.relative_to(place).as_posix()}
            for item in place.rglob("*")
            if item.is_file()
        ]
        listed.sort(key=lambda item: item["relpath"].split("/"))
        return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    if place.is_dir():
        return ""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with open_regular(place) as handle:
        while block := handle.read(_BLOCK):
            state.update(block)
    return state.hexdigest()
