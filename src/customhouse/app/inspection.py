"""Inspection: from a model folder to the evidence that the gate asks for, signed with one key.

It is what a build pipeline runs after training (`customhouse model attest`): the files it gives are committed beside
the declaration, under `.evidence/<digest>/`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from customhouse._kit.digest import Tree, TreeError, tree
from customhouse._kit.progress import Meter
from customhouse.app.evaluation_document import SCHEMA as EVALUATED
from customhouse.app.evaluation_document import bill_metrics, predicate_of, require_model, texts, weighed
from customhouse.core.errors import ArtifactError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.attestation import attest, evidence_path
from customhouse.trust.bom import Material, Metric, model_bom
from customhouse.trust.bom_given import Given
from customhouse.trust.bom_merge import ImageBill
from customhouse.trust.keys import PrivateKey
from customhouse.trust.libraries import Library, installed_libraries
from customhouse.trust.provenance import Build, provenance
from customhouse.trust.scan import Inspected as Read
from customhouse.trust.scan import TreeScan, Wish, inspect_tree, scan_predicate
from customhouse.trust.signing import sign_model

_READABLE = "a model is regular files that you may read, with names in UTF-8: rename, copy or remove what is none"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a model besides its files. `evaluation` is what an evaluation program wrote (JSON)."""

    name: str
    version: str
    task: str = ""
    datasets: tuple[Material, ...] = ()
    code: Material | None = None
    libraries: tuple[str, ...] = ()
    """Names of installed ones: with what they need they are part of the bill."""
    given: Given = field(default_factory=Given)
    shelf: tuple[Library, ...] = ()
    """Libraries of lock files and environments."""
    images: tuple[ImageBill, ...] = ()
    evaluation: Mapping[str, Any] | None = None
    build: Build | None = None


@dataclass(frozen=True, slots=True)
class Inspected:
    """The files to commit (repository path → bytes), the digest to pin, and what the scan said."""

    digest: str
    files: Mapping[str, bytes]
    scan: TreeScan
    kinds: tuple[EvidenceKind, ...] = field(default=())
    seen: Tree = field(default=Tree(()))
    """The files, as they were read."""


def size_of(place: Path) -> int:
    """Bytes that there are to read; what cannot be counted here is refused where it is read."""
    if not place.is_dir() or place.is_symlink():
        return place.lstat().st_size if place.exists() else 0
    files = (Path(folder) / name for folder, _, names in os.walk(place) for name in names)
    return sum(file.lstat().st_size for file in files if file.exists())


def read_tree(path: Path) -> Tree:
    """The files of an artifact, all of them read. Raises ArtifactError instead of the kit's errors."""
    try:
        return tree(path, Meter("reading", size_of(path)))
    except FileNotFoundError as error:
        raise ArtifactError("there is nothing there", where=str(path)) from error
    except (TreeError, OSError) as error:
        raise ArtifactError(f"cannot be read: {error}", where=str(path), hint=_READABLE) from error


def read_model(path: Path, wish: Wish) -> Read:
    """A model's files, read once as the wish says. Raises ArtifactError instead of the kit's errors."""
    try:
        return inspect_tree(path, wish)
    except FileNotFoundError as error:
        raise ArtifactError("there is nothing there", where=str(path)) from error
    except (TreeError, OSError) as error:
        raise ArtifactError(f"cannot be read: {error}", where=str(path), hint=_READABLE) from error


def require_files(seen: Read, where: str) -> None:
    """Raises ArtifactError for a folder without files: nothing can be said of it, and nobody serves it."""
    if not seen.files.files:
        raise ArtifactError("an empty folder", where=where, hint="name the folder that the model's files are in")


def inspect(
    path: Path,
    card: ModelCard,
    key: PrivateKey,
    now: datetime,
    wish: Wish | None = None,
) -> Inspected:
    """Scan, describe, sign. The evidence says what was found, good or bad: it is the gate that judges.

    Each file is read once (or remembered, if the wish says by whom). The evidence is of the digest of what was read: of
    files that change afterwards it says nothing. Raises ArtifactError when the files cannot be read.
    """
    asked = replace(wish or Wish(), sha256=True, scan=True, describe=True)
    seen = read_model(path, asked)
    require_files(seen, str(path))
    files, scan = seen.files, seen.scan
    digest = files.digest
    found: dict[EvidenceKind, bytes] = {}
    # 1. What is in the files.
    scanned = scan_predicate(files, scan, asked.limits.names)
    found[EvidenceKind.SCAN] = _signed(card, digest, EvidenceKind.SCAN, scanned, key, now)
    # 2. What it is made of.
    bom = _bom(seen, card, now)
    found[EvidenceKind.BOM] = _signed(card, digest, EvidenceKind.BOM, bom, key, now)
    # 3. Where it comes from.
    if card.build is not None:
        said = provenance(card.build)
        found[EvidenceKind.PROVENANCE] = _signed(card, digest, EvidenceKind.PROVENANCE, said, key, now)
    # 4. How good it is.
    if card.evaluation is not None:
        require_model(card.evaluation, digest)
        measured = _evaluation(card.evaluation)
        found[EvidenceKind.EVALUATION] = _signed(card, digest, EvidenceKind.EVALUATION, measured, key, now)
    # 5. The signature over the files, last: it stands for all that was inspected.
    found[EvidenceKind.SIGNATURE] = sign_model(files, card.name, key, now)
    placed = {evidence_path(digest, kind): data for kind, data in found.items()}
    return Inspected(digest, placed, scan, tuple(found), files)


def _signed(
    card: ModelCard, digest: str, kind: EvidenceKind, predicate: Mapping[str, Any], key: PrivateKey, now: datetime
) -> bytes:
    return attest(card.name, digest, kind, predicate, key=key, issued_at=now)


def _bom(seen: Read, card: ModelCard, now: datetime) -> dict[str, Any]:
    return model_bom(
        name=card.name,
        version=card.version,
        tree=seen.files,
        issued_at=now,
        described=seen.descriptions,
        task=card.task,
        datasets=card.datasets,
        training_code=card.code,
        given=_given(card),
        libraries=(*installed_libraries(card.libraries), *card.shelf),
        images=card.images,
        metrics=tuple(_metrics(card.evaluation or {})),
        properties=scan_properties(seen.scan),
    )


def scan_properties(scan: TreeScan) -> dict[str, str]:
    """What a bill says of the scan: the verdict, and the organisation's own names that it rests on."""
    added = sorted({name for file in scan.files for name in file.added})
    rests = {"customhouse:scan:added-names": " ".join(added)} if added else {}
    return {"customhouse:scan:verdict": scan.verdict.value, **rests}


def _given(card: ModelCard) -> Given:
    return weighed(card.given, card.evaluation) if card.evaluation and _is_own(card.evaluation) else card.given


def _is_own(evaluation: Mapping[str, Any] | None) -> bool:
    """Whether `model evaluate` wrote it, and not another program."""
    return evaluation is not None and evaluation.get("schema") == EVALUATED


def _evaluation(measured: Mapping[str, Any]) -> dict[str, Any]:
    if _is_own(measured):
        return predicate_of(measured)
    # Facts and bills carry decimal text: a float has more than one spelling.
    return {**texts(dict(measured)), "metrics": {item.type: str(item.value) for item in _metrics(measured)}}


def _metrics(evaluation: Mapping[str, Any]) -> Sequence[Metric]:
    """Numbers of `holdout` (or `metrics`): plain, or with `value`, `low` and `high`."""
    if _is_own(evaluation):
        return bill_metrics(evaluation)
    listed = evaluation.get("metrics") or evaluation.get("holdout") or {}
    found = []
    for name, value in sorted(listed.items()) if isinstance(listed, Mapping) else ():
        if isinstance(value, Mapping) and "value" in value:
            low, high = value.get("low"), value.get("high")
            found.append(
                Metric(
                    str(name),
                    repr(value["value"]),
                    low=None if low is None else repr(low),
                    high=None if high is None else repr(high),
                )
            )
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append(Metric(str(name), repr(value)))
    return found
