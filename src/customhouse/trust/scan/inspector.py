"""From paths to verdicts: open a file safely, scan it, gather a folder, write the predicate of scan evidence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from customhouse._kit.clock import Clock, SystemClock
from customhouse._kit.digest import FileEntry, Tree, tree
from customhouse._kit.reading import side_by_side
from customhouse.core.errors import ArtifactError
from customhouse.trust.scan.additions import by_use, digest_of
from customhouse.trust.scan.description import Description
from customhouse.trust.scan.files import entries
from customhouse.trust.scan.inspection import Limits
from customhouse.trust.scan.names import Use
from customhouse.trust.scan.onepass import Look, Wish, look_at, scan_source
from customhouse.trust.scan.source import Source
from customhouse.trust.scan.verdict import FileScan, ScanFinding, ScanSeverity, TreeScan, Verdict, verdict_of

SCANNER_VERSION = "1"
"""Raised with every change of what is found; part of the evidence."""


def scan_bytes(data: bytes, name: str = "", *, limits: Limits | None = None, clock: Clock | None = None) -> FileScan:
    """Scan bytes in memory; `name` is what they call themselves (a hint only). Never raises for bad bytes."""
    scan, references = scan_source(Source.of(data), name, name, limits or Limits(), clock or SystemClock())
    return _with_missing(scan, list(references))


def scan_file(path: Path, *, limits: Limits | None = None, clock: Clock | None = None, name: str = "") -> FileScan:
    """Scan one regular file; `name` replaces its path in the result.

    Links are not followed: they, devices and files that may not be read are `unscannable`. Raises ArtifactError when
    nothing is there.
    """
    return _scan_of(
        path, look_at(path, name or str(path), Wish(limits=limits or Limits(), clock=clock or SystemClock()))
    )


def scan_tree(
    path: Path,
    progress: Callable[[FileScan], None] | None = None,
    *,
    limits: Limits | None = None,
    clock: Clock | None = None,
    wish: Wish | None = None,
) -> TreeScan:
    """Scan a folder (or one file): a FileScan a file, paths relative to the folder, sorted by their bytes.

    `progress` is told each, in that order. Raw weights that only an ONNX file of the folder explains are taken as
    explained. Raises ArtifactError when nothing is there or there are too many files.
    """
    wish = wish or Wish(limits=limits or Limits(), clock=clock or SystemClock())
    if path.is_symlink() or not path.is_dir():
        found = TreeScan((_scan_of(path, look_at(path, path.name, wish)),))
    else:
        names = entries(path)
        looks = side_by_side(names, lambda name: look_at(path / name, name, wish))
        found = _gathered(path, [name for name, _ in names], looks)
    if progress is not None:
        for scan in found.files:
            progress(scan)
    return found


@dataclass(frozen=True, slots=True)
class Inspected:
    """A model's files with their digests, their scan, and what they say of the model, by path; from one read."""

    files: Tree
    scan: TreeScan
    descriptions: Mapping[str, Description]


def inspect_tree(path: Path, wish: Wish) -> Inspected:
    """Read each of a model's files once; without `wish.scan` for their digests alone (blake3 if no sha256 is wished).

    Raises what `_kit.digest.tree` raises (a link in the folder has no digest), and ArtifactError for a file that cannot
    be read or was changed meanwhile.
    """
    looks: dict[Path, Look] = {}

    def hashed(place: Path, _: Callable[[int], None] | None) -> FileEntry:
        look = look_at(place, place.name, wish)
        digest = look.digests.sha256 if wish.sha256 else look.digests.blake3
        if not digest:
            why = look.scan.findings[0].message if look.scan and look.scan.findings else "cannot be read"
            raise ArtifactError(why, where=str(place), hint="inspect it again when it is as it is to be")
        looks[place] = look
        return FileEntry(place.name, digest, look.digests.size, look.digests.blake3 if wish.blake3 else "")

    files = tree(path, None, hashed)
    names = [entry.path for entry in files.files]
    places = [path] if files.single else [path / name for name in names]
    told = {name: looks[place].description for name, place in zip(names, places, strict=True)}
    descriptions = {name: said for name, said in told.items() if said is not None}
    if not wish.scan:
        return Inspected(files, TreeScan(()), descriptions)
    if files.single:
        return Inspected(files, TreeScan((_scan_of(path, looks[path]),)), descriptions)
    ordered = [_renamed(looks[place], name) for name, place in zip(names, places, strict=True)]
    return Inspected(files, _gathered(path, names, ordered), descriptions)


def scan_paths(
    paths: Sequence[Path],
    progress: Callable[[FileScan], None] | None = None,
    *,
    limits: Limits | None = None,
    clock: Clock | None = None,
    wish: Wish | None = None,
) -> TreeScan:
    """What `model scan PATH…` prints: one row a regular file, in the order of the arguments, paths as given."""
    files: list[FileScan] = []
    for path in paths:
        found = scan_tree(path, progress, limits=limits, clock=clock, wish=wish).files
        single = path.is_symlink() or not path.is_dir()
        files.extend(replace(scan, path=str(path) if single else str(path / scan.path)) for scan in found)
    return TreeScan(tuple(files))


def scan_predicate(tree: Tree, scan: TreeScan, told: Mapping[str, Use] | None = None) -> dict[str, Any]:
    """The predicate of scan evidence (https://customhouse.dev/attestations/scan/v1), bound to the tree's digest.

    `told` are the names that the scan was told of (`Limits.names`): `added_names` says on which of them it rests.
    Raises ArtifactError when the scan is of other files or other bytes than the tree.
    """
    listed = {entry.path: entry for entry in tree.files}
    names = {file.path for file in scan.files}
    if tree.single and len(scan.files) == 1:
        listed = {scan.files[0].path: tree.files[0]}
    if names != set(listed):
        odd = min(names ^ set(listed))
        raise ArtifactError("the scan and the digest are of different files", where=odd, hint="scan the artifact again")
    for file in scan.files:
        if file.digest is not None and file.digest != listed[file.path].digest:
            raise ArtifactError("the file changed between scan and digest", where=file.path, hint="scan it again")
    uses = told or {}
    added = {name: uses[name] for file in scan.files for name in file.added}
    return {
        "scanner": {
            "name": "customhouse",
            "version": SCANNER_VERSION,
            "rules_digest": digest_of(rules_digest(), uses),
        },
        **({"added_names": by_use(added)} if added else {}),
        "subject_digest": tree.digest,
        "verdict": scan.verdict.value,
        "counts": {verdict.value: sum(file.verdict is verdict for file in scan.files) for verdict in Verdict},
        "files": [
            {
                "path": file.path,
                "digest": listed[file.path].digest,
                "size": listed[file.path].size,
                "format": file.format,
                "verdict": file.verdict.value,
                "findings": [finding.to_json() for finding in file.findings],
            }
            for file in scan.files
        ],
    }


@cache
def rules_digest() -> str:
    """The digest of the scanner's own source and lists: evidence says by exactly which rules a verdict was reached."""
    hasher = sha256()
    for name, item in sorted(_parts(resources.files("customhouse.trust.scan"), "")):
        data = item.read_bytes()
        hasher.update(f"{name} {len(data)}\n".encode() + data)
    return "sha256:" + hasher.hexdigest()


def _parts(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    """Every file of the scanner, lists of names too; but for what Python makes of it."""
    for item in folder.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            yield from _parts(item, f"{prefix}{item.name}/")
        elif item.is_file() and not item.name.endswith(".pyc"):
            yield f"{prefix}{item.name}", item


def _scan_of(path: Path, look: Look) -> FileScan:
    """The scan of a look, which must have been asked for, with what is missing beside the file."""
    assert look.scan is not None  # noqa: S101 - a wish for digests alone has no scan to gather
    missing = [item for item, size in look.references.items() if not _holds(path.parent / item, size)]
    return _with_missing(look.scan, missing)


def _renamed(look: Look, name: str) -> Look:
    return look if look.scan is None else replace(look, scan=replace(look.scan, path=name))


def _gathered(root: Path, names: Sequence[str], looks: Sequence[Look]) -> TreeScan:
    """The scans of a folder's files, where one may explain another."""
    scans: list[FileScan] = []
    needed: dict[str, int] = {}
    for name, look in zip(names, looks, strict=True):
        folder = name.rpartition("/")[0]
        for reference, size in look.references.items():
            place = os.path.normpath(f"{folder}/{reference}" if folder else reference)
            needed[place] = max(needed.get(place, 0), size)
        scans.append(_scan_of(root / name, look))
    return TreeScan(tuple(_explained(scan, needed) for scan in scans))


def _holds(path: Path, size: int) -> bool:
    """Whether a file that a model reads is there, is no link and is long enough."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size >= size


def _with_missing(scan: FileScan, missing: Sequence[str]) -> FileScan:
    if not missing:
        return scan
    what = f"reads {min(missing)!r} beside it, which is not there or too short; scan the whole folder"
    findings = (*scan.findings, ScanFinding("external-data-missing", ScanSeverity.UNSCANNABLE, what))
    return replace(scan, findings=findings, verdict=verdict_of(findings))


def _explained(scan: FileScan, needed: Mapping[str, int]) -> FileScan:
    """A file of no known format is clean as raw weights when a model of the folder reads it and nothing was found."""
    if scan.path not in needed or [finding.rule for finding in scan.findings] != ["unknown-format"]:
        return scan
    note = ScanFinding("raw-weights", ScanSeverity.NOTE, "raw weights that a model of this folder reads")
    return replace(scan, format="raw", verdict=Verdict.CLEAN, findings=(note,))
