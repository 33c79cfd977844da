"""What `vuln scan` is given: bills, lock files, evidence, folders and package URLs, as packages with their places."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from customhouse._kit.reading import absent
from customhouse.core.errors import ArtifactError, CustomhouseError, UsageError
from customhouse.core.vulnerability import Package
from customhouse.trust import strict_json
from customhouse.trust.vulnerabilities.bills import Listed, is_bill, read_bill
from customhouse.trust.vulnerabilities.ecosystems import package_of
from customhouse.trust.vulnerabilities.locks import is_lock, read_packages

MAX_FILE = 128 << 20
MAX_FOUND = 1000
"""Bills and lock files of one folder."""
MAX_DEPTH = 12
_PASSED_OVER = frozenset({"node_modules", "__pycache__", "site-packages", "dist-packages", "vendor", "target"})
_BILLS = ("bom.json", "sbom.json", "bom.sigstore.json")  # the last is evidence, below `.evidence/`
_BILL_ENDS = (".cdx.json", ".spdx.json", ".cyclonedx.json", ".sbom.json", ".bom.json")


@dataclass(slots=True)
class Given:
    """Packages from all that was given, in order; the rest as `Listed` has it."""

    packages: list[Package] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)
    skipped: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, listed: Listed) -> None:
        """What one file listed."""
        self.packages += listed.packages
        self.subjects |= listed.subjects
        self.skipped += listed.skipped
        self.problems += listed.problems


def read_given(items: Sequence[str], *, imports: str | None = None) -> Given:
    """Read every path or package URL. `imports` is a file of import paths, one a line, that are used.

    Raises UsageError and ArtifactError for a file that is named and cannot be read; of what a folder holds that is
    told as a problem instead, so that the rest is scanned.
    """
    found = Given()
    for item in items:
        if item.startswith("pkg:"):
            found.add(_purl(item))
        elif Path(item).is_dir():
            _folder(Path(item), found)
        else:
            found.add(read_listed(Path(item)))
    if imports is not None:
        used = frozenset(line.strip() for line in _read(Path(imports)).decode("utf-8", "replace").splitlines())
        # A module that is not built in has none of these paths; what was asked with another list would be a guess.
        found.packages = [
            replace(package, imports=used - {""}) if package.ecosystem == "Go" else package
            for package in found.packages
        ]
    return found


def _purl(text: str) -> Listed:
    try:
        package = package_of(text)
    except ValueError as error:
        raise UsageError(str(error), hint="such as pkg:pypi/jinja2@3.1.2") from error
    return Listed((), skipped=1) if package is None else Listed((package,))


def read_listed(path: Path) -> Listed:
    """One file: a bill, evidence that holds one, or a lock file. Raises UsageError and ArtifactError."""
    data = _read(path)
    where = str(path)
    if data.lstrip()[:1] == b"{" and not is_lock(path.name):
        try:
            said: Any = strict_json.parse_many(data)
        except ValueError as error:
            raise ArtifactError(f"not JSON: {error}", where=where) from error
        inner = _inside(said, data, where)
        if is_bill(inner):
            return _not_empty(read_bill(inner, where, data.decode("utf-8", "replace") if inner is said else ""), where)
        if inner is not said:
            raise ArtifactError(
                "the statement holds no bill of materials", where=where, hint="give evidence of kind bom"
            )
    listed = Listed(read_packages(data, where))
    return listed if path.name == "go.mod" else _not_empty(listed, where)


def _not_empty(listed: Listed, where: str) -> Listed:
    """A list of nothing is told as a problem: whoever is asked about no package must not answer "clean"."""
    if listed.packages or listed.problems:
        return listed
    return replace(listed, problems=(f"{where}: it names no package",))


def _inside(said: Any, data: bytes, where: str) -> Any:
    """The predicate of evidence (whose signature is not asked here: the gate does that), else the value itself."""
    if isinstance(said, dict) and "dsseEnvelope" in said:
        from customhouse.trust.bundle import read_bundle

        return read_bundle(data, where).statement().predicate
    if isinstance(said, dict) and str(said.get("_type", "")).startswith("https://in-toto.io/Statement/"):
        return said.get("predicate")
    return said


def _folder(path: Path, found: Given) -> None:
    """Lock files and bills below a folder, and what is installed there."""
    for count, file in enumerate(_files(path)):
        if count >= MAX_FOUND:
            found.problems.append(f"{path}: more than {MAX_FOUND} lock files and bills; the rest was not read")
            break
        try:
            found.add(read_listed(file))
        except CustomhouseError as error:
            found.problems.append(str(error))
    known = {(package.purl, package.file) for package in found.packages}
    for package in _installed(path, found):
        if (package.purl, package.file) not in known:
            found.packages.append(package)
    if not found.packages and not found.problems:
        raise UsageError(
            f"no lock file, bill or installed package below {path}", hint="name a file, or make a bill of it"
        )


def _files(path: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(path):
        depth = len(Path(folder).relative_to(path).parts)
        folders[:] = sorted(
            name
            for name in folders
            if depth < MAX_DEPTH and name not in _PASSED_OVER and (not name.startswith(".") or name == ".evidence")
        )
        for name in sorted(files):
            low = name.lower()
            file = Path(folder) / name
            if (
                (is_lock(name) or low in _BILLS or low.endswith(_BILL_ENDS))
                and file.is_file()
                and not file.is_symlink()
            ):
                yield file


def _installed(path: Path, found: Given) -> Iterator[Package]:
    """By the readers of images: distributions' lists, dist-info, node_modules, programs of Go, jars."""
    from customhouse.app.image_scan import packages_to_match
    from customhouse.trust.images.folder import packages_of_folder

    listing = packages_of_folder(path)
    found.problems += [f"{path}/{place.lstrip('/')}: {why}" for place, why in listing.unread]
    for package in packages_to_match(listing, ()):
        if not package.file.endswith("package-lock.json"):  # read above, with lines
            yield replace(package, file=str(path / package.file.lstrip("/")), within="")


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise UsageError(absent(path, "file or folder"), hint="a bill, a lock file, a folder, or pkg:TYPE/NAME@VERSION")
    if path.stat().st_size > MAX_FILE:
        raise UsageError(f"{path} is over {MAX_FILE >> 20} MiB")
    return path.read_bytes()
